//! Patience with locks that somebody who is going still holds.
//!
//! The data directory's own lock says that no other process uses what is in it. The engines lock their directories once
//! more, with advisory locks that belong to an open file and live until its last copy is closed: a process just killed
//! keeps them until the system has taken it apart, and a child that any thread of this process starts has copies of
//! every open file until it runs its own program. Both are over by themselves within moments; an engine that finds its
//! directory locked then is not damaged, and setting it aside would cost a rebuild for nothing.

use std::time::Duration;

/// How often an open is tried, and the pause between: ten seconds in all. A process that used gigabytes takes a second
/// to be taken apart, on a machine that has other things to do longer.
const ATTEMPTS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// Opens, again and again for as long as it fails because somebody else holds a lock. Blocks meanwhile.
///
/// Answers what the last attempt said.
#[allow(clippy::disallowed_methods, reason = "opening an engine blocks anyway")]
pub fn while_held<T, E>(is_held: impl Fn(&E) -> bool, mut open: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        match open() {
            Err(error) if is_held(&error) => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_of_is_waited_for_and_anything_else_is_not() {
        let mut answers = vec![Ok(7), Err("held"), Err("held")];
        assert_eq!(while_held(|error| *error == "held", || answers.pop().unwrap()), Ok(7));
        let mut answers = vec![Ok(7), Err("damaged")];
        assert_eq!(while_held(|error| *error == "held", || answers.pop().unwrap()), Err("damaged"));
    }
}
