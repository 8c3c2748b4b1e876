//! What there is: scenarios of a directory, a scenario as drawn, every law.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Chosen, PASSED};
use crate::sim::laws;
use crate::sim::scenario::Open;

/// Lists the scenarios of a directory and of those below it.
pub(super) fn list(directory: &Path, json: bool) -> Result<u8, String> {
    let mut listed = Vec::new();
    for file in files_in(directory)? {
        let scenario = Open::read(&file).and_then(|open| open.draw(1)).map_err(|error| error.to_string())?;
        let file = file.display().to_string();
        if json {
            listed.push(json!({"file": file, "name": scenario.name, "about": scenario.about}));
        } else {
            println!("{file:<48} {}", scenario.about);
        }
    }
    if json {
        println!("{}", json!(listed));
    }
    Ok(PASSED)
}

/// Scenarios of a directory, then those of directories below it, each in order.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let (directories, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    for directory in directories {
        files.extend(files_in(&directory)?);
    }
    Ok(files)
}

/// Prints a scenario as this seed draws it.
pub(super) fn check(chosen: &Chosen) -> Result<u8, String> {
    let (scenario, _) = chosen.draw()?;
    print!("{}", toml::to_string_pretty(&scenario).map_err(|error| error.to_string())?);
    Ok(PASSED)
}

/// Prints every law.
pub(super) fn laws(json: bool) -> Result<u8, String> {
    if json {
        let laws: Vec<_> = laws::all().map(|law| json!({"id": law.id, "sentence": law.sentence})).collect();
        println!("{}", json!(laws));
    } else {
        laws::all().for_each(|law| println!("{:<28} {}", law.id, law.sentence));
    }
    Ok(PASSED)
}
