//! Gathers the batches of a shard's entities into log entries.
//!
//! A batch that arrives while earlier entries are on their way waits for a place and travels with everything else that
//! waits; before an entry leaves, whoever is ready to run is let run, for it may be about to append. So entries grow
//! under load instead of multiplying, and an idle shard answers after one commit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::types::{OnComplete, ShardEntry, TypeConfig};
use crate::actors::ports::{AppendError, VerdictListener};
use crate::persistence::records::EntityBatch;

/// Entries of one shard between proposal and verdict. Two keep the disk busy while the next one gathers.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// Batches per entry.
const BATCHES_PER_ENTRY_MAX: usize = 512;
/// Record bytes per entry, far below the log's limit; a single larger batch still travels, alone.
const ENTRY_RECORD_BYTES_MAX: usize = 1 << 20;
/// How often the proposer lets everybody else run first, as long as batches keep coming.
const YIELDS_MAX: usize = 8;
/// Batches waiting for a place. An entity has one batch in flight, so this bounds appending entities per shard.
const WAITING_BATCHES_MAX: usize = 16_384;

/// A batch and who waits for it.
pub struct Proposal {
    /// What to append.
    pub batch: EntityBatch,
    /// Who waits.
    pub listener: VerdictListener,
}

/// What the proposer needs of openraft's handle.
pub trait Propose: Send + Sync + 'static {
    /// Submits an entry; `then` runs with the listeners, or `None` when nobody knows.
    fn propose(
        &self,
        entry: ShardEntry,
        then: OnComplete<openraft::raft::ClientWriteResult<TypeConfig>>,
    ) -> impl Future<Output = bool> + Send;
}

/// Starts the proposer of one group; it ends when every sender is gone.
pub fn spawn(raft: impl Propose) -> mpsc::Sender<Proposal> {
    let (sender, receiver) = mpsc::channel(WAITING_BATCHES_MAX);
    tokio::spawn(run(raft, receiver));
    sender
}

async fn run(raft: impl Propose, mut receiver: mpsc::Receiver<Proposal>) {
    let places = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT_MAX));
    let mut carried_over = None;
    loop {
        let first = match carried_over.take() {
            Some(proposal) => proposal,
            None => match receiver.recv().await {
                Some(proposal) => proposal,
                None => return,
            },
        };
        let place = places.clone().acquire_owned().await.expect("the proposer's semaphore is never closed");
        let_others_append(&receiver).await;
        let (batches, listeners);
        (batches, listeners, carried_over) = gather(first, &mut receiver);
        let waiting = Waiting { listeners, _place: place };
        let then = OnComplete::new(move |result| waiting.answer(result));
        raft.propose(ShardEntry(Arc::new(batches)), then).await;
    }
}

/// Whoever is ready to run may be about to append: on a busy node they do so first and share the entry, each of which
/// costs many times what a batch in it does. On an idle one nobody is ready and nothing is waited for.
async fn let_others_append(receiver: &mpsc::Receiver<Proposal>) {
    let mut waiting = receiver.len();
    for _ in 0..YIELDS_MAX {
        tokio::task::yield_now().await;
        let before = std::mem::replace(&mut waiting, receiver.len());
        if waiting == before {
            return;
        }
    }
}

/// `first` and whatever else waits and fits, and the one that no longer fits.
fn gather(
    first: Proposal,
    receiver: &mut mpsc::Receiver<Proposal>,
) -> (Vec<EntityBatch>, Vec<VerdictListener>, Option<Proposal>) {
    let mut bytes = first.batch.records.len();
    let (mut batches, mut listeners) = (vec![first.batch], vec![first.listener]);
    while batches.len() < BATCHES_PER_ENTRY_MAX {
        let Ok(proposal) = receiver.try_recv() else { break };
        bytes += proposal.batch.records.len();
        if bytes > ENTRY_RECORD_BYTES_MAX {
            return (batches, listeners, Some(proposal));
        }
        batches.push(proposal.batch);
        listeners.push(proposal.listener);
    }
    (batches, listeners, None)
}

/// The callers of one entry. Dropped unanswered, they hear Unknown.
struct Waiting {
    listeners: Vec<VerdictListener>,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    fn answer(self, result: openraft::raft::ClientWriteResult<TypeConfig>) {
        match result {
            Ok(response) => {
                let stored = response.data.0;
                assert_eq!(stored.len(), self.listeners.len(), "LOG-1: one verdict per batch of an entry");
                for (listener, verdict) in self.listeners.into_iter().zip(stored) {
                    listener.tell(Ok(verdict));
                }
            }
            Err(_) => {
                for listener in self.listeners {
                    listener.tell(Err(AppendError));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use openraft::raft::ClientWriteResponse;
    use openraft::vote::RaftLeaderId;
    use tokio::sync::oneshot;

    use super::*;
    use crate::cluster::raft::types::{LogId, Verdicts};
    use crate::domain::time::Sequence;
    use crate::persistence::records::Verdict;
    use crate::persistence::testkit::batch;

    type Pending = (ShardEntry, OnComplete<openraft::raft::ClientWriteResult<TypeConfig>>);

    /// Keeps entries until the test answers them.
    #[derive(Clone, Default)]
    struct Held(Arc<Mutex<Vec<Pending>>>);

    impl Propose for Held {
        async fn propose(
            &self,
            entry: ShardEntry,
            then: OnComplete<openraft::raft::ClientWriteResult<TypeConfig>>,
        ) -> bool {
            self.0.lock().unwrap().push((entry, then));
            true
        }
    }

    impl Held {
        fn entries(&self) -> Vec<usize> {
            self.0.lock().unwrap().iter().map(|(entry, _)| entry.0.len()).collect()
        }

        /// Answers the oldest entry: batches of `TEA` are stored, all others refused.
        fn answer(&self) {
            let (entry, then) = self.0.lock().unwrap().remove(0);
            let refused = Verdict::Refused { last: Sequence(9) };
            let verdict = |batch: &EntityBatch| if &*batch.entity.key == "TEA" { Verdict::Stored } else { refused };
            let data = Verdicts(entry.0.iter().map(verdict).collect());
            let leader = openraft::impls::leader_id_std::LeaderId::new(1, 1).to_committed();
            use openraft::raft::responder::Responder;
            then.on_complete(Ok(ClientWriteResponse { log_id: LogId::new(leader, 1), data, membership: None }));
        }
    }

    type Heard = oneshot::Receiver<Result<Verdict, AppendError>>;

    fn append(sender: &mpsc::Sender<Proposal>, name: &str) -> Heard {
        let (heard, verdict) = oneshot::channel();
        let listener = VerdictListener::new(move |outcome| {
            let _ = heard.send(outcome);
        });
        sender.try_send(Proposal { batch: batch(name, 1, 1), listener }).map_err(drop).unwrap();
        verdict
    }

    #[tokio::test(start_paused = true)]
    async fn every_batch_of_an_entry_hears_its_own_verdict() {
        let log = Held::default();
        let sender = spawn(log.clone());
        let first = [append(&sender, "TEA"), append(&sender, "CUP")];
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(log.entries(), [2], "what waits together travels together");
        log.answer();
        let [tea, cup] = first;
        assert_eq!(tea.await.unwrap(), Ok(Verdict::Stored));
        assert_eq!(cup.await.unwrap(), Ok(Verdict::Refused { last: Sequence(9) }));
    }

    #[tokio::test(start_paused = true)]
    async fn two_entries_are_in_flight_and_the_next_gathers_what_comes_meanwhile() {
        let log = Held::default();
        let sender = spawn(log.clone());
        for name in ["A", "B", "TEA", "CUP", "POT"] {
            drop(append(&sender, name));
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(log.entries(), [1, 1]);
        log.answer();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(log.entries(), [1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_ends_leaves_its_batches_unknown() {
        let log = Held::default();
        let sender = spawn(log.clone());
        let verdict = append(&sender, "TEA");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        log.0.lock().unwrap().clear();
        assert_eq!(verdict.await.unwrap(), Err(AppendError));
    }
}
