//! The picture of a failure, looked at in headless Chromium. Fails when Chromium or ChromeDriver (Debian: chromium,
//! chromium-driver) is missing.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use crate::kit::{copy_of_failed, passes, run_json, text};

/// Killed when dropped.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_driver() -> (Driver, u16) {
    let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.expect("chromedriver is installed (Debian: chromium-driver)");
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let driver = Driver(child);
    let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    (driver, port.expect("chromedriver says its port"))
}

async fn open_window(port: u16, profile: &str) -> Client {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,900",
        &format!("--user-data-dir={profile}"),
    ];
    let capabilities =
        json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } });
    let Value::Object(capabilities) = capabilities else { unreachable!("written as an object") };
    let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
    let window = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await;
    window.expect("ChromeDriver starts Chromium")
}

async fn all(window: &Client, selector: &str) -> Vec<Element> {
    window.find_all(Locator::Css(selector)).await.unwrap()
}

async fn ask(window: &Client, script: &str) -> Value {
    window.execute(&format!("return {script}"), vec![]).await.unwrap()
}

async fn hover(window: &Client, element: &Element) {
    let over = PointerAction::MoveToElement { element: element.clone(), duration: None, x: 0.0, y: 0.0 };
    let moved = MouseActions::new("mouse".to_owned()).then(over);
    window.perform_actions(moved).await.unwrap();
}

/// The tip that is shown, if one is.
async fn tip(window: &Client) -> Option<String> {
    let shown = ask(window, "(tip => tip.hidden ? null : tip.innerText)(document.getElementById('tip'))").await;
    shown.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_of_a_failure_shows_hosts_faults_and_records_and_tells_more_when_pointed_at() {
    let (copy, directory) = copy_of_failed();
    std::fs::remove_file(directory.join("timeline.html")).unwrap();
    let path = passes(&["timeline", text(&directory)]);
    let run = run_json(&directory);
    let (_driver, port) = start_driver();
    let window = open_window(port, text(&copy.path().join("profile"))).await;
    window.goto(&format!("file://{}", path.trim())).await.unwrap();

    let mut lanes = Vec::new();
    for lane in all(&window, "[data-lane]").await {
        lanes.push(lane.attr("data-lane").await.unwrap().unwrap());
    }
    assert_eq!(lanes, ["journal", "node-1", "payments", "visitors"]);
    let history = std::fs::read_to_string(directory.join("history.jsonl")).unwrap();
    let broken = history.lines().filter(|line| line.contains("\"crashed\"") || line.contains("\"fact\":\"fault\""));
    assert_eq!(all(&window, "[data-band]").await.len(), broken.count());
    assert!(!all(&window, "[data-band=crash]").await.is_empty());
    let records = all(&window, "[data-mark=record]").await;
    assert_eq!(records.len(), run["journal"].as_array().unwrap().len());
    assert!(!records.is_empty() && !all(&window, "circle[data-mark]").await.is_empty());
    assert_eq!(all(&window, &format!("[data-law={}]", run["law"].as_str().unwrap())).await.len(), 1);
    assert!(!all(&window, "[data-phase=safety]").await.is_empty());
    let said = ask(&window, "document.body.innerText").await;
    for part in ["law", "entity", "command"] {
        assert!(said.as_str().unwrap().contains(run[part].as_str().unwrap()), "no {part} in {said}");
    }

    assert_eq!(tip(&window).await, None);
    hover(&window, records.last().unwrap()).await;
    let shown = tip(&window).await.expect("a record tells more when pointed at");
    let last = &run["journal"].as_array().unwrap().last().unwrap();
    assert!(shown.contains(&format!("record {}", last["sequence"])), "{shown}");
    assert!(shown.contains(&last["events"].as_str().unwrap()[..10]), "{shown}");
    hover(&window, &all(&window, "[data-band=crash]").await[0]).await;
    let shown = tip(&window).await.expect("a fault tells more when pointed at");
    assert!(shown.contains("crash · node-1") && shown.contains("synced changes lost"), "{shown}");

    zoom_and_drag(&window).await;
    keep_pictures(&window).await;
    window.close().await.unwrap();
}

async fn zoom_and_drag(window: &Client) {
    let span = "document.getElementById('span').textContent";
    let whole = ask(window, span).await;
    window.find(Locator::Id("near")).await.unwrap().click().await.unwrap();
    let near = ask(window, span).await;
    assert_ne!(whole, near);
    window.find(Locator::Id("in")).await.unwrap().click().await.unwrap();
    let nearer = ask(window, span).await;
    assert_ne!(near, nearer);
    let chart = window.find(Locator::Id("chart")).await.unwrap();
    let drag = MouseActions::new("mouse".to_owned())
        .then(PointerAction::MoveToElement { element: chart, duration: None, x: 300.0, y: 0.0 })
        .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
        .then(PointerAction::MoveBy { duration: None, x: 200.0, y: 0.0 })
        .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
    window.perform_actions(drag).await.unwrap();
    assert_ne!(nearer, ask(window, span).await);
    window.find(Locator::Id("all")).await.unwrap().click().await.unwrap();
    assert_eq!(whole, ask(window, span).await);
}

/// Keeps what is seen where the build puts what tests leave behind.
async fn keep_pictures(window: &Client) {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline.png");
    std::fs::write(path, window.screenshot().await.unwrap()).unwrap();
}
