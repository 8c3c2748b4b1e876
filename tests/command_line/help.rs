//! What `--help` says of every command, word for word: a change of the command line is a change of these files, and
//! seen by whoever reviews it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// What a command says of itself, asked with its options' variables unset.
fn help(path: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockroom"));
    command.args(path).arg("--help").env_remove("STOCKROOM_CONFIG").env("COLUMNS", "110");
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{path:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that is indented further goes on with what the one before said.
    let names = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_says_what_it_says_in_its_file() {
    let files = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command_line/help"));
    let (mut open, mut known) = (vec![Vec::new()], BTreeSet::new());
    while let Some(path) = open.pop() {
        let said = help(&path);
        open.extend(listed(&said).into_iter().map(|name| [&path[..], &[name]].concat()));
        let name = ["stockroom".to_owned()].iter().chain(&path).cloned().collect::<Vec<_>>().join("_");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&files);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.clone(), said));
        known.insert(format!("{name}.snap"));
    }
    assert!(known.len() > 20, "{known:?}");
    let there = std::fs::read_dir(&files).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let stale: Vec<String> = there.filter(|name| name.ends_with(".snap") && !known.contains(name)).collect();
    assert!(stale.is_empty(), "no command says this any more: {stale:?}");
}
