//! One Raft group on this node: starting it, writing to it, knowing whether it leads.
//!
//! openraft never snapshots or purges by itself here (P26), a restarted leader is elected anew, and a group whose only
//! voter is this node elects itself at once instead of waiting out a timeout. The lease used for answers that append
//! nothing is kept below 0.8 × the shortest election timeout (P12).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::ClientWriteResult;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use tokio::sync::{mpsc, watch};

use super::log_adapter::LogAdapter;
use super::messages::{RaftMessage, RaftReply};
use super::network::Network;
use super::proposer::{self, Proposal, Propose};
use super::state_machine::{MachineParts, StateMachine};
use super::types::{Member, MemberId, OnComplete, ShardEntry, TypeConfig};
use crate::actors::ports::{LeaseError, Replication, VerdictListener};
use crate::cluster::transport::Transport;
use crate::persistence::log::{GroupId, Log};
use crate::persistence::records::EntityBatch;

/// Timing of every group (ms). Heartbeat ≪ election, and the lease below the shortest election timeout.
#[derive(Clone, Debug)]
pub struct RaftTiming {
    /// Between a leader's heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest silence before a follower stands for election.
    pub election_min_ms: u64,
    /// Longest.
    pub election_max_ms: u64,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self { heartbeat_ms: 50, election_min_ms: 300, election_max_ms: 600 }
    }
}

/// What a group is started with.
pub struct GroupParts {
    /// This node.
    pub member: MemberId,
    /// Timing.
    pub timing: RaftTiming,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// Where entries go.
    pub log: Arc<dyn Log>,
    /// Where they are applied.
    pub machine: MachineParts,
    /// Seeds openraft's randomness (election timeouts).
    pub seed: u64,
}

/// Why a group cannot run.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// Storage could not be read or openraft stopped.
    #[error("group {group} cannot start: {message}")]
    Start {
        /// Which.
        group: GroupId,
        /// Why.
        message: String,
    },
    /// It ran, and cannot go on.
    #[error("group {group} stopped: {message}")]
    Stopped {
        /// Which.
        group: GroupId,
        /// Why.
        message: String,
    },
}

/// One running group.
#[derive(Clone)]
pub struct Group {
    id: GroupId,
    raft: Raft<TypeConfig, StateMachine>,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    proposals: mpsc::Sender<Proposal>,
    lease: Duration,
    seed: u64,
    appended_bytes: Arc<AtomicU64>,
    checkpoints_failed: Arc<AtomicU64>,
}

/// Whether this node may host the group's entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It leads in this term and has applied an entry of it (P12).
    Leading {
        /// The fencing number.
        term: u64,
    },
    /// It does not, or not yet.
    Following,
}

impl Group {
    /// Opens the group's storage and starts it.
    pub async fn start(parts: GroupParts) -> Result<Self, GroupError> {
        let GroupParts { member, timing, transport, log, machine, seed } = parts;
        let group = machine.group;
        let failed = |message: String| GroupError::Start { group, message };
        let config = config(&timing).map_err(|error| failed(error.to_string()))?;
        let adapter = LogAdapter::new(group, log);
        let appended_bytes = adapter.appended_bytes();
        let machine = StateMachine::open(machine).await.map_err(|error| failed(error.to_string()))?;
        let checkpoints_failed = machine.checkpoints_failed();
        let start = Raft::new(member, Arc::new(config), Network { group, transport }, adapter, machine);
        let raft = with_randomness(seed, start).await.map_err(|error| failed(error.to_string()))?;
        let proposals = proposer::spawn(Handle(raft.clone()));
        let lease = lease_of(&timing);
        let metrics = raft.metrics();
        let group = Self { id: group, raft, metrics, proposals, lease, seed, appended_bytes, checkpoints_failed };
        group.elect_if_alone(member).await.map_err(|message| GroupError::Start { group: group.id, message })?;
        Ok(group)
    }

    /// Makes this node the first and only voter. Does nothing to a group that already has members.
    pub async fn initialize(&self, member: MemberId, address: Member) -> Result<(), GroupError> {
        self.initialize_with(BTreeMap::from([(member, address)])).await
    }

    /// Makes these the first voters.
    pub(super) async fn initialize_with(&self, members: BTreeMap<MemberId, Member>) -> Result<(), GroupError> {
        let failed = |message: String| GroupError::Start { group: self.id, message };
        with_randomness(self.seed, async {
            if !self.raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
                self.raft.initialize(members).await.map_err(|error| failed(error.to_string()))?;
            }
            Ok(())
        })
        .await
    }

    /// Which group this is.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Follows leadership: the receiver changes when this node may start or must stop hosting.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        let (sender, receiver) = watch::channel(Leadership::Following);
        let (mut metrics, mut server) = (self.metrics.clone(), self.raft.server_metrics());
        tokio::spawn(async move {
            loop {
                let now = leadership_of(&metrics.borrow_and_update(), &server.borrow_and_update());
                sender.send_if_modified(|known| std::mem::replace(known, now) != now);
                // The metrics of everything change with every entry; once leading only votes and leaders matter.
                let is_leading = now != Leadership::Following;
                let runs = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    changed = server.changed() => changed.is_ok(),
                    changed = metrics.changed(), if !is_leading => changed.is_ok(),
                };
                if !runs {
                    // Whether stopped or failed: what no longer runs does not lead.
                    sender.send_replace(Leadership::Following);
                    return;
                }
            }
        });
        receiver
    }

    /// Returns once the group has stopped for good because its storage failed or its code panicked; never when it is
    /// shut down in order. openraft does not go on after an error of its log or state machine: only a new start does.
    pub fn failed(&self) -> impl Future<Output = GroupError> + Send + 'static {
        let (group, metrics, mut server) = (self.id, self.raft.metrics(), self.raft.server_metrics());
        async move {
            while server.changed().await.is_ok() {}
            let state = metrics.borrow_watched().running_state.clone();
            match state {
                Err(fatal) if !matches!(fatal, Fatal::Stopped) => {
                    GroupError::Stopped { group, message: fatal.to_string() }
                }
                _ => std::future::pending().await,
            }
        }
    }

    /// The log index applied last, if any.
    pub fn applied_index(&self) -> Option<u64> {
        self.metrics.borrow_watched().last_applied.map(|id| id.index)
    }

    /// The log index known committed last, if any; it may be ahead of what is applied.
    pub fn committed_index(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().cluster_committed.map(|id| id.index)
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.metrics.borrow_watched().current_term
    }

    /// The member that leads, as far as this node knows.
    pub fn leader(&self) -> Option<MemberId> {
        self.metrics.borrow_watched().current_leader
    }

    /// Asks for a checkpoint (P26); it is made in the background.
    pub async fn checkpoint(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(group = %self.id, %error, "a checkpoint could not be asked for");
        }
    }

    /// How many checkpoints could not be made.
    pub fn checkpoints_failed(&self) -> u64 {
        self.checkpoints_failed.load(Ordering::Relaxed)
    }

    /// The last log index Raft knows to be in a checkpoint.
    pub fn snapshot_index(&self) -> Option<u64> {
        self.metrics.borrow_watched().snapshot.map(|id| id.index)
    }

    /// Purges the log up to and including this index; entries no checkpoint covers are kept by openraft.
    pub async fn purge(&self, through: u64) {
        if let Err(error) = self.raft.trigger().purge_log(through).await {
            tracing::warn!(group = %self.id, %error, "the log could not be purged");
        }
    }

    /// Batches that wait to be proposed.
    pub fn waiting_batches(&self) -> usize {
        self.proposals.max_capacity() - self.proposals.capacity()
    }

    /// Bytes appended to the group's log since the last reset.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Forgets this many appended bytes: a checkpoint covers them.
    pub fn reset_appended_bytes(&self, covered: u64) {
        self.appended_bytes.fetch_sub(covered, Ordering::Relaxed);
    }

    /// Answers a message of another member's replica; a text when this one has stopped.
    pub async fn receive(&self, message: RaftMessage) -> Result<RaftReply, String> {
        with_randomness(self.seed, async {
            match message {
                RaftMessage::Append(rpc) => self.raft.append_entries(rpc).await.map(RaftReply::Append).map_err(text),
                RaftMessage::Vote(rpc) => self.raft.vote(rpc).await.map(RaftReply::Vote).map_err(text),
                RaftMessage::PreVote(rpc) => self.raft.pre_vote(rpc).await.map(RaftReply::Vote).map_err(text),
                RaftMessage::Snapshot(vote, snapshot) => {
                    let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                    installed.map(RaftReply::Snapshot).map_err(text)
                }
                RaftMessage::TransferLeader(request) => {
                    let taken = self.raft.handle_transfer_leader(request).await;
                    taken.map(RaftReply::TransferLeader).map_err(text)
                }
            }
        })
        .await
    }

    /// Stops the group; proposals in flight become Unknown.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "group ended with an error");
        }
    }

    /// A lone voter need not wait out an election timeout.
    async fn elect_if_alone(&self, member: MemberId) -> Result<(), String> {
        let voters: Vec<MemberId> = self.raft.voter_ids().collect();
        if voters == [member] {
            with_randomness(self.seed, async { self.raft.trigger().elect(false).await })
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[async_trait]
impl Replication for Group {
    fn append(&self, batch: EntityBatch, then: VerdictListener) {
        // A full queue drops the proposal, whose listener then hears Unknown.
        if self.proposals.try_send(Proposal { batch, listener: then }).is_err() {
            tracing::warn!(group = %self.id, "too many batches wait for the log");
        }
    }

    fn holds_lease(&self) -> bool {
        leases(&self.metrics.borrow_watched(), self.lease)
    }

    async fn confirm_lease(&self) -> Result<(), LeaseError> {
        let option = LinearizerOption::new(Some(self.lease), true);
        with_randomness(self.seed, self.raft.ensure_linearizable(option)).await.map(drop).map_err(|_| LeaseError)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Handle(Raft<TypeConfig, StateMachine>);

impl Propose for Handle {
    async fn propose(&self, entry: ShardEntry, then: OnComplete<ClientWriteResult<TypeConfig>>) -> bool {
        self.0.client_write_ff(entry, Some(then)).await.is_ok()
    }
}

/// openraft draws its randomness from a task-local stream that must be entered wherever its handle may spawn.
async fn with_randomness<F: Future>(seed: u64, future: F) -> F::Output {
    DeterministicRng::<TokioRuntime>::scope(seed, future).await
}

/// Below 0.8 × the shortest election timeout: over before anybody else can lead (P12).
fn lease_of(timing: &RaftTiming) -> Duration {
    Duration::from_millis(timing.election_min_ms * 3 / 4)
}

/// The lease as openraft's core reckons it, from what it last published, without a message to it. A quorum that
/// acknowledged something sent less than a lease ago elects nobody else before the lease is over, whatever the core has
/// heard since; a lone voter is a quorum. A leader that hands over must stop hosting before it says so to anybody.
fn leases(metrics: &RaftMetrics<TypeConfig>, lease: Duration) -> bool {
    let is_alone = || metrics.membership_config.membership().voter_ids().eq([metrics.id]);
    let is_acked = || metrics.last_quorum_acked.is_some_and(|sent_at| sent_at.elapsed() < lease);
    metrics.state == ServerState::Leader && (is_alone() || is_acked())
}

/// openraft tells `server` first: where the two differ, `metrics` is about to change.
fn leadership_of(metrics: &RaftMetrics<TypeConfig>, server: &RaftServerMetrics<TypeConfig>) -> Leadership {
    let term = metrics.current_term;
    let leads = metrics.state == ServerState::Leader && server.state == ServerState::Leader;
    let applied = metrics.last_applied.is_some_and(|id| id.leader_id.term == term);
    if leads && applied && server.vote.leader_id.term == term {
        Leadership::Leading { term }
    } else {
        Leadership::Following
    }
}

fn config(timing: &RaftTiming) -> Result<Config, openraft::ConfigError> {
    Config {
        cluster_name: "stockroom".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}

#[cfg(test)]
mod tests {
    use openraft::alias::InstantOf;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::cluster::raft::types::{LogId, Membership, StoredMembership};

    fn applied(term: u64) -> LogId {
        LogId::new(openraft::impls::leader_id_std::LeaderId::new(term, 1).to_committed(), 7)
    }

    #[test]
    fn a_leader_hosts_only_behind_an_applied_entry_of_its_own_term() {
        let mut metrics = RaftMetrics::<TypeConfig>::new_initial(1);
        let mut server = RaftServerMetrics::<TypeConfig> {
            id: 1,
            vote: openraft::impls::Vote::new_committed(5, 1),
            state: ServerState::Leader,
            current_leader: Some(1),
            membership_config: metrics.membership_config.clone(),
            committed_membership_config: metrics.committed_membership_config.clone(),
        };
        (metrics.current_term, metrics.state) = (5, ServerState::Leader);
        assert_eq!(leadership_of(&metrics, &server), Leadership::Following, "nothing applied");
        metrics.last_applied = Some(applied(4));
        assert_eq!(leadership_of(&metrics, &server), Leadership::Following, "of an earlier term");
        metrics.last_applied = Some(applied(5));
        assert_eq!(leadership_of(&metrics, &server), Leadership::Leading { term: 5 });
        server.vote = openraft::impls::Vote::new(7, 2);
        assert_eq!(leadership_of(&metrics, &server), Leadership::Following, "a newer vote is known already");
        server.vote = openraft::impls::Vote::new_committed(5, 1);
        server.state = ServerState::Follower;
        assert_eq!(leadership_of(&metrics, &server), Leadership::Following, "it has stepped down already");
        (metrics.state, server.state) = (ServerState::Follower, ServerState::Leader);
        assert_eq!(leadership_of(&metrics, &server), Leadership::Following);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_holds_its_lease_alone_or_for_as_long_as_a_quorum_was_heard_lately() {
        let lease = Duration::from_millis(200);
        let mut metrics = RaftMetrics::<TypeConfig>::new_initial(1);
        let among = |voters: &[MemberId]| {
            let nodes: BTreeMap<_, _> = voters.iter().map(|id| (*id, Member::default())).collect();
            let membership = Membership::new(vec![voters.iter().copied().collect()], nodes).unwrap();
            Arc::new(StoredMembership::new(Some(applied(1)), membership))
        };
        metrics.membership_config = among(&[1]);
        assert!(!leases(&metrics, lease), "it does not lead");
        metrics.state = ServerState::Leader;
        assert!(leases(&metrics, lease), "nobody else can be elected");
        metrics.membership_config = among(&[1, 2, 3]);
        assert!(!leases(&metrics, lease), "nobody was heard yet");
        metrics.last_quorum_acked = Some(InstantOf::<TypeConfig>::now().into());
        tokio::time::advance(lease - Duration::from_millis(1)).await;
        assert!(leases(&metrics, lease));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!leases(&metrics, lease), "others may have elected by now");
    }

    #[test]
    fn the_lease_is_shorter_than_any_election() {
        for election_min_ms in [50, 300, 500, 60_000] {
            let timing = RaftTiming { election_min_ms, ..RaftTiming::default() };
            assert!(lease_of(&timing) < Duration::from_millis(election_min_ms).mul_f64(0.8));
        }
    }
}
