//! What a browser test needs: the shop as a process on a data directory of its own, ChromeDriver, one browser window.
//! Everything ends with the stage, also when the test panics.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};

/// What the shop is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Begins the names of its pictures.
    pub name: &'static str,
    /// Width and height of the window, in pixels of the page.
    size: (u32, u32),
    /// It is touched, and its size is what the page sees, not the window's.
    pub is_phone: bool,
}

/// A window on a desk.
pub const DESKTOP: Screen = Screen { name: "desktop", size: (1280, 1000), is_phone: false };
/// A phone held upright.
pub const PHONE: Screen = Screen { name: "phone", size: (390, 844), is_phone: true };

/// Set for one test.
pub struct Stage {
    browser: Client,
    _driver: Process,
    _shop: Process,
    http: String,
    directory: tempfile::TempDir,
}

impl Stage {
    /// Starts everything and opens the shop's page on this screen.
    pub async fn set(screen: Screen) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (shop, http) = start_shop(directory.path());
        let (driver, port) = start_driver();
        let profile = directory.path().join("profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--window-size={},{}", screen.size.0, screen.size.1),
            &format!("--user-data-dir={}", profile.display()),
        ];
        let mut options = json!({ "args": arguments });
        if screen.is_phone {
            let (width, height) = screen.size;
            let metrics = json!({ "width": width, "height": height, "pixelRatio": 2, "touch": true, "mobile": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let capabilities = serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let browser = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await;
        let browser = browser.expect("ChromeDriver starts Chromium");
        browser.goto(&format!("http://{http}/")).await.unwrap();
        Self { browser, _driver: driver, _shop: shop, http, directory }
    }

    /// Base of the shop's addresses, for calls from outside the browser.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// A new merchant's key.
    pub fn merchant(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
        command.args(["key", "create", "--role", "merchant", "--data"]).arg(self.directory.path().join("data"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
    }

    /// The window.
    pub fn browser(&self) -> &Client {
        &self.browser
    }

    /// Closes the window in an orderly way.
    pub async fn strike(self) {
        self.browser.close().await.unwrap();
    }
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_shop(directory: &std::path::Path) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data"]);
    // What the page shows live came by the feed: without a signal, streams are read again once an hour.
    command.arg(directory.join("data")).env("STOCKROOM_HTTP__EVENT_REREAD_SECONDS", "3600");
    let log = directory.join("shop.log");
    let errors = std::fs::File::create(&log).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let shop = Process(child);
    let said = || std::fs::read_to_string(&log).unwrap();
    let ready: Value =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the shop is not ready: {line:?}, it said:\n{}", said()));
    (shop, ready["http"].as_str().unwrap().to_owned())
}

fn start_driver() -> (Process, u16) {
    let mut command = Command::new("chromedriver");
    let spawned = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.expect("chromedriver is installed (Debian: chromium-driver)");
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let driver = Process(child);
    let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    (driver, port.expect("chromedriver says its port"))
}
