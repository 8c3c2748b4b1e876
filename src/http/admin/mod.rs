//! The merchant's part: products, stock, orders.

pub mod import;
pub mod orders;
pub mod products;
pub mod stock;

use super::route::Route;

/// The table.
pub fn routes() -> Vec<Route> {
    let mut routes = products::routes();
    routes.extend(import::routes());
    routes.extend(stock::routes());
    routes.extend(orders::routes());
    routes
}
