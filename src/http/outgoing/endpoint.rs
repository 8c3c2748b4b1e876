//! One endpoint: where it is, what it wants, and one attempt to give it something.

use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use serde::Serialize;

use super::WebhookStatus;
use super::events::{Event, Wanted};
use crate::domain::time::Timestamp;
use crate::payments::webhook::{SIGNATURE_HEADER, WebhookSecret};

/// Connecting takes less than this or is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest secret: 128 bits as hex are twice that.
const SECRET_BYTES_MIN: usize = 16;
/// Longest name: it is part of a key in the store.
const NAME_BYTES_MAX: usize = 64;

/// What an endpoint is made of.
#[derive(Clone)]
pub struct EndpointParts {
    /// Its name: letters, digits, `-` and `_`. Its cursors belong to the name.
    pub name: String,
    /// Where deliveries are posted.
    pub url: String,
    /// Signs them.
    pub secret: String,
    /// Patterns of the events it wants.
    pub events: Vec<String>,
    /// How long one delivery may take.
    pub attempt_timeout: Duration,
    /// Longest pause between attempts.
    pub pause_max: Duration,
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The name.
    #[error("the name {0:?} is not 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`")]
    Name(String),
    /// The address.
    #[error("{name}: {url:?} is not an http or https address")]
    Address {
        /// Whose.
        name: String,
        /// What was given.
        url: String,
    },
    /// The secret.
    #[error("{0}: the secret has fewer than {SECRET_BYTES_MIN} characters")]
    Secret(String),
    /// The events.
    #[error("{name}: no event is called {pattern:?}; there are {}", super::events::kinds().join(", "))]
    Events {
        /// Whose.
        name: String,
        /// What nothing matches.
        pattern: String,
    },
    /// No HTTP client could be built.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// See the module.
pub struct Endpoint {
    name: String,
    url: Url,
    secret: WebhookSecret,
    wanted: Wanted,
    pause_max: Duration,
    client: reqwest::Client,
}

#[derive(Serialize)]
struct Delivery<'a> {
    events: &'a [Event],
}

impl Endpoint {
    /// Checks everything about it.
    pub fn new(parts: EndpointParts) -> Result<Self, EndpointError> {
        let EndpointParts { name, url, secret, events, attempt_timeout, pause_max } = parts;
        let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(EndpointError::Name(name));
        }
        let parsed = url.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = parsed else { return Err(EndpointError::Address { name, url }) };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(EndpointError::Secret(name));
        }
        let wanted = match Wanted::new(&events) {
            Ok(wanted) => wanted,
            Err(pattern) => return Err(EndpointError::Events { name, pattern }),
        };
        // The program's one cryptography provider; an error only says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(attempt_timeout);
        let client = client.redirect(Policy::none()).no_proxy().build()?;
        Ok(Self { name, url: parsed, secret: WebhookSecret::new(secret), wanted, pause_max, client })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it wants.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Longest pause between attempts.
    pub fn pause_max(&self) -> Duration {
        self.pause_max
    }

    /// How it is before anything was sent.
    pub fn status(&self) -> WebhookStatus {
        let origin = self.url.origin().ascii_serialization();
        let events = self.wanted.patterns().to_vec();
        WebhookStatus { endpoint: self.name.clone(), origin, events, ..WebhookStatus::default() }
    }

    /// One attempt to give it these events, signed as sent at `at` on the wall clock. The reason why it did not take
    /// them is fit to be shown: it holds no path.
    pub async fn attempt(&self, events: &[Event], at: Timestamp) -> Result<(), String> {
        let body = serde_json::to_vec(&Delivery { events }).expect("events are plain text and numbers");
        let request = self.client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(SIGNATURE_HEADER, self.secret.signature(&body, at));
        match request.body(body).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status())),
            Err(error) if error.is_timeout() => Err("did not answer in time".to_owned()),
            Err(error) if error.is_connect() => Err("could not be connected to".to_owned()),
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}
