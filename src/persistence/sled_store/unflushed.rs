//! Changes that sled may not have in its file yet: kept so that a full disk costs waiting and nothing else.
//!
//! sled gives up for good when a write to its file fails; its file then holds some prefix of the batches, at least
//! those before its last flush. What came since is here, in order. Changes are blind, so doing all of them again on a
//! reopened store ends in the state it would have had. Until then they are laid over what the old one can still read,
//! as are those that gather on their way to sled.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::persistence::store::{Direction, Row, Scan, StoreError, WriteBatch};

/// Batches since the last flush, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    batches: VecDeque<WriteBatch>,
    bytes: usize,
}

impl Unflushed {
    /// Takes a batch that was given to sled, or will be.
    pub(super) fn push(&mut self, batch: WriteBatch) {
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
    }

    /// Everything here is in sled's file now.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batches, oldest first.
    pub(super) fn batches(&self) -> impl Iterator<Item = &WriteBatch> {
        self.batches.iter()
    }
}

/// The same changes by key: what a reader must see instead of sled's own rows.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    rows: BTreeMap<Bytes, Option<Bytes>>,
    /// Of all changes that were added, replaced ones included.
    bytes: usize,
}

impl Overlay {
    /// What `unflushed` leads to.
    pub(super) fn of(unflushed: &Unflushed) -> Self {
        let mut overlay = Self::default();
        unflushed.batches().for_each(|batch| overlay.add(batch));
        overlay
    }

    /// Covers nothing any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether it covers nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many keys it covers.
    pub(super) fn changes(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of the changes it was made of.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every key it covers, ascending, and what has become of it.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.rows.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// One more batch.
    pub(super) fn add(&mut self, batch: &WriteBatch) {
        self.bytes += batch.bytes();
        for change in &batch.changes {
            let (key, value) = change.parts();
            self.rows.insert(key.clone(), value.cloned());
        }
    }

    /// The value of a key, if the overlay says anything of it.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.rows.get(key).cloned()
    }

    /// Rows of the scan's range in its direction: the overlay's, and those of `below` that it does not cover.
    pub(super) fn over(
        &self,
        scan: &Scan,
        below: impl Iterator<Item = Result<Row, StoreError>>,
    ) -> impl Iterator<Item = Result<Row, StoreError>> {
        let mine = self.rows.range(scan.from.clone()..scan.to.clone());
        let mut mine: Vec<(Bytes, Option<Bytes>)> = mine.map(|(key, value)| (key.clone(), value.clone())).collect();
        if scan.direction == Direction::Forward {
            mine.reverse();
        }
        // `mine` is now a stack whose top comes first in the scan's direction.
        Merge { mine, below: below.peekable(), direction: scan.direction }
    }
}

struct Merge<I: Iterator<Item = Result<Row, StoreError>>> {
    mine: Vec<(Bytes, Option<Bytes>)>,
    below: std::iter::Peekable<I>,
    direction: Direction,
}

impl<I: Iterator<Item = Result<Row, StoreError>>> Iterator for Merge<I> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let theirs = match self.below.peek() {
                Some(Ok((key, _))) => Some(key),
                Some(Err(_)) => return self.below.next(),
                None => None,
            };
            let Some((key, _)) = self.mine.last() else { return self.below.next() };
            let order = match (theirs, self.direction) {
                (None, _) => std::cmp::Ordering::Less,
                (Some(theirs), Direction::Forward) => key.cmp(theirs),
                (Some(theirs), Direction::Reverse) => theirs.cmp(key),
            };
            if order.is_gt() {
                return self.below.next();
            }
            if order.is_eq() {
                self.below.next();
            }
            if let Some((key, Some(value))) = self.mine.pop() {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> Row {
        (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    }

    #[test]
    fn the_overlay_wins_over_rows_below_in_both_directions() {
        let mut batch = WriteBatch::default();
        batch.put("a", "new");
        batch.put("c", "first");
        batch.put("c", "last");
        batch.delete("d");
        batch.delete("gone");
        let mut unflushed = Unflushed::default();
        unflushed.push(batch);
        let overlay = Overlay::of(&unflushed);
        assert_eq!(overlay.changes(), 4, "each key once");
        assert_eq!(
            (overlay.get(b"c"), overlay.get(b"d"), overlay.get(b"b")),
            (Some(Some("last".into())), Some(None), None)
        );

        let below = [row("b", "old"), row("c", "old"), row("d", "old"), row("e", "old")];
        let expected = [row("a", "new"), row("b", "old"), row("c", "last"), row("e", "old")];
        let scan = |direction| Scan { from: "a".into(), to: "z".into(), direction, rows_max: 99, bytes_max: 9_999 };
        let (forward, reverse) = (scan(Direction::Forward), scan(Direction::Reverse));
        let found = overlay.over(&forward, below.iter().cloned().map(Ok));
        assert_eq!(found.collect::<Result<Vec<Row>, _>>().unwrap(), expected);
        let found = overlay.over(&reverse, below.iter().rev().cloned().map(Ok));
        let mut reverse: Vec<Row> = found.collect::<Result<_, _>>().unwrap();
        reverse.reverse();
        assert_eq!(reverse, expected);
    }
}
