//! What a browser test needs: the shop as a process on a data directory of its own, ChromeDriver, one browser window.
//! Everything ends with the stage, also when the test panics.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};

/// A window on a desk.
pub const DESKTOP: (u32, u32) = (1280, 1000);
/// A phone held upright.
pub const PHONE: (u32, u32) = (500, 844);

/// Set for one test.
pub struct Stage {
    browser: Client,
    _driver: Process,
    _shop: Process,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Starts everything and opens the shop's page in a window of this size.
    pub async fn set((width, height): (u32, u32)) -> Self {
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
            &format!("--window-size={width},{height}"),
            &format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let Value::Object(capabilities) = capabilities else { unreachable!("written as an object") };
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let browser = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await;
        let browser = browser.expect("ChromeDriver starts Chromium");
        browser.goto(&format!("http://{http}/")).await.unwrap();
        Self { browser, _driver: driver, _shop: shop, _directory: directory }
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
    let log = directory.join("shop.log");
    let errors = std::fs::File::create(&log).unwrap();
    let mut child = command.arg(directory.join("data")).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
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
