//! One run: a world built from a drawn scenario, driven through its phases, judged, reported.
//!
//! setup (the shop opens) → safety (shoppers buy, faults strike) → heal (everything runs again, nothing breaks any
//! more) → liveness (every order ends by itself) → rest (everything is compared).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use turmoil::{Builder, Sim};

use super::agreement::{self, Shown};
use super::checks::{self, Broken};
use super::disk::{DiskManner, SimDisk};
use super::faults::Breaker;
use super::history::{Fact, History};
use super::host::{self, Machine, NodeManner};
use super::model::Shop;
use super::network::Line;
use super::panics::Panics;
use super::payments::{self, NetworkSink};
use super::power::Power;
use super::provider::Moods;
use super::report::Outcome;
use super::scenario::Scenario;
use super::second_host::SecondHost;
use super::time::{WallClock, set_now};
use super::trace::Trace;
use super::trouble::Trouble;
use super::workload::{self, Crowd, Visitor};
use crate::cluster::hashing::ShardCount;
use crate::payments::simulated::SimulatedProvider;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::store::Store;
use crate::rng::{Rng, SeededRng};

/// The host of everybody who comes to the shop.
const DIRECTOR: &str = "director";
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
    let (scenario, history, panics) = (Arc::new(scenario), History::default(), Panics::watch());
    let shared = Arc::new(Shared { phase: AtomicU8::new(0), provider: Mutex::default(), verdict: Mutex::default() });
    let world = &scenario.world;
    let mut sim = Builder::new()
        .simulation_duration(LONGEST)
        .tick_duration(Duration::from_millis(world.tick_ms))
        .min_message_latency(Duration::from_micros(world.latency_min_us))
        .max_message_latency(Duration::from_micros(world.latency_max_us))
        .tcp_capacity(16_384)
        .rng_seed(SeededRng::stream(seed, "network").next_u64())
        .build();
    sim.set_message_latency_curve(f64::from(world.latency_curve));
    let trouble = Trouble::new(history.clone());
    let machines: Vec<Arc<Machine>> =
        (1..=world.nodes).map(|number| machine(&scenario, seed, number, &trouble)).collect();
    let names: Vec<String> = machines.iter().map(|machine| machine.name.clone()).collect();
    for machine in &machines {
        let machine = machine.clone();
        sim.host(machine.name.clone(), move || host::run(machine.clone()));
    }
    let (provided, moods) = (shared.clone(), moods(&scenario, seed, &names, &trouble));
    sim.host(payments::HOST, move || {
        let (provided, moods) = (provided.clone(), moods.clone());
        async move {
            let provider = payments::provider(Arc::new(SeededRng::stream(seed, "provider")));
            *provided.provider.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider.clone());
            let (name, power) = (payments::HOST.to_owned(), Power::default());
            let (trouble, rng) = (moods.trouble.clone(), moods.rng.clone());
            let line = Line { name, power, trouble, rng, reset_one_in: 0, loss_one_in: 0 };
            payments::run(provider, moods, line).await
        }
    });
    let director = direct(scenario.clone(), seed, machines.clone(), history.clone(), shared.clone());
    sim.client(DIRECTOR, async move { director.await.map_err(Into::into) });
    let peers = [payments::HOST, DIRECTOR].map(str::to_owned).into_iter().chain(names).collect();
    let slowest = Duration::from_micros(world.latency_max_us);
    let mut breaker = Breaker::new(scenario.faults.clone(), peers, machines, history.clone(), slowest);
    let ended = drive(&mut sim, &mut breaker, &trouble, &shared);
    let elapsed = sim.elapsed();
    drop(sim);
    let mut verdict = shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    if let Err(error) = ended {
        verdict.broken.push(Broken { law: "SIM-RUNS".to_owned(), detail: error });
    }
    verdict.broken.extend(panics.broken());
    let (hash, lines) = trace.hash();
    Outcome::new(&scenario, seed, elapsed, &history.rows(), verdict.orders, verdict.records, verdict.broken).traced(
        hash,
        lines,
        trace.errors(),
    )
}

fn moods(scenario: &Scenario, seed: u64, nodes: &[String], trouble: &Trouble) -> Moods {
    let rng = Arc::new(SeededRng::stream(seed, "provider's moods"));
    let sink = Arc::new(NetworkSink { nodes: nodes.to_vec() });
    Moods::new(scenario.provider.clone(), trouble.clone(), rng, sink)
}

fn machine(scenario: &Scenario, seed: u64, number: u32, trouble: &Trouble) -> Arc<Machine> {
    let (world, faults) = (&scenario.world, &scenario.faults);
    let manner = DiskManner {
        sync: Duration::from_micros(world.sync_min_us)..=Duration::from_micros(world.sync_max_us),
        store_vanishes_one_in: faults.store_vanishes_one_in,
        bit_flip_one_in: faults.bit_flip_one_in,
    };
    let node = NodeManner {
        shards: world.shards,
        idle_after: Duration::from_secs(world.idle_s),
        checkpoint_bytes_min: world.checkpoint_bytes,
        hosts_twice: faults.host_twice_every_s > 0,
        reset_one_in: faults.reset_one_in,
        loss_one_in: faults.loss_one_in,
    };
    let power = Power::default();
    Arc::new(Machine {
        name: format!("node-{number}"),
        member: u64::from(number),
        disk: SimDisk::new(manner, &power),
        power,
        wall: WallClock::new(world.skew_ms, world.drift_ppm),
        second_host: SecondHost::default(),
        trouble: trouble.clone(),
        seed,
        manner: node,
        starts: AtomicU64::new(0),
    })
}

/// Steps the world until everybody has gone home, breaking things on the way.
fn drive(sim: &mut Sim<'_>, breaker: &mut Breaker, trouble: &Trouble, shared: &Shared) -> Result<(), String> {
    loop {
        set_now(sim.elapsed());
        match sim.step() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
        let phase = shared.phase();
        trouble.switch(phase == Phase::Safety);
        match phase {
            Phase::Setup => {}
            Phase::Safety => breaker.strike(sim),
            Phase::Heal => breaker.heal(sim),
        }
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
    let comers = history.clone();
    let visitor = move |name: &str| Visitor::new(name, &node, seed, comers.clone(), patience);
    let mut crowd = Crowd::enter(&scenario, seed, until, visitor, &merchant);
    tokio::time::sleep_until(until).await;
    shared.enter(Phase::Heal, &history, "heal");
    while let Some(left) = crowd.visits.join_next().await {
        left.map_err(|error| format!("a visitor fell over: {error}"))??;
    }
    history.add("world", Fact::Phase { name: "liveness" });
    let patience = Duration::from_secs(scenario.world.liveness_s);
    let mut broken = agreement::watch_orders(&merchant, Instant::now() + patience).await?;
    let deadline = Instant::now() + patience;
    let (orders, found) = loop {
        let (orders, missing) = checks::read_orders(&merchant, &history.rows()).await?;
        let settled = checks::all_ended(&orders) && !Shop::of(&history.rows()).waits(&orders);
        let held = checks::what_is_held(&merchant, scenario.shop.products).await?;
        if settled && held.is_empty() {
            break (orders, missing);
        }
        if Instant::now() > deadline {
            let stuck = orders.values().filter(|order| !checks::all_ended(&[(String::new(), (*order).clone())].into()));
            let details = stuck.map(|order| Broken { law: "SIM-ORDERS-END".to_owned(), detail: order.to_string() });
            break (orders.clone(), missing.into_iter().chain(details).chain(held).collect());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    broken.extend(found);
    history.add("world", Fact::Phase { name: "rest" });
    let audit = shared.provider.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|books| books.audit());
    let audit = audit.ok_or("the provider never started")?;
    let shown = Shown { stock: checks::read_stock(&merchant, scenario.shop.products).await?, orders };
    broken.extend(checks::check_shop(&scenario, &history, &shown, &audit));
    broken.extend(shown.compare_projections(&merchant).await?);
    let mut records = 0;
    let shards = ShardCount::new(scenario.world.shards).ok_or("the scenario was checked")?;
    for machine in &machines {
        let journal = Journal::new(machine.disk.store.clone() as Arc<dyn Store>);
        let groups = std::iter::once(GroupId::META).chain(shards.groups());
        let (found, replayed) =
            checks::check_journals(&journal, groups, (&shown, &audit)).await.map_err(|error| error.to_string())?;
        broken.extend(found);
        records += replayed;
    }
    let verdict = Verdict { broken, orders: shown.orders, records };
    *shared.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    Ok(())
}
