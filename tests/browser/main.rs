//! A shopper in a real browser: headless Chromium, driven through ChromeDriver, against the real binary with its demo
//! catalogue. Fails when Chromium or ChromeDriver (Debian: chromium, chromium-driver) is missing.
//!
//! Pictures of every view on every screen are kept under `CARGO_TARGET_TMPDIR/shop`; docs/shop.png was copied from
//! `desktop-kitchen.png` among them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod live;
mod stage;
mod views;

use std::time::Duration;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::{Client, Locator};
use serde_json::{Value, json};
use stage::{DESKTOP, PHONE, Stage};

/// A purchase on a debug build, a slow payment included, takes a few seconds; this is a limit, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// A product with two variants, plenty in stock, as the demo catalogue has it.
const SEARCH: &str = "darjeeling";

async fn see(browser: &Client, selector: &str) -> fantoccini::elements::Element {
    match browser.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await {
        Ok(found) => found,
        Err(error) => {
            let seen = "return [location.hash, document.body.innerText, {...localStorage}, {...sessionStorage}]";
            let seen = browser.execute(seen, vec![]).await;
            panic!("{selector} did not appear: {error}; instead: {seen:?}");
        }
    }
}

/// Runs a script in the page and answers what it resolves to.
async fn ask_page(browser: &Client, script: &str) -> Value {
    let script =
        format!("const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done(String(e)));");
    browser.execute_async(&script, vec![]).await.unwrap()
}

async fn available(browser: &Client, sku: &str) -> i64 {
    let script = format!("return (await (await fetch('/v1/stock/{sku}')).json()).available;");
    ask_page(browser, &script).await.as_i64().unwrap()
}

/// Searches, opens the first product found that is in stock, and answers the chosen SKU.
async fn open_product(browser: &Client) -> String {
    let search = see(browser, "#query").await;
    search.send_keys(SEARCH).await.unwrap();
    search.send_keys("\u{e007}").await.unwrap();
    see(browser, ".results h1").await;
    let found = "return [...document.querySelectorAll('.card')].find((card) => !card.querySelector('.stock.none')\
                 && card.textContent.toLowerCase().includes(arguments[0]))?.querySelector('a').href";
    let address = wait_for(browser, found, vec![json!(SEARCH)]).await;
    browser.goto(address.as_str().unwrap()).await.unwrap();
    see(browser, "#add:not(:disabled)").await;
    see(browser, "#stock").await.attr("data-sku").await.unwrap().unwrap()
}

/// What the script answers as soon as that is not null.
async fn wait_for(browser: &Client, script: &str, arguments: Vec<Value>) -> Value {
    let answer = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = browser.execute(script, arguments.clone()).await.unwrap();
            if !answer.is_null() {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    });
    answer.await.unwrap_or_else(|_| panic!("the page never answered: {script}"))
}

/// Puts one unit of a product into the cart and goes to the checkout.
async fn fill_cart(browser: &Client) -> String {
    let sku = open_product(browser).await;
    see(browser, "#add").await.click().await.unwrap();
    see(browser, "#cart-count:not([hidden])").await;
    see(browser, "#cart-link").await.click().await.unwrap();
    see(browser, ".pay-form").await;
    sku
}

async fn fill_form(browser: &Client, token: &str) {
    for (name, text) in [("email", "ada@example.org"), ("name", "Ada Lovelace")] {
        let field = see(browser, &format!(".pay-form [name={name}]")).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }
    see(browser, &format!(".pay-form [value={token}]")).await.click().await.unwrap();
}

const TAB: &str = "\u{e004}";
const SHIFT: char = '\u{e008}';
const BACK_TAB: &str = "\u{e008}\u{e004}";
const ENTER: &str = "\u{e007}";
/// Steps from one end of a page to the other, and more.
const STEPS_MAX: usize = 120;

/// Presses a key until the focus is on what the selector means.
async fn step_to(browser: &Client, key: &str, selector: &str) {
    let found = "return document.activeElement.matches(arguments[0])";
    for _ in 0..STEPS_MAX {
        press(browser, key).await;
        if browser.execute(found, vec![json!(selector)]).await.unwrap() == json!(true) {
            return;
        }
    }
    panic!("{selector} is not reached with the keyboard");
}

/// Presses these keys on the keyboard, so they go to whatever has the focus at that moment; Shift is held to the end.
async fn press(browser: &Client, keys: &str) {
    let strokes = keys.chars().filter(|key| *key != SHIFT);
    let strokes = strokes.flat_map(|value| [KeyAction::Down { value }, KeyAction::Up { value }]);
    let mut keyboard = KeyActions::new("keyboard".to_owned());
    if keys.contains(SHIFT) {
        keyboard = keyboard.then(KeyAction::Down { value: SHIFT });
    }
    let keyboard = strokes.fold(keyboard, KeyActions::then);
    browser.perform_actions(keyboard).await.unwrap();
    browser.release_actions().await.unwrap();
}

/// What is seen when a reload of the cart's page was under way while the page went on to another.
async fn reload_at_the_cart(browser: &Client) {
    browser.execute("history.replaceState(null, '', '#/cart')", vec![]).await.unwrap();
    browser.refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shopper_buys_and_a_double_click_buys_once() {
    let stage = Stage::set(DESKTOP).await;
    let browser = stage.browser();
    let sku = fill_cart(browser).await;
    let before = available(browser, &sku).await;
    fill_form(browser, "tok_ok").await;
    browser.execute("const buy = document.getElementById('buy'); buy.click(); buy.click()", vec![]).await.unwrap();
    see(browser, "[data-state=confirmed]").await;
    assert_eq!(available(browser, &sku).await, before - 1);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shopper_needs_no_mouse() {
    let stage = Stage::set(DESKTOP).await;
    let browser = stage.browser();
    see(browser, ".card").await;
    step_to(browser, TAB, ".facet [data-key^='category=']").await;
    press(browser, " ").await;
    see(browser, ".clear").await;
    see(browser, ".facet [data-key^='category=']:checked:focus").await;
    step_to(browser, BACK_TAB, "#query").await;
    press(browser, SEARCH).await;
    press(browser, ENTER).await;
    let found = "return document.querySelector('.results h1').textContent.includes(arguments[0]) || null";
    wait_for(browser, found, vec![json!(SEARCH)]).await;
    step_to(browser, TAB, ".card a").await;
    press(browser, ENTER).await;
    see(browser, "#add:not(:disabled)").await;
    step_to(browser, BACK_TAB, ".skip").await;
    press(browser, ENTER).await;
    see(browser, "main:focus #add").await;
    step_to(browser, TAB, "#add").await;
    press(browser, ENTER).await;
    see(browser, "#cart-count:not([hidden])").await;
    see(browser, "#add:focus").await;
    step_to(browser, BACK_TAB, "#cart-link").await;
    press(browser, ENTER).await;
    see(browser, ".pay-form").await;
    step_to(browser, TAB, "[name=email]").await;
    press(browser, "ada@example.org").await;
    step_to(browser, TAB, "[name=name]").await;
    press(browser, "Ada Lovelace").await;
    step_to(browser, TAB, "#buy").await;
    press(browser, ENTER).await;
    see(browser, "[data-state=confirmed]").await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_the_middle_of_buying_shows_the_one_order() {
    let stage = Stage::set(PHONE).await;
    let browser = stage.browser();
    let sku = fill_cart(browser).await;
    let before = available(browser, &sku).await;
    fill_form(browser, "tok_slow").await;
    let bought = "document.getElementById('buy').click(); const key = 'stockroom.checkout';\
                  while (!localStorage.getItem(key)) await new Promise((later) => setTimeout(later, 1));\
                  return localStorage.getItem(key);";
    assert!(ask_page(browser, bought).await.as_str().unwrap().contains("tok_slow"));
    browser.refresh().await.unwrap();
    see(browser, "[data-state=confirmed]").await;
    assert_eq!(available(browser, &sku).await, before - 1);
    reload_at_the_cart(browser).await;
    see(browser, "[data-state=confirmed]").await;
    browser.execute("location.hash = '#/cart'", vec![]).await.unwrap();
    see(browser, ".empty").await;
    reload_at_the_cart(browser).await;
    see(browser, ".empty").await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_card_costs_nothing_and_the_next_attempt_confirms_by_webhook() {
    let stage = Stage::set(DESKTOP).await;
    let browser = stage.browser();
    let sku = fill_cart(browser).await;
    let before = available(browser, &sku).await;
    fill_form(browser, "tok_declined").await;
    see(browser, "#buy").await.click().await.unwrap();
    see(browser, "[data-state=failed]").await;
    let meaning = see(browser, ".meaning").await.text().await.unwrap();
    assert!(meaning.contains("declined"), "{meaning}");
    see(browser, ".after button").await.click().await.unwrap();
    see(browser, ".pay-form").await;
    fill_form(browser, "tok_webhook").await;
    see(browser, "#buy").await.click().await.unwrap();
    see(browser, "[data-state=confirmed]").await;
    assert_eq!(available(browser, &sku).await, before - 1);
    stage.strike().await;
}
