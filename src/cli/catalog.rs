//! `stockroom catalog`: the catalogue as files.

use clap::Subcommand;

use super::exit::Failure;
use super::{demo, output};

/// What to do with the catalogue.
#[derive(Subcommand)]
pub(super) enum CatalogCommand {
    /// Print the demo catalogue as NDJSON, one product per line: an example of what can be imported
    Demo,
}

/// Carries it out.
pub(super) fn run(command: &CatalogCommand) -> Result<(), Failure> {
    match command {
        CatalogCommand::Demo => demo::export().try_for_each(|product| output::json(&product)),
    }
}
