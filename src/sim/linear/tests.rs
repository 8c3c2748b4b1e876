use super::*;
use crate::sim::history::{Ask, Label};

fn row(fact: Fact) -> Row {
    Row { at_ms: 0, actor: String::new(), fact }
}

fn asked(entity: &str, ask: Ask) -> Row {
    row(Fact::Asked { entity: entity.to_owned(), ask })
}

fn answered(request: u64, said: Said) -> Row {
    row(Fact::Answered { request, attempts: 1, said })
}

fn laws(history: &[Row]) -> usize {
    let report = judge(history, true);
    assert!(report.undecided.is_empty());
    report.complaints.len()
}

#[test]
fn a_read_after_a_hold_must_see_it() {
    let history = |available| {
        vec![
            asked("stock/A", Ask::Receive { units: 5 }),
            answered(0, Said::Yes),
            asked("stock/A", Ask::Hold { units: 2, ttl_s: 60 }),
            answered(2, Said::Held { hold: "h".to_owned() }),
            asked("stock/A", Ask::ReadStock),
            answered(4, Said::Available { units: available }),
        ]
    };
    assert_eq!(laws(&history(3)), 0);
    assert_eq!(laws(&history(5)), 1);
}

#[test]
fn a_refusal_of_units_that_were_there_fits_no_order() {
    let history = |asked_for| {
        vec![
            asked("stock/A", Ask::Receive { units: 5 }),
            answered(0, Said::Yes),
            asked("stock/A", Ask::Hold { units: asked_for, ttl_s: 60 }),
            answered(2, Said::No { code: "insufficient_stock".to_owned() }),
        ]
    };
    assert_eq!(laws(&history(6)), 0);
    assert_eq!(laws(&history(5)), 1);
}

#[test]
fn concurrent_requests_may_have_been_in_either_order_and_unknown_ones_never() {
    let mut history = vec![
        asked("stock/A", Ask::Receive { units: 1 }),
        answered(0, Said::Yes),
        asked("stock/A", Ask::Hold { units: 1, ttl_s: 60 }),
        asked("stock/A", Ask::ReadStock),
        answered(3, Said::Available { units: 1 }),
    ];
    assert_eq!(laws(&history), 0);
    history.push(asked("stock/A", Ask::ReadStock));
    history.push(answered(5, Said::Available { units: 0 }));
    assert_eq!(laws(&history), 0);
    history.push(asked("stock/A", Ask::ReadStock));
    history.push(answered(7, Said::Available { units: 2 }));
    assert_eq!(laws(&history), 1);
}

#[test]
fn a_hold_that_was_given_out_cannot_be_unknown() {
    let history = |said| {
        vec![
            asked("stock/A", Ask::Receive { units: 5 }),
            answered(0, Said::Yes),
            asked("stock/A", Ask::Hold { units: 2, ttl_s: 60 }),
            answered(2, Said::Held { hold: "h".to_owned() }),
            asked("stock/A", Ask::Return { hold: "h".to_owned() }),
            answered(4, said),
        ]
    };
    assert_eq!(laws(&history(Said::Yes)), 0);
    assert_eq!(laws(&history(Said::No { code: "not_found".to_owned() })), 1);
}

#[test]
fn a_cart_shows_what_was_put_into_it() {
    let lines = |units: u64| [("A".to_owned(), units)].into();
    let history = |shown| {
        vec![
            asked("cart/c", Ask::SetLine { sku: "A".to_owned(), units: 2 }),
            answered(0, Said::Lines { lines: lines(2) }),
            asked("cart/c", Ask::SetLine { sku: "A".to_owned(), units: 3 }),
            asked("cart/c", Ask::ReadCart),
            answered(3, Said::Lines { lines: lines(shown) }),
            answered(2, Said::Lines { lines: lines(3) }),
        ]
    };
    assert_eq!([laws(&history(2)), laws(&history(3)), laws(&history(5))], [0, 0, 1]);
}

/// A history of requests about one entity, each answered before the next is made.
fn one_by_one(entity: &str, talk: &[(Ask, Said)]) -> Vec<Row> {
    let rows = talk
        .iter()
        .zip(0_u64..)
        .flat_map(|((ask, said), number)| [asked(entity, ask.clone()), answered(2 * number, said.clone())]);
    rows.collect()
}

/// How many laws a talk with an order breaks.
fn order(talk: &[(Ask, Said)]) -> usize {
    laws(&one_by_one("order/o", talk))
}

fn stands(state: &str) -> Said {
    Said::Stands { state: state.to_owned() }
}

fn forbidden(state: &str) -> Said {
    Said::Forbidden { state: state.to_owned() }
}

fn no(code: &str) -> Said {
    Said::No { code: code.to_owned() }
}

fn looks(states: &[&str]) -> Vec<(Ask, Said)> {
    states.iter().map(|state| (Ask::ReadOrder, stands(state))).collect()
}

#[test]
fn an_order_goes_forward_by_itself_and_never_back() {
    assert_eq!(order(&looks(&["placed", "reserving", "reserving", "confirmed", "confirmed"])), 0);
    assert_eq!(order(&looks(&["authorizing", "failed", "failed"])), 0);
    for gone in [["authorizing", "reserving"], ["confirmed", "authorizing"], ["confirmed", "failed"]] {
        assert_eq!(order(&looks(&gone)), 1, "{gone:?}");
    }
    for unasked in ["cancelled", "fulfilled", "delivered", "refunded", "lost"] {
        assert_eq!(order(&looks(&[unasked])), 1, "{unasked}");
    }
}

#[test]
fn an_order_that_was_seen_cannot_be_unknown() {
    let (unknown, seen) = ((Ask::ReadOrder, no("not_found")), (Ask::ReadOrder, stands("reserving")));
    assert_eq!(order(&[unknown.clone(), seen.clone()]), 0);
    assert_eq!(order(&[seen, unknown]), 1);
}

#[test]
fn the_answer_to_a_checkout_is_a_look_at_its_order() {
    let ordered = |state: &str| Said::Ordered { order: "o".to_owned(), state: state.to_owned() };
    let history = |look: &str| {
        vec![
            asked("cart/c", Ask::SetLine { sku: "A".to_owned(), units: 1 }),
            answered(0, Said::Yes),
            asked("cart/c", Ask::CheckOut { key: "k".to_owned() }),
            answered(2, ordered("authorizing")),
            asked("order/o", Ask::ReadOrder),
            answered(4, stands(look)),
        ]
    };
    assert_eq!([laws(&history("authorizing")), laws(&history("confirmed")), laws(&history("reserving"))], [0, 0, 1]);
}

#[test]
fn a_cancelled_order_stands_still_until_it_is_undone() {
    let after = |shown: &str, looks: &[(Ask, Said)]| order(&[&[(Ask::Cancel, stands(shown))], looks].concat());
    assert_eq!(after("reserving", &looks(&["reserving", "cancelled", "cancelled"])), 0);
    assert_eq!(after("confirmed", &looks(&["confirmed", "cancelled"])), 0);
    assert_eq!(after("reserving", &looks(&["authorizing"])), 1);
    assert_eq!(after("authorizing", &looks(&["confirmed"])), 1);
    assert_eq!(after("authorizing", &looks(&["failed"])), 1);
    assert_eq!(after("cancelled", &[(Ask::Cancel, stands("cancelled"))]), 0);
    assert_eq!(after("confirmed", &[(Ask::Fulfil, forbidden("confirmed"))]), 0);
    assert_eq!(after("confirmed", &[(Ask::Fulfil, stands("confirmed"))]), 1);
}

#[test]
fn a_cancellation_is_refused_only_when_goods_leave_or_the_order_fails() {
    let refused = |state: &str| (Ask::Cancel, forbidden(state));
    assert_eq!(order(&[refused("reserving"), (Ask::ReadOrder, stands("failed"))]), 0);
    assert_eq!(order(&[refused("reserving"), (Ask::ReadOrder, stands("confirmed"))]), 1);
    assert_eq!(order(&[refused("confirmed")]), 1);
    assert_eq!(order(&[(Ask::Fulfil, stands("confirmed")), refused("confirmed")]), 0);
    assert_eq!(order(&[(Ask::Fulfil, stands("confirmed")), refused("fulfilled")]), 0);
    assert_eq!(order(&[(Ask::Cancel, stands("confirmed")), refused("cancelled")]), 1);
}

#[test]
fn what_was_sent_out_stays_sent_out() {
    let sent = (Ask::Fulfil, stands("confirmed"));
    let after = |looks: &[(Ask, Said)]| order(&[std::slice::from_ref(&sent), looks].concat());
    assert_eq!(after(&looks(&["confirmed", "fulfilled"])), 0);
    assert_eq!(after(&looks(&["fulfilled", "confirmed"])), 1);
    assert_eq!(after(&looks(&["cancelled"])), 1);
    assert_eq!(after(&[(Ask::Deliver, stands("delivered")), (Ask::ReadOrder, stands("fulfilled"))]), 1);
    assert_eq!(after(&[(Ask::Fulfil, forbidden("fulfilled")), (Ask::Deliver, stands("delivered"))]), 0);
    assert_eq!(after(&[(Ask::ReadOrder, stands("fulfilled")), (Ask::Deliver, forbidden("fulfilled"))]), 1);
    assert_eq!(order(&[(Ask::ReadOrder, stands("confirmed")), (Ask::Fulfil, forbidden("confirmed"))]), 1);
}

#[test]
fn an_order_is_refunded_once_all_of_it_was_asked_back() {
    let sent = [(Ask::Fulfil, stands("fulfilled"))];
    let after = |talk: &[(Ask, Said)]| order(&[&sent[..], talk].concat());
    let (part, rest) = (Ask::Refund { rest: false }, Ask::Refund { rest: true });
    assert_eq!(after(&[(part.clone(), stands("fulfilled")), (rest.clone(), stands("refunded"))]), 0);
    assert_eq!(after(&[(rest.clone(), stands("fulfilled")), (Ask::Deliver, stands("delivered"))]), 0);
    assert_eq!(after(&[(part.clone(), stands("refunded"))]), 1);
    assert_eq!(after(&[(rest.clone(), stands("refunded")), (Ask::ReadOrder, stands("fulfilled"))]), 1);
    assert_eq!(after(&[(part.clone(), no("invalid_request"))]), 1);
    assert_eq!(after(&[(rest.clone(), stands("fulfilled")), (part.clone(), no("invalid_request"))]), 0);
    assert_eq!(after(&[(part.clone(), forbidden("fulfilled"))]), 1);
    assert_eq!(order(&[(Ask::Fulfil, stands("confirmed")), (part, forbidden("confirmed"))]), 0);
    assert_eq!(order(&[(rest, stands("confirmed"))]), 1);
}

#[test]
fn a_request_to_an_order_may_still_take_effect_when_a_later_attempt_was_refused_or_none_was_answered() {
    let twice = |said| row(Fact::Answered { request: 2, attempts: 2, said });
    let history = |answer: Option<Row>| {
        let cancel =
            [asked("order/o", Ask::ReadOrder), answered(0, stands("confirmed")), asked("order/o", Ask::Cancel)];
        let place = 3 + answer.iter().len() as u64;
        let look = [asked("order/o", Ask::ReadOrder), answered(place, stands("cancelled"))];
        [&cancel[..], answer.as_slice(), &look].concat()
    };
    assert_eq!(laws(&history(None)), 0);
    assert_eq!(laws(&history(Some(twice(no("idempotency_key_reused"))))), 0);
    assert_eq!(laws(&history(Some(answered(2, no("idempotency_key_reused"))))), 1);
}

#[test]
fn concurrent_looks_at_an_order_may_have_been_in_either_order() {
    let history = |first: &str, second: &str| {
        let look = || asked("order/o", Ask::ReadOrder);
        vec![
            look(),
            look(),
            answered(1, stands(first)),
            answered(0, stands(second)),
            look(),
            answered(4, stands(first)),
        ]
    };
    assert_eq!(laws(&history("confirmed", "reserving")), 0);
    assert_eq!(laws(&history("reserving", "confirmed")), 1);
}

#[test]
fn what_does_not_fit_an_order_is_told_with_its_row() {
    let history = one_by_one("order/o", &looks(&["confirmed", "reserving"]));
    let (_, detail) = judge(&history, true).complaints.remove(0);
    assert_eq!(detail, "order/o: no order of its 2 requests gives Shows(Reserving) of row 3");
}

fn label(price: u64) -> Label {
    Label { price, description_bytes: 9 }
}

fn write(price: u64, once: bool) -> Ask {
    Ask::Write { label: label(price), once }
}

fn says(version: u64, price: u64) -> Said {
    Said::Says { version, label: label(price) }
}

fn product(talk: &[(Ask, Said)]) -> usize {
    laws(&one_by_one("product/p", talk))
}

#[test]
fn a_product_says_what_was_written_last() {
    let written = [(Ask::ReadProduct, no("not_found")), (write(1, true), says(1, 1)), (write(2, true), Said::Yes)];
    let then = |said| product(&[&written[..], &[(Ask::ReadProduct, said)]].concat());
    assert_eq!([then(says(2, 2)), then(says(1, 1)), then(says(2, 1)), then(no("not_found"))], [0, 1, 1, 1]);
}

#[test]
fn a_change_of_a_product_has_one_version_and_the_same_again_has_none() {
    let again = |version| product(&[(write(1, true), says(1, 1)), (write(1, true), says(version, 1))]);
    assert_eq!([again(1), again(2)], [0, 1]);
    let back =
        |version| product(&[(write(1, true), Said::Yes), (write(2, true), Said::Yes), (write(1, true), version)]);
    assert_eq!([back(says(3, 1)), back(says(2, 1))], [0, 1]);
}

#[test]
fn every_attempt_at_writing_a_product_without_a_key_may_take_effect() {
    let history = |once, attempts| {
        vec![
            asked("product/p", write(1, once)),
            row(Fact::Answered { request: 0, attempts, said: says(1, 1) }),
            asked("product/p", write(2, true)),
            answered(2, says(2, 2)),
            asked("product/p", Ask::ReadProduct),
            answered(4, says(3, 1)),
        ]
    };
    assert_eq!([laws(&history(false, 2)), laws(&history(false, 1)), laws(&history(true, 2))], [0, 1, 1]);
}

#[test]
fn a_write_nobody_answered_may_come_at_any_time_or_never() {
    let history = |version, price| {
        let mut history = vec![asked("product/p", write(2, true))];
        history.extend([asked("product/p", write(1, true)), answered(1, Said::Yes)]);
        history.extend([asked("product/p", Ask::ReadProduct), answered(3, says(version, price))]);
        history
    };
    assert_eq!([laws(&history(1, 1)), laws(&history(2, 1)), laws(&history(2, 2)), laws(&history(3, 2))], [0, 0, 0, 1]);
}
