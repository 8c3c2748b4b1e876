//! Reading configuration from its sources and saying everything that is wrong with it at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::schema::{OptionInfo, OptionValue};
use super::{Config, SECTIONS, default_toml};

/// Environment variables that set options start with this; section and option are separated by two underscores.
pub const ENVIRONMENT_PREFIX: &str = "STOCKROOM_";

/// How alike a known key must be to an unknown one to be suggested, from 0 to 1 (Jaro–Winkler).
const SUGGESTION_SIMILARITY_MIN: f64 = 0.85;

/// Where configuration comes from. Later fields win.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them; those that set no option are passed over.
    pub environment: Vec<(String, String)>,
    /// Options set by command-line flags: full name (`http.listen`) and text.
    pub flags: BTreeMap<&'static str, String>,
}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Full name of the key, or the file that cannot be read.
    pub key: String,
    /// What is wrong and what is allowed.
    pub reason: String,
    /// Where it was set.
    pub source: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (from {})", self.key, self.reason, self.source)
    }
}

/// Everything wrong with the configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of the table, unknown keys first.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.problems.len() == 1 { "problem" } else { "problems" };
        write!(f, "the configuration has {} {many}", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Config {
    /// Reads, checks and combines all sources.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let figment = merged(sources)?;
        let mut reader = Reader { figment: &figment, problems: Vec::new() };
        reader.report_unknown_keys();
        let config = Self::read(&mut reader);
        if let Some(config) = &config {
            reader.problems.extend(conflicts(config));
        }
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::load(&Sources::default()).expect("the defaults are within their own bounds; a test reads them")
    }
}

/// All sources as one tree. Fails when the file cannot be read or is not TOML.
pub(super) fn merged(sources: &Sources) -> Result<Figment, ConfigError> {
    let mut figment = Figment::from(Named::new("the defaults", Toml::string(&default_toml())));
    if let Some(path) = &sources.file {
        figment = figment.merge(file(path)?);
    }
    let environment = sources.environment.iter().filter_map(|(name, value)| {
        let (section, option) = name.strip_prefix(ENVIRONMENT_PREFIX)?.split_once("__")?;
        Some((name.as_str(), format!("{}.{}", section.to_lowercase(), option.to_lowercase()), value.as_str()))
    });
    for (name, key, value) in environment {
        figment = figment.merge(Single { source: format!("environment variable {name}"), key, value });
    }
    for (key, value) in &sources.flags {
        figment = figment.merge(Single { source: "the command line".to_owned(), key: (*key).to_owned(), value });
    }
    Ok(figment)
}

fn file(path: &Path) -> Result<Named<impl Provider + use<>>, ConfigError> {
    let failed = |reason: String| ConfigError {
        problems: vec![Problem { key: path.display().to_string(), reason, source: "--config".to_owned() }],
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    toml::from_str::<toml::Table>(&text)
        .map_err(|error| failed(format!("is not TOML: {}", error.to_string().trim())))?;
    Ok(Named::new(path.display().to_string(), Toml::string(&text)))
}

/// A provider under a name people know.
struct Named<P> {
    source: String,
    provider: P,
}

impl<P> Named<P> {
    fn new(source: impl Into<String>, provider: P) -> Self {
        Self { source: source.into(), provider }
    }
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        self.provider.data()
    }
}

/// One option from a text: the text itself where the option is a text, else TOML.
struct Single<'a> {
    source: String,
    key: String,
    value: &'a str,
}

impl Provider for Single<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let (section, name) = self.key.split_once('.').expect("keys of single options have a dot");
        let is_text = find(section, name).is_some_and(|option| option.default.starts_with('"'));
        let read = toml::from_str::<Dict>(&format!("value = {}", self.value)).ok().filter(|_| !is_text);
        let value = read.and_then(|mut dict| dict.remove("value")).unwrap_or_else(|| Value::from(self.value));
        let nested = figment::util::nest(&self.key, value);
        let dict = nested.into_dict().expect("a key with a dot nests into a table");
        Ok(Profile::Default.collect(dict))
    }
}

/// Reads option after option, collecting what is wrong.
pub(super) struct Reader<'a> {
    figment: &'a Figment,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// One option; `None` when its value is unusable, which is then a problem.
    pub(super) fn option<T: OptionValue>(&mut self, section: &str, name: &str) -> Option<T> {
        let key = format!("{section}.{name}");
        let value = match self.figment.extract_inner::<T>(&key) {
            Ok(value) => value,
            Err(error) => {
                for error in error {
                    let expected = if T::FORM.is_empty() { "" } else { "; expected " };
                    self.report(&key, format!("{}{expected}{}", error.kind, T::FORM));
                }
                return None;
            }
        };
        let info = find(section, name).expect("the reader is called with names of the table");
        let reason = info.bounds.as_ref().zip(value.magnitude()).and_then(|(bounds, magnitude)| {
            let (min, max, unit) = (bounds.start(), bounds.end(), info.unit);
            (!bounds.contains(&magnitude)).then(|| format!("{magnitude} is outside {min} to {max} {unit}"))
        });
        if let Some(reason) = reason {
            self.report(&key, reason);
            return None;
        }
        Some(value)
    }

    fn report_unknown_keys(&mut self) {
        let tree = self.figment.extract::<Dict>().unwrap_or_default();
        for (section, value) in tree {
            match value {
                Value::Dict(_, options) if SECTIONS.iter().any(|known| known.name == section) => {
                    for name in options.keys().filter(|name| find(&section, name).is_none()) {
                        self.report_unknown(&format!("{section}.{name}"));
                    }
                }
                Value::Dict(_, options) if !options.is_empty() => {
                    for name in options.keys() {
                        self.report_unknown(&format!("{section}.{name}"));
                    }
                }
                _ => self.report_unknown(&section),
            }
        }
    }

    fn report_unknown(&mut self, key: &str) {
        let reason = match suggestion(key) {
            Some(known) => format!("is not an option; did you mean {known}?"),
            None => "is not an option; `stockroom config` lists them all".to_owned(),
        };
        self.report(key, reason);
    }

    fn report(&mut self, key: &str, reason: String) {
        let source = self.figment.find_metadata(key).map_or("an unknown source".into(), |found| found.name.clone());
        self.problems.push(Problem { key: key.to_owned(), reason, source: source.into_owned() });
    }
}

fn find(section: &str, name: &str) -> Option<&'static OptionInfo> {
    let section = SECTIONS.iter().find(|known| known.name == section)?;
    section.options.iter().find(|known| known.name == name)
}

/// The known key most like `key`, compared whole and by its last word.
fn suggestion(key: &str) -> Option<String> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let similarity = |section: &str, name: &str| {
        strsim::jaro_winkler(key, &format!("{section}.{name}")).max(strsim::jaro_winkler(last, name))
    };
    SECTIONS
        .iter()
        .flat_map(|section| section.options.iter().map(|option| (section.name, option.name)))
        .map(|(section, name)| (similarity(section, name), format!("{section}.{name}")))
        .filter(|(similarity, _)| *similarity >= SUGGESTION_SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Options that are fine alone and wrong together, and texts whose form the type does not check.
fn conflicts(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, key: &str, reason: &str| {
        if !holds {
            let source = "the combination of all sources".to_owned();
            problems.push(Problem { key: key.to_owned(), reason: reason.to_owned(), source });
        }
    };
    let (http, raft, router, payments) = (&config.http, &config.raft, &config.router, &config.payments);
    let one_port = http.listen == http.ops_listen && http.listen.port() != 0;
    require(!one_port, "http.ops_listen", "must differ from http.listen");
    let both_or_none = http.tls_certificate.as_os_str().is_empty() == http.tls_key.as_os_str().is_empty();
    require(both_or_none, "http.tls_key", "needs http.tls_certificate, and the other way round");
    require(
        http.trusted_proxies.iter().all(|text| is_network(text)),
        "http.trusted_proxies",
        "is not a list of networks",
    );
    let waits = http.request_timeout_ms > router.deadline_ms;
    require(waits, "http.request_timeout_ms", "must be more than router.deadline_ms");
    let apart = raft.election_min_ms < raft.election_max_ms;
    require(apart, "raft.election_max_ms", "must be more than raft.election_min_ms");
    let beats = raft.heartbeat_ms.0 * 3 <= raft.election_min_ms.0;
    require(beats, "raft.heartbeat_ms", "must be at most a third of raft.election_min_ms");
    let url = &payments.simulated_url;
    require(url.is_empty() || is_address(url), "payments.simulated_url", "is not an http or https address");
    let shared = url.is_empty() || !payments.simulated_webhook_secret.is_empty();
    require(
        shared,
        "payments.simulated_webhook_secret",
        "is needed beside payments.simulated_url, and is the same there",
    );
    problems
}

/// The address of a service that is spoken to by HTTP.
fn is_address(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// An address, or an address and a prefix length.
fn is_network(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|bits| bits <= bits_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() })
    }

    fn load_environment(name: &str, value: &str) -> Result<Config, ConfigError> {
        let environment = vec![(name.to_owned(), value.to_owned())];
        Config::load(&Sources { environment, ..Sources::default() })
    }

    #[test]
    fn later_sources_win() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[node]\nshards = 3\n[entities]\nidle_seconds = 5\n").unwrap();
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![("STOCKROOM_NODE__SHARDS".into(), "4".into())],
            flags: BTreeMap::from([("http.listen", "127.0.0.1:0".to_owned())]),
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.entities.idle_seconds, super::super::Seconds(5));
        assert_eq!(config.node.shards, 4);
        assert_eq!(config.http.listen.port(), 0);
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_suggestion_and_its_source() {
        let error = load_text("[http]\nlisen = \"127.0.0.1:1\"\n").unwrap_err();
        assert_eq!(error.problems.len(), 1);
        assert_eq!(error.problems[0].key, "http.lisen");
        assert_eq!(error.problems[0].reason, "is not an option; did you mean http.listen?");
        let error = load_environment("STOCKROOM_HTTP__LISTENS", "x").unwrap_err();
        assert_eq!(error.problems[0].source, "environment variable STOCKROOM_HTTP__LISTENS");
    }

    #[test]
    fn an_option_in_the_wrong_section_is_found_by_its_name() {
        let error = load_text("[store]\nreserve_bytes = 1\n").unwrap_err();
        assert_eq!(error.problems[0].reason, "is not an option; did you mean storage.reserve_bytes?");
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let text = "colour = 1\n[node]\nshards = 0\n[http]\nlisten = \"here\"\nconnections_max = \"many\"\n";
        let error = load_text(text).unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["colour", "node.shards", "http.listen", "http.connections_max"]);
        assert_eq!(error.problems[1].reason, "0 is outside 1 to 256 shards");
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let error = load_text("[raft]\nelection_min_ms = 900\nelection_max_ms = 800\n").unwrap_err();
        assert_eq!(error.problems[0].key, "raft.election_max_ms");
        let error = load_text("[http]\ntrusted_proxies = [\"10.0.0.0/33\"]\n").unwrap_err();
        assert_eq!(error.problems[0].key, "http.trusted_proxies");
        let error = load_text("[payments]\nsimulated_url = \"127.0.0.1:8090\"\n").unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["payments.simulated_url", "payments.simulated_webhook_secret"]);
    }

    #[test]
    fn a_file_that_is_missing_or_not_toml_is_named() {
        let sources = Sources { file: Some("no/such/file.toml".into()), ..Sources::default() };
        assert_eq!(Config::load(&sources).unwrap_err().problems[0].key, "no/such/file.toml");
        assert!(load_text("[http\n").unwrap_err().problems[0].reason.starts_with("is not TOML"));
    }

    #[test]
    fn variables_without_a_section_are_passed_over() {
        assert_eq!(load_environment("STOCKROOM_PORT_8080_TCP", "tcp://10.0.0.1:8080"), Ok(Config::default()));
    }

    #[test]
    fn a_text_option_takes_digits_as_text() {
        let config = load_environment("STOCKROOM_PAYMENTS__SIMULATED_WEBHOOK_SECRET", "123456").unwrap();
        assert_eq!(config.payments.simulated_webhook_secret, "123456");
    }
}
