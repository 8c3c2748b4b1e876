//! Entities as they are, folded from snapshot and records: what projections are rebuilt from, and read where following
//! single events would mean knowing the entity's rules.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::ids::{EntityId, HoldId, OrderId, ProductId, Sku};
use crate::domain::order::{OrderCommand, OrderReply, OrderView};
use crate::domain::product::{ProductCommand, ProductReply, ProductView};
use crate::domain::registry::{AnyCommand, AnyReply, AnyState};
use crate::domain::stock::{HOLDS_PAGE_MAX, HoldView, StockCommand, StockReply, StockView};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;

/// An entity after a record.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The state.
    pub state: AnyState,
    /// The last record in it.
    pub sequence: Sequence,
    /// `at` of that record.
    pub at: Timestamp,
}

/// The entity as far as this node's store knows it; `None` when it never was, or when its journal cannot be replayed:
/// what it did last is then what projections go on showing of it, and others are not held up by it.
pub async fn load(journal: &Journal, group: GroupId, entity: &EntityId) -> Result<Option<Folded>, JournalError> {
    let loaded = journal.load(group, entity).await?;
    let mut folded = match loaded.snapshot {
        Some(snapshot) => Folded { state: snapshot.state, sequence: snapshot.sequence, at: snapshot.at },
        None if loaded.records.is_empty() => return Ok(None),
        None => Folded { state: AnyState::new(entity), sequence: Sequence::ZERO, at: Timestamp::ZERO },
    };
    let replay = move || {
        for record in loaded.records {
            for event in &record.events {
                folded.state.apply(event, record.at);
            }
            (folded.sequence, folded.at) = (record.sequence, record.at);
        }
        folded
    };
    let replayed = catch_unwind(AssertUnwindSafe(replay)).ok();
    if replayed.is_none() {
        tracing::warn!(%group, %entity, "an entity that cannot be replayed is left as it was in lists and search");
    }
    Ok(replayed)
}

impl Folded {
    /// The answer to a read; a rejection means there is nothing to show.
    fn ask(&self, read: AnyCommand) -> Option<AnyReply> {
        self.state.decide(&read, self.at).ok().map(|decision| decision.reply)
    }

    /// The product, unless it was deleted.
    pub fn product(&self) -> Option<ProductView> {
        match self.ask(AnyCommand::Product(ProductCommand::Show))? {
            AnyReply::Product(ProductReply::Shown(view)) => Some(*view),
            _ => None,
        }
    }

    /// The order.
    pub fn order(&self) -> Option<OrderView> {
        match self.ask(AnyCommand::Order(OrderCommand::Show))? {
            AnyReply::Order(OrderReply::Shown(view)) => Some(*view),
            _ => None,
        }
    }

    /// The stock item.
    pub fn stock(&self) -> Option<StockView> {
        match self.ask(AnyCommand::Stock(StockCommand::Show))? {
            AnyReply::Stock(StockReply::Shown(view)) => Some(*view),
            _ => None,
        }
    }

    /// Every live hold of the stock item, in id order.
    pub fn holds(&self) -> Vec<HoldView> {
        let (mut all, mut after): (_, Option<HoldId>) = (Vec::new(), None);
        loop {
            let read = StockCommand::ShowHolds { after, limit: HOLDS_PAGE_MAX };
            let Some(AnyReply::Stock(StockReply::Holds { items, next })) = self.ask(AnyCommand::Stock(read)) else {
                return all;
            };
            all.extend(items);
            match next {
                Some(_) => after = next,
                None => return all,
            }
        }
    }
}

/// The SKU of a stock item's id.
pub fn sku_of(entity: &EntityId) -> Option<Sku> {
    entity.key.parse().ok()
}

/// The product id of a product's id.
pub fn product_of(entity: &EntityId) -> Option<ProductId> {
    entity.key.parse().ok()
}

/// The order id of an order's id.
pub fn order_of(entity: &EntityId) -> Option<OrderId> {
    entity.key.parse().ok()
}
