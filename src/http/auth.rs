//! Who calls: API keys, their roles, and the operators' token.
//!
//! A key is `stockroom_ID_SECRET`; only its SHA-256 is stored, in the cluster's settings. Every node keeps a copy of
//! the stored keys, read again when it is older than the refresh interval or when an id it does not know is shown, at
//! most once a second. While the cluster cannot be asked the last copy goes on serving: merchants keep working through
//! an outage, and a key revoked meanwhile is noticed right after it.
//!
//! Hashes are compared in constant time. Keys are never logged; `Debug` hides them.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::admission::Client;
use super::error::{Code, Problem};
use super::route::Access;
use crate::actors::messages::AskError;
use crate::clock::NodeClock;
use crate::domain::cluster::{KeyHash, Role};
use crate::domain::ids::ApiKeyId;
use crate::rng::Rng;

/// A key as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its name.
    pub id: ApiKeyId,
    /// What it may do.
    pub role: Role,
    /// What it hashes to.
    pub hash: KeyHash,
}

/// Where stored keys are read from.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// Every key that is valid now.
    async fn keys(&self) -> Result<Vec<StoredKey>, AskError>;
}

/// A key in its only readable form, shown once to whoever created it.
pub struct KeyText {
    id: ApiKeyId,
    text: String,
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyText({})", self.id)
    }
}

const KEY_PREFIX: &str = "stockroom";

impl KeyText {
    /// Draws a new key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let (id, mut secret) = (ApiKeyId(rng.next_id()), [0; 32]);
        rng.fill(&mut secret);
        Self { id, text: format!("{KEY_PREFIX}_{id}_{}", hex::encode(secret)) }
    }

    /// Reads a key as a client shows it; `None` when it is not shaped like one.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(KEY_PREFIX)?.strip_prefix('_')?.split_once('_')?;
        let id = id.parse().ok()?;
        let is_secret = secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret.then(|| Self { id, text: text.to_owned() })
    }

    /// Its name.
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// The whole key: to be shown once, never kept.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored of it.
    pub fn hash(&self) -> KeyHash {
        hash_of(&self.text)
    }
}

fn hash_of(text: &str) -> KeyHash {
    KeyHash(Sha256::digest(text.as_bytes()).into())
}

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Part of every command id (P1): the key's id, or "anonymous".
    principal: Arc<str>,
    /// What the key may do; `None` without a key.
    pub role: Option<Role>,
    /// Whose rate is counted.
    pub client: Client,
}

/// Principal of callers without a key.
const ANONYMOUS: &str = "anonymous";

impl Caller {
    /// Somebody without a key.
    pub fn anonymous(client: Client) -> Self {
        Self { principal: ANONYMOUS.into(), role: None, client }
    }

    /// Their name in command ids.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Rejects when a caller may not use a route.
    pub fn require(&self, access: Access) -> Result<(), Problem> {
        let needed = match access {
            Access::Public | Access::Probe => return Ok(()),
            Access::Merchant => Role::Merchant,
            Access::Ops => Role::Ops,
        };
        match self.role {
            Some(role) if role == needed => Ok(()),
            Some(_) => Err(Problem::new(Code::Forbidden, "this API key has another role")),
            None => Err(unauthenticated("send Authorization: Bearer KEY; `stockroom key create` makes keys")),
        }
    }
}

fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

/// Time between two readings caused by unknown key ids.
const UNKNOWN_ID_REFRESH: Duration = Duration::from_secs(1);

/// This node's copy of the keys.
pub struct KeyTable {
    source: Arc<dyn KeySource>,
    clock: Arc<NodeClock>,
    refresh: Duration,
    ops_token: Option<KeyHash>,
    view: RwLock<Arc<View>>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct View {
    keys: BTreeMap<ApiKeyId, StoredKey>,
    /// Monotonic time of the last reading; `None` before the first.
    read_at: Option<Duration>,
}

impl KeyTable {
    /// An unread copy. `ops_token` is the text of the token file in the data directory.
    pub fn new(source: Arc<dyn KeySource>, clock: Arc<NodeClock>, refresh: Duration, ops_token: Option<&str>) -> Self {
        let ops_token = ops_token.map(|token| hash_of(token.trim()));
        Self { source, clock, refresh, ops_token, view: RwLock::default(), reading: tokio::sync::Mutex::default() }
    }

    /// Who shows the key in these headers. Rejects what is not a valid key.
    pub async fn caller(&self, headers: &HeaderMap, client: Client) -> Result<Caller, Problem> {
        let text = bearer(headers)?;
        let shown = KeyText::parse(text).ok_or_else(|| unauthenticated("this is not an API key"))?;
        let stored = self.find(shown.id()).await?;
        let matches = stored.as_ref().is_some_and(|stored| bool::from(stored.hash.0.ct_eq(&shown.hash().0)));
        match stored {
            Some(stored) if matches => Ok(Caller {
                principal: stored.id.to_string().into(),
                role: Some(stored.role),
                client: if client == Client::Loopback { client } else { Client::Key(stored.id.0) },
            }),
            _ => Err(unauthenticated("this API key is not valid, or was revoked")),
        }
    }

    /// Who calls the operators' listener. Rejects callers from outside that show neither an ops key nor the token.
    pub async fn ops_caller(&self, headers: &HeaderMap, client: Client) -> Result<Caller, Problem> {
        let operator = |principal: &str| Caller { principal: principal.into(), role: Some(Role::Ops), client };
        if client == Client::Loopback {
            return Ok(operator("loopback"));
        }
        let shown = hash_of(bearer(headers)?);
        if self.ops_token.is_some_and(|token| bool::from(token.0.ct_eq(&shown.0))) {
            return Ok(operator("ops.token"));
        }
        let caller = self.caller(headers, client).await?;
        caller.require(Access::Ops)?;
        Ok(caller)
    }

    /// Forgets the copy; the next call reads the keys again. For right after a change.
    pub fn forget(&self) {
        *self.view.write().expect("no holder of this lock panics") = Arc::default();
    }

    async fn find(&self, id: ApiKeyId) -> Result<Option<StoredKey>, Problem> {
        let view = self.view();
        let known = view.keys.get(&id).cloned();
        let age = view.read_at.map(|at| self.clock.monotonic().saturating_sub(at));
        let allowed_age = if known.is_some() { self.refresh } else { UNKNOWN_ID_REFRESH.min(self.refresh) };
        if age.is_some_and(|age| age <= allowed_age) {
            return Ok(known);
        }
        self.read(age).await?;
        Ok(self.view().keys.get(&id).cloned())
    }

    fn view(&self) -> Arc<View> {
        self.view.read().expect("no holder of this lock panics").clone()
    }

    /// Reads the keys, once for everybody who waits. Fails only when they were never read.
    async fn read(&self, seen_age: Option<Duration>) -> Result<(), Problem> {
        let _one_reader = self.reading.lock().await;
        let age = self.view().read_at.map(|at| self.clock.monotonic().saturating_sub(at));
        let read_meanwhile = age.is_some() && (seen_age.is_none() || age < seen_age);
        if read_meanwhile {
            return Ok(());
        }
        match self.source.keys().await {
            Ok(keys) => {
                let keys = keys.into_iter().map(|key| (key.id, key)).collect();
                let view = View { keys, read_at: Some(self.clock.monotonic()) };
                *self.view.write().expect("no holder of this lock panics") = Arc::new(view);
                Ok(())
            }
            Err(error) if age.is_some() => {
                tracing::warn!(%error, "API keys could not be read again; the last copy goes on serving");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let expected = || unauthenticated("send Authorization: Bearer KEY");
    let value = headers.get(header::AUTHORIZATION).ok_or_else(expected)?.to_str().map_err(|_| expected())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(expected)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::time::Timestamp;
    use crate::rng::SeededRng;

    struct Hands(Mutex<Duration>);

    impl Clock for Hands {
        fn wall(&self) -> Timestamp {
            Timestamp(1)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[derive(Default)]
    struct Source(Mutex<Option<Vec<StoredKey>>>);

    #[async_trait]
    impl KeySource for Source {
        async fn keys(&self) -> Result<Vec<StoredKey>, AskError> {
            self.0.lock().unwrap().clone().ok_or(AskError::NoLeader { shard: 0 })
        }
    }

    struct Given {
        hands: Arc<Hands>,
        source: Arc<Source>,
        table: KeyTable,
    }

    fn given() -> Given {
        let (hands, source) = (Arc::new(Hands(Mutex::default())), Arc::new(Source::default()));
        let clock = NodeClock::new(hands.clone(), Timestamp::ZERO);
        let table = KeyTable::new(source.clone(), clock, Duration::from_secs(2), Some("the token\n"));
        Given { hands, source, table }
    }

    impl Given {
        fn with_keys(&self, keys: &[(&KeyText, Role)]) {
            let stored = |(key, role): &(&KeyText, Role)| StoredKey { id: key.id(), role: *role, hash: key.hash() };
            *self.source.0.lock().unwrap() = Some(keys.iter().map(stored).collect());
        }

        fn at(&self, seconds: u64) {
            *self.hands.0.lock().unwrap() = Duration::from_secs(seconds);
        }

        async fn shown(&self, text: &str) -> Result<Option<Role>, Code> {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
            let caller = self.table.caller(&headers, Client::Loopback).await;
            caller.map(|caller| caller.role).map_err(|problem| problem.code())
        }
    }

    fn key(name: &str) -> KeyText {
        KeyText::generate(&SeededRng::stream(1, name))
    }

    #[test]
    fn keys_round_trip_and_other_text_is_no_key() {
        let key = key("a");
        let again = KeyText::parse(key.reveal()).unwrap();
        assert_eq!((again.id(), again.hash()), (key.id(), key.hash()));
        assert!(!format!("{key:?}").contains(key.reveal()));
        for bad in ["", "stockroom", "stockroom_", "stockroom_00_00", &key.reveal()[..100], "sk_live_x"] {
            assert!(KeyText::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_key_with_the_right_id_and_another_secret_is_refused() {
        let (given, own) = (given(), key("a"));
        given.with_keys(&[(&own, Role::Merchant)]);
        assert_eq!(given.shown(own.reveal()).await, Ok(Some(Role::Merchant)));
        let mut forged = own.reveal().to_owned();
        forged.replace_range(forged.len() - 1.., if forged.ends_with('0') { "1" } else { "0" });
        assert_eq!(given.shown(&forged).await, Err(Code::Unauthenticated));
    }

    #[tokio::test]
    async fn a_new_key_works_after_a_second_and_a_revoked_one_stops_after_the_refresh() {
        let (given, old, new) = (given(), key("old"), key("new"));
        given.with_keys(&[(&old, Role::Ops)]);
        assert!(given.shown(old.reveal()).await.is_ok());
        given.with_keys(&[(&new, Role::Merchant)]);
        given.at(1);
        assert_eq!(given.shown(new.reveal()).await, Err(Code::Unauthenticated), "read less than a second ago");
        assert!(given.shown(old.reveal()).await.is_ok());
        given.at(3);
        assert_eq!(given.shown(old.reveal()).await, Err(Code::Unauthenticated));
        assert_eq!(given.shown(new.reveal()).await, Ok(Some(Role::Merchant)));
    }

    #[tokio::test]
    async fn an_outage_does_not_lock_merchants_out() {
        let (given, own) = (given(), key("a"));
        assert_eq!(given.shown(own.reveal()).await, Err(Code::NoLeader), "never read: nobody knows");
        given.with_keys(&[(&own, Role::Merchant)]);
        assert!(given.shown(own.reveal()).await.is_ok());
        *given.source.0.lock().unwrap() = None;
        given.at(100);
        assert!(given.shown(own.reveal()).await.is_ok());
    }

    #[tokio::test]
    async fn operators_from_outside_show_the_token_or_a_key_of_their_role() {
        let (given, ops, merchant) = (given(), key("ops"), key("merchant"));
        given.with_keys(&[(&ops, Role::Ops), (&merchant, Role::Merchant)]);
        let outside = Client::Address([192, 0, 2, 1].into());
        let shown = async |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
            given.table.ops_caller(&headers, outside).await.map(|caller| caller.role).map_err(|p| p.code())
        };
        assert_eq!(shown("the token").await, Ok(Some(Role::Ops)));
        assert_eq!(shown(ops.reveal()).await, Ok(Some(Role::Ops)));
        assert_eq!(shown(merchant.reveal()).await, Err(Code::Forbidden));
        assert_eq!(shown("another token").await, Err(Code::Unauthenticated));
        let nothing = given.table.ops_caller(&HeaderMap::new(), outside).await;
        assert_eq!(nothing.unwrap_err().code(), Code::Unauthenticated);
        assert!(given.table.ops_caller(&HeaderMap::new(), Client::Loopback).await.is_ok());
    }
}
