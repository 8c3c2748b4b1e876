//! Configuration as commented TOML: the defaults (`config/default.toml`) and what is in force (`stockroom config`).

use std::fmt::Write;

use super::load::{self, ConfigError, Sources};
use super::schema::OptionInfo;
use super::{Config, SECTIONS};

const HEAD: &str = "\
# Every option of Stockroom with its default. Copy what you change into a file of your own and start with
# `stockroom serve --config FILE`. Each option can also be set by the environment variable named beside it,
# which wins over the file; command-line flags win over both. Unknown keys are errors.
";

/// Every option with its default, commented. `config/default.toml` is this text.
pub fn default_toml() -> String {
    let mut text = HEAD.to_owned();
    render(&mut text, |_, option| option.default.to_owned());
    text
}

/// Every option with the value in force, commented, secrets hidden; the source is named where it is not the default.
pub fn effective_toml(sources: &Sources) -> Result<String, ConfigError> {
    Config::load(sources)?;
    let figment = load::merged(sources)?;
    let mut text = String::new();
    render(&mut text, |section, option| {
        let key = format!("{section}.{}", option.name);
        let value = figment.find_value(&key).ok().and_then(|value| toml::Value::try_from(value).ok());
        let value = value.map_or_else(|| option.default.to_owned(), |value| value.to_string());
        let shown = if option.secret && value != option.default { "\"(hidden)\"".to_owned() } else { value };
        match figment.find_metadata(&key).map(|metadata| metadata.name.as_ref()) {
            Some("the defaults") | None => shown,
            Some(source) => format!("{shown} # from {source}"),
        }
    });
    Ok(text)
}

fn render(text: &mut String, value: impl Fn(&str, &OptionInfo) -> String) {
    for section in SECTIONS {
        let _ = write!(text, "\n#{}\n[{}]\n", section.about, section.name);
        for option in section.options {
            let _ = writeln!(text, "#{}", option.about);
            let variable = format!("{}_{}__{}", "STOCKROOM", section.name, option.name).to_uppercase();
            let _ = writeln!(text, "# {}{variable}", limits(option));
            let _ = writeln!(text, "{} = {}", option.name, value(section.name, option));
        }
    }
}

/// `1 to 256 shards. `, or nothing.
fn limits(option: &OptionInfo) -> String {
    match &option.bounds {
        Some(bounds) => format!("{} to {} {} · ", bounds.start(), bounds.end(), option.unit),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_default_file_is_complete_and_equal_to_the_defaults() {
        let committed = include_str!("../../config/default.toml");
        assert!(committed == default_toml(), "run `stockroom config --defaults > config/default.toml`");
    }

    #[test]
    fn every_option_says_what_it_does_and_numbers_have_bounds_and_a_unit() {
        for (section, option) in SECTIONS.iter().flat_map(|section| section.options.iter().map(move |o| (section, o))) {
            let key = format!("{}.{}", section.name, option.name);
            assert!(option.about.trim().ends_with('.'), "{key} has no sentence");
            let counts = option.default.starts_with(|first: char| first.is_ascii_digit());
            assert_eq!(option.bounds.is_some(), counts || option.default.starts_with('['), "{key} has no bounds");
            assert_eq!(option.bounds.is_some(), !option.unit.is_empty(), "{key} has no unit");
        }
    }

    #[test]
    fn what_is_in_force_names_its_source_hides_secrets_and_can_be_read_again() {
        let environment = vec![
            ("STOCKROOM_NODE__SHARDS".to_owned(), "5".to_owned()),
            ("STOCKROOM_PAYMENTS__SIMULATED_WEBHOOK_SECRET".to_owned(), "hush".to_owned()),
        ];
        let text = effective_toml(&Sources { environment, ..Sources::default() }).unwrap();
        assert!(text.contains("\nshards = 5 # from environment variable STOCKROOM_NODE__SHARDS\n"), "{text}");
        assert!(!text.contains("hush"));
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["node"]["shards"].as_integer(), Some(5));
    }
}
