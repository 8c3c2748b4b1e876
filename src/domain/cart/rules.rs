//! What a cart says yes and no to. Pure: reads the state, names the events.

use super::{
    Answer, CHECKOUTS_MAX, Cart, CartCommand, CartEvent, CartLine, CartReply, CheckOut, LINES_MAX, MERGES_MAX, Merging,
    PROVIDER_BYTES_MAX, Status, TOKEN_BYTES_MAX,
};
use crate::domain::entity::{Decision, Fingerprint, VaultChange};
use crate::domain::ids::{CartId, DataKeyId, EntityId, OrderId, Sku};
use crate::domain::money::{Currency, Money};
use crate::domain::pricing::{LINE_TOTAL_MAX, Offer, TITLE_BYTES_MAX, Totals};
use crate::domain::privacy::{Sealed, Secret};
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

type Outcome = Result<Decision<CartEvent, CartReply>, Rejection>;

/// See [`crate::domain::entity::Entity::decide`].
pub(super) fn decide(cart: &Cart, command: &CartCommand, at: Timestamp) -> Outcome {
    match command {
        CartCommand::Create { currency, fingerprint } => create(cart, *currency, *fingerprint, at),
        CartCommand::SetLine { sku, quantity, listing, expected_version } => {
            editable(cart, *expected_version)?;
            let offer = listing.as_ref().and_then(|listing| listing.offer(cart.currency));
            let offer = offer.ok_or_else(|| Rejection::Unavailable { sku: sku.clone() })?;
            set_line(cart, CartLine { sku: sku.clone(), quantity: *quantity, offer }, at)
        }
        CartCommand::RemoveLine { sku, expected_version } => {
            editable(cart, *expected_version)?;
            Ok(remove_line(cart, sku, at))
        }
        CartCommand::SetBuyer { sealed, secret, expected_version } => {
            editable(cart, *expected_version)?;
            set_buyer(cart, sealed, *secret, at)
        }
        CartCommand::Merge { from, expected_version } => merge(cart, *from, *expected_version),
        CartCommand::Absorb { from, attempt, outcome } => {
            Ok(absorb(cart, Merging { from: *from, attempt: *attempt }, outcome))
        }
        CartCommand::Surrender { to, currency, lines_max } => surrender(cart, *to, *currency, *lines_max),
        CartCommand::CheckOut(asked) => check_out(cart, asked),
        CartCommand::Placed { order } => Ok(placed(cart, *order)),
        CartCommand::Expire => Ok(expire(cart, at)),
        CartCommand::EraseBuyer { key } => Ok(erase_buyer(cart, *key)),
        CartCommand::Show => {
            open(cart)?;
            Ok(Decision::new(Vec::new(), CartReply::Shown(Box::new(cart.view()))))
        }
    }
}

fn open(cart: &Cart) -> Result<(), Rejection> {
    match cart.status {
        Status::Open => Ok(()),
        Status::Absent => Err(Rejection::NotFound { entity: EntityId::cart(cart.id) }),
        Status::Surrendered { .. } | Status::Expired { .. } | Status::Purged => Err(Rejection::CartGone),
    }
}

fn editable(cart: &Cart, expected_version: Option<u64>) -> Result<(), Rejection> {
    open(cart)?;
    if cart.merging.is_some() {
        return Err(Rejection::CartMerging);
    }
    expected_version.map_or(Ok(()), |expected| at_version(cart, expected))
}

fn at_version(cart: &Cart, expected: u64) -> Result<(), Rejection> {
    if expected == cart.version { Ok(()) } else { Err(Rejection::CartVersion { expected, actual: cart.version }) }
}

fn create(cart: &Cart, currency: Currency, fingerprint: Fingerprint, at: Timestamp) -> Outcome {
    let reply = |at: Timestamp| CartReply::Created { version: 1, currency, expires_at: at.after(super::CART_IDLE) };
    match cart.created {
        None => Ok(Decision::new(vec![CartEvent::Created { currency, fingerprint }], reply(at))),
        Some(created) if created.fingerprint == fingerprint && cart.currency == currency => {
            Ok(Decision::replay(reply(created.at)))
        }
        Some(_) => Err(Rejection::IdempotencyKeyReused),
    }
}

/// The answer to an edit that leaves `lines` lines coming to `subtotal`.
fn edited(cart: &Cart, event: CartEvent, lines: usize, subtotal: u64, at: Timestamp) -> Decision<CartEvent, CartReply> {
    let reply = CartReply::Edited {
        version: cart.version + 1,
        lines: lines as u32,
        totals: Totals::of(Money { amount: subtotal, currency: cart.currency }),
        expires_at: at.after(super::CART_IDLE),
    };
    Decision::new(vec![event], reply)
}

/// The answer to an edit that changes nothing.
fn unchanged(cart: &Cart) -> Decision<CartEvent, CartReply> {
    let reply = CartReply::Edited {
        version: cart.version,
        lines: cart.lines.len() as u32,
        totals: cart.totals(),
        expires_at: cart.expires_at(),
    };
    Decision::new(Vec::new(), reply)
}

fn set_line(cart: &Cart, line: CartLine, at: Timestamp) -> Outcome {
    let total = checked_total(cart, &line.sku, line.quantity, &line.offer)?;
    let before = cart.lines.get(&line.sku);
    if before.is_some_and(|now| now.quantity == line.quantity && now.offer == line.offer) {
        return Ok(unchanged(cart));
    }
    if before.is_none() && cart.lines.len() >= LINES_MAX {
        return Err(Rejection::TooLarge { what: "lines of a cart".into(), limit: LINES_MAX as u64 });
    }
    let lines = cart.lines.len() + usize::from(before.is_none());
    let subtotal = cart.subtotal - before.map_or(0, super::Line::total) + total;
    Ok(edited(cart, CartEvent::LineSet(line), lines, subtotal, at))
}

/// The line's total. Rejects a price in another currency, and more money than a cart can hold.
fn checked_total(cart: &Cart, sku: &Sku, quantity: Quantity, offer: &Offer) -> Result<u64, Rejection> {
    if offer.unit_price.currency != cart.currency || offer.title.len() > TITLE_BYTES_MAX {
        return Err(Rejection::Unavailable { sku: sku.clone() });
    }
    let too_large = || Rejection::TooLarge { what: "minor units of one line".into(), limit: LINE_TOTAL_MAX };
    offer.line_total(quantity).map(|total| total.amount).ok_or_else(too_large)
}

fn remove_line(cart: &Cart, sku: &Sku, at: Timestamp) -> Decision<CartEvent, CartReply> {
    match cart.lines.get(sku) {
        None => unchanged(cart),
        Some(line) => {
            let event = CartEvent::LineRemoved { sku: sku.clone() };
            edited(cart, event, cart.lines.len() - 1, cart.subtotal - line.total(), at)
        }
    }
}

fn set_buyer(cart: &Cart, sealed: &Sealed, secret: Secret, at: Timestamp) -> Outcome {
    if sealed.ciphertext.len() > Sealed::BYTES_MAX {
        return Err(Rejection::TooLarge { what: "bytes of a buyer".into(), limit: Sealed::BYTES_MAX as u64 });
    }
    let former = cart.buyer.as_ref().map(|buyer| buyer.key).filter(|key| *key != sealed.key);
    let mut vault = vec![VaultChange::Put { key: sealed.key, secret: secret.0 }];
    vault.extend(former.map(|key| VaultChange::Erase { key }));
    let event = CartEvent::BuyerSet { sealed: sealed.clone() };
    Ok(edited(cart, event, cart.lines.len(), cart.subtotal, at).with_vault(vault))
}

fn merge(cart: &Cart, from: CartId, expected_version: Option<u64>) -> Outcome {
    open(cart)?;
    if from == cart.id {
        return Err(invalid("from", "another cart"));
    }
    let reply = |merged| CartReply::Merging { from, merged, version: cart.version };
    if let Some(merging) = cart.merging {
        let same = merging.from == from;
        return if same { Ok(Decision::new(Vec::new(), reply(false))) } else { Err(Rejection::CartMerging) };
    }
    let before = cart.merges.get(&from);
    if before.is_some_and(|merged| merged.refused.is_none()) {
        return Ok(Decision::new(Vec::new(), reply(true)));
    }
    expected_version.map_or(Ok(()), |expected| at_version(cart, expected))?;
    if before.is_none() && cart.merges.len() >= MERGES_MAX {
        return Err(Rejection::QuotaExceeded { what: "carts merged into one".into(), limit: MERGES_MAX as u64 });
    }
    let attempt = before.map_or(1, |merged| merged.attempts.saturating_add(1));
    Ok(Decision::new(vec![CartEvent::MergeStarted { from, attempt }], reply(false)))
}

fn absorb(
    cart: &Cart,
    answered: Merging,
    outcome: &Result<Vec<CartLine>, Rejection>,
) -> Decision<CartEvent, CartReply> {
    if cart.merging != Some(answered) {
        return Decision::replay(CartReply::Noted);
    }
    let from = answered.from;
    #[cfg(feature = "canaries")]
    let outcome = &outcome.clone().map(|mut lines| {
        lines.drain(..usize::from(crate::canary::is(crate::canary::Canary::MergeDropsLine)).min(lines.len()));
        lines
    });
    let event = match outcome {
        Ok(lines) => CartEvent::LinesMerged { from, lines: lines.iter().map(|line| merged_line(cart, line)).collect() },
        Err(reason) => CartEvent::MergeRefused { from, reason: reason.clone() },
    };
    Decision::new(vec![event], CartReply::Noted)
}

/// Both carts' units of a SKU at the newer price, as many as one line can hold.
fn merged_line(cart: &Cart, line: &CartLine) -> CartLine {
    let Some(own) = cart.lines.get(&line.sku) else { return line.clone() };
    let newer = if line.offer.listing_version > own.offer.listing_version { &line.offer } else { &own.offer };
    let wanted = u64::from(own.quantity.get()) + u64::from(line.quantity.get());
    let affordable = LINE_TOTAL_MAX.checked_div(newer.unit_price.amount).unwrap_or(u64::MAX);
    let most = u64::from(Quantity::MAX).min(affordable);
    let units = u32::try_from(wanted.min(most)).expect("CRT-3: at most a million units");
    let quantity = Quantity::new(units).expect("CRT-3: a valid price affords at least one unit");
    CartLine { sku: line.sku.clone(), quantity, offer: newer.clone() }
}

fn surrender(cart: &Cart, to: CartId, currency: Currency, lines_max: u32) -> Outcome {
    let reply = || CartReply::Surrendered { lines: cart.lines_in_order() };
    if cart.status == (Status::Surrendered { to }) {
        return Ok(Decision::replay(reply()));
    }
    open(cart)?;
    if cart.merging.is_some() {
        return Err(Rejection::CartMerging);
    }
    if currency != cart.currency {
        return Err(invalid("from", "a cart in the same currency"));
    }
    if cart.lines.len() > lines_max as usize {
        return Err(Rejection::TooLarge { what: "lines of a cart".into(), limit: LINES_MAX as u64 });
    }
    Ok(Decision::new(vec![CartEvent::Surrendered { to }], reply()).with_vault(forget_buyer(cart)))
}

/// The key of a buyer no order took over goes with the cart.
fn forget_buyer(cart: &Cart) -> Vec<VaultChange> {
    cart.buyer.iter().map(|buyer| VaultChange::Erase { key: buyer.key }).collect()
}

fn check_out(cart: &Cart, asked: &CheckOut) -> Outcome {
    if let Some(answer) = cart.answers.get(&asked.order) {
        return repeated(cart, asked, answer);
    }
    if let Some(order) = cart.orders.get(&asked.version)
        && let Some(Answer::Ordered { version, totals, .. }) = cart.answers.get(order)
    {
        let (order, version, totals) = (*order, *version, *totals);
        return Ok(ordered_before(cart, asked, CartReply::CheckedOut { order, version, totals }));
    }
    editable(cart, Some(asked.version))?;
    check_request(cart, asked)?;
    let mut changed = Vec::new();
    let mut subtotal = 0;
    for (sku, line) in &cart.lines {
        let Some(offer) = asked.offers.get(sku) else { return Err(Rejection::Unavailable { sku: sku.clone() }) };
        subtotal += checked_total(cart, sku, line.quantity, offer)?;
        if *offer != line.offer {
            changed.push((sku.clone(), offer.clone()));
        }
    }
    let CheckOut { order, fingerprint, version, .. } = *asked;
    if subtotal != cart.subtotal {
        let (was, is, version) = (cart.subtotal, subtotal, version + 1);
        let event = CartEvent::Repriced { order, fingerprint, offers: changed, was, is };
        return Ok(Decision::new(vec![event], CartReply::PriceChanged { was, is, version }));
    }
    let event = CartEvent::CheckedOut {
        order,
        fingerprint,
        version,
        offers: changed,
        provider: asked.provider.clone(),
        token: asked.token.clone(),
        holds: asked.holds.clone(),
    };
    Ok(Decision::new(vec![event], CartReply::CheckedOut { order, version, totals: cart.totals() }))
}

/// Another key's order of the same version. An open cart remembers that this key was answered with it: the same key
/// must not buy what is put in later. Beyond the limit it is answered and not remembered.
fn ordered_before(cart: &Cart, asked: &CheckOut, reply: CartReply) -> Decision<CartEvent, CartReply> {
    if cart.status != Status::Open || cart.answers.len() >= CHECKOUTS_MAX {
        return Decision::replay(reply);
    }
    let CheckOut { order, fingerprint, version, .. } = *asked;
    Decision::new(vec![CartEvent::AlreadyOrdered { asked: order, fingerprint, version }], reply)
}

/// The same key again: the same answer, whatever the cart is now.
fn repeated(cart: &Cart, asked: &CheckOut, answer: &Answer) -> Outcome {
    let (fingerprint, reply) = match *answer {
        Answer::Ordered { version, fingerprint, totals } => {
            let order = cart.orders.get(&version).copied().unwrap_or(asked.order);
            (fingerprint, CartReply::CheckedOut { order, version, totals })
        }
        Answer::Repriced { version, fingerprint, was, is } => {
            (fingerprint, CartReply::PriceChanged { was, is, version })
        }
    };
    if fingerprint == asked.fingerprint { Ok(Decision::replay(reply)) } else { Err(Rejection::IdempotencyKeyReused) }
}

fn check_request(cart: &Cart, asked: &CheckOut) -> Result<(), Rejection> {
    if cart.lines.is_empty() {
        return Err(Rejection::CartEmpty);
    }
    if asked.provider.is_empty() || asked.provider.len() > PROVIDER_BYTES_MAX || asked.provider.contains('/') {
        return Err(invalid("payment.provider", "1 to 64 bytes without /"));
    }
    if asked.token.0.len() > TOKEN_BYTES_MAX {
        return Err(invalid("payment.token", "at most 1024 bytes"));
    }
    if asked.holds.keys().any(|sku| !cart.lines.contains_key(sku)) {
        return Err(invalid("holds", "only SKUs that are in the cart"));
    }
    if cart.answers.len() >= CHECKOUTS_MAX {
        return Err(Rejection::QuotaExceeded { what: "checkouts of one cart".into(), limit: CHECKOUTS_MAX as u64 });
    }
    Ok(())
}

fn placed(cart: &Cart, order: OrderId) -> Decision<CartEvent, CartReply> {
    if cart.placing.contains_key(&order) {
        Decision::new(vec![CartEvent::PlaceSettled { order }], CartReply::Noted)
    } else {
        Decision::replay(CartReply::Noted)
    }
}

fn expire(cart: &Cart, at: Timestamp) -> Decision<CartEvent, CartReply> {
    use crate::domain::entity::Entity;
    let due = cart.deadline().is_some_and(|(deadline, _)| deadline <= at);
    match cart.status {
        Status::Open if due => Decision::new(vec![CartEvent::Expired], CartReply::Noted).with_vault(forget_buyer(cart)),
        Status::Expired { .. } if due => Decision::new(vec![CartEvent::Purged], CartReply::Noted),
        _ => Decision::replay(CartReply::Noted),
    }
}

fn erase_buyer(cart: &Cart, key: DataKeyId) -> Decision<CartEvent, CartReply> {
    if cart.erased.contains(&key) {
        return Decision::replay(CartReply::Noted);
    }
    Decision::new(vec![CartEvent::BuyerErased { key }], CartReply::Noted).with_vault(vec![VaultChange::Erase { key }])
}

fn invalid(field: &str, reason: &str) -> Rejection {
    Rejection::InvalidRequest { field: field.into(), reason: reason.into() }
}
