//! Every phase meets every command, and every phase is reached as the table says.

use super::super::table::{PHASES, Ruling, may_follow, ruling};
use super::*;

/// A time at which everything that was waited for is due.
const LATER: Timestamp = Timestamp(90_000_000);

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
    let restock = StockStep::Restock(RefundId(id16(1)));
    let steps = [StockStep::Reserve, StockStep::Commit, StockStep::Release, StockStep::Return, StockStep::Forget];
    for (word, step) in steps.map(|step| (format!("{step:?}"), step)).into_iter().chain([("Restock".into(), restock)]) {
        commands.push((format!("stock {word} yes"), settled(step, Ok(()))));
        commands.push((format!("stock {word} no"), settled(step, gone())));
    }
    for (step, key) in keys() {
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

/// The payment operations and the keys they have at first.
fn keys() -> [(&'static str, String); 4] {
    let order = EntityId::order(order_id(1));
    let of_payment = ["authorise", "capture", "void"].map(|step| (step, format!("{order}/{step}/payment/1")));
    let [authorise, capture, void] = of_payment;
    [authorise, capture, void, ("refund", format!("{order}/refund/{}/1", RefundId(id16(1))))]
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

/// An order for every column: each phase, and what a phase alone does not say.
fn columns() -> Vec<(&'static str, Order)> {
    let labels = ["Re", "Au", "Co", "Cf", "Ca", "Fu", "De", "Un", "Cc", "Fa", "Rf"];
    let mut columns: Vec<_> = labels.into_iter().zip(lasting_phases().map(in_phase)).collect();
    let mut pending = Subject { state: in_phase(Phase::Authorizing), at: Timestamp(2_000_000) };
    let [(_, authorise), ..] = keys();
    pending.yes(OrderCommand::PaymentReported { key: authorise, outcome: PaymentOutcome::Pending });
    let mut voiding = World::confirmed();
    voiding.order.yes(cancel());
    assert_eq!(voiding.phase(), Phase::Unwinding);
    let mut asked = World::fulfilled();
    asked.order.yes(refund(1, None, &[(TEA, 1)], true));
    let mut paid = World::fulfilled();
    paid.order.yes(refund(1, None, &[(TEA, 1)], true));
    paid.order.yes(OrderCommand::Erase);
    let owed = paid.order.state.outstanding();
    let owed = owed.iter().find(|owed| matches!(owed.to, Destination::Payment(_))).expect("the refund is owed");
    let settlement = paid.deliver(owed);
    paid.settle(owed, &settlement);
    columns.extend([
        ("Ap", pending.state),
        ("Uv", voiding.order.state),
        ("Fr", asked.order.state),
        ("Fp", paid.order.state),
    ]);
    columns
}

/// A lookup is heard only while it is asked for: whatever is under way was said to be pending and is looked up.
fn prepared(order: &Order, name: &str) -> Order {
    if !name.ends_with("by lookup") {
        return order.clone();
    }
    let mut subject = Subject { state: order.clone(), at: Timestamp(2_000_000) };
    for (_, key) in keys() {
        subject.yes(OrderCommand::PaymentReported { key, outcome: PaymentOutcome::Pending });
    }
    if let Some((at, command)) = subject.state.deadline() {
        subject.at = subject.at.max(at);
        subject.yes(command);
    }
    subject.state
}

/// Phases in the order of the table, without the first, in which no command ever finds an order; then an authorisation
/// that is pending, a void that is owed, a refund that is owed, and one that is paid while its units and the buyer's
/// key are not dealt with yet.
const EXPECTED: &str = "\
\x20                             Re Au Co Cf Ca Fu De Un Cc Fa Rf Ap Uv Fr Fp
place                          .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
place from another version     r  r  r  r  r  r  r  r  r  r  r  r  r  r  r
stock Reserve yes              +  .  .  .  .  .  .  .  .  .  .  .  .  .  .
stock Reserve no               +  .  .  .  .  .  .  .  .  .  .  .  .  .  .
stock Commit yes               .  .  +  .  .  .  .  .  .  .  .  .  .  .  .
stock Commit no                .  .  +  .  .  .  .  .  .  .  .  .  .  .  .
stock Release yes              .  .  .  .  .  .  .  +  .  .  .  .  .  .  .
stock Release no               .  .  .  .  .  .  .  +  .  .  .  .  .  .  .
stock Return yes               .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
stock Return no                .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
stock Forget yes               .  .  .  .  .  +  .  .  +  .  .  .  .  .  .
stock Forget no                .  .  .  .  .  +  .  .  +  .  .  .  .  .  .
stock Restock yes              .  .  .  .  .  .  .  .  .  .  +  .  .  .  +
stock Restock no               .  .  .  .  .  .  .  .  .  .  +  .  .  .  +
authorise Authorised           .  +  .  .  .  .  .  +  .  +  .  +  .  .  .
authorise Authorised by lookup  .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Declined             .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Declined by lookup   .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Captured             .  +  .  .  .  .  .  .  .  .  .  .  .  .  .
authorise Captured by lookup   .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Voided               .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Voided by lookup     .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Refunded             .  +  .  .  .  .  .  .  .  .  .  .  .  .  .
authorise Refunded by lookup   .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise Pending              .  +  .  .  .  .  .  .  .  .  .  .  .  .  .
authorise Pending by lookup    .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise NeverSeen            .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
authorise NeverSeen by lookup  .  +  .  .  .  .  .  .  .  .  .  +  .  .  .
capture Authorised             .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Authorised by lookup   .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Declined               .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Declined by lookup     .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Captured               .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Captured by lookup     .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Voided                 .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Voided by lookup       .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Refunded               .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Refunded by lookup     .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Pending                .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture Pending by lookup      .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture NeverSeen              .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
capture NeverSeen by lookup    .  .  .  .  +  .  .  .  .  .  .  .  .  .  .
void Authorised                .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Authorised by lookup      .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Declined                  .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Declined by lookup        .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Captured                  .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Captured by lookup        .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Voided                    .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Voided by lookup          .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Refunded                  .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Refunded by lookup        .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Pending                   .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void Pending by lookup         .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void NeverSeen                 .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
void NeverSeen by lookup       .  .  .  .  .  .  .  .  .  .  .  .  +  .  .
refund Authorised              .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Authorised by lookup    .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Declined                .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Declined by lookup      .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Captured                .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Captured by lookup      .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Voided                  .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Voided by lookup        .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Refunded                .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Refunded by lookup      .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Pending                 .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund Pending by lookup       .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund NeverSeen               .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
refund NeverSeen by lookup     .  .  .  .  .  .  .  .  .  .  .  .  .  +  .
poll                           .  .  .  .  .  .  .  .  .  .  .  +  .  .  .
cancel                         +  +  +  +  s  s  s  s  .  s  s  +  .  s  s
fulfil                         s  s  s  +  s  s  s  s  s  s  s  s  s  s  s
deliver                        s  s  s  s  s  +  .  s  s  s  s  s  s  +  +
refund                         s  s  s  s  s  +  +  s  s  s  s  s  s  +  +
refund too much                s  s  s  s  s  r  r  s  s  s  s  s  s  r  r
erase                          s  s  s  s  s  +  +  s  +  +  +  s  s  +  .
buyer erased                   .  .  .  .  .  .  .  .  .  .  .  .  .  .  +
show                           .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
";

/// Placed is left within the record that enters it, so no command ever finds an order there.
fn lasting_phases() -> impl Iterator<Item = Phase> {
    PHASES.into_iter().filter(|phase| *phase != Phase::Placed)
}

#[test]
fn every_command_in_every_phase_comes_to_what_is_written_here() {
    let columns = columns();
    let labels: Vec<_> = columns.iter().map(|(label, _)| *label).collect();
    let mut table = format!("{:<29} {}\n", "", labels.join(" "));
    for (name, command) in every_command() {
        let signs = columns.iter().map(|(_, order)| sign(&prepared(order, &name).decide(&command, LATER)));
        let row: Vec<String> = signs.map(|sign| format!(" {sign}")).collect();
        table.push_str(&format!("{name:<29} {}\n", row.join(" ")));
    }
    assert!(table == EXPECTED, "\n{table}");
}

#[test]
fn what_the_table_refuses_is_refused_and_what_it_ignores_does_nothing() {
    for (label, order) in columns() {
        for (name, command) in every_command() {
            let order = prepared(&order, &name);
            let sign = sign(&order.decide(&command, LATER));
            match ruling(order.phase().unwrap(), &command) {
                Ruling::Refused => assert_eq!(sign, 's', "{name} in {label}"),
                Ruling::Ignored => assert_eq!(sign, '.', "{name} in {label}"),
                Ruling::Decides => {}
            }
        }
    }
}

#[test]
fn every_command_in_every_phase_leaves_an_order_within_its_laws_in_a_phase_that_may_follow() {
    for (label, order) in columns() {
        for (name, command) in every_command() {
            let mut order = Subject { state: prepared(&order, &name), at: LATER };
            let before = order.state.phase().unwrap();
            if order.when(command.clone()).is_ok() {
                assert_eq!(check_order(&order.state), [], "{name} in {label}");
            }
            let after = order.state.phase().unwrap();
            assert!(after == before || may_follow(before, after), "{before:?} → {after:?} by {name}");
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
