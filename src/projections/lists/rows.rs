//! The rows the lists keep in the store, beside the journals but in no group's range: they can be built again.
//!
//! ```text
//! ffffffff ‖ area u8 ‖ …
//!   area 1  layout        –                                              → VERSION
//!   area 2  cursor        group u32 BE                                   → log index, everything up to it is in
//!   area 3  availability  sku                                            → StockRow
//!   area 4  low stock     available u64 BE ‖ sku                         → StockRow
//!   area 5  orders        state u8 ‖ u64::MAX − placed at, BE ‖ order id → OrderItem
//!   area 6  order places  order id                                       → the state whose list the order is in
//!   area 7  order counts  –                                              → orders in each state
//!   area 8  order holds   sku ‖ 00 ‖ hold id                             → OrderHold
//!   area 9  hold count    –                                              → live holds of all SKUs
//! ```
//!
//! Raising [`VERSION`] makes every node drop all of them at the next start and build them anew.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::holds::HoldPlace;
use crate::domain::entity::Codec;
use crate::domain::ids::{HoldId, OrderId, ProductId, Sku};
use crate::domain::order::OrderState;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::codec::{Bincode, DecodeError};
use crate::persistence::envelope::{self, ValueKind};
use crate::persistence::log::GroupId;

/// Layout number of keys and values.
pub const VERSION: u16 = 3;

const PREFIX: [u8; 4] = [0xff; 4];
const AREA_LAYOUT: u8 = 1;
const AREA_CURSOR: u8 = 2;
const AREA_STOCK: u8 = 3;
const AREA_LOW: u8 = 4;
const AREA_ORDERS: u8 = 5;
const AREA_PLACES: u8 = 6;
const AREA_COUNTS: u8 = 7;
const AREA_ORDER_HOLDS: u8 = 8;
const AREA_HOLD_COUNT: u8 = 9;
/// Areas from here on are not the lists'; see `webhook_cursors`.
const AREAS_END: u8 = 0x80;

/// What is known of a SKU's units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    /// The group its stock item lives in.
    pub group: GroupId,
    /// The last record taken into account.
    pub sequence: Sequence,
    /// Units that can be sold.
    pub available: u64,
    /// Live holds.
    pub holds: u64,
    /// Who lists it and under which title.
    pub listing: Option<(ProductId, String)>,
}

/// Orders in each state, in the order of [`OrderState::ALL`].
pub type OrderCounts = [u64; OrderState::ALL.len()];

/// Bounds of a scan: inclusive, exclusive.
pub type Bounds = (Bytes, Bytes);

/// Everything the lists keep.
pub fn everything() -> Bounds {
    (key(0, 0).freeze(), key(AREAS_END, 0).freeze())
}

/// Where the layout number is.
pub fn layout() -> Bytes {
    key(AREA_LAYOUT, 0).freeze()
}

/// How far a group's feed is.
pub fn cursor(group: GroupId) -> Bytes {
    let mut key = key(AREA_CURSOR, 4);
    key.put_u32(group.0);
    key.freeze()
}

/// All cursors.
pub fn cursors() -> Bounds {
    (key(AREA_CURSOR, 0).freeze(), key(AREA_CURSOR + 1, 0).freeze())
}

/// The group of a cursor's key.
pub fn group_of_cursor(key: &[u8]) -> Option<GroupId> {
    let group = key.get(PREFIX.len() + 1..)?;
    Some(GroupId(u32::from_be_bytes(group.try_into().ok()?)))
}

/// What is known of a SKU.
pub fn stock(sku: &Sku) -> Bytes {
    let mut key = key(AREA_STOCK, sku.as_str().len());
    key.put_slice(sku.as_str().as_bytes());
    key.freeze()
}

/// The place of a SKU in the low stock list.
pub fn low(available: u64, sku: &str) -> Bytes {
    let mut key = key(AREA_LOW, 8 + sku.len());
    key.put_u64(available);
    key.put_slice(sku.as_bytes());
    key.freeze()
}

/// The low stock list from just behind a place, up to and including so many units.
pub fn low_range(after: Option<(u64, &str)>, most: u64) -> Bounds {
    let from = after.map_or_else(|| low(0, ""), |(available, sku)| just_after(&low(available, sku)));
    (from, low(most.saturating_add(1), ""))
}

/// The SKU of a low stock key.
pub fn sku_of_low(key: &[u8]) -> Option<Sku> {
    std::str::from_utf8(key.get(PREFIX.len() + 1 + 8..)?).ok()?.parse().ok()
}

/// The place of an order among those of a state, newest first.
pub fn order(state: OrderState, placed_at: Timestamp, id: OrderId) -> Bytes {
    let mut key = orders_since(state, placed_at);
    key.put_slice(&id.0);
    key.freeze()
}

/// In which state's list an order is.
pub fn order_place(id: OrderId) -> Bytes {
    let mut key = key(AREA_PLACES, id.0.len());
    key.put_slice(&id.0);
    key.freeze()
}

/// Orders in each state.
pub fn order_counts() -> Bytes {
    key(AREA_COUNTS, 0).freeze()
}

/// An order's live hold.
pub fn order_hold((sku, hold): &HoldPlace) -> Bytes {
    let mut key = key(AREA_ORDER_HOLDS, sku.as_str().len() + 1 + hold.0.len());
    key.put_slice(sku.as_str().as_bytes());
    key.put_u8(0);
    key.put_slice(&hold.0);
    key.freeze()
}

/// All orders' live holds.
pub fn order_holds() -> Bounds {
    (key(AREA_ORDER_HOLDS, 0).freeze(), key(AREA_ORDER_HOLDS + 1, 0).freeze())
}

/// The place in the key of an order's hold.
pub fn place_of_order_hold(key: &[u8]) -> Option<HoldPlace> {
    let (sku, hold) = key.get(PREFIX.len() + 1..)?.split_last_chunk::<16>()?;
    let sku = std::str::from_utf8(sku.strip_suffix(&[0])?).ok()?.parse().ok()?;
    Some((sku, HoldId(*hold)))
}

/// Live holds of all SKUs.
pub fn hold_count() -> Bytes {
    key(AREA_HOLD_COUNT, 0).freeze()
}

fn orders_since(state: OrderState, placed_at: Timestamp) -> BytesMut {
    let mut key = key(AREA_ORDERS, 1 + 8 + 16);
    key.put_u8(state_number(state));
    key.put_u64(u64::MAX - placed_at.0);
    key
}

/// Orders of a state, newest first, from just behind a place, placed within these times.
pub fn orders_range(
    state: OrderState,
    after: Option<(Timestamp, OrderId)>,
    placed: RangeInclusive<Timestamp>,
) -> Bounds {
    let from = match after {
        Some((placed_at, id)) => just_after(&order(state, placed_at, id)),
        None => orders_since(state, *placed.end()).freeze(),
    };
    let to = match placed.start().0.checked_sub(1) {
        Some(before) => orders_since(state, Timestamp(before)).freeze(),
        None => {
            let mut key = key(AREA_ORDERS, 1);
            key.put_u8(state_number(state) + 1);
            key.freeze()
        }
    };
    (from, to)
}

/// On disk; never renumber.
fn state_number(state: OrderState) -> u8 {
    match state {
        OrderState::Placed => 1,
        OrderState::Reserving => 2,
        OrderState::Authorizing => 3,
        OrderState::Confirmed => 4,
        OrderState::Fulfilled => 5,
        OrderState::Delivered => 6,
        OrderState::Cancelled => 7,
        OrderState::Failed => 8,
        OrderState::Refunded => 9,
    }
}

/// A value in its envelope.
pub fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let mut payload = Vec::new();
    Bincode::encode(value, &mut payload);
    envelope::seal(ValueKind::ListRow, VERSION, &payload)
}

/// The value in an envelope.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let opened = envelope::open(ValueKind::ListRow, bytes)?;
    if opened.version != VERSION {
        return Err(DecodeError::UnknownVersion { version: opened.version, newest: VERSION });
    }
    Bincode::decode(opened.payload)
}

fn key(area: u8, room: usize) -> BytesMut {
    let mut key = BytesMut::with_capacity(PREFIX.len() + 1 + room);
    key.put_slice(&PREFIX);
    key.put_u8(area);
    key
}

fn just_after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.put_slice(key);
    after.put_u8(0);
    after.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pinned() {
        let sku: Sku = "TEA".parse().unwrap();
        let golden = [
            (layout(), "ffffffff 01"),
            (cursor(GroupId(3)), "ffffffff 02 00000003"),
            (stock(&sku), "ffffffff 03 544541"),
            (low(258, "TEA"), "ffffffff 04 0000000000000102 544541"),
            (
                order(OrderState::Confirmed, Timestamp(1), OrderId([9; 16])),
                "ffffffff 05 04 fffffffffffffffe 09090909090909090909090909090909",
            ),
            (order_place(OrderId([9; 16])), "ffffffff 06 09090909090909090909090909090909"),
            (order_counts(), "ffffffff 07"),
            (order_hold(&(sku.clone(), HoldId([9; 16]))), "ffffffff 08 544541 00 09090909090909090909090909090909"),
            (hold_count(), "ffffffff 09"),
        ];
        for (key, expected) in golden {
            assert_eq!(hex::encode(&key), expected.replace(' ', ""));
        }
        let place = (sku, HoldId([9; 16]));
        assert_eq!(place_of_order_hold(&order_hold(&place)), Some(place));
        let row = StockRow {
            group: GroupId(3),
            sequence: Sequence(7),
            available: 2,
            holds: 5,
            listing: Some(("tea".parse().unwrap(), "Tea".to_owned())),
        };
        let bytes = seal(&row);
        assert_eq!(hex::encode(&bytes[envelope::HEADER_BYTES..]), "0307020501037465610354 6561".replace(' ', ""));
        assert_eq!(open::<StockRow>(&bytes), Ok(row));
    }

    #[test]
    fn newer_orders_sort_first_and_a_range_holds_exactly_its_times() {
        let key = |at| order(OrderState::Placed, Timestamp(at), OrderId([1; 16]));
        assert!(key(9) < key(8));
        let (from, to) = orders_range(OrderState::Placed, None, Timestamp(5)..=Timestamp(8));
        let inside: Vec<u64> = (0..12).filter(|at| (from.as_ref()..to.as_ref()).contains(&key(*at).as_ref())).collect();
        assert_eq!(inside, [5, 6, 7, 8]);
        let (from, to) = orders_range(OrderState::Placed, None, Timestamp(0)..=Timestamp(u64::MAX));
        assert!(
            from <= key(u64::MAX) && key(0) < to && to <= order(OrderState::Reserving, Timestamp(9), OrderId([0; 16]))
        );
    }
}
