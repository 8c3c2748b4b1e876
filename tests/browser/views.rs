//! Every view on every screen: it fits, a finger can hit what is to be hit, and there is a picture of it to look at.

use std::path::Path;

use fantoccini::Client;
use serde_json::json;

use crate::stage::{DESKTOP, PHONE, Screen, Stage};
use crate::{fill_form, open_product, see, wait_for};

/// Lowest thing on a phone that is to be hit, in pixels.
const TARGET_MIN: u32 = 40;
/// A picture of an empty page has a tenth of it.
const PICTURE_BYTES_MIN: usize = 20_000;

/// What sticks out of the window at the side, and what is too low to be hit: of the page, then names of things.
const LOOK: &str = "
    const isSeen = (thing) => thing.checkVisibility({ visibilityProperty: true }) && !thing.closest('.hidden, .skip');
    const name = (thing) => `${thing.tagName} .${thing.className} #${thing.id} ${thing.textContent.slice(0, 30)}`;
    const targets = 'button, select, summary, form a, .option, .method, .variant, .clear, .crumbs a, .foot a, .mark,'
        + ' input:not([type=radio], [type=checkbox]), [id=cart-link]';
    const low = [...document.querySelectorAll(targets)].filter(isSeen)
        .filter((thing) => thing.getBoundingClientRect().height < arguments[0] - 0.5);
    const wide = [...document.querySelectorAll('main *, header *, footer *')].filter(isSeen)
        .filter((thing) => thing.getBoundingClientRect().right > innerWidth + 0.5);
    const scroll = document.documentElement.scrollWidth;
    return { inner: innerWidth, scroll, low: low.map(name), wide: wide.map(name) };";

/// Whether the pictures within the window are drawn.
const DRAWN: &str = "
    const seen = [...document.images].filter((image) => image.getBoundingClientRect().top < innerHeight);
    return seen.every((image) => image.complete && image.naturalWidth) || null";

/// Width and height of a PNG, as its header says.
fn size_of(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "a PNG");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Looks at the view that is shown, and keeps a picture of it.
async fn look(browser: &Client, screen: Screen, view: &str) {
    wait_for(browser, DRAWN, vec![]).await;
    let seen = browser.execute(LOOK, vec![json!(TARGET_MIN)]).await.unwrap();
    let number = |name: &str| u32::try_from(seen[name].as_u64().unwrap()).unwrap();
    let (inner, scroll) = (number("inner"), number("scroll"));
    assert!(scroll <= inner && seen["wide"] == json!([]), "{view} is wider than a {}: {seen:#}", screen.name);
    let picture = browser.screenshot().await.unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shop");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("{}-{view}.png", screen.name)), &picture).unwrap();
    let (width, height) = size_of(&picture);
    if screen.is_phone {
        assert_eq!((inner, width, height), (390, 780, 1688), "the phone's own measures");
        assert_eq!(seen["low"], json!([]), "{view}: lower than {TARGET_MIN} pixels");
    } else {
        assert!(width >= 1200 && height >= 800, "{view}: {width} × {height}");
    }
    assert!(picture.len() > PICTURE_BYTES_MIN, "{view}: {} bytes are no picture of a shop", picture.len());
}

async fn go(browser: &Client, hash: &str, until: &str) {
    browser.execute("location.hash = arguments[0]", vec![json!(hash)]).await.unwrap();
    see(browser, until).await;
}

/// Goes through the whole shop.
async fn every_view(screen: Screen) {
    let stage = Stage::set(screen).await;
    let browser = stage.browser();
    see(browser, ".card:nth-child(12)").await;
    look(browser, screen, "all").await;
    go(browser, "#/?category=Kitchen", ".depth-1").await;
    let kitchen = "return document.querySelector('.results h1').textContent === 'Kitchen'\
                   && document.querySelector('.results:not([aria-busy=true]) .card:nth-child(12)') ? true : null";
    wait_for(browser, kitchen, vec![]).await;
    look(browser, screen, "kitchen").await;
    let open = "document.querySelectorAll('details').forEach((details) => { details.open = true; })";
    browser.execute(open, vec![]).await.unwrap();
    look(browser, screen, "filters").await;
    open_product(browser).await;
    look(browser, screen, "product").await;
    see(browser, "#add").await.click().await.unwrap();
    see(browser, "#cart-count:not([hidden])").await;
    look(browser, screen, "added").await;
    go(browser, "#/cart", ".pay-form").await;
    look(browser, screen, "cart").await;
    fill_form(browser, "tok_slow").await;
    look(browser, screen, "checkout").await;
    see(browser, "#buy").await.click().await.unwrap();
    see(browser, "[data-state]").await;
    look(browser, screen, "order-on-its-way").await;
    see(browser, "[data-state=confirmed]").await;
    look(browser, screen, "order").await;
    go(browser, "#/cart", ".empty").await;
    look(browser, screen, "empty-cart").await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_fits_a_desktop() {
    every_view(DESKTOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_fits_a_phone_and_its_fingers() {
    every_view(PHONE).await;
}

#[test]
fn the_picture_in_the_readme_is_one() {
    let picture = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/shop.png")).unwrap();
    let (width, height) = size_of(&picture);
    assert!(width >= 1200 && height >= 800 && picture.len() > PICTURE_BYTES_MIN, "{width} × {height}");
}
