//! The order's two tables, as data: which phase may follow which, and what each command meets in each phase.
//!
//! `decide` asks the second before any rule is looked at; every `Entered` event is held against the first. A test walks
//! all pairs, so a phase or a command without a row does not exist.

use super::command::OrderCommand;
use super::event::Phase;

/// What a command meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// Its function decides.
    Decides,
    /// Nobody waits for it: accepted, nothing happens.
    Ignored,
    /// `OrderState`.
    Refused,
}

use self::Ruling::{Decides as D, Ignored as I, Refused as R};

/// Phases in column order.
#[cfg(test)]
pub(super) const PHASES: [Phase; 12] = [
    Phase::Placed,
    Phase::Reserving,
    Phase::Authorizing,
    Phase::Committing,
    Phase::Confirmed,
    Phase::Capturing,
    Phase::Fulfilled,
    Phase::Delivered,
    Phase::Unwinding,
    Phase::Cancelled,
    Phase::Failed,
    Phase::Refunded,
];

/// One row per command; columns as in [`PHASES`]. An order that was never placed takes Place only.
const RULINGS: [(&str, [Ruling; 12]); 12] = [
    //                    Pl Re Au Co Cf Ca Fu De Un Cc Fa Rf
    ("place", /*       */ [D, D, D, D, D, D, D, D, D, D, D, D]),
    ("stock_settled", /**/ [I, D, I, D, D, D, D, D, D, D, D, D]),
    ("payment_reported", [I, I, D, D, D, D, D, D, D, D, D, D]),
    ("payment_looked_up", [I, I, D, D, D, D, D, D, D, D, D, D]),
    ("poll", /*        */ [I, I, D, D, D, D, D, D, D, D, D, D]),
    ("cancel", /*      */ [D, D, D, D, D, R, R, R, D, D, R, R]),
    ("fulfil", /*      */ [R, R, R, R, D, D, R, R, R, R, R, R]),
    ("deliver", /*     */ [R, R, R, R, R, R, D, D, R, R, R, R]),
    ("refund", /*      */ [R, R, R, R, D, D, D, D, R, R, R, D]),
    ("erase", /*       */ [R, R, R, R, R, R, D, D, R, D, D, D]),
    ("buyer_erased", /**/ [I, I, I, I, I, I, D, D, I, D, D, D]),
    ("show", /*        */ [D, D, D, D, D, D, D, D, D, D, D, D]),
];

/// What `command` meets in `phase`.
pub(super) fn ruling(phase: Phase, command: &OrderCommand) -> Ruling {
    use crate::domain::entity::Command;
    let name = command.name();
    let (_, row) = RULINGS.iter().find(|(row, _)| *row == name).expect("ORD-7: every command has a row");
    row[phase as usize]
}

/// Phases that may follow each phase. Terminal phases are followed by none.
const FOLLOWERS: [(Phase, &[Phase]); 12] = [
    (Phase::Placed, &[Phase::Reserving]),
    (Phase::Reserving, &[Phase::Authorizing, Phase::Unwinding]),
    (Phase::Authorizing, &[Phase::Committing, Phase::Unwinding]),
    (Phase::Committing, &[Phase::Confirmed, Phase::Unwinding]),
    (Phase::Confirmed, &[Phase::Capturing, Phase::Fulfilled, Phase::Unwinding, Phase::Refunded]),
    (Phase::Capturing, &[Phase::Confirmed, Phase::Fulfilled]),
    (Phase::Fulfilled, &[Phase::Delivered, Phase::Refunded]),
    (Phase::Delivered, &[Phase::Refunded]),
    (Phase::Unwinding, &[Phase::Cancelled, Phase::Failed]),
    (Phase::Cancelled, &[]),
    (Phase::Failed, &[]),
    (Phase::Refunded, &[]),
];

/// Whether `to` may follow `from`.
pub(super) fn may_follow(from: Phase, to: Phase) -> bool {
    FOLLOWERS[from as usize].1.contains(&to)
}
