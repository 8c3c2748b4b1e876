//! Stocks the shelves a scenario sells from: bench products of fifty variants, a million units of each.

use std::sync::Arc;

use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::BenchArguments;
use super::connection::{Answer, Call, Connection, Target};
use super::scenario::sku_name;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

/// Variants of one bench product.
const VARIANTS_PER_PRODUCT: u32 = 50;

/// Units received at once; the most one command may name.
const UNITS: u32 = 1_000_000;

/// Units below which a shelf is filled up again.
const UNITS_MIN: u64 = 500_000;

/// Connections that stock in parallel.
const STOCKERS: u32 = 16;

/// Makes sure every SKU of the scenario exists and is well stocked. Running it again changes nothing.
pub(super) async fn stock(arguments: &BenchArguments, target: &Arc<Target>) -> Result<(), Failure> {
    let skus = arguments.scenario.skus(arguments.skus);
    let Some(key) = arguments.key.clone() else { return Ok(()) };
    let products = skus.div_ceil(VARIANTS_PER_PRODUCT);
    if products > 0 {
        output::talk(format_args!("stocking {skus} SKUs"));
    }
    let mut stockers = JoinSet::new();
    for first in 0..STOCKERS.min(products) {
        let headers = vec![("authorization", format!("Bearer {key}"))];
        let stocker = Stocker { connection: Connection::default(), target: target.clone(), headers };
        let mine = (first..products).step_by(STOCKERS as usize);
        stockers.spawn(stocker.run(mine.collect(), skus));
    }
    while let Some(stocked) = stockers.join_next().await {
        stocked??;
    }
    Ok(())
}

struct Stocker {
    connection: Connection,
    target: Arc<Target>,
    headers: Vec<(&'static str, String)>,
}

impl Stocker {
    async fn run(mut self, products: Vec<u32>, skus: u32) -> Result<(), Failure> {
        for product in products {
            let first = product * VARIANTS_PER_PRODUCT;
            let numbers = first..(first + VARIANTS_PER_PRODUCT).min(skus);
            let stocked = self.units(&sku_name(numbers.end - 1)).await?;
            if stocked.is_none() {
                self.put_product(product, numbers.clone()).await?;
            }
            for number in numbers {
                let sku = sku_name(number);
                // What was not sold until now has nothing on the shelf.
                let units = if stocked.is_none() { 0 } else { self.units(&sku).await?.unwrap_or(0) };
                self.receive(&sku, units).await?;
            }
        }
        Ok(())
    }

    async fn put_product(&mut self, product: u32, numbers: std::ops::Range<u32>) -> Result<(), Failure> {
        let variants: Vec<_> = numbers
            .map(|number| {
                let prices = json!({"USD": 1_000, "EUR": 930});
                let title = format!("Number {number}");
                json!({"sku": sku_name(number), "title": title, "attributes": {}, "prices": prices})
            })
            .collect();
        let body = json!({
            "title": format!("Bench product {product}"), "description": "Sold by stockroom bench.",
            "categories": ["Bench"], "attributes": {}, "media": [], "status": "active", "variants": variants,
        });
        let path = format!("/v1/admin/products/bench-{product}");
        self.call(Method::PUT, path, body.to_string()).await.and_then(accepted)
    }

    /// Fills a shelf that has so many units, if they are few.
    async fn receive(&mut self, sku: &str, units: u64) -> Result<(), Failure> {
        if units >= UNITS_MIN {
            return Ok(());
        }
        // Named after what is there, so that a retry of the same filling-up happens once.
        self.headers.push(("idempotency-key", format!("bench-receive-{sku}-{units:010}")));
        let body = json!({"quantity": UNITS, "reference": "bench"}).to_string();
        let answer = self.call(Method::POST, format!("/v1/admin/stock/{sku}/receive"), body).await;
        self.headers.pop();
        answer.and_then(accepted)
    }

    /// Units on the shelf; `None` when nobody sells the SKU.
    async fn units(&mut self, sku: &str) -> Result<Option<u64>, Failure> {
        let answer = self.call(Method::GET, format!("/v1/admin/stock/{sku}"), String::new()).await?;
        if answer.status == hyper::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let units = body["available"].as_u64();
        accepted(answer).map(|()| units)
    }

    async fn call(&mut self, method: Method, path: String, body: String) -> Result<Answer, Failure> {
        let call = Call { method, path, body, headers: &self.headers };
        let answer = self.connection.call(&self.target, call).await;
        answer.map_err(|error| Failure::new(Exit::Unreachable, error))
    }
}

fn accepted(answer: Answer) -> Result<(), Failure> {
    if answer.status.is_success() {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body);
    Err(Failure::said(Exit::Failed, format_args!("stocking was refused: {} {body}", answer.status))
        .advise("the key must be a merchant's: `stockroom key create --role merchant`"))
}
