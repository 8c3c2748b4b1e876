//! Delivers what an entity owes: one courier per obligation, for as long as the obligation stands.
//!
//! What is owed is a function of state, so there is no queue to persist: after every verdict and after recovery the
//! entity hands over its whole list; new names get a courier, names that are gone lose theirs. A courier comes back
//! only with a definite outcome. It does not outlive its actor; the next incarnation sends the same commands again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::messages::EntityMessage;
use super::ports::Courier;
use crate::domain::entity::{Obligation, Outgoing};

/// The couriers of one entity.
pub struct Couriers {
    courier: Arc<dyn Courier>,
    home: ActorRef<EntityMessage>,
    under_way: BTreeMap<Obligation, AbortHandle>,
    /// Came back, but the obligation may still be listed until the outcome is journaled: not sent again.
    settled: BTreeSet<Obligation>,
}

impl Couriers {
    /// Couriers that report to `home`.
    pub fn new(courier: Arc<dyn Courier>, home: ActorRef<EntityMessage>) -> Self {
        Self { courier, home, under_way: BTreeMap::new(), settled: BTreeSet::new() }
    }

    /// Brings the couriers in line with everything that is owed now.
    pub fn deliver(&mut self, owed: Vec<Outgoing>) {
        if owed.is_empty() && self.under_way.is_empty() && self.settled.is_empty() {
            return;
        }
        let names: BTreeSet<&Obligation> = owed.iter().map(|outgoing| &outgoing.obligation).collect();
        self.settled.retain(|obligation| names.contains(obligation));
        self.under_way.retain(|obligation, courier| {
            let owed = names.contains(obligation);
            if !owed {
                courier.abort();
            }
            owed
        });
        for outgoing in owed {
            if !self.under_way.contains_key(&outgoing.obligation) && !self.settled.contains(&outgoing.obligation) {
                self.send(outgoing);
            }
        }
    }

    /// A courier reported its outcome.
    pub fn came_back(&mut self, obligation: &Obligation) {
        self.under_way.remove(obligation);
        self.settled.insert(obligation.clone());
    }

    /// Outcomes that came back were lost before they were journaled: whatever is still owed is delivered again, when
    /// the entity is nudged next and not at once, because what was lost to a panic may panic again.
    pub fn forget_settled(&mut self) {
        self.settled.clear();
    }

    /// Calls all couriers back; what they were to deliver is still owed.
    pub fn recall(&mut self) {
        for courier in std::mem::take(&mut self.under_way).into_values() {
            courier.abort();
        }
    }

    /// Couriers under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    fn send(&mut self, outgoing: Outgoing) {
        let obligation = outgoing.obligation.clone();
        let (courier, home, name) = (self.courier.clone(), self.home.clone(), obligation.clone());
        let task = tokio::spawn(async move {
            let settlement = courier.deliver(outgoing).await;
            drop(home.cast(EntityMessage::Settled { obligation: name, settlement }));
        });
        self.under_way.insert(obligation, task.abort_handle());
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.recall();
    }
}

/// What is owed, payment keys naming the record the entity is at.
#[cfg(feature = "canaries")]
pub fn numbered_by_sequence(mut owed: Vec<Outgoing>, at: crate::domain::time::Sequence) -> Vec<Outgoing> {
    use crate::domain::entity::Destination;
    use crate::domain::payment::PaymentOperation::{Authorise, Lookup};
    for outgoing in &mut owed {
        if let Destination::Payment(request) = &mut outgoing.to
            && !matches!(request.operation, Authorise { .. } | Lookup { .. })
            && crate::canary::is(crate::canary::Canary::IdFromSequence)
        {
            request.key = format!("{}@{at}", request.key);
        }
    }
    owed
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::entity::{Destination, Settlement};
    use crate::domain::ids::EntityId;
    use crate::domain::registry::AnyCommand;
    use crate::domain::stock::StockCommand;
    use crate::domain::testkit::sku;

    /// Tells of every delivery and never comes back.
    struct Told(mpsc::UnboundedSender<Obligation>);

    #[async_trait]
    impl Courier for Told {
        async fn deliver(&self, outgoing: Outgoing) -> Settlement {
            self.0.send(outgoing.obligation).unwrap();
            std::future::pending().await
        }
    }

    struct Home;

    impl Actor for Home {
        type Msg = EntityMessage;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<EntityMessage>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_came_back_is_sent_again_only_once_its_outcome_was_lost() {
        let (sender, mut sent) = mpsc::unbounded_channel();
        let (home, task) = Actor::spawn(None, Home, ()).await.unwrap();
        let mut couriers = Couriers::new(Arc::new(Told(sender)), home.clone());
        let tea = EntityId::stock(&sku("TEA"));
        let obligation = Obligation { process: tea.clone(), step: "show".into(), target: "TEA".to_owned(), attempt: 1 };
        let to = Destination::Entity(tea, AnyCommand::Stock(StockCommand::Show));
        let owed = || vec![Outgoing { obligation: obligation.clone(), to: to.clone() }];
        couriers.deliver(owed());
        assert_eq!(sent.recv().await.unwrap(), obligation);
        couriers.came_back(&obligation);
        couriers.deliver(owed());
        assert!(couriers.is_empty(), "it is settled");
        couriers.forget_settled();
        couriers.deliver(owed());
        assert_eq!(sent.recv().await.unwrap(), obligation);
        home.stop(None);
        task.await.unwrap();
    }
}
