//! From placement to delivery, and every way back.

use super::*;

fn states(view: &OrderView) -> Vec<&'static str> {
    view.history.iter().map(|row| row.state.name()).collect()
}

#[test]
fn a_purchase_goes_from_placed_to_delivered_and_takes_the_money_when_goods_leave() {
    let mut world = World::placed(placement());
    assert_eq!(world.owed(), ["reserve/MUG/1", "reserve/TEA/1"]);
    world.round();
    assert_eq!(world.owed(), ["authorise/payment/1"]);
    world.round();
    assert_eq!(world.owed(), ["commit/MUG/1", "commit/TEA/1"]);
    world.round();
    assert_eq!((world.phase(), world.owed().len()), (Phase::Confirmed, 0));
    assert_eq!((world.ledger.authorised, world.ledger.captured), (4600, 0));
    assert_eq!((world.numbers(TEA).sold, world.numbers(MUG).sold), (2, 3));
    world.order.yes(fulfil(&[]));
    assert_eq!(world.owed(), ["capture/payment/1"]);
    world.round();
    assert_eq!(world.owed(), ["forget/MUG/1", "forget/TEA/1"]);
    world.run();
    world.order.yes(OrderCommand::Deliver);
    let view = world.view();
    assert_eq!(states(&view), ["placed", "reserving", "authorizing", "confirmed", "fulfilled", "delivered"]);
    assert_eq!((view.payment.status, view.payment.captured), (PaymentStatus::Captured, 4600));
    assert_eq!(view.shipments.len(), 1);
    assert!(view.settled);
}

#[test]
fn lines_of_one_sku_are_reserved_as_one() {
    let mut world = World::placed(placement_of(&[(TEA, 2, 500), (TEA, 3, 400)]));
    assert_eq!(world.owed(), ["reserve/TEA/1"]);
    world.run();
    assert_eq!(world.numbers(TEA).sold, 5);
    assert_eq!(world.ledger.authorised, 2200);
}

#[test]
fn a_shoppers_hold_is_adopted_with_the_quantity_the_order_needs() {
    let mut world = World::new();
    let tea = world.stock.get_mut(&sku(TEA)).unwrap();
    assert!(held(&tea.yes(StockCommand::Reserve(shopper_hold(5, 6)))));
    let holds = BTreeMap::from([(sku(TEA), HoldId(id16(5)))]);
    world.order.yes(OrderCommand::Place(Arc::new(Placement { holds, ..placement() })));
    world.round();
    assert_eq!(world.numbers(TEA), StockNumbers { available: 8, held: 2, received: 10, ..StockNumbers::default() });
    world.run();
    assert_eq!(world.phase(), Phase::Confirmed);
    assert_eq!((world.numbers(TEA).sold, world.numbers(TEA).held), (2, 0));
}

#[test]
fn an_expired_hold_fails_the_order_and_releases_the_other_lines() {
    let holds = BTreeMap::from([(sku(TEA), HoldId(id16(5)))]);
    let mut world = World::placed(Placement { holds, ..placement() });
    world.run();
    assert_eq!(world.view().failure, Some(Failure::HoldExpired { sku: sku(TEA) }));
    assert_eq!(world.phase(), Phase::Failed);
    world.assert_undone();
}

#[test]
fn too_few_units_fail_the_order_and_release_every_line_the_refused_one_too() {
    let mut world = World::placed(placement_of(&[(TEA, 11, 500), (MUG, 3, 1200)]));
    world.round();
    assert_eq!(world.owed(), ["release/MUG/1", "release/TEA/1"]);
    assert_eq!(world.view().state, OrderState::Reserving);
    world.run();
    let view = world.view();
    assert_eq!(view.failure, Some(Failure::InsufficientStock { sku: sku(TEA), available: 10 }));
    assert_eq!(view.history.last().unwrap().reason.as_deref(), Some("10 of TEA left"));
    assert_eq!((view.state, view.payment.status), (OrderState::Failed, PaymentStatus::None));
    world.assert_undone();
}

#[test]
fn a_declined_payment_fails_the_order_and_owes_no_void() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(declined());
    world.run();
    let view = world.view();
    assert_eq!(view.failure, Some(Failure::PaymentDeclined { reason: "card_declined".into() }));
    assert_eq!((view.state, view.payment.status), (OrderState::Failed, PaymentStatus::Declined));
    assert!(!world.delivered.iter().any(|name| name.contains("/void/")), "{:?}", world.delivered);
    world.assert_undone();
}

#[test]
fn a_lost_payment_is_barred_by_a_void_before_the_order_fails() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::NeverSeen);
    world.round();
    world.round();
    assert_eq!(world.phase(), Phase::Unwinding);
    assert!(world.owed().contains(&"void/payment/1".to_owned()));
    world.run();
    assert_eq!(world.view().failure, Some(Failure::PaymentUnresolved));
    assert_eq!((world.phase(), world.view().payment.status), (Phase::Failed, PaymentStatus::Voided));
    world.assert_undone();
}

#[test]
fn a_pending_payment_waits_for_its_webhook() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::Pending);
    world.run();
    assert_eq!((world.phase(), world.view().payment.status), (Phase::Authorizing, PaymentStatus::Pending));
    let key = format!("{}/authorise/payment/1", EntityId::order(order_id(1)));
    world.ledger.decide_pending(&key, PaymentOutcome::Authorised, 4600);
    let news = OrderCommand::PaymentReported { key, outcome: PaymentOutcome::Authorised };
    world.order.yes(news.clone());
    world.order.again(news);
    world.run();
    assert_eq!(world.phase(), Phase::Confirmed);
    assert_eq!(world.order.state.deadline(), None);
}

#[test]
fn a_pending_payment_without_webhook_is_looked_up_on_its_deadline_again_and_again() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::Pending);
    world.run();
    let mut pauses = Vec::new();
    for poll in 1..=3 {
        let before = world.order.at;
        world.wake();
        pauses.push(world.order.at.since(before).as_secs());
        assert_eq!(world.owed(), [format!("lookup/authorise/{poll}")]);
        world.run();
    }
    assert_eq!(pauses, [5, 10, 20]);
    let key = format!("{}/authorise/payment/1", EntityId::order(order_id(1)));
    world.ledger.decide_pending(&key, declined(), 4600);
    world.wake();
    world.run();
    assert_eq!(world.phase(), Phase::Failed);
    world.assert_undone();
}

#[test]
fn a_payment_pending_for_a_day_is_barred_and_the_order_fails() {
    let mut world = World::placed(placement());
    world.ledger.moods.push_back(PaymentOutcome::Pending);
    let begin = world.order.at;
    world.run();
    for _ in 0..=POLLS_MAX {
        if world.phase() == Phase::Authorizing {
            world.wake();
            world.run();
        }
    }
    let hours = world.order.at.since(begin).as_secs() / 3600;
    assert!((20..30).contains(&hours), "given up after {hours} hours");
    assert_eq!(world.view().failure, Some(Failure::PaymentUnresolved));
    world.assert_undone();
}

#[test]
fn a_hold_ended_by_a_merchant_before_the_sale_undoes_what_was_sold_and_paid() {
    let mut world = World::placed(placement());
    world.round();
    world.round();
    let hold = HoldId(order_id(1).0);
    let by = crate::domain::stock::Releaser::Merchant;
    world.stock.get_mut(&sku(TEA)).unwrap().yes(StockCommand::Release { hold, by });
    world.round();
    assert_eq!(world.owed(), ["return/MUG/1", "release/TEA/1", "void/payment/1"]);
    world.run();
    assert_eq!(world.view().failure, Some(Failure::HoldExpired { sku: sku(TEA) }));
    assert_eq!((world.numbers(MUG).sold, world.numbers(MUG).returned), (3, 3));
    world.assert_undone();
}

#[test]
fn placing_again_from_the_same_cart_version_gets_the_same_answer_and_from_another_none() {
    let mut world = World::confirmed();
    let again = world.order.again(OrderCommand::Place(Arc::new(placement())));
    assert_eq!(again, OrderReply::Noted { state: OrderState::Confirmed });
    let other = Placement { cart_version: 5, ..placement() };
    assert_eq!(world.order.no(OrderCommand::Place(Arc::new(other))), Rejection::IdempotencyKeyReused);
}

#[test]
fn nothing_but_place_is_taken_before_the_order_exists() {
    let mut world = World::new();
    let missing = Rejection::NotFound { entity: EntityId::order(order_id(1)) };
    for command in [OrderCommand::Show, cancel(), OrderCommand::Poll, OrderCommand::Deliver] {
        assert_eq!(world.order.no(command), missing);
    }
}

#[test]
fn the_token_is_gone_from_view_and_state_once_the_payment_is_answered() {
    let mut world = World::confirmed();
    assert_eq!(world.view().placement.token, PaymentToken(String::new()));
    let state = crate::domain::testkit::hex_of(&world.order.state);
    assert!(!state.contains("746f6b"), "the state still holds the token");
}

#[test]
fn the_number_has_twelve_letters_and_differs_between_orders() {
    let mut world = World::confirmed();
    assert_eq!(world.view().number, "040G-2081-040G");
    let other = super::super::state::number_of(order_id(255));
    assert_eq!(other, "ZZZZ-ZZZZ-ZZZZ");
}
