//! Upkeep over the engines of production: logs that grow are checkpointed and purged, a full disk closes the gate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::node_tests::Running;
use super::upkeep::{Space, Upkeep, UpkeepOptions, ballast_bytes};
use crate::domain::ids::EntityId;
use crate::domain::quantity::Quantity;
use crate::domain::stock::StockCommand;
use crate::domain::testkit::sku;
use crate::persistence::trim::{Retention, Trimmer};

const RESERVE: u64 = 1_000;
const BALLAST: u64 = ballast_bytes(RESERVE);

/// A disk whose free space beside the ballast the test sets.
#[derive(Default)]
struct Disk {
    free: AtomicU64,
    ballast_released: AtomicBool,
}

#[async_trait]
impl Space for Disk {
    fn free_bytes(&self) -> Option<u64> {
        let given_back = if self.ballast_released.load(Ordering::SeqCst) { BALLAST } else { 0 };
        Some(self.free.load(Ordering::SeqCst) + given_back)
    }

    async fn release_ballast(&self) {
        self.ballast_released.store(true, Ordering::SeqCst);
    }

    async fn restore_ballast(&self) {
        self.ballast_released.store(false, Ordering::SeqCst);
    }
}

fn upkeep(running: &Running, disk: &Arc<Disk>) -> Upkeep {
    let seams = &running.seams;
    let records = Duration::from_secs(7 * 24 * 60 * 60);
    let retention = Retention { records, kept_for_ever: BTreeSet::new(), feed_rows_max: 1_000 };
    Upkeep {
        options: UpkeepOptions {
            checkpoint_bytes_min: 10_000,
            reserve_bytes: RESERVE,
            sweep_interval: Duration::from_secs(3600),
        },
        groups: running.node.groups().clone(),
        log: seams.log.clone(),
        store: seams.store.clone(),
        checkpoints: seams.checkpoints.clone(),
        trimmer: Trimmer::new(seams.store.clone(), seams.turns.clone(), retention),
        clock: running.node.clock().clone(),
        gate: running.node.gate().clone(),
        space: disk.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_is_checkpointed_and_purged_behind_the_older_of_two_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path()).await;
    let disk = Arc::new(Disk { free: AtomicU64::new(u64::MAX / 2), ..Disk::default() });
    let upkeep = upkeep(&running, &disk);
    let item = EntityId::stock(&sku("TEA"));
    let group = running.node.shards().group_of(&item);
    let (mut firsts, mut received) = (Vec::new(), 0);
    for _ in 0..60 {
        for _ in 0..20 {
            let reference = "x".repeat(500);
            running.ask(item.clone(), StockCommand::Receive { quantity: Quantity::new(1).unwrap(), reference }).await;
            received += 1;
        }
        upkeep.look_at_logs().await;
        let first = running.seams.log.range(group).await.unwrap().first;
        let kept = running.seams.checkpoints.list(group).await.unwrap();
        assert!(kept.len() <= 2, "{kept:?}");
        assert!(first == 0 || kept.last().is_some_and(|older| first <= older.index + 1), "{first}: {kept:?}");
        firsts.push(first);
        if firsts.iter().filter(|first| **first > 0).collect::<BTreeSet<_>>().len() >= 2 {
            break;
        }
    }
    assert!(firsts.windows(2).all(|pair| pair[0] <= pair[1]), "{firsts:?}");
    assert!(firsts.last() > firsts.first(), "never purged: {firsts:?}");
    running.node.stop().await;
    drop((upkeep, running));
    let again = Running::start(directory.path()).await;
    let reply = again.ask(item, StockCommand::Show).await;
    assert!(format!("{reply:?}").contains(&format!("available: {received}")), "{reply:?}");
    again.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_the_gate_closes_and_the_ballast_is_given_back_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path()).await;
    let disk = Arc::new(Disk { free: AtomicU64::new(1_000), ..Disk::default() });
    let upkeep = upkeep(&running, &disk);
    for (free, full) in [(1_000, false), (999, true), (0, true), (999, true), (1_000, false)] {
        disk.free.store(free, Ordering::SeqCst);
        for look in 0..4 {
            upkeep.look_at_space().await;
            assert_eq!(running.node.gate().is_closed(), full, "{free} bytes free, look {look}");
            assert_eq!(disk.ballast_released.load(Ordering::SeqCst), full, "{free} bytes free, look {look}");
        }
    }
    running.node.stop().await;
}
