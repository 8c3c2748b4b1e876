//! What happened in a run, as seen from outside: who asked for what, what was answered, what broke.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::time::now_ms;

/// One line of the history.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Virtual milliseconds since the world began.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The shop acknowledged units.
    Received {
        /// Of what.
        sku: String,
        /// How many.
        units: u64,
    },
    /// The shop acknowledged an order.
    Ordered {
        /// Its id.
        order: String,
        /// The cart it was.
        cart: String,
        /// The key it was asked for under.
        key: String,
        /// SKU → units.
        lines: BTreeMap<String, u64>,
        /// How it is paid.
        token: String,
        /// SKU → the hold brought along.
        holds: BTreeMap<String, String>,
        /// Times it was asked for.
        attempts: u32,
    },
    /// Somebody asked an entity for something; answered or not, see `linear`.
    Asked {
        /// Whom: `stock/SKU`, `cart/ID`, `order/ID` or `product/ID`.
        entity: String,
        /// What.
        ask: Ask,
    },
    /// There was a definite answer to it.
    Answered {
        /// The place of the request in this history.
        request: u64,
        /// Times it was sent.
        attempts: u32,
        /// The answer.
        said: Said,
    },
    /// Whether the answers about an entity fit together was not found out: too many orders of its requests.
    Undecided {
        /// Which.
        entity: String,
    },
    /// The payment provider was asked for something.
    PaymentAsked {
        /// For which order.
        order: String,
        /// Under which key.
        key: String,
        /// What: `authorise`, `capture`, `void`, `refund` or `lookup`.
        what: &'static str,
        /// The key it is about: of a void its authorisation's, of a lookup the one looked up; else its own.
        of: String,
    },
    /// The provider entered it into its books, whether or not anybody hears of it.
    PaymentBooked {
        /// Under which key.
        key: String,
        /// What became of it.
        outcome: String,
    },
    /// The provider told the shop, by an answer or a webhook, what became of a request.
    PaymentTold {
        /// The request's key.
        of: String,
        /// What became of it.
        outcome: String,
    },
    /// The same request again had the same answer.
    Repeated,
    /// The shop set units aside.
    Held {
        /// The hold.
        hold: String,
        /// Of what.
        sku: String,
        /// How many.
        units: u64,
    },
    /// The shop took a hold back.
    GaveBack {
        /// Which.
        hold: String,
    },
    /// The shop agreed to cancel an order.
    Cancelled {
        /// Which.
        order: String,
    },
    /// The shop acknowledged that an order was sent out.
    Fulfilled {
        /// Which.
        order: String,
    },
    /// The shop acknowledged that what was sent of an order arrived.
    Delivered {
        /// Which.
        order: String,
    },
    /// The shop agreed to refund what was left of an order.
    Refunded {
        /// Which.
        order: String,
        /// Whether its units go back on the shelf.
        restock: bool,
    },
    /// Somebody had an answer that must not be.
    Odd {
        /// The law it breaks.
        law: &'static str,
        /// How.
        detail: String,
    },
    /// The shop said no.
    Refused {
        /// What was asked.
        what: String,
        /// The problem's code.
        code: String,
    },
    /// A shopper stopped asking without an answer: nobody outside knows what became of it.
    GaveUp {
        /// What was asked.
        what: String,
        /// The key it was asked under.
        key: String,
    },
    /// A node crashed.
    Crashed {
        /// How.
        kind: &'static str,
        /// What became of its disk.
        disk: String,
    },
    /// A node was started again.
    Started,
    /// Something else broke.
    Fault {
        /// What, one of `faults::KINDS`.
        kind: &'static str,
        /// How.
        detail: String,
    },
    /// It is mended.
    Mended {
        /// What.
        kind: &'static str,
    },
    /// The world entered a phase.
    Phase {
        /// Which.
        name: &'static str,
    },
}

/// What somebody asked an entity for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// To take units in.
    Receive {
        /// How many.
        units: u64,
    },
    /// To set units aside.
    Hold {
        /// How many.
        units: u64,
        /// For how long.
        ttl_s: u64,
    },
    /// To take a hold back.
    Return {
        /// Which.
        hold: String,
    },
    /// What is left.
    ReadStock,
    /// Nothing directly: an order over so many units was asked for.
    Order {
        /// How many.
        units: u64,
    },
    /// Nothing directly: an order that brings this hold was asked for.
    OrderHeld {
        /// Which.
        hold: String,
    },
    /// To hold so many units of a SKU.
    SetLine {
        /// Of what.
        sku: String,
        /// How many.
        units: u64,
    },
    /// To take over another cart with these lines.
    Merge {
        /// SKU → units.
        lines: BTreeMap<String, u64>,
    },
    /// What is in it.
    ReadCart,
    /// To become an order.
    CheckOut {
        /// Under which key.
        key: String,
    },
    /// Where the order stands.
    ReadOrder,
    /// To be undone.
    Cancel,
    /// To be sent out, all of it.
    Fulfil,
    /// To have arrived.
    Deliver,
    /// To give money back.
    Refund {
        /// Whatever is left of it, or a part.
        rest: bool,
    },
    /// To say this from now on.
    Write {
        /// What.
        label: Label,
        /// Whether a request sent several times is known to be the same one.
        once: bool,
    },
    /// What it says.
    ReadProduct,
}

/// What of a product merchants change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Label {
    /// Minor units.
    pub price: u64,
    /// How long its description is.
    pub description_bytes: u64,
}

/// What an entity answered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Done.
    Yes,
    /// Units were set aside.
    Held {
        /// Under this hold.
        hold: String,
    },
    /// What is left.
    Available {
        /// Units.
        units: u64,
    },
    /// What is in the cart.
    Lines {
        /// SKU → units.
        lines: BTreeMap<String, u64>,
    },
    /// The cart is an order now.
    Ordered {
        /// Which.
        order: String,
        /// Where it stands.
        state: String,
    },
    /// Where the order stands.
    Stands {
        /// The state.
        state: String,
    },
    /// What the product says.
    Says {
        /// Which of its versions that is.
        version: u64,
        /// What.
        label: Label,
    },
    /// No: an order that stands there cannot do that.
    Forbidden {
        /// The state.
        state: String,
    },
    /// No.
    No {
        /// The problem's code.
        code: String,
    },
}

/// The history of a run. Clones share it.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Row>>>);

impl History {
    /// Adds a line, which enters the trace too; answers its place.
    pub fn add(&self, actor: &str, fact: Fact) -> u64 {
        let row = Row { at_ms: now_ms(), actor: actor.to_owned(), fact };
        tracing::info!(row = %serde_json::to_string(&row).expect("a row is JSON"), "history");
        let mut rows = self.lock();
        rows.push(row);
        rows.len() as u64 - 1
    }

    /// A copy of all lines.
    pub fn rows(&self) -> Vec<Row> {
        self.lock().clone()
    }

    /// Lines from the one with this number on, counted from zero.
    pub fn since(&self, number: usize) -> Vec<Row> {
        self.lock().get(number..).unwrap_or_default().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
