//! What is told to endpoints: events made of committed records, the same ones every time they are made.
//!
//! An event's id names entity, record and kind, so that a receiver recognises a repeat. There is no personal data in
//! it: who wants to know more reads the thing by its id.

use serde::Serialize;

use crate::domain::ids::{EntityId, OrderId, ProductId, Sku};
use crate::domain::order::{OrderEvent, OrderState};
use crate::domain::product::ProductEvent;
use crate::domain::registry::{AnyEvent, Kind};
use crate::domain::time::Sequence;
use crate::http::wire::Time;
use crate::persistence::records::Record;
use crate::projections::states;

/// Kinds that are not states of orders.
const OTHER_KINDS: [&str; 3] = ["stock.changed", "product.changed", "product.deleted"];

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The same in every delivery of this event.
    pub id: String,
    /// What happened, e.g. `order.confirmed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub at: Time,
    /// To what.
    pub data: Data,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Data {
    /// An order reached a state.
    Order {
        /// Which.
        order_id: OrderId,
        /// The state.
        state: &'static str,
        /// Why, e.g. why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Units moved.
    Stock {
        /// Of what.
        sku: Sku,
        /// Units that can be sold afterwards.
        available: u64,
    },
    /// A product says something else now, or is gone.
    Product {
        /// Which.
        product_id: ProductId,
        /// Its version.
        version: u64,
    },
}

/// Which events an endpoint wants: kinds, `order.*` and the like, or `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(Vec<String>);

impl Wanted {
    /// Rejects patterns that no event matches, with the first of them.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let matches_some = |pattern: &&String| kinds().iter().any(|kind| matches(pattern, kind));
        match patterns.iter().find(|pattern| !matches_some(pattern)) {
            Some(pattern) => Err(pattern.clone()),
            None => Ok(Self(patterns.to_vec())),
        }
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, kind))
    }

    /// Whether events of these entities may be wanted.
    pub fn has_of(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Order | Kind::Stock | Kind::Product)
            && kinds().iter().any(|event| event.starts_with(kind.name()) && self.has(event))
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begins) => (begins.is_empty() || begins.ends_with('.')) && kind.starts_with(begins),
        None => pattern == kind,
    }
}

/// Every kind of event there is.
pub fn kinds() -> Vec<String> {
    let of_orders = OrderState::ALL.iter().map(|state| format!("order.{}", state.name()));
    of_orders.chain(OTHER_KINDS.map(str::to_owned)).collect()
}

/// The wanted events of an entity's records from a sequence on. Of an order all records are needed, since the state
/// before tells whether one is new; of others only those.
pub fn of_records(entity: &EntityId, records: &[Record], from: Sequence, wanted: &Wanted) -> Vec<Event> {
    let mut events = match entity.kind {
        Kind::Order => order_events(entity, records, from),
        Kind::Stock => stock_event(entity, records).into_iter().collect(),
        Kind::Product => records.iter().flat_map(|record| product_events(entity, record)).collect(),
        Kind::Cart | Kind::Cluster => Vec::new(),
    };
    events.retain(|event| wanted.has(&event.kind));
    events
}

fn event(entity: &EntityId, record: &Record, kind: String, data: Data) -> Event {
    Event { id: format!("{entity}/{}/{kind}", record.sequence), kind, at: Time(record.at), data }
}

fn order_events(entity: &EntityId, records: &[Record], from: Sequence) -> Vec<Event> {
    let Some(order_id) = states::order_of(entity) else { return Vec::new() };
    let (mut events, mut known) = (Vec::new(), None);
    for record in records {
        for change in &record.events {
            let (state, reason) = match change {
                AnyEvent::Order(OrderEvent::Placed(_)) => (Some(OrderState::Placed), None),
                AnyEvent::Order(OrderEvent::Entered { phase, reason }) => (phase.shown(), reason.clone()),
                _ => continue,
            };
            let Some(state) = state.filter(|state| known != Some(*state)) else { continue };
            known = Some(state);
            if record.sequence >= from {
                let data = Data::Order { order_id, state: state.name(), reason };
                events.push(event(entity, record, format!("order.{}", state.name()), data));
            }
        }
    }
    events
}

/// One for all records: a hot SKU has thousands a second.
fn stock_event(entity: &EntityId, records: &[Record]) -> Option<Event> {
    let sku = states::sku_of(entity)?;
    let moved = records.iter().rev().find_map(|record| {
        let moves = record.events.iter().rev().filter_map(|change| match change {
            AnyEvent::Stock(change) => change.available_after(),
            _ => None,
        });
        moves.map(|available| (record, available)).next()
    });
    let (record, available) = moved?;
    Some(event(entity, record, "stock.changed".to_owned(), Data::Stock { sku, available }))
}

fn product_events(entity: &EntityId, record: &Record) -> Vec<Event> {
    let Some(product_id) = states::product_of(entity) else { return Vec::new() };
    let told = record.events.iter().filter_map(|change| match change {
        AnyEvent::Product(ProductEvent::Put { version, .. }) => Some(("product.changed", *version)),
        AnyEvent::Product(ProductEvent::Deleted { version }) => Some(("product.deleted", *version)),
        _ => None,
    });
    told.map(|(kind, version)| {
        let data = Data::Product { product_id: product_id.clone(), version };
        event(entity, record, kind.to_owned(), data)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::{Fingerprint, Stamp};
    use crate::domain::ids::CommandId;
    use crate::domain::order::{OrderReply, Phase};
    use crate::domain::registry::AnyReply;
    use crate::domain::time::Timestamp;
    use crate::persistence::records::Remembered;

    fn entered(sequence: u64, phase: Phase) -> Record {
        Record {
            sequence: Sequence(sequence),
            stamp: Stamp { command: CommandId([1; 16]), fingerprint: Fingerprint::default() },
            remembered: Remembered::ByState,
            at: Timestamp(sequence),
            events: vec![AnyEvent::Order(OrderEvent::Entered { phase, reason: None })],
            reply: AnyReply::Order(OrderReply::Noted { state: OrderState::Placed }),
            wake_at: None,
        }
    }

    fn wanted(patterns: &[&str]) -> Result<Wanted, String> {
        Wanted::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn an_order_tells_a_state_once_and_only_from_the_asked_record_on() {
        let phases = [Phase::Reserving, Phase::Confirmed, Phase::Capturing, Phase::Confirmed, Phase::Fulfilled];
        let records: Vec<Record> = (1..).zip(phases).map(|(sequence, phase)| entered(sequence, phase)).collect();
        let order = EntityId::order(OrderId([1; 16]));
        let ids = |from, patterns: &[&str]| {
            let events = of_records(&order, &records, Sequence(from), &wanted(patterns).unwrap());
            events.into_iter().map(|event| event.id.rsplit_once("01/").unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(1, &["*"]), ["1/order.reserving", "2/order.confirmed", "5/order.fulfilled"]);
        assert_eq!(ids(3, &["order.*"]), ["5/order.fulfilled"], "confirmed again is nothing new");
        assert_eq!(ids(1, &["order.confirmed", "stock.*"]), ["2/order.confirmed"]);
    }

    #[test]
    fn a_pattern_that_nothing_matches_is_refused() {
        assert!(wanted(&["*", "order.*", "stock.changed"]).is_ok());
        for wrong in ["order", "order.paid", "ord*", "cart.*", ""] {
            assert_eq!(wanted(&["*", wrong]), Err(wrong.to_owned()));
        }
        let orders = wanted(&["order.failed"]).unwrap();
        assert!(orders.has_of(Kind::Order) && !orders.has_of(Kind::Stock) && !orders.has_of(Kind::Cart));
    }
}
