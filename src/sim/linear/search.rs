//! The search for an order of requests that explains their answers.
//!
//! A configuration is the set of requests that took effect and the model's state. From it any request may come next
//! that was made before every outstanding one was answered. Looks that fit are taken at
//! once: that never spoils a solution. What is alike and may never have happened (`Spec::twin`) is taken in order.

use std::collections::{BTreeMap, BTreeSet};

/// A request, or something the shop may do by itself.
#[derive(Clone, Debug)]
pub struct Operation<O> {
    /// What.
    pub what: O,
    /// Not before this place.
    pub from: usize,
    /// Not behind this place; `None`: at any time or never.
    pub until: Option<usize>,
    /// Only behind that operation, by its number.
    pub after: Option<usize>,
}

/// A sequential model.
pub trait Spec {
    /// What it knows.
    type State: Clone + Ord;
    /// What can happen.
    type Op: std::fmt::Debug;

    /// The state afterwards; `None` when it cannot happen with that answer in this state.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether it never changes any state.
    fn is_look(op: &Self::Op) -> bool;

    /// Operations that may never happen and have the same number here are interchangeable.
    fn twin(_op: &Self::Op) -> Option<u64> {
        None
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is an order.
    Linearizable,
    /// There is none; the operation the longest attempt could not get past, and the row with its answer.
    Impossible {
        /// In words.
        stuck: String,
    },
    /// Too many configurations.
    Undecided,
}

type Done = Vec<u64>;

struct Search<'a, S: Spec> {
    operations: &'a [Operation<S::Op>],
    seen: BTreeSet<(Done, S::State)>,
    /// Most operations done so far, and what could not follow.
    longest: (u32, Option<usize>),
}

/// Searches from `initial`, at most so many configurations.
pub fn linearize<S: Spec>(initial: S::State, operations: &[Operation<S::Op>], steps_max: u64) -> Finding {
    let mut search = Search::<S> { operations, seen: BTreeSet::new(), longest: (0, None) };
    let mut open = vec![(vec![0_u64; operations.len().div_ceil(64)], initial)];
    let mut steps = 0;
    while let Some((done, state)) = open.pop() {
        if search.is_over(&done) {
            return Finding::Linearizable;
        }
        steps += 1;
        if steps > steps_max {
            return Finding::Undecided;
        }
        open.extend(search.followers(&done, &state));
    }
    let stuck = search.longest.1.map_or_else(String::new, |number| told(&operations[number]));
    Finding::Impossible { stuck }
}

fn told<O: std::fmt::Debug>(operation: &Operation<O>) -> String {
    match operation.until {
        Some(until) => format!("{:?} of row {until}", operation.what),
        None => format!("{:?}", operation.what),
    }
}

impl<S: Spec> Search<'_, S> {
    fn is_over(&self, done: &Done) -> bool {
        self.operations.iter().enumerate().all(|(number, operation)| operation.until.is_none() || has(done, number))
    }

    /// Configurations one operation further on that were not seen, the most promising last.
    fn followers(&mut self, done: &Done, state: &S::State) -> Vec<(Done, S::State)> {
        let left = |(number, _): &(usize, &Operation<S::Op>)| !has(done, *number);
        let outstanding = self.operations.iter().enumerate().filter(left);
        let deadline = outstanding.filter_map(|(number, operation)| Some((operation.until?, number))).min();
        let Some((deadline, urgent)) = deadline else { return Vec::new() };
        let count = done.iter().map(|word| word.count_ones()).sum();
        if self.longest.1.is_none() || count > self.longest.0 {
            self.longest = (count, Some(urgent));
        }
        let (mut certain, mut perhaps, mut twins) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, operation) in self.operations.iter().enumerate().filter(left) {
            let follows = operation.after.is_none_or(|before| has(done, before));
            if operation.from > deadline || !follows {
                continue;
            }
            if operation.until.is_none()
                && S::twin(&operation.what).is_some_and(|twin| twins.insert(twin, ()).is_some())
            {
                continue;
            }
            let Some(next) = S::step(state, &operation.what) else { continue };
            match operation.until {
                Some(_) if S::is_look(&operation.what) => return self.unseen(vec![(with(done, number), next)]),
                Some(until) => certain.push((until, with(done, number), next)),
                None if next == *state => {}
                None => perhaps.push((with(done, number), next)),
            }
        }
        certain.sort_by_key(|(until, ..)| std::cmp::Reverse(*until));
        perhaps.extend(certain.into_iter().map(|(_, done, next)| (done, next)));
        self.unseen(perhaps)
    }

    fn unseen(&mut self, configurations: Vec<(Done, S::State)>) -> Vec<(Done, S::State)> {
        configurations.into_iter().filter(|configuration| self.seen.insert(configuration.clone())).collect()
    }
}

fn has(done: &Done, number: usize) -> bool {
    done[number / 64] & (1 << (number % 64)) != 0
}

fn with(done: &Done, number: usize) -> Done {
    let mut done = done.clone();
    done[number / 64] |= 1 << (number % 64);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that is written and read.
    struct Register;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u8),
        Read(u8),
    }

    impl Spec for Register {
        type State = u8;
        type Op = Op;

        fn step(state: &u8, op: &Op) -> Option<u8> {
            match op {
                Op::Write(value) => Some(*value),
                Op::Read(value) => (value == state).then_some(*value),
            }
        }

        fn is_look(op: &Op) -> bool {
            matches!(op, Op::Read(_))
        }
    }

    fn operation(what: Op, from: usize, until: usize) -> Operation<Op> {
        Operation { what, from, until: Some(until), after: None }
    }

    fn is_linearizable(operations: &[Operation<Op>]) -> bool {
        linearize::<Register>(0, operations, 1_000) == Finding::Linearizable
    }

    #[test]
    fn reads_during_a_write_may_see_old_then_new_but_not_new_then_old() {
        let write = || operation(Op::Write(1), 0, 9);
        let reads = |first, second| vec![write(), operation(Op::Read(first), 1, 2), operation(Op::Read(second), 3, 4)];
        assert!(is_linearizable(&reads(0, 0)) && is_linearizable(&reads(0, 1)) && is_linearizable(&reads(1, 1)));
        assert!(!is_linearizable(&reads(1, 0)));
    }

    #[test]
    fn a_write_of_what_is_there_already_may_still_come_later() {
        let again = operation(Op::Write(2), 3, 9);
        let writes = [operation(Op::Write(2), 0, 1), operation(Op::Write(1), 2, 9), again];
        let read = |value| [&writes[..], &[operation(Op::Read(value), 10, 11)]].concat();
        assert!(is_linearizable(&read(2)) && is_linearizable(&read(1)) && !is_linearizable(&read(0)));
    }

    #[test]
    fn what_may_never_happen_explains_answers_and_need_not_happen() {
        let unknown = Operation { what: Op::Write(7), from: 0, until: None, after: None };
        assert!(is_linearizable(&[unknown.clone(), operation(Op::Read(7), 1, 2)]));
        assert!(is_linearizable(&[unknown.clone(), operation(Op::Read(0), 1, 2)]));
        assert!(!is_linearizable(&[operation(Op::Read(7), 1, 2), Operation { from: 3, ..unknown.clone() }]));
    }

    #[test]
    fn an_operation_waits_for_the_one_it_comes_after() {
        let write = Operation { until: Some(9), ..operation(Op::Write(1), 0, 9) };
        let read = |value| Operation { after: Some(0), ..operation(Op::Read(value), 0, 9) };
        assert!(is_linearizable(&[write.clone(), read(1)]));
        assert!(!is_linearizable(&[write, read(0)]));
    }

    #[test]
    fn a_search_that_takes_too_long_is_undecided() {
        let writes: Vec<_> = (0..12).map(|value| operation(Op::Write(value), 0, 50)).collect();
        let operations: Vec<_> = writes.into_iter().chain([operation(Op::Read(99), 0, 50)]).collect();
        assert_eq!(linearize::<Register>(0, &operations, 100), Finding::Undecided);
    }
}
