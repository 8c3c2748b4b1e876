//! Every phase meets every command, and every phase is reached as the table says.

use super::super::table::{PHASES, Ruling, may_follow, ruling};
use super::*;
use crate::domain::entity::Command;

/// An order in each phase, made by living through it.
fn in_phase(phase: Phase) -> Order {
    let mut world = World::placed(placement());
    let failing = matches!(phase, Phase::Unwinding | Phase::Failed);
    if failing {
        world.ledger.moods.push_back(declined());
    }
    let mut seen = vec![];
    let mut wishes = vec![fulfil(&[]), OrderCommand::Deliver, refund(1, None, &[], true)];
    if phase == Phase::Cancelled {
        wishes = vec![cancel()];
    }
    wishes.reverse();
    for _ in 0..40 {
        if world.phase() == phase {
            return world.order.state;
        }
        seen.push(world.phase());
        if world.owed().is_empty() {
            world.order.yes(wishes.pop().expect("the phase is on this way"));
        } else {
            let owed = world.order.state.outstanding().remove(0);
            let settlement = world.deliver(&owed);
            world.settle(&owed, &settlement);
        }
    }
    panic!("{phase:?} is not reached: {seen:?}");
}

fn every_command() -> Vec<OrderCommand> {
    let key = format!("{}/authorise/payment/1", EntityId::order(order_id(1)));
    vec![
        OrderCommand::Place(Arc::new(placement())),
        OrderCommand::StockSettled { sku: sku(TEA), step: StockStep::Reserve, outcome: Ok(()) },
        OrderCommand::PaymentReported { key: key.clone(), outcome: PaymentOutcome::Authorised },
        OrderCommand::PaymentLookedUp { key, poll: 1, outcome: PaymentOutcome::Authorised },
        OrderCommand::Poll,
        cancel(),
        fulfil(&[]),
        OrderCommand::Deliver,
        refund(7, Some(1), &[], false),
        OrderCommand::Erase,
        OrderCommand::BuyerErased,
        OrderCommand::Show,
    ]
}

/// Placed is left within the record that enters it, so no command ever finds an order there.
fn lasting_phases() -> impl Iterator<Item = Phase> {
    PHASES.into_iter().filter(|phase| *phase != Phase::Placed)
}

#[test]
fn every_command_in_every_phase_meets_what_the_table_says() {
    for phase in lasting_phases() {
        let order = in_phase(phase);
        for command in every_command() {
            let decided = order.decide(&command, Timestamp(2_000_000));
            let what = format!("{} in {phase:?}: {decided:?}", command.name());
            match ruling(phase, &command) {
                Ruling::Refused => assert!(matches!(decided, Err(Rejection::OrderState { .. })), "{what}"),
                Ruling::Ignored => assert!(decided.is_ok_and(|decision| decision.events.is_empty()), "{what}"),
                Ruling::Decides => {
                    let facts = matches!(decided, Err(Rejection::OrderState { .. }));
                    assert!(decided.is_ok() || facts, "{what}");
                }
            }
        }
    }
}

#[test]
fn every_command_in_every_phase_leaves_an_order_within_its_laws_in_a_phase_that_may_follow() {
    for phase in lasting_phases() {
        for command in every_command() {
            let mut order = Subject { state: in_phase(phase), at: Timestamp(2_000_000) };
            if order.when(command.clone()).is_ok() {
                assert_eq!(order.state.breaches(), [], "{} in {phase:?}", command.name());
            }
            let after = order.state.phase().unwrap();
            assert!(after == phase || may_follow(phase, after), "{phase:?} → {after:?} by {}", command.name());
        }
    }
}

#[test]
fn columns_and_rows_of_the_table_are_in_the_order_of_the_phases() {
    for (index, phase) in PHASES.into_iter().enumerate() {
        assert_eq!(phase as usize, index);
    }
    let terminal: Vec<_> =
        PHASES.into_iter().filter(|from| !PHASES.into_iter().any(|to| may_follow(*from, to))).collect();
    assert_eq!(terminal, [Phase::Cancelled, Phase::Failed, Phase::Refunded]);
}
