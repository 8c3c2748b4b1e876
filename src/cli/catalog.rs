//! `stockroom catalog`: the catalogue as files.
//!
//! Import and export go through a running node with a merchant's key: the file streams, neither side holds it. An
//! import that breaks off goes on by itself behind the last line the node has confirmed, and when it has to give up it
//! says from where. Doing it all again is harmless too: products that already say the same stay as they are.

mod export;
mod import;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::endpoints::Endpoints;
use super::exit::{Exit, Failure};
use super::{Context, demo, output};
use crate::projections::catalogue::CatalogueFormat;

/// What to do with the catalogue.
#[derive(Subcommand)]
pub(super) enum CatalogCommand {
    /// Import products from a file; rows that are refused are listed by line and stop nothing
    Import(ImportArguments),
    /// Write all products to a file or to stdout
    Export(ExportArguments),
    /// Print the demo catalogue as NDJSON, one product per line: an example of what can be imported
    Demo,
}

/// Which node, and as whom.
#[derive(Args)]
struct Shop {
    /// Public address of the node, e.g. http://127.0.0.1:8080. Without it, the node of the data directory
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Merchant key (`stockroom key create --role merchant`)
    #[arg(long, value_name = "KEY", env = "STOCKROOM_MERCHANT_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Arguments of `catalog import`.
#[derive(Args)]
pub(super) struct ImportArguments {
    /// The file; its ending says what it is: .csv, .ndjson or .jsonl
    file: PathBuf,
    #[command(flatten)]
    shop: Shop,
    /// Form of the file, whatever its name
    #[arg(long)]
    format: Option<Format>,
    /// Only check every row by itself; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on behind this line of an import that stopped, as it said then
    #[arg(long, value_name = "LINE", default_value_t = 0, hide_default_value = true)]
    resume_after: u64,
}

/// Arguments of `catalog export`.
#[derive(Args)]
pub(super) struct ExportArguments {
    /// The file, replaced when complete; its ending says what it is. Without it, NDJSON to stdout
    file: Option<PathBuf>,
    #[command(flatten)]
    shop: Shop,
    /// Form of the file, whatever its name
    #[arg(long)]
    format: Option<Format>,
}

/// Form of a catalogue file.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A header, then one row per variant
    Csv,
    /// One product per line
    Ndjson,
}

impl From<Format> for CatalogueFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Ndjson => Self::NdJson,
        }
    }
}

/// Carries it out.
pub(super) fn run(command: &CatalogCommand, context: &Context) -> Result<(), Failure> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match command {
        CatalogCommand::Demo => demo::export().try_for_each(|product| output::json(&product)),
        CatalogCommand::Import(arguments) => {
            let door = Door::find(&arguments.shop, context)?;
            runtime()?.block_on(import::run(arguments, &door, context.json()))
        }
        CatalogCommand::Export(arguments) => {
            let door = Door::find(&arguments.shop, context)?;
            runtime()?.block_on(export::run(arguments, &door))
        }
    }
}

/// The way to a node's merchants' routes.
struct Door {
    client: reqwest::Client,
    base: String,
    key: String,
}

impl Door {
    fn find(shop: &Shop, context: &Context) -> Result<Self, Failure> {
        let config = context.config([])?;
        let base = match &shop.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => Endpoints::of_running(&config.node.data_dir)?.url(),
        };
        let key = shop.key.clone().ok_or_else(|| {
            Failure::said(Exit::Usage, "a merchant's key is needed")
                .advise("give --key or STOCKROOM_MERCHANT_KEY; `stockroom key create --role merchant` makes one")
        })?;
        Ok(Self { client: reqwest::Client::builder().build()?, base, key })
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    fn unanswered(&self, error: reqwest::Error) -> Failure {
        let exit = if error.is_connect() { Exit::Unreachable } else { Exit::Unknown };
        Failure::new(exit, anyhow::Error::new(error).context(format!("no answer from {}", self.base)))
    }
}

/// The form of a file: as said, else by its name.
fn format_of(said: Option<Format>, file: &std::path::Path) -> Result<CatalogueFormat, Failure> {
    let by_name = || CatalogueFormat::of_file_name(file.file_name()?.to_str()?);
    said.map(CatalogueFormat::from).or_else(by_name).ok_or_else(|| {
        Failure::said(Exit::Usage, format_args!("{}: neither .csv, .ndjson nor .jsonl", file.display()))
            .advise("say --format csv or --format ndjson")
    })
}
