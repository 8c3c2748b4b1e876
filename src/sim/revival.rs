//! Whether the shop sells again once nothing breaks any more: with what it sold before forgotten and late work done,
//! some shoppers come at once for units that are there. Everybody must get an order that is confirmed, and not wait
//! longer for it than the pace of the shop on its first day allows.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::checks::{self, Broken, broken};
use super::laws;
use super::scenario::{Scenario, Shop, Shoppers};
use super::workload::{Visitor, sku};

/// What a node may take to notice that nothing breaks any more: it looks every second whether its disk has room.
const RECOVERY: Duration = Duration::from_secs(3);
/// Shoppers who come at once, for the same product.
const SHOPPERS: u64 = 6;
/// Most units one of them wants.
const UNITS_MAX: u64 = 2;
/// What all this may take, from the delivery to the last confirmed order, in requests of the first day; measured over
/// 200 seeds of all scenarios: 3 to 15, of which 4 to 9 nine times out of ten.
const REQUESTS: u32 = 20;
/// And besides: a pace measured with few requests is inexact.
const SLACK: Duration = Duration::from_millis(400);
/// Between two looks at an order.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lets some shoppers buy. `pace` is how long a request took when the shop opened.
pub async fn check(merchant: &Visitor, scenario: &Scenario, pace: Duration) -> Result<Vec<Broken>, String> {
    laws::checked("SIM-SELLS-AGAIN");
    tokio::time::sleep(RECOVERY).await;
    let (calm, begun) = (Arc::new(calm(scenario)), Instant::now());
    let deadline = begun + REQUESTS * pace + SLACK;
    let delivery = merchant.receive(&calm, sku(0), SHOPPERS * UNITS_MAX);
    let Ok(delivered) = tokio::time::timeout_at(deadline, delivery).await else {
        let detail = format!("units could not be received in {:?}", deadline - begun);
        return Ok(vec![broken("SIM-SELLS-AGAIN", detail)]);
    };
    delivered?;
    let mut visits = JoinSet::new();
    for number in 0..SHOPPERS {
        let (shopper, calm) = (merchant.stranger(&format!("returner-{number}")), calm.clone());
        visits.spawn_local(async move { shopper.confirmed_by(&calm, deadline).await });
    }
    let mut found = Vec::new();
    while let Some(visit) = visits.join_next().await {
        found.extend(visit.map_err(|error| format!("a visitor fell over: {error}"))??);
    }
    Ok(found.into_iter().map(|detail| broken("SIM-SELLS-AGAIN", detail)).collect())
}

/// The same shop with one product and shoppers who know what they want.
fn calm(scenario: &Scenario) -> Scenario {
    let patience_ms = scenario.shoppers.patience_ms;
    let shoppers = Shoppers { think_ms: 0, lines_max: 1, double_click_one_in: 0, patience_ms, ..Shoppers::default() };
    Scenario { shoppers, shop: Shop { products: 1, ..scenario.shop.clone() }, ..scenario.clone() }
}

impl Visitor {
    /// Buys; what is wrong with it if the order is not confirmed in time.
    async fn confirmed_by(&self, calm: &Scenario, deadline: Instant) -> Result<Option<String>, String> {
        let begun = Instant::now();
        let Some(order) = self.try_to_buy(calm).await else {
            return Ok(Some(format!("{} could not order what there is, in {:?}", self.name, begun.elapsed())));
        };
        loop {
            let shown = self.read(format!("/v1/orders/{order}")).await?;
            let is_late = Instant::now() > deadline;
            match checks::state(&shown) {
                "confirmed" if !is_late => return Ok(None),
                state if is_late || checks::ENDED.contains(&state) => {
                    return Ok(Some(format!("order {order} is {state} after {:?}", begun.elapsed())));
                }
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}
