//! One run: a world built from a drawn scenario, driven through its phases, judged, reported.
//!
//! setup (the shop opens) → safety (shoppers buy, faults strike) → heal (everything runs again, nothing breaks any
//! more) → liveness (every order ends by itself) → rest (everything is compared). Faults are decided here, between two
//! steps of the world, from a stream of their own.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use turmoil::{Builder, Sim};

use super::checks::{self, Broken};
use super::disk::{DiskManner, SimDisk, below, within};
use super::history::{Fact, History};
use super::host::{self, Machine, NodeManner};
use super::payments;
use super::report::Outcome;
use super::scenario::{Faults, Scenario};
use super::time::set_now;
use super::trace::Trace;
use super::workload::{self, Visitor};
use crate::cluster::hashing::ShardCount;
use crate::payments::simulated::SimulatedProvider;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::store::Store;
use crate::rng::{Rng, SeededRng};

/// One step of the world.
const TICK: Duration = Duration::from_millis(1);
/// The longest any world lasts before it counts as stuck.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at orders that have not ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where a world is. Shared between the director, who moves it on, and the runner, who breaks things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Setup,
    Safety,
    Heal,
}

struct Shared {
    phase: AtomicU8,
    provider: Mutex<Option<Arc<SimulatedProvider>>>,
    verdict: Mutex<Option<Verdict>>,
}

#[derive(Default)]
struct Verdict {
    broken: Vec<Broken>,
    orders: checks::Orders,
    records: u64,
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Setup,
            1 => Phase::Safety,
            _ => Phase::Heal,
        }
    }

    fn enter(&self, phase: Phase, history: &History, name: &'static str) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        history.add("world", Fact::Phase { name });
    }
}

/// Runs one seed of a scenario in this process; call it once per process.
pub fn run(scenario: Scenario, seed: u64, trace: &Trace) -> Outcome {
    let (scenario, history) = (Arc::new(scenario), History::default());
    let shared = Arc::new(Shared { phase: AtomicU8::new(0), provider: Mutex::default(), verdict: Mutex::default() });
    let world = &scenario.world;
    let mut sim = Builder::new()
        .simulation_duration(LONGEST)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_micros(world.latency_min_us))
        .max_message_latency(Duration::from_micros(world.latency_max_us))
        .tcp_capacity(4_096)
        .rng_seed(SeededRng::stream(seed, "network").next_u64())
        .build();
    let machines: Vec<Arc<Machine>> = (1..=world.nodes).map(|number| machine(&scenario, seed, number)).collect();
    let names: Vec<String> = machines.iter().map(|machine| machine.name.clone()).collect();
    for machine in &machines {
        let machine = machine.clone();
        sim.host(machine.name.clone(), move || host::run(machine.clone()));
    }
    let (provided, nodes) = (shared.clone(), names.clone());
    sim.host(payments::HOST, move || {
        let (provided, nodes) = (provided.clone(), nodes.clone());
        async move {
            let provider = payments::provider(Arc::new(SeededRng::stream(seed, "provider")));
            *provided.provider.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider.clone());
            payments::run(provider, nodes).await
        }
    });
    let director = direct(scenario.clone(), seed, machines.clone(), history.clone(), shared.clone());
    sim.client("director", async move { director.await.map_err(Into::into) });
    let ended = drive(&mut sim, &scenario.faults, seed, &machines, &history, &shared);
    let elapsed = sim.elapsed();
    drop(sim);
    let mut verdict = shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    if let Err(error) = ended {
        verdict.broken.push(Broken { law: "SIM-RUNS".to_owned(), detail: error });
    }
    let (hash, lines) = trace.hash();
    Outcome::new(&scenario, seed, elapsed, &history.rows(), verdict.orders, verdict.records, verdict.broken).traced(
        hash,
        lines,
        trace.errors(),
    )
}

fn machine(scenario: &Scenario, seed: u64, number: u32) -> Arc<Machine> {
    let world = &scenario.world;
    let sync = Duration::from_micros(world.sync_min_us)..=Duration::from_micros(world.sync_max_us);
    let manner = DiskManner { sync, store_vanishes_one_in: scenario.faults.store_vanishes_one_in };
    let node = NodeManner {
        shards: world.shards,
        idle_after: Duration::from_secs(world.idle_s),
        checkpoint_bytes_min: world.checkpoint_bytes,
    };
    let name = format!("node-{number}");
    Arc::new(Machine::new(name, u64::from(number), SimDisk::new(manner), seed, world.skew_ms, node))
}

/// Steps the world until everybody has gone home, breaking things on the way.
fn drive(
    sim: &mut Sim<'_>,
    faults: &Faults,
    seed: u64,
    machines: &[Arc<Machine>],
    history: &History,
    shared: &Shared,
) -> Result<(), String> {
    let mut breaker = Breaker::new(faults.clone(), seed);
    loop {
        set_now(sim.elapsed());
        match sim.step() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
        match shared.phase() {
            Phase::Setup => {}
            Phase::Safety => breaker.strike(sim, machines, history),
            Phase::Heal => breaker.heal(sim, history),
        }
    }
}

/// Decides what breaks when.
struct Breaker {
    faults: Faults,
    rng: SeededRng,
    /// Machines that are down, and when each starts again.
    down: Vec<(Duration, Arc<Machine>)>,
    /// Machines that are cut off, and when each is reachable again.
    cut: Vec<(Duration, Arc<Machine>)>,
}

impl Breaker {
    fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, rng: SeededRng::stream(seed, "faults"), down: Vec::new(), cut: Vec::new() }
    }

    /// Once per step during the safety phase.
    fn strike(&mut self, sim: &mut Sim<'_>, machines: &[Arc<Machine>], history: &History) {
        self.mend(sim, history, sim.elapsed());
        for machine in machines {
            let is_down = self.down.iter().any(|(_, other)| other.name == machine.name);
            if !is_down && self.happens(self.faults.crash_every_s) {
                sim.crash(machine.name.as_str());
                let disk = machine.disk.crash(&self.rng);
                history.add(&machine.name, Fact::Crashed { disk });
                let back = sim.elapsed() + self.up_to(self.faults.down_max_ms);
                self.down.push((back, machine.clone()));
            }
            let is_cut = self.cut.iter().any(|(_, other)| other.name == machine.name);
            if !is_cut && self.happens(self.faults.cut_every_s) {
                sim.hold(machine.name.as_str(), payments::HOST);
                sim.hold(machine.name.as_str(), "director");
                history.add(&machine.name, Fact::Network { what: "held back".to_owned() });
                let mended = sim.elapsed() + self.up_to(self.faults.cut_max_ms);
                self.cut.push((mended, machine.clone()));
            }
        }
    }

    fn heal(&mut self, sim: &mut Sim<'_>, history: &History) {
        self.mend(sim, history, Duration::MAX);
    }

    /// Starts and reconnects what is due by then.
    fn mend(&mut self, sim: &mut Sim<'_>, history: &History, due: Duration) {
        let (back, down) = self.down.drain(..).partition(|(at, _)| *at <= due);
        self.down = down;
        let back: Vec<(Duration, Arc<Machine>)> = back;
        for (_, machine) in back {
            history.add(&machine.name, Fact::Started);
            sim.bounce(machine.name.as_str());
        }
        let (mended, cut): (Vec<_>, Vec<_>) = self.cut.drain(..).partition(|(at, _)| *at <= due);
        self.cut = cut;
        for (_, machine) in mended {
            history.add(&machine.name, Fact::Network { what: "released".to_owned() });
            sim.release(machine.name.as_str(), payments::HOST);
            sim.release(machine.name.as_str(), "director");
        }
    }

    /// Whether something that happens every so many seconds happens in this step.
    fn happens(&self, every_s: u64) -> bool {
        every_s > 0 && below(&self.rng, every_s * 1_000) == 0
    }

    fn up_to(&self, longest_ms: u64) -> Duration {
        within(&self.rng, &(Duration::ZERO..=Duration::from_millis(longest_ms)))
    }
}

/// Leads the world through its phases; ends with the verdict.
async fn direct(
    scenario: Arc<Scenario>,
    seed: u64,
    machines: Vec<Arc<Machine>>,
    history: History,
    shared: Arc<Shared>,
) -> Result<(), String> {
    let node = machines[0].name.clone();
    let patience = Duration::from_millis(scenario.shoppers.patience_ms);
    let mut merchant = Visitor::new("merchant", &node, seed, history.clone(), patience);
    merchant.become_merchant().await?;
    workload::open_shop(&merchant, &scenario).await?;
    shared.enter(Phase::Safety, &history, "safety");
    let until = Instant::now() + Duration::from_secs(scenario.world.safety_s);
    let mut shoppers = tokio::task::JoinSet::new();
    for number in 0..scenario.shoppers.count {
        let name = format!("shopper-{number}");
        let visitor = Visitor::new(&name, &node, seed, history.clone(), patience);
        shoppers.spawn_local(workload::shop(visitor, scenario.clone(), until));
    }
    tokio::time::sleep_until(until).await;
    shared.enter(Phase::Heal, &history, "heal");
    while let Some(left) = shoppers.join_next().await {
        left.map_err(|error| format!("a shopper fell over: {error}"))?;
    }
    history.add("world", Fact::Phase { name: "liveness" });
    let deadline = Instant::now() + Duration::from_secs(scenario.world.liveness_s);
    let (orders, mut broken) = loop {
        let (orders, missing) = checks::read_orders(&merchant, &history.rows()).await?;
        if checks::all_ended(&orders) {
            break (orders, missing);
        }
        if Instant::now() > deadline {
            let stuck = orders.values().filter(|order| !checks::all_ended(&[(String::new(), (*order).clone())].into()));
            let details = stuck.map(|order| Broken { law: "SIM-ORDERS-END".to_owned(), detail: order.to_string() });
            break (orders.clone(), missing.into_iter().chain(details).collect());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    history.add("world", Fact::Phase { name: "rest" });
    let audit = shared.provider.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|books| books.audit());
    let audit = audit.ok_or("the provider never started")?;
    broken.extend(checks::check_shop(&merchant, scenario.shop.products, &history.rows(), &orders).await?);
    broken.extend(checks::check_money(&orders, &audit));
    let mut records = 0;
    let shards = ShardCount::new(scenario.world.shards).ok_or("the scenario was checked")?;
    for machine in &machines {
        let journal = Journal::new(machine.disk.store.clone() as Arc<dyn Store>);
        let groups = std::iter::once(GroupId::META).chain(shards.groups());
        let (found, replayed) =
            checks::check_journals(&journal, groups, &audit).await.map_err(|error| error.to_string())?;
        broken.extend(found);
        records += replayed;
    }
    let verdict = Verdict { broken, orders, records };
    *shared.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    Ok(())
}
