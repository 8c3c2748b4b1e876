//! Every phase meets every command, and every phase is reached as the table says.

use super::super::table::{PHASES, Ruling, may_follow, ruling};
use super::*;

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

/// Every command, news of payments with every outcome, each with the name of its row below.
fn every_command() -> Vec<(String, OrderCommand)> {
    let settled = |step, outcome| OrderCommand::StockSettled { sku: sku(TEA), step, outcome };
    let elsewhere = Placement { cart_version: 5, ..placement() };
    let gone = || Err(Rejection::HoldNotFound { sku: sku(TEA), hold: HoldId(id16(1)) });
    let mut commands = vec![
        ("place".to_owned(), OrderCommand::Place(Arc::new(placement()))),
        ("place from another version".to_owned(), OrderCommand::Place(Arc::new(elsewhere))),
    ];
    let steps = [StockStep::Reserve, StockStep::Commit, StockStep::Release, StockStep::Return, StockStep::Forget];
    for step in steps {
        commands.push((format!("stock {step:?} yes"), settled(step, Ok(()))));
        commands.push((format!("stock {step:?} no"), settled(step, gone())));
    }
    let order = EntityId::order(order_id(1));
    for step in ["authorise", "capture", "void"] {
        let key = format!("{order}/{step}/payment/1");
        for outcome in super::model_tests::every_outcome() {
            let word = format!("{outcome:?}").split(' ').next().unwrap().to_owned();
            let (known, found) = (outcome.clone(), outcome);
            let reported = OrderCommand::PaymentReported { key: key.clone(), outcome: known };
            commands.push((format!("{step} {word}"), reported));
            let looked_up = OrderCommand::PaymentLookedUp { key: key.clone(), poll: 1, outcome: found };
            commands.push((format!("{step} {word} by lookup"), looked_up));
        }
    }
    let others = [
        ("poll", OrderCommand::Poll),
        ("cancel", cancel()),
        ("fulfil", fulfil(&[])),
        ("deliver", OrderCommand::Deliver),
        ("refund", refund(7, Some(1), &[], false)),
        ("refund too much", refund(7, Some(1 << 40), &[], false)),
        ("erase", OrderCommand::Erase),
        ("buyer erased", OrderCommand::BuyerErased),
        ("show", OrderCommand::Show),
    ];
    commands.extend(others.map(|(name, command)| (name.to_owned(), command)));
    commands
}

/// What became of a command: `+` something happened, `.` accepted and nothing happened, `s` not in this state, `r`
/// refused for another reason.
fn sign(decided: &super::super::decide::Outcome) -> char {
    match decided {
        Ok(decision) if decision.events.is_empty() => '.',
        Ok(_) => '+',
        Err(Rejection::OrderState { .. }) => 's',
        Err(_) => 'r',
    }
}

/// A lookup is heard only while it is asked for: the order in this phase whose authorisation, if it is under way, was
/// said to be pending and is being looked up.
fn prepared(phase: Phase, name: &str) -> Order {
    let order = in_phase(phase);
    if !name.ends_with("by lookup") {
        return order;
    }
    let mut subject = Subject { state: order, at: Timestamp(2_000_000) };
    let words = ["authorise", "capture", "void"];
    for word in words {
        let key = format!("{}/{word}/payment/1", EntityId::order(order_id(1)));
        subject.yes(OrderCommand::PaymentReported { key, outcome: PaymentOutcome::Pending });
    }
    if let Some((at, command)) = subject.state.deadline() {
        subject.at = subject.at.max(at);
        subject.yes(command);
    }
    subject.state
}

/// Phases in the order of the table, without the first, in which no command ever finds an order.
const EXPECTED: &str = "\
";

/// Placed is left within the record that enters it, so no command ever finds an order there.
fn lasting_phases() -> impl Iterator<Item = Phase> {
    PHASES.into_iter().filter(|phase| *phase != Phase::Placed)
}

#[test]
fn every_command_in_every_phase_comes_to_what_is_written_here() {
    let mut table = String::from("                              Re Au Co Cf Ca Fu De Un Cc Fa Rf\n");
    for (name, command) in every_command() {
        let signs = lasting_phases().map(|phase| sign(&prepared(phase, &name).decide(&command, Timestamp(90_000_000))));
        let row: Vec<String> = signs.map(|sign| format!(" {sign}")).collect();
        table.push_str(&format!("{name:<30}{}\n", row.join(" ")));
    }
    assert!(table == EXPECTED, "\n{table}");
}

#[test]
fn what_the_table_refuses_is_refused_and_what_it_ignores_does_nothing() {
    for phase in lasting_phases() {
        for (name, command) in every_command() {
            let sign = sign(&prepared(phase, &name).decide(&command, Timestamp(90_000_000)));
            match ruling(phase, &command) {
                Ruling::Refused => assert_eq!(sign, 's', "{name} in {phase:?}"),
                Ruling::Ignored => assert_eq!(sign, '.', "{name} in {phase:?}"),
                Ruling::Decides => {}
            }
        }
    }
}

#[test]
fn every_command_in_every_phase_leaves_an_order_within_its_laws_in_a_phase_that_may_follow() {
    for phase in lasting_phases() {
        for (name, command) in every_command() {
            let mut order = Subject { state: prepared(phase, &name), at: Timestamp(90_000_000) };
            if order.when(command.clone()).is_ok() {
                assert_eq!(check_order(&order.state), [], "{name} in {phase:?}");
            }
            let after = order.state.phase().unwrap();
            assert!(after == phase || may_follow(phase, after), "{phase:?} → {after:?} by {name}");
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
