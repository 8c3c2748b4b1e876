//! `stockroom journal`: looks into the journals of a data directory that no node is using.
//!
//! `inspect` shows entities and their records. `verify` replays everything that is kept and checks every law.

mod inspect;
mod laws;
pub(super) mod verify;

use clap::{Args, Subcommand};

use super::Context;
use super::assembly::Disk;
use super::exit::{Failure, must_be_shop};
use crate::cluster::hashing::ShardCount;
use crate::config::Config;
use crate::domain::ids::EntityId;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;

/// What to do with the journals.
#[derive(Subcommand)]
pub(super) enum JournalCommand {
    /// List entities, or the records of one
    Inspect(InspectArguments),
    /// Replay every journal and check every law; exits with 4 when something is wrong
    Verify,
}

/// Arguments of `journal inspect`.
#[derive(Args)]
pub(super) struct InspectArguments {
    /// Whose records, e.g. stock/TEA-001-50, order/ID, cart/ID, product/ID; without it, entities are listed
    entity: Option<EntityId>,
    /// Sequence of the first record shown
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Most records or entities shown
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Opens the directory and carries the command out.
pub(super) fn run(command: &JournalCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config([])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let disk = open(&config).await?;
        let journal = Journal::new(disk.store.clone());
        let done = match command {
            JournalCommand::Inspect(arguments) => inspect::run(arguments, &journal, context.json()).await,
            JournalCommand::Verify => verify::run(&journal, &disk, context.json()).await,
        };
        disk.store.close().await;
        disk.log.close().await;
        done
    })
}

async fn open(config: &Config) -> Result<Disk, Failure> {
    let directory = &config.node.data_dir;
    must_be_shop(directory)?;
    Disk::open(config).await
}

/// Every group a data directory can have.
fn groups() -> impl Iterator<Item = GroupId> {
    (0..=ShardCount::MAX).map(GroupId)
}
