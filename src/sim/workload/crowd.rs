//! Who comes when: regulars who stay (closed loop), arrivals by a load curve whatever the shop is like (open loop), and
//! the merchants.
//!
//! Everybody has a random stream of their own, by name: one more or less leaves the others as they were.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Visitor;
use crate::rng::SeededRng;
use crate::sim::disk::within;
use crate::sim::scenario::Scenario;

/// Everybody who is at the shop.
pub struct Crowd {
    /// How their visits end.
    pub visits: JoinSet<Result<(), String>>,
}

impl Crowd {
    /// Lets everybody in. `visitor` makes one by name; `merchant` one with a merchant's key.
    pub fn enter(
        scenario: &Arc<Scenario>,
        seed: u64,
        until: Instant,
        visitor: impl Fn(&str) -> Visitor + 'static,
        merchant: &Visitor,
    ) -> Self {
        let mut visits = JoinSet::new();
        open_back_office(&mut visits, scenario, until, merchant);
        for number in 0..scenario.shoppers.count {
            let (regular, scenario) = (visitor(&format!("shopper-{number}")), scenario.clone());
            visits.spawn_local(async move {
                regular.stay(&scenario, until).await;
                Ok(())
            });
        }
        if scenario.shoppers.arrivals_per_minute > 0 {
            let scenario = scenario.clone();
            visits.spawn_local(async move { arrivals(&scenario, seed, until, visitor).await });
        }
        Self { visits }
    }
}

/// Lets those in who run the shop.
fn open_back_office(
    visits: &mut JoinSet<Result<(), String>>,
    scenario: &Arc<Scenario>,
    until: Instant,
    merchant: &Visitor,
) {
    let come = |name: &str| (merchant.colleague(name), scenario.clone());
    let (restocker, world) = come("restocker");
    visits.spawn_local(async move { restocker.restock(&world, until).await });
    let (sender, world) = come("sender");
    visits.spawn_local(async move { sender.fulfil(&world, until).await });
    let (importer, world) = come("importer");
    visits.spawn_local(async move { importer.import(&world, until).await });
    let (writer, world) = come("writer");
    visits.spawn_local(async move { writer.rewrite(&world, until).await });
    let (repairer, world) = come("repairer");
    visits.spawn_local(async move { repairer.end_holds(&world, until).await });
    let (carrier, world) = come("carrier");
    visits.spawn_local(async move { carrier.deliver(&world, until).await });
    let (pricer, world) = come("pricer");
    visits.spawn_local(async move { pricer.reprice(&world, until).await });
    let (onlooker, world) = come("onlooker");
    visits.spawn_local(async move { onlooker.look_around(&world, until).await });
}

/// One visitor after the other, as the curve says; ends when all have left.
async fn arrivals(
    scenario: &Arc<Scenario>,
    seed: u64,
    until: Instant,
    visitor: impl Fn(&str) -> Visitor,
) -> Result<(), String> {
    let (opened, rng) = (Instant::now(), SeededRng::stream(seed, "arrivals"));
    let day = until.saturating_duration_since(opened);
    let (mut inside, mut number) = (JoinSet::new(), 0_u64);
    while Instant::now() < until {
        let percent = level(&scenario.shoppers.curve_percent, opened.elapsed(), day);
        let rate = scenario.shoppers.arrivals_per_minute * percent;
        if rate == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let mean = Duration::from_micros(60_000_000 * 100 / rate);
        let next = Instant::now() + within(&rng, &(Duration::ZERO..=2 * mean));
        tokio::time::sleep_until(next.min(until)).await;
        if next > until {
            break;
        }
        let (arrival, scenario) = (visitor(&format!("arrival-{number}")), scenario.clone());
        number += 1;
        inside.spawn_local(async move { arrival.buy(&scenario).await });
        while inside.try_join_next().is_some() {}
    }
    while let Some(left) = inside.join_next().await {
        left.map_err(|error| format!("a shopper fell over: {error}"))?;
    }
    Ok(())
}

/// The percentage of the curve's part that this moment of the day is in.
fn level(curve: &[u64], elapsed: Duration, day: Duration) -> u64 {
    let parts = curve.len() as u128;
    let part = elapsed.as_micros() * parts / day.as_micros().max(1);
    curve[part.min(parts - 1) as usize]
}

impl Visitor {
    /// A regular's day.
    async fn stay(&self, scenario: &Scenario, until: Instant) {
        for _ in 0..scenario.shoppers.purchases {
            self.think(&scenario.shoppers).await;
            if Instant::now() >= until {
                return;
            }
            self.buy(scenario).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_equal_parts() {
        let at = |seconds| level(&[10, 200, 30], Duration::from_secs(seconds), Duration::from_secs(90));
        assert_eq!([at(0), at(29), at(30), at(59), at(60), at(90)], [10, 10, 200, 200, 30, 30]);
    }
}
