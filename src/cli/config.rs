//! `stockroom config`: the configuration in force, and where each value is from.

use clap::Args;

use super::exit::{Exit, Failure};
use super::{Context, output};
use crate::config::{default_toml, effective_toml};

/// Arguments of `config`.
#[derive(Args)]
pub(super) struct ConfigArguments {
    /// Print the defaults, commented, instead of what is in force
    #[arg(long)]
    defaults: bool,
}

/// Prints TOML, or the same tree as JSON.
pub(super) fn run(arguments: &ConfigArguments, context: &Context) -> Result<(), Failure> {
    let text = if arguments.defaults {
        default_toml()
    } else {
        effective_toml(&context.sources([])).map_err(|error| Failure::new(Exit::Usage, error))?
    };
    if context.json() {
        return output::json(&toml::from_str::<toml::Table>(&text)?);
    }
    output::line(text.trim_end())
}
