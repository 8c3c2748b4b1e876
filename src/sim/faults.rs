//! What breaks when: nodes, disks, clocks and the network between hosts, between two steps of the world.
//!
//! Every fault of every machine has a stream of its own, which draws when it comes, how long it lasts and how bad it
//! is; switching one off leaves the others where they were. Spells end by themselves, or when the world heals.

use std::sync::Arc;
use std::time::Duration;

use turmoil::Sim;

use super::disk::{below, within};
use super::history::{Fact, History};
use super::host::Machine;
use super::power::Step;
use super::scenario::Faults;
use crate::rng::{Rng, SeededRng};

/// Every fault there is, by the name it has in histories and reports.
pub const KINDS: &[&str] = &[
    "crash",
    "crash at recall",
    "crash at decide",
    "crash at append",
    "crash when durable",
    "crash at store",
    "crash at reply",
    "crash at owe",
    "store vanished",
    "torn tail",
    "bit flip",
    "synced lost",
    "sync failed",
    "slow disk",
    "disk full",
    "clock jump",
    "clock drift",
    "clog",
    "cut",
    "one-way cut",
    "slow network",
    "hosted twice",
    "reset",
    "packet lost",
    "provider declines",
    "provider slow",
    "provider silent",
    "provider loses",
    "provider out of order",
    "webhook late",
    "webhook twice",
    "webhook first",
    "capture webhook",
];

/// Bytes a full disk leaves free at most: a little above what nodes reserve, so that some spells shut the door only
/// after more was written.
const FREE_BYTES_MAX: u64 = super::disk::RESERVE_BYTES * 5 / 4;
/// An armed step is passed at most this often before the power goes.
const PASSES_MAX: u64 = 20;

/// Faults that strike from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    StepCrash,
    SyncFails,
    SlowDisk,
    DiskFull,
    ClockJump,
    ClockDrift,
    Clog,
    Cut,
    OneWay,
    SlowNetwork,
    HostedTwice,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Crash,
        Self::StepCrash,
        Self::SyncFails,
        Self::SlowDisk,
        Self::DiskFull,
        Self::ClockJump,
        Self::ClockDrift,
        Self::Clog,
        Self::Cut,
        Self::OneWay,
        Self::SlowNetwork,
        Self::HostedTwice,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::StepCrash => "step crash",
            Self::SyncFails => "sync failed",
            Self::SlowDisk => "slow disk",
            Self::DiskFull => "disk full",
            Self::ClockJump => "clock jump",
            Self::ClockDrift => "clock drift",
            Self::Clog => "clog",
            Self::Cut => "cut",
            Self::OneWay => "one-way cut",
            Self::SlowNetwork => "slow network",
            Self::HostedTwice => "hosted twice",
        }
    }

    /// Seconds between two, and the longest spell.
    fn rhythm(self, faults: &Faults) -> (u64, u64) {
        match self {
            Self::Crash => (faults.crash_every_s, 0),
            Self::StepCrash => (faults.step_crash_every_s, 0),
            Self::SyncFails => (faults.sync_fails_every_s, 0),
            Self::SlowDisk => (faults.slow_disk_every_s, faults.slow_disk_max_ms),
            Self::DiskFull => (faults.disk_full_every_s, faults.disk_full_max_ms),
            Self::ClockJump => (faults.clock_jump_every_s, 0),
            Self::ClockDrift => (faults.clock_drift_every_s, 0),
            Self::Clog => (faults.clog_every_s, faults.clog_max_ms),
            Self::Cut => (faults.cut_every_s, faults.cut_max_ms),
            Self::OneWay => (faults.one_way_every_s, faults.one_way_max_ms),
            Self::SlowNetwork => (faults.slow_network_every_s, faults.slow_network_max_ms),
            Self::HostedTwice => (faults.host_twice_every_s, faults.host_twice_max_ms),
        }
    }

    /// Spells of which one at a time is enough.
    fn is_cut(self) -> bool {
        matches!(self, Self::Clog | Self::Cut | Self::OneWay)
    }
}

/// When one fault of one machine comes, and what it is like.
struct Course {
    kind: Kind,
    machine: Arc<Machine>,
    rng: SeededRng,
    every: Duration,
    longest: Duration,
    /// When it comes next.
    next: Duration,
    /// While it lasts: when it ends, and which hosts it separates.
    spell: Option<(Duration, Vec<String>)>,
}

impl Course {
    fn new(kind: Kind, machine: &Arc<Machine>, faults: &Faults, now: Duration) -> Option<Self> {
        let (every_s, longest_ms) = kind.rhythm(faults);
        if every_s == 0 {
            return None;
        }
        let rng = SeededRng::stream(machine.seed, &format!("faults/{}/{}", machine.name, kind.name()));
        let (every, longest) = (Duration::from_secs(every_s), Duration::from_millis(longest_ms));
        let mut course = Self { kind, machine: machine.clone(), rng, every, longest, next: now, spell: None };
        course.plan(now);
        Some(course)
    }

    fn plan(&mut self, now: Duration) {
        self.next = now + within(&self.rng, &(Duration::ZERO..=2 * self.every));
    }

    /// Something between -most and most.
    fn either_way(&self, most: u64) -> i64 {
        let width = most.saturating_mul(2).saturating_add(1);
        below(&self.rng, width) as i64 - most as i64
    }
}

/// Breaks and mends the world of one run.
pub struct Breaker {
    faults: Faults,
    /// Everybody else on the network.
    peers: Vec<String>,
    machines: Vec<Arc<Machine>>,
    history: History,
    /// Made when the safety phase begins.
    courses: Vec<Course>,
    /// Machines that are down, and when each starts again.
    down: Vec<(Duration, Arc<Machine>)>,
    /// Draws what crashes do, per machine in the order of machines.
    crash_streams: Vec<SeededRng>,
    slowest_message: Duration,
}

impl Breaker {
    /// A world in which nothing is broken; messages normally take no longer than `slowest_message`.
    pub fn new(
        faults: Faults,
        peers: Vec<String>,
        machines: Vec<Arc<Machine>>,
        history: History,
        slowest_message: Duration,
    ) -> Self {
        let stream = |machine: &Arc<Machine>| SeededRng::stream(machine.seed, &format!("crashes/{}", machine.name));
        let crash_streams = machines.iter().map(stream).collect();
        Self { faults, peers, machines, history, courses: Vec::new(), down: Vec::new(), crash_streams, slowest_message }
    }

    /// Once per step during the safety phase.
    pub fn strike(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        if self.courses.is_empty() {
            let all = self.machines.iter().flat_map(|machine| Kind::ALL.map(|kind| (kind, machine)));
            self.courses = all.filter_map(|(kind, machine)| Course::new(kind, machine, &self.faults, now)).collect();
        }
        self.watch_power(sim);
        self.mend(sim, now);
        let mut courses = std::mem::take(&mut self.courses);
        for index in 0..courses.len() {
            if courses[index].next > now {
                continue;
            }
            let name = courses[index].machine.name.clone();
            let down = self.down.iter().any(|(_, machine)| machine.name == name);
            let apart = |other: &Course| other.kind.is_cut() && other.machine.name == name && other.spell.is_some();
            let apart = courses[index].kind.is_cut() && courses.iter().any(apart);
            if !down && !apart && courses[index].spell.is_none() {
                self.begin(sim, &mut courses[index]);
            }
            courses[index].plan(now);
        }
        self.courses = courses;
    }

    /// Once per step after it: everything is as it should be.
    pub fn heal(&mut self, sim: &mut Sim<'_>) {
        for machine in &self.machines {
            machine.power.disarm();
            machine.disk.log.forgive_next_sync();
            machine.wall.set_right();
        }
        self.watch_power(sim);
        self.mend(sim, Duration::MAX);
    }

    fn begin(&mut self, sim: &mut Sim<'_>, course: &mut Course) {
        let machine = course.machine.clone();
        let spell = within(&course.rng, &(Duration::ZERO..=course.longest));
        let mut apart = Vec::new();
        let detail = match course.kind {
            Kind::Crash => return self.crash(sim, &machine, "crash"),
            Kind::StepCrash => {
                let step = Step::ALL[below(&course.rng, Step::ALL.len() as u64) as usize];
                return machine.power.arm(step, below(&course.rng, PASSES_MAX));
            }
            Kind::SyncFails => return machine.disk.log.fail_next_sync(),
            Kind::SlowDisk => {
                machine.disk.log.slow_down(Duration::from_millis(self.faults.slow_sync_max_ms));
                String::new()
            }
            Kind::DiskFull => {
                let free = below(&course.rng, FREE_BYTES_MAX);
                machine.disk.space.fill(free);
                format!("{free} bytes are free")
            }
            Kind::ClockJump => {
                let by = course.either_way(self.faults.clock_jump_max_ms);
                machine.wall.jump(by);
                format!("by {by} ms")
            }
            Kind::ClockDrift => {
                let ppm = course.either_way(self.faults.clock_drift_max_ppm);
                machine.wall.drift(ppm);
                format!("{ppm} millionths")
            }
            Kind::HostedTwice => {
                machine.second_host.switch(true);
                String::new()
            }
            Kind::Clog | Kind::Cut | Kind::OneWay => {
                apart = self.some_peers(course);
                separate(sim, course.kind, &machine.name, &apart, &course.rng)
            }
            Kind::SlowNetwork => {
                apart = self.peers.clone();
                let slow = Duration::from_millis(self.faults.slow_message_max_ms).max(self.slowest_message);
                apart
                    .iter()
                    .for_each(|peer| sim.set_link_max_message_latency(machine.name.as_str(), peer.as_str(), slow));
                format!("up to {} ms", slow.as_millis())
            }
        };
        self.history.add(&machine.name, Fact::Fault { kind: course.kind.name(), detail });
        if course.longest > Duration::ZERO {
            course.spell = Some((sim.elapsed() + spell, apart));
        }
    }

    /// Everybody, or somebody.
    fn some_peers(&self, course: &Course) -> Vec<String> {
        let peers: Vec<String> = self.peers.iter().filter(|peer| **peer != course.machine.name).cloned().collect();
        let choice = below(&course.rng, peers.len() as u64 + 1) as usize;
        peers.get(choice).map_or(peers.clone(), |peer| vec![peer.clone()])
    }

    /// Takes down whoever has no power.
    fn watch_power(&mut self, sim: &mut Sim<'_>) {
        for machine in self.machines.clone() {
            if let Some(why) = machine.power.gone() {
                self.crash(sim, &machine, why);
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, machine: &Arc<Machine>, kind: &'static str) {
        let position = self.machines.iter().position(|other| other.name == machine.name).expect("one of ours");
        let rng = &self.crash_streams[position];
        machine.power.cut(kind);
        sim.crash(machine.name.as_str());
        machine.power.restore();
        let damage = machine.disk.crash(rng);
        self.history.add(&machine.name, Fact::Crashed { kind, disk: damage.to_string() });
        let marks = [
            (damage.vanished, "store vanished"),
            (damage.log.torn, "torn tail"),
            (damage.log.flipped, "bit flip"),
            (damage.lied > 0, "synced lost"),
        ];
        for (_, kind) in marks.into_iter().filter(|(happened, _)| *happened) {
            self.history.add(&machine.name, Fact::Fault { kind, detail: String::new() });
        }
        let down = within(rng, &(Duration::ZERO..=Duration::from_millis(self.faults.down_max_ms)));
        self.down.push((sim.elapsed() + down, machine.clone()));
    }

    /// Starts and reconnects what is due by then.
    fn mend(&mut self, sim: &mut Sim<'_>, due: Duration) {
        let (back, down): (Vec<_>, Vec<_>) = self.down.drain(..).partition(|(at, _)| *at <= due);
        self.down = down;
        for (_, machine) in back {
            self.history.add(&machine.name, Fact::Started);
            sim.bounce(machine.name.as_str());
        }
        for course in &mut self.courses {
            let Some((_, apart)) = course.spell.take_if(|(until, _)| *until <= due) else { continue };
            let machine = &course.machine;
            match course.kind {
                Kind::SlowDisk => machine.disk.log.slow_down(Duration::ZERO),
                Kind::DiskFull => machine.disk.space.empty(),
                Kind::HostedTwice => machine.second_host.switch(false),
                Kind::SlowNetwork => apart.iter().for_each(|peer| {
                    sim.set_link_max_message_latency(machine.name.as_str(), peer.as_str(), self.slowest_message);
                }),
                Kind::Clog => apart.iter().for_each(|peer| sim.release(machine.name.as_str(), peer.as_str())),
                _ => apart.iter().for_each(|peer| sim.repair(machine.name.as_str(), peer.as_str())),
            }
            self.history.add(&machine.name, Fact::Mended { kind: course.kind.name() });
        }
    }
}

fn separate(sim: &Sim<'_>, kind: Kind, node: &str, peers: &[String], rng: &dyn Rng) -> String {
    let outwards = below(rng, 2) == 0;
    for peer in peers.iter().map(String::as_str) {
        match kind {
            Kind::Clog => sim.hold(node, peer),
            Kind::Cut => sim.partition(node, peer),
            _ if outwards => sim.partition_oneway(node, peer),
            _ => sim.partition_oneway(peer, node),
        }
    }
    let way = match (kind, outwards) {
        (Kind::OneWay, true) => "towards",
        (Kind::OneWay, false) => "coming from",
        _ => "to and from",
    };
    format!("{way} {}", peers.join(", "))
}
