//! The keys of the store: the layout as documentation, its builders and its parsers (P24).
//!
//! ```text
//! group u32 BE ‖ area u8 ‖ …                                                     one shard is one range
//!   area 1  entity   kind u8 ‖ key ‖ 00 ‖ part u8 ‖ …                            one entity is one range
//!             part 1  snapshot head    –                                         → codec::SnapshotHead
//!             part 2  snapshot chunk   number u32 BE                             → ≤ 64 KiB of the snapshot's envelope
//!             part 3  batch            first sequence u64 BE                     → codec::BatchRow
//!             part 4  command          command id, 16 bytes                      → records::CommandRow
//!   area 2  wake     time u64 BE ‖ kind u8 ‖ key ‖ 00                            → (empty: the key says it all)
//!   area 3  feed     log index u64 BE                                            → list of codec::FeedItem
//!   area 4  vault    data key id, 16 bytes                                       → the data key
//!   area 5  applied  –                                                           → codec::Applied
//!   area 6  floor    –                                                           → log index of the oldest feed row
//! ffffffff ‖ …                                  rows of the lists, no group's; see `projections::lists::rows`
//! ```
//!
//! Numbers are big-endian, so byte order is numeric order. An entity's key is 1 to 64 visible characters, so the zero
//! byte behind it keeps any entity from being a prefix of another and sorts `TEA` before `TEA-2`. Everything about one
//! entity is adjacent: one scan recovers an actor, one scan moves an entity into a checkpoint.

use bytes::{BufMut, Bytes, BytesMut};

use super::log::GroupId;
use crate::domain::ids::{CommandId, DataKeyId, EntityId};
use crate::domain::registry::Kind;
use crate::domain::time::{Sequence, Timestamp};

/// Largest snapshot chunk. P24 allows 256 KiB; sled moves values of 128 KiB and above into a file of their own, so
/// chunks stay well below that.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

const AREA_ENTITY: u8 = 1;
const AREA_WAKE: u8 = 2;
const AREA_FEED: u8 = 3;
const AREA_VAULT: u8 = 4;
const AREA_APPLIED: u8 = 5;
const AREA_FLOOR: u8 = 6;

const PART_HEAD: u8 = 1;
const PART_CHUNK: u8 = 2;
const PART_BATCH: u8 = 3;
const PART_COMMAND: u8 = 4;

/// Longest key of an entity.
const ENTITY_KEY_BYTES_MAX: usize = 64;

/// A half-open range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Inclusive lower bound.
    pub from: Bytes,
    /// Exclusive upper bound.
    pub to: Bytes,
}

impl KeyRange {
    /// Every key that starts with `prefix`, which must not be all 0xff: ours never are.
    fn of_prefix(prefix: Bytes) -> Self {
        Self { to: after_prefix(&prefix), from: prefix }
    }
}

/// What a row is, read from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedKey {
    /// Which snapshot an entity has.
    SnapshotHead(EntityId),
    /// A piece of a snapshot.
    SnapshotChunk(EntityId, u32),
    /// One batch of an entity's journal.
    Batch(EntityId, Sequence),
    /// One remembered client key.
    Command(EntityId, CommandId),
    /// An entity wants attention at a time.
    Wake(Timestamp, EntityId),
    /// What one log entry stored.
    Feed(u64),
    /// One data key.
    Vault(DataKeyId),
    /// How far the log is applied.
    Applied,
    /// Log index of the oldest feed row kept.
    FeedFloor,
}

impl ParsedKey {
    /// The entity whose row this is; `None` for rows that belong to no single one.
    pub fn entity(self) -> Option<EntityId> {
        match self {
            Self::SnapshotHead(entity)
            | Self::SnapshotChunk(entity, _)
            | Self::Batch(entity, _)
            | Self::Command(entity, _) => Some(entity),
            Self::Wake(..) | Self::Feed(_) | Self::Vault(_) | Self::Applied | Self::FeedFloor => None,
        }
    }
}

/// Everything of one group.
pub fn group_range(group: GroupId) -> KeyRange {
    KeyRange::of_prefix(Bytes::copy_from_slice(&group.0.to_be_bytes()))
}

/// Above every group's keys: group numbers stay far below the largest.
pub fn end_of_groups() -> Bytes {
    Bytes::from_static(&[0xff; 4])
}

/// Everything about every entity of a group, entity by entity.
pub fn entities_range(group: GroupId) -> KeyRange {
    KeyRange::of_prefix(area(group, AREA_ENTITY, 0).freeze())
}

/// Everything about every entity of one kind of a group.
pub fn kind_range(group: GroupId, kind: Kind) -> KeyRange {
    let mut prefix = area(group, AREA_ENTITY, 1);
    prefix.put_u8(kind.number());
    KeyRange::of_prefix(prefix.freeze())
}

/// Everything of a group that does not belong to one entity.
pub fn non_entities_range(group: GroupId) -> KeyRange {
    KeyRange { from: area(group, AREA_ENTITY + 1, 0).freeze(), to: group_range(group).to }
}

/// Everything about one entity: head, chunks, batches, commands, in this order.
pub fn entity_range(group: GroupId, entity: &EntityId) -> KeyRange {
    KeyRange::of_prefix(entity_prefix(group, entity, 0).freeze())
}

/// Head and chunks of an entity's snapshot.
pub fn snapshot_range(group: GroupId, entity: &EntityId) -> KeyRange {
    KeyRange { from: entity_part(group, entity, PART_HEAD, 0).freeze(), to: batches_range(group, entity).from }
}

/// Which snapshot an entity has.
pub fn snapshot_head(group: GroupId, entity: &EntityId) -> Bytes {
    entity_part(group, entity, PART_HEAD, 0).freeze()
}

/// One piece of a snapshot.
pub fn snapshot_chunk(group: GroupId, entity: &EntityId, number: u32) -> Bytes {
    let mut key = entity_part(group, entity, PART_CHUNK, 4);
    key.put_u32(number);
    key.freeze()
}

/// All batches of an entity.
pub fn batches_range(group: GroupId, entity: &EntityId) -> KeyRange {
    KeyRange::of_prefix(entity_part(group, entity, PART_BATCH, 0).freeze())
}

/// The batch that starts with this record.
pub fn batch(group: GroupId, entity: &EntityId, first_sequence: Sequence) -> Bytes {
    let mut key = entity_part(group, entity, PART_BATCH, 8);
    key.put_u64(first_sequence.0);
    key.freeze()
}

/// All remembered client keys of an entity.
pub fn commands_range(group: GroupId, entity: &EntityId) -> KeyRange {
    KeyRange::of_prefix(entity_part(group, entity, PART_COMMAND, 0).freeze())
}

/// One remembered client key.
pub fn command(group: GroupId, entity: &EntityId, command: CommandId) -> Bytes {
    let mut key = entity_part(group, entity, PART_COMMAND, 16);
    key.put_slice(&command.0);
    key.freeze()
}

/// All wake rows of a group that are due at `until` or earlier; all of them for the end of time.
pub fn wakes_range(group: GroupId, until: Timestamp) -> KeyRange {
    let prefix = area(group, AREA_WAKE, 0).freeze();
    let to = match until.0.checked_add(1) {
        Some(after) => {
            let mut key = area(group, AREA_WAKE, 8);
            key.put_u64(after);
            key.freeze()
        }
        None => after_prefix(&prefix),
    };
    KeyRange { from: prefix, to }
}

/// The wish of an entity to be woken at a time.
pub fn wake(group: GroupId, at: Timestamp, entity: &EntityId) -> Bytes {
    let mut key = area(group, AREA_WAKE, 8 + 2 + entity.key.len());
    key.put_u64(at.0);
    put_entity(&mut key, entity);
    key.freeze()
}

/// Feed rows of a group from a log index on.
pub fn feed_range(group: GroupId, from: u64) -> KeyRange {
    KeyRange { from: feed(group, from), to: after_prefix(&area(group, AREA_FEED, 0)) }
}

/// What one log entry stored.
pub fn feed(group: GroupId, log_index: u64) -> Bytes {
    let mut key = area(group, AREA_FEED, 8);
    key.put_u64(log_index);
    key.freeze()
}

/// One data key (P22).
pub fn vault(group: GroupId, data_key: DataKeyId) -> Bytes {
    let mut key = area(group, AREA_VAULT, 16);
    key.put_slice(&data_key.0);
    key.freeze()
}

/// How far a group's log is applied.
pub fn applied(group: GroupId) -> Bytes {
    area(group, AREA_APPLIED, 0).freeze()
}

/// Below which log index feed rows are gone.
pub fn feed_floor(group: GroupId) -> Bytes {
    area(group, AREA_FLOOR, 0).freeze()
}

/// Reads a key. `None` for anything this layout does not make.
pub fn parse(key: &[u8]) -> Option<(GroupId, ParsedKey)> {
    let (group, rest) = key.split_first_chunk::<4>()?;
    let (area, rest) = rest.split_first()?;
    let parsed = match *area {
        AREA_ENTITY => parse_entity_row(rest)?,
        AREA_WAKE => {
            let (at, rest) = rest.split_first_chunk::<8>()?;
            let (entity, rest) = split_entity(rest)?;
            rest.is_empty().then_some(ParsedKey::Wake(Timestamp(u64::from_be_bytes(*at)), entity))?
        }
        AREA_FEED => ParsedKey::Feed(u64::from_be_bytes(rest.try_into().ok()?)),
        AREA_VAULT => ParsedKey::Vault(DataKeyId(rest.try_into().ok()?)),
        AREA_APPLIED if rest.is_empty() => ParsedKey::Applied,
        AREA_FLOOR if rest.is_empty() => ParsedKey::FeedFloor,
        _ => return None,
    };
    Some((GroupId(u32::from_be_bytes(*group)), parsed))
}

fn parse_entity_row(rest: &[u8]) -> Option<ParsedKey> {
    let (entity, rest) = split_entity(rest)?;
    let (part, rest) = rest.split_first()?;
    match *part {
        PART_HEAD if rest.is_empty() => Some(ParsedKey::SnapshotHead(entity)),
        PART_CHUNK => Some(ParsedKey::SnapshotChunk(entity, u32::from_be_bytes(rest.try_into().ok()?))),
        PART_BATCH => Some(ParsedKey::Batch(entity, Sequence(u64::from_be_bytes(rest.try_into().ok()?)))),
        PART_COMMAND => Some(ParsedKey::Command(entity, CommandId(rest.try_into().ok()?))),
        _ => None,
    }
}

fn split_entity(bytes: &[u8]) -> Option<(EntityId, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let end = rest.iter().take(ENTITY_KEY_BYTES_MAX + 1).position(|byte| *byte == 0)?;
    let key = std::str::from_utf8(&rest[..end]).ok().filter(|key| !key.is_empty())?;
    Some((EntityId { kind: Kind::from_number(*kind)?, key: key.into() }, &rest[end + 1..]))
}

fn area(group: GroupId, area: u8, room: usize) -> BytesMut {
    let mut key = BytesMut::with_capacity(5 + room);
    key.put_u32(group.0);
    key.put_u8(area);
    key
}

fn entity_prefix(group: GroupId, entity: &EntityId, room: usize) -> BytesMut {
    let mut key = area(group, AREA_ENTITY, 2 + entity.key.len() + room);
    put_entity(&mut key, entity);
    key
}

fn entity_part(group: GroupId, entity: &EntityId, part: u8, room: usize) -> BytesMut {
    let mut key = entity_prefix(group, entity, 1 + room);
    key.put_u8(part);
    key
}

fn put_entity(key: &mut BytesMut, entity: &EntityId) {
    let bytes = entity.key.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= ENTITY_KEY_BYTES_MAX && !bytes.contains(&0),
        "KEY-1: an entity's key is 1 to 64 visible characters, not {:?}",
        entity.key
    );
    key.put_u8(entity.kind.number());
    key.put_slice(bytes);
    key.put_u8(0);
}

/// The first key that does not start with `prefix`.
fn after_prefix(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff).expect("no prefix of ours is all 0xff");
    let mut after = prefix[..=kept].to_vec();
    after[kept] += 1;
    after.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tea(key: &str) -> EntityId {
        EntityId { kind: Kind::Stock, key: key.into() }
    }

    #[test]
    fn layout_is_pinned() {
        let group = GroupId(3);
        let golden = [
            (snapshot_head(group, &tea("TEA")), "000000030101544541 00 01"),
            (snapshot_chunk(group, &tea("TEA"), 7), "000000030101544541 00 02 00000007"),
            (batch(group, &tea("TEA"), Sequence(258)), "000000030101544541 00 03 0000000000000102"),
            (
                command(group, &tea("TEA"), CommandId([9; 16])),
                "000000030101544541 00 04 09090909090909090909090909090909",
            ),
            (wake(group, Timestamp(5), &tea("TEA")), "00000003 02 0000000000000005 01 544541 00"),
            (feed(group, 6), "00000003 03 0000000000000006"),
            (vault(group, DataKeyId([8; 16])), "00000003 04 08080808080808080808080808080808"),
            (applied(group), "00000003 05"),
            (feed_floor(group), "00000003 06"),
        ];
        for (key, expected) in golden {
            assert_eq!(hex::encode(&key), expected.replace(' ', ""));
        }
    }

    #[test]
    fn no_entity_is_inside_another_ones_range() {
        let range = entity_range(GroupId(1), &tea("TEA"));
        for other in ["TE", "TEA-2", "TEAA", "TEB", "SEA"] {
            let key = batch(GroupId(1), &tea(other), Sequence(1));
            assert!(key < range.from || key >= range.to, "{other} lies inside TEA");
        }
        assert!(range.from <= command(GroupId(1), &tea("TEA"), CommandId([0xff; 16])));
        assert!(command(GroupId(1), &tea("TEA"), CommandId([0xff; 16])) < range.to);
    }

    #[test]
    fn the_last_possible_group_still_has_an_end() {
        assert!(area(GroupId(u32::MAX - 1), AREA_FLOOR, 0).freeze() < group_range(GroupId(u32::MAX - 1)).to);
    }

    fn any_entity() -> impl Strategy<Value = EntityId> {
        (0..Kind::ALL.len(), "[A-Za-z0-9._-]{1,64}")
            .prop_map(|(kind, key)| EntityId { kind: Kind::ALL[kind], key: key.into() })
    }

    proptest! {
        #[test]
        fn every_key_parses_back(entity in any_entity(), group in 0..1000_u32, number: u64, id: [u8; 16]) {
            let group = GroupId(group);
            let chunk = number as u32;
            let expected = [
                (snapshot_head(group, &entity), ParsedKey::SnapshotHead(entity.clone())),
                (snapshot_chunk(group, &entity, chunk), ParsedKey::SnapshotChunk(entity.clone(), chunk)),
                (batch(group, &entity, Sequence(number)), ParsedKey::Batch(entity.clone(), Sequence(number))),
                (command(group, &entity, CommandId(id)), ParsedKey::Command(entity.clone(), CommandId(id))),
                (wake(group, Timestamp(number), &entity), ParsedKey::Wake(Timestamp(number), entity)),
                (feed(group, number), ParsedKey::Feed(number)),
                (vault(group, DataKeyId(id)), ParsedKey::Vault(DataKeyId(id))),
                (applied(group), ParsedKey::Applied),
                (feed_floor(group), ParsedKey::FeedFloor),
            ];
            for (key, parsed) in expected {
                prop_assert_eq!(parse(&key), Some((group, parsed)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }
    }
}
