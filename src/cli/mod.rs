//! The command line: what operators and scripts type.
//!
//! stdout is data (`--json` where a person's form exists too), stderr is talk and progress. Every failure says what to
//! do next, and its exit code says which sort of failure it is. Nothing below this layer prints, reads the environment
//! or decides exit codes.

mod assembly;
mod backup;
mod bench;
mod catalog;
mod completions;
mod config;
pub mod demo;
mod endpoints;
mod exit;
mod journal;
mod key;
mod openapi;
mod ops_client;
mod output;
mod payments_simulator;
mod serve;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Sources};
pub use exit::Exit;
use exit::Failure;

/// A storefront that sells the last unit exactly once.
#[derive(Parser)]
#[command(name = "stockroom", version, after_help = exit::HELP, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Options every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
struct Shared {
    /// Configuration file (TOML); `stockroom config --defaults` prints one with every option explained
    #[arg(long, global = true, value_name = "FILE", env = "STOCKROOM_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory; without it node.data_dir of the configuration, which is ./stockroom-data unless set
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON on stdout, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node: the shop, in a data directory that is made at the first start
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeArguments),
    /// Show how a running node is doing: ready or why not, shards, actors, quarantine, disk
    Status(status::StatusArguments),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Read and check the journals of a data directory while no node uses it
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Make, list, check and restore backups
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Run the simulated payment provider as a process of its own (payments.simulated_url)
    #[command(after_help = payments_simulator::HELP)]
    PaymentsSimulator(payments_simulator::SimulatorArguments),
    /// Drive a running node over HTTP and measure how fast it answers
    Bench(bench::BenchArguments),
    /// Import and export the catalogue as CSV or NDJSON files
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Print the configuration in force and where each value is from, or the defaults
    Config(config::ConfigArguments),
    /// Print the OpenAPI document of both listeners
    Openapi,
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
}

/// What a command is given besides its own arguments.
pub(crate) struct Context {
    shared: Shared,
    environment: Vec<(String, String)>,
}

impl Context {
    /// Where configuration comes from, with a command's own flags on top.
    fn sources(&self, flags: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Sources {
        let data = self.shared.data.as_ref().map(|path| path.display().to_string());
        let all = flags.into_iter().chain([("node.data_dir", data)]);
        Sources {
            file: self.shared.config.clone(),
            environment: self.environment.clone(),
            flags: all.filter_map(|(key, value)| Some((key, value?))).collect(),
        }
    }

    /// Whether stdout is for a machine.
    fn json(&self) -> bool {
        self.shared.json
    }

    /// The configuration in force.
    fn config(&self, flags: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Result<Config, Failure> {
        Config::load(&self.sources(flags)).map_err(|error| {
            Failure::new(Exit::Usage, error).advise("`stockroom config --defaults` lists every option and its bounds")
        })
    }
}

/// Runs one command line. `arguments` starts with the program's name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    let environment = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    // Everything that speaks TLS uses this provider. A second install is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let context = Context { shared: cli.shared, environment };
    let done = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments, &context),
        Command::Status(arguments) => status::run(&arguments, &context),
        Command::Key(command) => key::run(&command, &context),
        Command::Journal(command) => journal::run(&command, &context),
        Command::Backup(command) => backup::run(&command, &context),
        Command::PaymentsSimulator(arguments) => payments_simulator::run(&arguments, &context),
        Command::Bench(arguments) => bench::run(&arguments, &context),
        Command::Catalog(command) => catalog::run(&command, &context),
        Command::Openapi => openapi::run(),
        Command::Config(arguments) => config::run(&arguments, &context),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mistyped_command_exits_with_the_usage_code() {
        let code = run(["stockroom", "serv"].map(OsString::from), []);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
    }
}
