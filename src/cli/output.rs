//! The two ways out: data to stdout, talk to stderr. The one place that writes to either.

use std::fmt::Arguments;
use std::io::{self, Write};

use serde::Serialize;

use super::exit::{Exit, Failure};

/// Writes one line of data. A reader that went away (`| head`) ends the command quietly.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    wrote(writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()))
}

/// Writes a piece of a file.
pub(crate) fn bytes(piece: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    wrote(stdout.write_all(piece).and_then(|()| stdout.flush()))
}

fn wrote(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::said(Exit::Done, "the reader of stdout went away"),
        _ => Failure::new(Exit::Failed, error),
    })
}

/// Writes one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value)?)
}

/// Says something to the person at the terminal.
pub(crate) fn talk(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
