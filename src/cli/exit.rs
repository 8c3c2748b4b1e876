//! Exit codes: which sort of end a command came to. The list is part of `--help` and of docs/operating.md.

use std::fmt::Display;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for is done.
    Done = 0,
    /// It failed; the message says why and what to do.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// No node answered at the address.
    Unreachable = 3,
    /// A check found something wrong: damage, a broken law, a row that was refused.
    Findings = 4,
    /// It may or may not have happened; running the same command again is safe.
    Unknown = 5,
    /// The data directory cannot be had: another process uses it, a newer version wrote it, it is something else.
    DataDirectory = 6,
}

/// The codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; the message on stderr says why and what to do next
  2  the command line or the configuration is wrong; nothing was tried
  3  no node answered
  4  a check found something wrong (damage, a broken law, a refused row)
  5  the outcome is unknown; the same command can safely be run again
  6  the data directory is in use, not one, not ours to open, or written by a newer version";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed and how it exits.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
    advice: Option<String>,
}

impl Failure {
    /// A failure that exits with `exit`.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), advice: None }
    }

    /// A failure described by a sentence.
    pub(crate) fn said(exit: Exit, message: impl Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}"), advice: None }
    }

    /// How it exits.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same failure, with what to do next.
    pub(crate) fn advise(mut self, advice: impl Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// Tells the person and gives the process its exit code.
    pub(crate) fn report(self) -> ExitCode {
        super::output::talk(format_args!("stockroom: {}", told(&self.error)));
        if let Some(advice) = &self.advice {
            super::output::talk(format_args!("{advice}"));
        }
        self.exit.into()
    }
}

/// An error with its causes; some already say theirs, which is then not said again.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        before if before.ends_with(&cause) => told,
        before => format!("{before}: {cause}"),
    })
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failed, error)
    }
}

/// Refuses a directory that no shop has been in.
pub(super) fn must_be_shop(directory: &std::path::Path) -> Result<(), Failure> {
    if crate::persistence::datadir::DataDir::is_initialised(directory) {
        return Ok(());
    }
    let shown = directory.display();
    Err(Failure::said(Exit::DataDirectory, format_args!("{shown} is not a Stockroom data directory"))
        .advise("name the shop's with --data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::other("disk gone");
        assert_eq!(told(&anyhow::Error::new(cause()).context("cannot read x")), "cannot read x: disk gone");
        assert_eq!(told(&anyhow::Error::new(cause()).context("cannot read x: disk gone")), "cannot read x: disk gone");
    }

    #[test]
    fn every_exit_code_is_listed_in_the_help() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Findings,
            Exit::Unknown,
            Exit::DataDirectory,
        ];
        for (number, exit) in all.into_iter().enumerate() {
            assert_eq!(exit as usize, number);
            assert!(HELP.contains(&format!("\n  {number}  ")), "{exit:?} is not in the help");
        }
        assert_eq!(HELP.lines().count(), all.len() + 1);
    }
}
