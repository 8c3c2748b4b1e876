//! The shop window at `/`: a page over `/v1` that searches, shows live stock, fills a cart, buys and follows the order.
//!
//! Plain HTML, one style sheet and a few JavaScript modules, embedded in the binary: no build step, nothing loaded from
//! anywhere else, which the page's content security policy enforces. Files live under an address that carries the hash
//! of them all, so browsers keep them for good and a new binary is a new address; the page itself is checked each time.
//! Products without a picture of their own get one drawn by `pictures`.
//!
//! These routes are no part of the API and not in its document. Nothing here knows a cart or an order: the page is a
//! client of the API like any other.

mod pictures;

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::{Code, Problem};
use super::route::{Access, Route};
use crate::domain::ids::ProductId;

/// The page's routes. They cost next to nothing and are never turned away.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/", Access::Probe, page),
        Route::new(Method::GET, "/shop/{version}/{file}", Access::Probe, file),
        Route::new(Method::GET, "/media/{picture}", Access::Probe, picture),
    ]
}

/// One embedded file.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $media_type:expr;)*) => {
        [$(File { name: $name, media_type: $media_type, text: include_str!(concat!("assets/", $name)) }),*]
    };
}

const FILES: [File; 11] = files! {
    "api.js" SCRIPT;
    "app.js" SCRIPT;
    "cart.js" SCRIPT;
    "catalogue.js" SCRIPT;
    "checkout.js" SCRIPT;
    "dom.js" SCRIPT;
    "order.js" SCRIPT;
    "product.js" SCRIPT;
    "words.js" SCRIPT;
    "shop.css" "text/css; charset=utf-8";
    "icon.svg" DRAWING;
};

const PAGE: &str = include_str!("assets/index.html");

/// Names this edition of the files: a hash over all of them.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = FILES.iter().fold(Sha256::new(), |digest, file| digest.chain_update(file.text).chain_update([0]));
    hex::encode(&digest.finalize()[..8])
});

static PAGE_OF_VERSION: LazyLock<String> = LazyLock::new(|| PAGE.replace("{version}", &VERSION));

/// Only our own scripts, styles and calls; pictures also from where merchants keep theirs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: \
     data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Kept, but checked before each use: a new binary shows at once.
const CHECKED: &str = "no-cache";
/// Kept for good: the address changes with the content.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// A picture changes only with the binary that draws it.
const FOR_A_DAY: &str = "public, max-age=86400";

async fn page(headers: HeaderMap) -> Response {
    let mut response = answer(&headers, "text/html; charset=utf-8", CHECKED, PAGE_OF_VERSION.as_str());
    let guards = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    response.headers_mut().extend(guards.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Another edition's address answers this edition's file, unkept: two nodes may run two editions during an upgrade.
async fn file(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(nothing)?;
    let cache = if version == *VERSION { FOR_GOOD } else { CHECKED };
    Ok(answer(&headers, file.media_type, cache, file.text))
}

/// What the page says about the product it wants a picture of.
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    category: Option<String>,
}

async fn picture(
    Path(name): Path<String>,
    Query(about): Query<About>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let product = name.strip_suffix(".svg").and_then(|id| id.parse::<ProductId>().ok()).ok_or_else(nothing)?;
    let drawing = pictures::draw(product.as_str(), about.category.as_deref());
    let mut response = answer(&headers, DRAWING, FOR_A_DAY, drawing);
    // Opened by itself, a drawing is a document: it may run and load nothing.
    let nothing = HeaderValue::from_static("default-src 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, nothing);
    Ok(response)
}

fn nothing() -> Problem {
    Problem::new(Code::NotFound, "there is no such file")
}

/// The content with its tag, or 304 when the browser has it.
fn answer(
    asked: &HeaderMap,
    media_type: &'static str,
    cache: &'static str,
    content: impl Into<Body> + AsRef<[u8]>,
) -> Response {
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(content.as_ref())[..12]));
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let mut response = Response::new(if is_known { Body::empty() } else { content.into() });
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hex digits are visible"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(response: &Response, name: HeaderName) -> String {
        response.headers()[name].to_str().unwrap().to_owned()
    }

    fn asking(tag: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap())])
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_page_names_only_files_that_are_embedded() {
        let page = body(page(HeaderMap::new()).await).await;
        let prefix = format!("\"/shop/{}/", *VERSION);
        let named: Vec<&str> = page.split(&prefix).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(named.contains(&"app.js") && named.contains(&"shop.css"), "{named:?}");
        for name in named {
            let path = Path((VERSION.clone(), name.to_owned()));
            assert!(file(path, HeaderMap::new()).await.is_ok(), "{name} is not embedded");
        }
    }

    #[test]
    fn every_module_imports_only_embedded_modules() {
        for module in FILES.iter().filter(|file| file.media_type == SCRIPT) {
            for import in module.text.split("from \"./").skip(1) {
                let name = import.split('"').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{} imports {name}", module.name);
            }
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
        for text in FILES.iter().map(|file| file.text).chain([PAGE]) {
            let outside = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(outside, 0, "an address outside in {:.60}", text);
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "markup from text in {text:.60}");
        }
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick=") && !PAGE.contains("<script>"));
    }

    #[tokio::test]
    async fn files_are_kept_for_good_at_their_own_address_and_checked_at_any_other() {
        let get = async |version: &str| {
            file(Path((version.to_owned(), "app.js".to_owned())), HeaderMap::new()).await.unwrap()
        };
        assert_eq!(header(&get(&VERSION).await, header::CACHE_CONTROL), FOR_GOOD);
        assert_eq!(header(&get("older").await, header::CACHE_CONTROL), CHECKED);
    }

    #[tokio::test]
    async fn a_page_the_browser_has_is_not_sent_again() {
        let first = page(HeaderMap::new()).await;
        let tag = header(&first, header::ETAG);
        let again = page(asking(&tag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, header::CONTENT_SECURITY_POLICY), CONTENT_SECURITY_POLICY);
        assert_eq!(page(asking("\"other\"")).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn pictures_are_drawn_for_product_ids_and_nothing_else() {
        let get =
            async |name: &str| picture(Path(name.to_owned()), Query(About { category: None }), HeaderMap::new()).await;
        let drawn = get("green-tea.svg").await.unwrap();
        assert_eq!(header(&drawn, header::CONTENT_TYPE), DRAWING);
        assert!(body(drawn).await.starts_with("<svg "));
        for bad in ["green-tea", "green tea.svg", ".svg", "green-tea.png"] {
            assert!(get(bad).await.is_err(), "{bad}");
        }
    }
}
