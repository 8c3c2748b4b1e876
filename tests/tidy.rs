//! The house rules a compiler does not check: who may use whom, how long things are, words that mark unfinished work.
//!
//! Reads the source tree as text. A rule that turns out wrong is changed here, in the open, not worked around.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 120;

/// Files of a layer that may look up, for tests only: the domain's kit sends what it runs through the codec.
const ARROW_EXCEPTIONS: &[(&str, &str)] = &[("src/domain/testkit.rs", "persistence")];

/// Layers and the layers each may use. A layer that is not listed may use everything (the binaries, the crate root).
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("rng", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("persistence", &["domain", "clock", "rng", "config"]),
    ("payments", &["domain", "clock", "rng", "config"]),
    ("actors", &["domain", "persistence", "clock", "rng", "config"]),
    ("projections", &["domain", "persistence", "actors", "clock", "rng", "config"]),
    ("cluster", &["domain", "persistence", "actors", "payments", "projections", "clock", "rng", "config"]),
    (
        "http",
        &[
            "domain",
            "persistence",
            "actors",
            "payments",
            "projections",
            "cluster",
            "clock",
            "rng",
            "config",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "persistence",
            "actors",
            "payments",
            "projections",
            "cluster",
            "http",
            "clock",
            "rng",
            "config",
            "telemetry",
        ],
    ),
];

/// Crates the domain may name.
const DOMAIN_CRATES: &[&str] = &["std", "serde", "thiserror", "crate", "super", "self"];

/// Crates a domain test module may name besides.
const DOMAIN_TEST_CRATES: &[&str] = &["proptest"];

/// Foreign crates that exactly one place may name, so that replacing one touches one place.
const HOMES: &[(&str, &[&str])] = &[
    ("bincode", &["src/persistence/"]),
    ("raft_engine", &["src/persistence/"]),
    ("sled", &["src/persistence/"]),
    ("openraft", &["src/cluster/"]),
    ("tantivy", &["src/projections/"]),
    ("figment", &["src/config"]),
    ("clap", &["src/cli/", "src/main.rs", "src/sim/command/"]),
    ("anyhow", &["src/cli/", "src/main.rs"]),
    ("axum", &["src/http/", "src/payments/", "src/cli/", "src/sim/"]),
    ("getrandom", &["src/rng.rs"]),
];

/// Every place where a bug can be planted for the simulator's own test, and which. Nothing else in `src/` may mention
/// the feature but the list of bugs itself, the crate root and the simulator.
const CANARIES: &[(&str, &[&str])] = &[
    ("src/actors/effects.rs", &["IdFromSequence"]),
    ("src/actors/entity.rs", &["RecordAppliedTwice", "RefusedIsAnswered"]),
    ("src/actors/shard.rs", &["WakeUpLost"]),
    ("src/actors/turn.rs", &["DedupSkipped", "WakeAtOmitted"]),
    ("src/cluster/raft/log_adapter.rs", &["AckBeforeFsync"]),
    ("src/cluster/upkeep.rs", &["GateStaysClosed"]),
    ("src/domain/cart/rules.rs", &["MergeDropsLine"]),
    ("src/domain/order/apply.rs", &["DoubleCapture"]),
    ("src/domain/order/follow.rs", &["EarlyVoid", "VoidForgotten"]),
    ("src/domain/order/payment.rs", &["DoubleCapture"]),
    ("src/domain/stock/rules.rs", &["HoldExpiryIgnored", "ReserveOffByOne"]),
    ("src/http/call.rs", &["BodyIgnored"]),
    ("src/http/v1/orders.rs", &["OrderIdPerAttempt", "StaleRead"]),
    ("src/persistence/applier.rs", &["StaleSuffixAccepted"]),
    ("src/persistence/fold.rs", &["WindowNotInSnapshot"]),
    ("src/projections/feed.rs", &["CursorSkips"]),
];

/// Words that mark something unfinished, split so that this list does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("for", " now"),
    concat!("place", "holder"),
    concat!("not yet ", "implemented"),
    concat!("in a real ", "system"),
    concat!("unimplemented", "!"),
];

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(directory: &Path, extensions: &[&str], into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extensions, into);
        } else if path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)) {
            into.push(path);
        }
    }
}

fn sources(directories: &[&str], extensions: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        collect(&root().join(directory), extensions, &mut paths);
    }
    paths.sort();
    let sources: Vec<_> = paths
        .into_iter()
        .map(|path| Source {
            path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    assert!(!sources.is_empty(), "found nothing to check in {directories:?}");
    sources
}

fn rust() -> Vec<Source> {
    sources(&["src", "tests", "benches", "fuzz", "examples"], &["rs"])
}

/// The layer a file under `src/` belongs to: `src/http/error.rs` and `src/http.rs` are `http`.
fn layer(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    Some(inside.split('/').next()?.trim_end_matches(".rs"))
}

/// Text without comments, and the modules after `crate::` in it. A use of several, `crate::{a, b}`, counts each.
fn crate_modules(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join(" ");
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let preceded = code[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '$');
        let rest = &code[at + "crate::".len()..];
        if preceded {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(first_words_of_group(group)),
            None => modules.push(first_word(rest)),
        }
    }
    modules
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn first_words_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut words) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_alphabetic() => {
                words.push(first_word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    words
}

/// Whether the line has the word, not as part of a longer one.
fn marks(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(word)
        .any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
}

/// Files that hold tests or what tests share: the domain's kit sends everything through the real codec, for one.
fn is_test_support(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with("tests.rs") || name.starts_with("tests_") || name == "testkit.rs"
}

fn fail_on(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn arrows_between_layers_point_down() {
    let mut problems = Vec::new();
    for source in sources(&["src"], &["rs"]) {
        if is_test_support(&source.path) {
            continue;
        }
        let Some((own, allowed)) = ARROWS.iter().find(|(name, _)| layer(&source.path) == Some(*name)) else { continue };
        for module in crate_modules(&source.text) {
            let is_layer = ARROWS.iter().any(|(name, _)| *name == module);
            if ARROW_EXCEPTIONS.contains(&(source.path.as_str(), module.as_str())) {
                continue;
            }
            if is_layer && module != *own && !allowed.contains(&module.as_str()) {
                problems.push(format!("{}: {own} must not use {module}", source.path));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn every_directory_of_the_source_is_a_known_layer() {
    let known: Vec<_> =
        ARROWS.iter().map(|(name, _)| *name).chain(["main", "lib", "bin", "sim", "fuzz", "canary"]).collect();
    let unknown =
        sources(&["src"], &["rs"]).into_iter().filter(|source| !known.contains(&layer(&source.path).unwrap()));
    fail_on(unknown.map(|source| format!("{}: belongs to no layer; add it to ARROWS", source.path)).collect());
}

#[test]
fn the_domain_names_no_crate_but_std_serde_and_thiserror() {
    let mut problems = Vec::new();
    for source in sources(&["src/domain"], &["rs"]) {
        let tests_from = source.text.lines().position(|line| line.contains("#[cfg(test)]")).unwrap_or(usize::MAX);
        for (number, line) in source.text.lines().enumerate() {
            let Some(used) = line.trim_start().trim_start_matches("pub ").strip_prefix("use ") else { continue };
            let name = first_word(used);
            let in_tests = number > tests_from || is_test_support(&source.path);
            let local = name.chars().next().is_some_and(char::is_uppercase);
            let allowed = DOMAIN_CRATES.contains(&name.as_str())
                || local
                || source.text.contains(&format!("mod {name};"))
                || (in_tests && DOMAIN_TEST_CRATES.contains(&name.as_str()));
            if !allowed {
                problems.push(format!("{}:{}: uses {name}", source.path, number + 1));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn the_domain_iterates_no_hash_map() {
    let found = sources(&["src/domain"], &["rs"]).into_iter().filter(|source| source.text.contains("HashMap"));
    fail_on(found.map(|source| format!("{}: use a BTreeMap", source.path)).collect());
}

#[test]
fn foreign_crates_stay_in_their_homes() {
    let mut problems = Vec::new();
    for source in sources(&["src"], &["rs"]) {
        for (name, homes) in HOMES {
            let outside = !homes.iter().any(|home| source.path.starts_with(home));
            let names = source.text.lines().map(|line| line.split("//").next().unwrap_or(""));
            let used = names.into_iter().any(|line| {
                line.match_indices(&format!("{name}::"))
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            });
            if outside && used {
                problems.push(format!("{}: names {name}, whose home is {homes:?}", source.path));
            }
        }
    }
    fail_on(problems);
}

/// Lines below a `cfg` of the feature that belong to it: the attribute's item, counted until its braces close.
fn is_behind_the_feature(lines: &[&str], number: usize) -> bool {
    let cfg = concat!("#[cfg(feature = ", "\"canaries\")]");
    (0..=number).rev().filter(|at| lines[*at].trim() == cfg).any(|at| {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let behind = &lines[at + 1..];
        let ends = behind.iter().position(|line| {
            let closes = line.ends_with(';') || line.ends_with('}') || line.ends_with(',') || line.ends_with("},");
            indent(line) == indent(lines[at]) && closes
        });
        ends.is_some_and(|end| number <= at + 1 + end)
    })
}

#[test]
fn every_place_of_a_planted_bug_is_listed_and_behind_its_feature() {
    let (mut found, mut problems) = (std::collections::BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for source in sources(&["src"], &["rs"]) {
        let own = source.path == "src/canary.rs" || source.path == "src/lib.rs" || layer(&source.path) == Some("sim");
        if own {
            continue;
        }
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("canary")) {
            if !is_behind_the_feature(&lines, number) {
                problems.push(format!("{}:{}: not behind the feature", source.path, number + 1));
            }
            for (at, marker) in line.match_indices("Canary::") {
                found.entry(source.path.clone()).or_default().push(first_word(&line[at + marker.len()..]));
            }
        }
        if source.text.contains(concat!("feature = \"", "canaries\"")) {
            found.entry(source.path.clone()).or_default();
        }
    }
    found.values_mut().for_each(|names| {
        names.sort();
        names.dedup();
    });
    let listed = CANARIES
        .iter()
        .map(|(path, names)| ((*path).to_owned(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()));
    let listed: std::collections::BTreeMap<_, _> = listed.collect();
    for path in found.keys().chain(listed.keys()) {
        if found.get(path) != listed.get(path) {
            problems.push(format!("{path}: has {:?}, CANARIES says {:?}", found.get(path), listed.get(path)));
        }
    }
    fail_on(problems);
}

#[test]
fn files_and_lines_are_short() {
    let mut problems = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} lines, {FILE_LINES_MAX} allowed; split it", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            let url = line.contains("https://");
            if line.chars().count() > LINE_CHARS_MAX && !url {
                problems.push(format!("{}:{}: more than {LINE_CHARS_MAX} characters", source.path, number + 1));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn every_file_says_what_it_is_for() {
    let code = sources(&["src"], &["rs"]).into_iter().filter(|source| !source.path.ends_with("tests.rs"));
    let silent = code.filter(|source| !source.text.starts_with("//!"));
    fail_on(silent.map(|source| format!("{}: no module essay at the top", source.path)).collect());
}

#[test]
fn nothing_is_marked_unfinished() {
    let mut all = rust();
    all.extend(sources(&["docs", "config", ".ci"], &["md", "toml"]));
    let mut problems = Vec::new();
    for source in all {
        for (number, line) in source.text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| marks(line, word)) {
                problems.push(format!("{}:{}: {word:?}", source.path, number + 1));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn silenced_lints_and_ignored_tests_give_a_reason() {
    let mut problems = Vec::new();
    let (allow, ignore) = (concat!("#[all", "ow("), concat!("#[ign", "ore"));
    for source in rust() {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let inner = allow.replacen("#[", "#![", 1);
            let attribute = lines[number..].iter().take_while(|l| !l.trim_end().ends_with(")]")).count();
            let whole = lines[number..=(number + attribute).min(lines.len() - 1)].join(" ");
            if (line.contains(allow) || line.contains(&inner)) && !whole.contains("reason") {
                problems.push(format!("{}:{}: allow without a reason", source.path, number + 1));
            }
            if line.contains(ignore) && !line.contains(" = \"") {
                problems.push(format!("{}:{}: ignore without a reason", source.path, number + 1));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn every_dependency_of_note_is_committed_with_its_lock() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for pinned in ["name = \"openraft\"\nversion = \"0.10.0-alpha.37\"", "name = \"sled\"\nversion = \"0.34.7\""] {
        assert!(lock.contains(pinned), "{pinned:?} is pinned by its on-disk format");
    }
}

#[test]
fn every_option_is_read_by_the_program() {
    let defaults: toml::Table = fs::read_to_string(root().join("config/default.toml")).unwrap().parse().unwrap();
    let code = sources(&["src"], &["rs"]).into_iter().filter(|source| !source.path.starts_with("src/config"));
    let code: String = code.map(|source| source.text).collect();
    let options = defaults.iter().flat_map(|(section, options)| {
        options.as_table().unwrap().keys().map(move |option| (section.clone(), option.clone()))
    });
    // The section's options are passed on whole in one place, under the name `options`.
    let read = |section: &str, option: &str| {
        code.contains(&format!("{section}.{option}"))
            || (section == "telemetry" && code.contains(&format!("options.{option}")))
    };
    let unread = options.filter(|(section, option)| !read(section, option));
    fail_on(unread.map(|(section, option)| format!("{section}.{option}: nothing reads this option")).collect());
}
