//! One run: a world built from a drawn scenario, driven through its phases, judged, reported.
//!
//! setup (the shop opens) → safety (shoppers buy, faults strike) → heal (everything runs again, nothing breaks any
//! more) → liveness (every order ends by itself, the shop sells again as fast as it opened) → rest (everything is
//! compared).

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
use super::payments::{self, NetworkSink};
use super::power::Power;
use super::provider::Moods;
use super::report::{Counts, Outcome};
use super::scenario::{self, Scenario};
use super::second_host::SecondHost;
use super::time::{WallClock, set_now};
use super::trace::Trace;
use super::trouble::Trouble;
use super::watch::Watch;
use super::workload::{self, Crowd, Visitor};
use super::{laws, meter, revival, scene};
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
/// The phase in which every node is up and nothing breaks any more.
const LIVENESS: &str = "liveness";
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

    fn provider(&self) -> Option<Arc<SimulatedProvider>> {
        self.provider.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn enter(&self, phase: Phase, history: &History, name: &'static str) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        meter::set_open(true);
        history.add("world", Fact::Phase { name });
    }
}

/// Where a run stops before its end, and what is looked at there.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// After this step of the world.
    pub step: Option<u64>,
    /// Whose state is shown.
    pub entity: Option<String>,
}

/// Runs one seed of a scenario in this process; call it once per process.
pub fn run(scenario: Scenario, seed: u64, trace: &Trace, stop: &Stop) -> Outcome {
    let (scenario, history) = (Arc::new(scenario), History::default());
    let shared = Arc::new(Shared { phase: AtomicU8::new(0), provider: Mutex::default(), verdict: Mutex::default() });
    let mut sim = network(&scenario.world, seed);
    let trouble = Trouble::new(history.clone());
    let machines: Vec<Arc<Machine>> =
        (1..=scenario.world.nodes).map(|number| machine(&scenario, seed, number, &trouble)).collect();
    let names: Vec<String> = machines.iter().map(|machine| machine.name.clone()).collect();
    for machine in &machines {
        let machine = machine.clone();
        sim.host(machine.name.clone(), move || host::run(machine.clone()));
    }
    host_provider(&mut sim, seed, &shared, moods(&scenario, seed, &names, &trouble));
    let director = direct(scenario.clone(), seed, machines.clone(), history.clone(), shared.clone());
    sim.client(DIRECTOR, async move { director.await.map_err(Into::into) });
    let peers = [payments::HOST, DIRECTOR].map(str::to_owned).into_iter().chain(names).collect();
    let slowest = Duration::from_micros(scenario.world.latency_max_us);
    let breaker = Breaker::new(scenario.faults.clone(), peers, machines.clone(), history.clone(), slowest);
    let safety = Duration::from_secs(scenario.world.safety_s);
    let watch = Watch::new(&machines, history.clone(), trace.clone(), safety);
    let mut world = World { sim, breaker, watch, trouble, shared, machines, history, steps: 0, found: Vec::new() };
    world.drive(stop.step);
    world.judge(&scenario, seed, trace, stop)
}

fn network<'a>(world: &scenario::World, seed: u64) -> Sim<'a> {
    let sim = Builder::new()
        .simulation_duration(LONGEST)
        .tick_duration(Duration::from_millis(world.tick_ms))
        .min_message_latency(Duration::from_micros(world.latency_min_us))
        .max_message_latency(Duration::from_micros(world.latency_max_us))
        .tcp_capacity(16_384)
        .rng_seed(SeededRng::stream(seed, "network").next_u64())
        .build();
    sim.set_message_latency_curve(f64::from(world.latency_curve));
    sim
}

fn host_provider(sim: &mut Sim<'_>, seed: u64, shared: &Arc<Shared>, moods: Moods) {
    let shared = shared.clone();
    sim.host(payments::HOST, move || {
        let (shared, moods) = (shared.clone(), moods.clone());
        async move {
            let provider = payments::provider(Arc::new(SeededRng::stream(seed, "provider")));
            *shared.provider.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider.clone());
            let (name, power) = (payments::HOST.to_owned(), Power::default());
            let (trouble, rng) = (moods.trouble.clone(), moods.rng.clone());
            let line = Line { name, power, trouble, rng, reset_one_in: 0, loss_one_in: 0 };
            payments::run(provider, moods, line).await
        }
    });
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
        lose_synced_one_in: faults.lose_synced_one_in,
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

/// A world on its way.
struct World<'a> {
    sim: Sim<'a>,
    breaker: Breaker,
    watch: Watch,
    trouble: Trouble,
    shared: Arc<Shared>,
    machines: Vec<Arc<Machine>>,
    history: History,
    steps: u64,
    /// Laws that do not hold.
    found: Vec<Broken>,
}

impl World<'_> {
    /// Steps the world until everybody has gone home, a law is broken or the last step wanted is made, breaking things
    /// on the way.
    fn drive(&mut self, last: Option<u64>) {
        while last.is_none_or(|last| self.steps < last) {
            set_now(self.sim.elapsed());
            self.steps += 1;
            let ended = self.sim.step();
            self.look();
            match ended {
                Ok(false) if self.found.is_empty() => {}
                Ok(_) => return,
                Err(error) => return self.found.push(Broken::new("SIM-RUNS", error.to_string())),
            }
            let phase = self.shared.phase();
            self.trouble.switch(phase == Phase::Safety);
            match phase {
                Phase::Setup => {}
                Phase::Safety => self.breaker.strike(&mut self.sim),
                Phase::Heal => self.breaker.heal(&mut self.sim),
            }
        }
    }

    fn look(&mut self) {
        let audit = || self.shared.provider().map(|provider| provider.audit());
        self.found.extend(self.watch.look(self.steps, self.sim.elapsed(), audit));
    }

    /// Takes the world apart and says what became of it.
    fn judge(self, scenario: &Scenario, seed: u64, trace: &Trace, stop: &Stop) -> Outcome {
        let World { sim, mut watch, shared, machines, history, steps, mut found, .. } = self;
        let (elapsed, rows) = (sim.elapsed(), history.rows());
        let entity = found.first().and_then(|broken| broken.entity.clone()).or(stop.entity.clone());
        // Taken apart, nobody is doing anything any more.
        let scene = scene::describe(&machines, &watch, &rows, steps, entity.as_deref());
        drop(sim);
        let verdict = shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        let healed = rows.iter().any(|row| matches!(row.fact, Fact::Phase { name: LIVENESS }));
        if healed && found.iter().all(|broken| broken.law == "SIM-RUNS") {
            // What is lost comes before what follows from it.
            found = watch.rest().into_iter().chain(found).collect();
        }
        let verdict = verdict.unwrap_or_default();
        found.extend(verdict.broken);
        found.iter_mut().for_each(|broken| broken.step = steps);
        for law in ["SIM-RUNS", "SIM-NOTHING-PANICS", "SIM-NO-QUARANTINE"] {
            laws::checked_times(law, steps);
        }
        let mut counts = Counts::of(elapsed, &rows, &verdict.orders);
        (counts.laws, counts.states, counts.requests) = (laws::counts(), watch.states(), meter::reading());
        let entity = found.first().and_then(|broken| broken.entity.clone()).or(entity);
        let (hash, trace_lines) = trace.hash();
        Outcome {
            steps,
            records: verdict.records,
            broken: found,
            trace: hash,
            trace_lines,
            errors: trace.errors(),
            journal: entity.as_deref().map_or(Vec::new(), |entity| watch.journal(entity)),
            hosts: machines.iter().map(|machine| machine.name.clone()).chain([payments::HOST.to_owned()]).collect(),
            scene,
            history: rows,
            ..Outcome::new(scenario, seed, counts)
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
    let doors: Arc<[String]> = machines.iter().map(|machine| machine.name.clone()).collect();
    let patience = Duration::from_millis(scenario.shoppers.patience_ms);
    let mut merchant = Visitor::new("merchant", &doors, seed, history.clone(), patience);
    merchant.become_merchant().await?;
    let pace = workload::open_shop(&merchant, &scenario).await?;
    shared.enter(Phase::Safety, &history, "safety");
    let until = Instant::now() + Duration::from_secs(scenario.world.safety_s);
    let comers = history.clone();
    let visitor = move |name: &str| Visitor::new(name, &doors, seed, comers.clone(), patience);
    let mut crowd = Crowd::enter(&scenario, seed, until, visitor, &merchant);
    tokio::time::sleep_until(until).await;
    shared.enter(Phase::Heal, &history, "heal");
    while let Some(left) = crowd.visits.join_next().await {
        left.map_err(|error| format!("a visitor fell over: {error}"))??;
    }
    meter::set_open(false);
    history.add("world", Fact::Phase { name: LIVENESS });
    let patience = Duration::from_secs(scenario.world.liveness_s);
    let mut broken = agreement::watch_orders(&merchant, Instant::now() + patience).await?;
    let (mut orders, mut found) = settle(&merchant, &scenario, &history).await?;
    if broken.is_empty() && found.is_empty() {
        broken.extend(revival::check(&merchant, &scenario, pace).await?);
        (orders, found) = settle(&merchant, &scenario, &history).await?;
    }
    broken.extend(found);
    history.add("world", Fact::Phase { name: "rest" });
    let audit = shared.provider().map(|provider| provider.audit()).ok_or("the provider never started")?;
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

/// Waits until nothing is outstanding; what is by the end of all patience is broken.
async fn settle(
    merchant: &Visitor,
    scenario: &Scenario,
    history: &History,
) -> Result<(checks::Orders, Vec<Broken>), String> {
    let deadline = Instant::now() + Duration::from_secs(scenario.world.liveness_s);
    loop {
        let (orders, missing) = checks::read_orders(merchant, &history.rows()).await?;
        laws::checked("SIM-ORDERS-END");
        laws::checked("SIM-HOLDS-END");
        let settled = checks::all_ended(&orders) && !Shop::of(&history.rows()).waits(&orders);
        let held = checks::what_is_held(merchant, scenario.shop.products).await?;
        if settled && held.is_empty() {
            return Ok((orders, missing));
        }
        if Instant::now() > deadline {
            let stuck = orders.values().filter(|order| !checks::all_ended(&[(String::new(), (*order).clone())].into()));
            let stuck: Vec<Broken> = stuck.map(still_open).collect();
            return Ok((orders, missing.into_iter().chain(stuck).chain(held).collect()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn still_open(order: &serde_json::Value) -> Broken {
    let id = order["id"].as_str().unwrap_or_default();
    Broken::new("SIM-ORDERS-END", format!("order {id} is still under way: {order}"))
}
