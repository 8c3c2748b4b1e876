//! Cancelling, refunding, restocking, forgetting.

use super::*;

fn authorise_key() -> String {
    format!("{}/authorise/payment/1", EntityId::order(order_id(1)))
}

fn report(key: &str, outcome: PaymentOutcome) -> OrderCommand {
    OrderCommand::PaymentReported { key: key.into(), outcome }
}

#[test]
fn a_cancel_waits_for_the_present_step_and_then_undoes_everything() {
    for rounds in 0..4 {
        let mut world = World::placed(placement());
        (0..rounds).for_each(|_| world.round());
        let owed = world.owed();
        world.order.yes(cancel());
        if rounds < 3 {
            assert_eq!(world.owed(), owed, "cancelling does not withdraw what is under way");
        }
        world.run();
        let view = world.view();
        assert_eq!(view.state, OrderState::Cancelled, "cancelled after {rounds} rounds");
        assert_eq!(view.history.last().unwrap().reason.as_deref(), Some("changed my mind"));
        world.assert_undone();
        assert_eq!(world.order.yes(cancel()), OrderReply::Noted { state: OrderState::Cancelled });
    }
}

#[test]
fn a_cancelled_order_with_a_pending_payment_waits_for_it_and_lets_the_money_go() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::Pending);
    world.run();
    world.order.yes(cancel());
    assert_eq!((world.phase(), world.owed().len()), (Phase::Authorizing, 0));
    world.ledger.decide_pending(&authorise_key(), PaymentOutcome::Authorised, 4600);
    world.order.yes(report(&authorise_key(), PaymentOutcome::Authorised));
    assert_eq!(world.owed(), ["release/MUG/1", "release/TEA/1", "void/payment/1"]);
    world.run();
    assert_eq!(world.phase(), Phase::Cancelled);
    world.assert_undone();
}

#[test]
fn an_authorisation_that_lands_after_the_end_is_voided_once_more_and_only_once() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::NeverSeen);
    world.run();
    assert_eq!(world.phase(), Phase::Failed);
    let late = report(&authorise_key(), PaymentOutcome::Authorised);
    world.order.yes(late.clone());
    assert_eq!(world.owed(), ["void/payment/2"]);
    assert!(!world.view().settled);
    world.order.again(late.clone());
    world.run();
    world.order.again(late);
    assert_eq!((world.phase(), world.owed().len()), (Phase::Failed, 0));
    assert_eq!(world.view().payment.status, PaymentStatus::Voided);
}

#[test]
fn an_authorisation_that_lands_while_a_void_is_under_way_does_not_rename_the_void() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::NeverSeen);
    world.round();
    world.round();
    let before = world.owed();
    world.order.yes(report(&authorise_key(), PaymentOutcome::Authorised));
    assert_eq!(world.owed(), before);
    world.round();
    assert_eq!(world.owed(), ["void/payment/2"]);
    world.run();
    world.assert_undone();
}

#[test]
fn a_declined_void_is_tried_again_after_a_growing_pause() {
    let mut world = World::confirmed();
    world.ledger.hiccups.extend([declined(), declined()]);
    world.order.yes(cancel());
    world.run();
    assert_eq!(world.phase(), Phase::Unwinding);
    let mut pauses = Vec::new();
    for attempt in 2..=3 {
        let before = world.order.at;
        world.wake();
        pauses.push(world.order.at.since(before).as_secs());
        assert_eq!(world.owed(), [format!("void/payment/{attempt}")]);
        world.run();
    }
    assert_eq!((pauses, world.phase()), (vec![30, 60], Phase::Cancelled));
    world.assert_undone();
}

#[test]
fn a_declined_capture_leaves_the_order_confirmed_and_can_be_tried_again_or_cancelled() {
    let mut world = World::confirmed();
    world.ledger.hiccups.push_back(declined());
    world.order.yes(fulfil(&[]));
    world.run();
    let view = world.view();
    assert_eq!((view.state, view.shipments.len()), (OrderState::Confirmed, 0));
    assert_eq!(view.history.last().unwrap().reason.as_deref(), Some("capture declined: card_declined"));
    let mut cancelled = World { order: Subject { state: world.order.state.clone(), at: world.order.at }, ..world };
    cancelled.order.yes(fulfil(&[(TEA, 1)]));
    assert_eq!(cancelled.owed(), ["capture/payment/2"]);
    cancelled.ledger.hiccups.push_back(declined());
    cancelled.run();
    cancelled.order.yes(cancel());
    cancelled.run();
    assert_eq!(cancelled.phase(), Phase::Cancelled);
    cancelled.assert_undone();
}

#[test]
fn a_capture_that_went_through_after_all_is_given_back_to_a_cancelled_order() {
    let mut world = World::confirmed();
    world.ledger.hiccups.push_back(declined());
    world.order.yes(fulfil(&[]));
    world.run();
    world.ledger.hiccups.extend([declined(), declined()]);
    world.order.yes(cancel());
    world.run();
    world.ledger.captured = 4600;
    let key = format!("{}/capture/payment/1", EntityId::order(order_id(1)));
    world.order.yes(report(&key, PaymentOutcome::Captured));
    for _ in 0..4 {
        world.run();
        if world.order.state.deadline().is_some() {
            world.wake();
        }
    }
    assert_eq!((world.phase(), world.view().payment.refunded), (Phase::Cancelled, 4600));
    world.assert_undone();
}

#[test]
fn fulfilling_in_parts_captures_once_and_is_over_when_everything_left() {
    let mut world = World::confirmed();
    world.order.yes(fulfil(&[(TEA, 1)]));
    world.order.yes(fulfil(&[(MUG, 2)]));
    world.run();
    assert_eq!((world.phase(), world.ledger.captured), (Phase::Confirmed, 4600));
    assert_eq!(world.view().shipments.len(), 2);
    assert!(matches!(world.order.no(cancel()), Rejection::OrderState { .. }));
    assert!(matches!(world.order.no(fulfil(&[(TEA, 2)])), Rejection::InvalidRequest { .. }));
    assert!(matches!(world.order.no(OrderCommand::Deliver), Rejection::OrderState { .. }));
    world.order.yes(fulfil(&[]));
    world.run();
    assert_eq!((world.phase(), world.ledger.captured), (Phase::Fulfilled, 4600));
    assert!(matches!(world.order.no(fulfil(&[])), Rejection::OrderState { .. }));
}

#[test]
fn refunds_in_parts_never_exceed_what_was_captured() {
    let mut world = World::fulfilled();
    let answer = world.order.yes(refund(1, Some(1000), &[], false));
    assert_eq!(answer, OrderReply::Refunding { refund: RefundId(id16(1)), amount: 1000 });
    assert!(matches!(world.order.no(refund(2, Some(3601), &[], false)), Rejection::InvalidRequest { .. }));
    assert!(matches!(world.order.no(refund(2, Some(0), &[], false)), Rejection::InvalidRequest { .. }));
    world.order.yes(refund(2, None, &[(MUG, 1)], true));
    world.run();
    assert_eq!((world.ledger.refunded, world.phase()), (2200, Phase::Fulfilled));
    assert_eq!((world.numbers(MUG).returned, world.numbers(TEA).returned), (1, 0));
    assert!(matches!(world.order.no(refund(3, None, &[(MUG, 3)], true)), Rejection::InvalidRequest { .. }));
    let left = world.order.yes(refund(3, None, &[], true));
    assert_eq!(left, OrderReply::Refunding { refund: RefundId(id16(3)), amount: 2400 });
    world.run();
    let view = world.view();
    assert_eq!((view.state, view.payment.status), (OrderState::Refunded, PaymentStatus::Refunded));
    assert_eq!(view.refunds.iter().map(|refund| refund.amount).collect::<Vec<_>>(), [1000, 1200, 2400]);
    world.assert_undone();
    assert!(matches!(world.order.no(refund(4, None, &[], false)), Rejection::OrderState { .. }));
}

#[test]
fn a_refund_asked_for_again_moves_money_once_and_with_other_content_is_refused() {
    let mut world = World::fulfilled();
    let asked = refund(1, Some(1000), &[], false);
    world.order.yes(asked.clone());
    world.order.again(asked.clone());
    world.run();
    let again = world.order.again(asked);
    assert_eq!(again, OrderReply::Refunding { refund: RefundId(id16(1)), amount: 1000 });
    assert_eq!(world.ledger.refunded, 1000);
    let OrderCommand::Refund(mut other) = refund(1, Some(900), &[], false) else { unreachable!() };
    other.fingerprint = Fingerprint([8; 32]);
    assert_eq!(world.order.no(OrderCommand::Refund(other)), Rejection::IdempotencyKeyReused);
}

#[test]
fn a_refused_refund_frees_its_amount_and_its_units() {
    let mut world = World::fulfilled();
    world.ledger.hiccups.push_back(declined());
    world.order.yes(refund(1, None, &[], true));
    world.run();
    assert_eq!(world.view().refunds[0].status, RefundStatus::Refused);
    assert_eq!((world.phase(), world.numbers(TEA).returned), (Phase::Fulfilled, 0));
    world.order.yes(refund(2, None, &[], true));
    world.run();
    assert_eq!(world.phase(), Phase::Refunded);
    world.assert_undone();
}

#[test]
fn units_refunded_onto_the_shelf_before_they_left_are_not_sent_and_the_order_is_complete_without_them() {
    let mut world = World::confirmed();
    world.order.yes(fulfil(&[(TEA, 2)]));
    world.run();
    world.order.yes(refund(1, None, &[(MUG, 3)], true));
    assert!(matches!(world.order.no(fulfil(&[(MUG, 1)])), Rejection::InvalidRequest { .. }));
    world.run();
    assert_eq!((world.phase(), world.numbers(MUG).available), (Phase::Fulfilled, 10));
}

#[test]
fn units_that_never_left_come_back_when_all_money_is_back() {
    let mut world = World::confirmed();
    world.order.yes(fulfil(&[(TEA, 2)]));
    world.run();
    world.order.yes(refund(1, None, &[], false));
    world.run();
    assert_eq!(world.phase(), Phase::Refunded);
    assert_eq!((world.numbers(MUG).returned, world.numbers(TEA).returned), (3, 0));
    assert!(world.order.state.is_settled());
}

#[test]
fn erasing_forgets_the_buyer_here_and_owes_the_cart_to_forget_the_key() {
    let mut world = World::confirmed();
    assert!(matches!(world.order.no(OrderCommand::Erase), Rejection::OrderState { .. }));
    assert!(world.view().buyer.is_some());
    world.order.yes(fulfil(&[]));
    world.run();
    world.order.yes(OrderCommand::Erase);
    assert!(world.view().erased && world.view().buyer.is_none());
    world.run();
    assert_eq!(world.erased, [DataKeyId(id16(9))]);
    assert!(world.order.state.is_settled());
    world.order.yes(OrderCommand::Erase);
    assert_eq!(world.owed().len(), 0);
}

#[test]
fn an_order_without_a_buyer_has_nothing_to_erase() {
    let mut world = World::placed(Placement { buyer: None, ..placement_of(&[(TEA, 11, 1)]) });
    world.run();
    world.order.yes(OrderCommand::Erase);
    assert!(world.view().erased && world.order.state.is_settled());
}

#[test]
fn every_sale_is_forgotten_by_its_stock_item_once_nothing_more_is_asked_about_it() {
    let mut world = World::fulfilled();
    world.order.yes(refund(1, None, &[(TEA, 1)], true));
    world.run();
    let forgets = world.delivered.iter().filter(|name| name.contains("/forget/TEA/")).count();
    assert_eq!(forgets, 2, "once after the sale, once after the units came back");
    for item in world.stock.values_mut() {
        item.wait(crate::domain::stock::ENDED_KEPT);
        item.yes(StockCommand::Receive { quantity: units(1), reference: String::new() });
        assert!(item.state.ended.is_empty(), "{:?}", item.state.ended);
    }
}
