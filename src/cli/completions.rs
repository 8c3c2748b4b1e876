//! `stockroom completions`: a completion script for a shell.

use clap::{Args, CommandFactory};

use super::exit::Failure;
use super::{Cli, output};

/// Arguments of `completions`.
#[derive(Args)]
pub(super) struct CompletionsArguments {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "stockroom", &mut script);
    output::line(String::from_utf8(script)?.trim_end())
}
