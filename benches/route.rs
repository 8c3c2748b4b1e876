//! From the router to an answer, without HTTP and without disk: `cargo bench --bench route`.
//!
//! A real node over log and store in memory: router, region, shard, entity actor, Raft group, applier. One iteration
//! is one command per caller; the figure per item is what a command costs.

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, counter::ItemsCount};
use stockroom::actors::messages::{Ask, Origin, Request};
use stockroom::clock::SystemClock;
use stockroom::cluster::hashing::ShardCount;
use stockroom::cluster::node::{Node, NodeOptions, Seams};
use stockroom::cluster::raft::group::RaftTiming;
use stockroom::cluster::transport::DirectTransport;
use stockroom::domain::entity::{Fingerprint, Stamp};
use stockroom::domain::ids::{CommandId, EntityId, HoldId};
use stockroom::domain::quantity::Quantity;
use stockroom::domain::registry::AnyCommand;
use stockroom::domain::stock::{Holder, Reserve, StockCommand};
use stockroom::payments::courier::{CourierOptions, PaymentCourier};
use stockroom::payments::gateway::Gateways;
use stockroom::persistence::checkpoint::CheckpointKeeper;
use stockroom::persistence::files::MemoryFiles;
use stockroom::persistence::memory::{MemoryLog, MemoryStore};
use stockroom::persistence::turns::Turns;
use stockroom::rng::{Rng, SeededRng};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// How long one command may take.
const BUDGET: Duration = Duration::from_secs(10);

struct Shop {
    runtime: Runtime,
    node: Arc<Node>,
    rng: Arc<SeededRng>,
}

impl Shop {
    /// A node with units of this many SKUs.
    fn open(skus: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let rng = Arc::new(SeededRng::stream(1, "route"));
        let (store, turns) = (Arc::new(MemoryStore::new()), Turns::new());
        let seams = Seams {
            clock: Arc::new(SystemClock::new()),
            rng: rng.clone(),
            transport: Arc::new(DirectTransport::default()),
            log: Arc::new(MemoryLog::new()),
            store: store.clone(),
            checkpoints: CheckpointKeeper::new(Arc::new(MemoryFiles::new()), store, turns.clone()),
            turns,
            payments: PaymentCourier::new(Gateways::default(), rng.clone(), CourierOptions::default()),
        };
        let options = NodeOptions {
            member: 1,
            name: "bench".to_owned(),
            shards: ShardCount::new(12).expect("within bounds"),
            timing: RaftTiming::default(),
            idle_after: Duration::from_secs(60),
            residents_max: 200_000,
            in_flight_per_shard_max: 4_096,
            waiting_per_entity_max: 2_048,
        };
        let node = Arc::new(runtime.block_on(Node::start(seams, options)).expect("starts"));
        let shop = Self { runtime, node, rng };
        let quantity = Quantity::new(1_000_000).expect("not zero");
        shop.runtime.block_on(async {
            for sku in 0..skus {
                let command = StockCommand::Receive { quantity, reference: String::new() };
                shop.ask(sku, command).await;
            }
        });
        shop
    }

    fn ask(&self, sku: u32, command: StockCommand) -> impl Future<Output = ()> + Send + 'static {
        let stamp = Stamp { command: CommandId(self.rng.next_id()), fingerprint: Fingerprint::default() };
        let entity = EntityId::stock(&format!("SKU-{sku}").parse().expect("a sku"));
        let request =
            Request { entity, command: AnyCommand::Stock(command), stamp, origin: Origin::Router, budget: BUDGET };
        let node = self.node.clone();
        async move {
            node.router().ask(request).await.expect("accepted");
        }
    }

    /// Every caller holds one unit; caller `n` of SKU `n % skus`.
    fn hold_all(&self, callers: u32, skus: u32) {
        let calls = (0..callers).map(|caller| {
            let reserve = Reserve {
                hold: HoldId(self.rng.next_id()),
                quantity: Quantity::new(1).expect("not zero"),
                ttl: Duration::from_secs(1),
                holder: Holder::Shopper,
                fingerprint: Fingerprint::default(),
            };
            self.ask(caller % skus, StockCommand::Reserve(reserve))
        });
        let calls: Vec<_> = calls.map(|call| self.runtime.spawn(call)).collect();
        self.runtime.block_on(async {
            for call in calls {
                call.await.expect("answers");
            }
        });
    }
}

/// So many callers at once, all for one SKU.
#[divan::bench(args = [1, 64, 256])]
fn hot(bencher: Bencher<'_, '_>, callers: u32) {
    let shop = Shop::open(1);
    bencher.counter(ItemsCount::new(callers)).bench_local(|| shop.hold_all(callers, 1));
}

/// So many callers at once, each for a SKU of its own.
#[divan::bench(args = [64, 256])]
fn uniform(bencher: Bencher<'_, '_>, callers: u32) {
    let shop = Shop::open(callers);
    bencher.counter(ItemsCount::new(callers)).bench_local(|| shop.hold_all(callers, callers));
}
