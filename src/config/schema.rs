//! What an option is: its type, its unit and bounds, and the macro that turns the table into structs.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One section of the table.
#[derive(Debug)]
pub struct SectionInfo {
    /// Its TOML table name.
    pub name: &'static str,
    /// What it is about, one sentence.
    pub about: &'static str,
    /// Its options, in the order of the table.
    pub options: &'static [OptionInfo],
}

/// One option of the table.
#[derive(Debug)]
pub struct OptionInfo {
    /// Its key within the section.
    pub name: &'static str,
    /// What it does, in sentences.
    pub about: &'static str,
    /// Its default as TOML text.
    pub default: &'static str,
    /// What it counts; empty for texts, switches, paths and addresses.
    pub unit: &'static str,
    /// Allowed values, or allowed lengths of a list.
    pub bounds: Option<RangeInclusive<u64>>,
    /// Never printed.
    pub secret: bool,
}

/// A type an option can have.
pub(super) trait OptionValue: DeserializeOwned {
    /// The unit its type implies.
    const UNIT: &'static str = "";
    /// What it looks like, where that is not plain.
    const FORM: &'static str = "";

    /// The number its bounds speak about.
    fn magnitude(&self) -> Option<u64> {
        None
    }
}

macro_rules! quantity_of {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl OptionValue for $name {
            const UNIT: &'static str = $unit;

            fn magnitude(&self) -> Option<u64> {
                Some(self.0)
            }
        }
    };
}

quantity_of!(
    /// A duration in milliseconds.
    Milliseconds,
    "milliseconds"
);
quantity_of!(
    /// A duration in seconds.
    Seconds,
    "seconds"
);
quantity_of!(
    /// An amount of bytes.
    Bytes,
    "bytes"
);

impl Milliseconds {
    /// As the standard library says it.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Seconds {
    /// As the standard library says it.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Bytes {
    /// As the length of something in memory.
    pub fn length(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event, coloured on a terminal.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// An endpoint of outgoing webhooks. `Debug` hides its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEndpoint {
    /// Its name: what it has taken is remembered under it.
    pub name: String,
    /// Where deliveries are posted.
    pub url: String,
    /// Signs them.
    pub secret: String,
    /// Patterns of the events it wants.
    pub events: Vec<String>,
}

impl std::fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookEndpoint({}, …)", self.name)
    }
}

impl OptionValue for u32 {
    fn magnitude(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl OptionValue for Vec<String> {
    fn magnitude(&self) -> Option<u64> {
        u64::try_from(self.len()).ok()
    }
}

impl OptionValue for Vec<WebhookEndpoint> {
    fn magnitude(&self) -> Option<u64> {
        u64::try_from(self.len()).ok()
    }
}

impl OptionValue for LogFormat {}
impl OptionValue for String {}
impl OptionValue for bool {}
impl OptionValue for PathBuf {}

impl OptionValue for SocketAddr {
    const FORM: &'static str = "an IP address and a port, e.g. 127.0.0.1:8080";
}

/// Turns the table into one struct per section, `Config`, and `SECTIONS`.
macro_rules! options {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $type:ident {
            $(
                $(#[doc = $doc:literal])+
                $option:ident: $value:ty = $default:expr
                $(, $min:literal..=$max:literal)? $(=> $unit:literal)? $(, $secret:ident)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $type {
                $($(#[doc = $doc])+ pub $option: $value,)+
            }
        )+

        /// Every option, read and checked.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $type,)+
        }

        /// The table, for rendering and for checking names.
        pub static SECTIONS: &[SectionInfo] = &[$(SectionInfo {
            name: stringify!($section),
            about: concat!($($section_doc),+),
            options: &[$(OptionInfo {
                name: stringify!($option),
                about: concat!($($doc),+),
                default: stringify!($default),
                unit: $crate::config::schema::first_non_empty(
                    &[$($unit,)? <$value as $crate::config::schema::OptionValue>::UNIT],
                ),
                bounds: $crate::config::schema::bounds(&[$($min, $max)?]),
                secret: $crate::config::schema::first_non_empty(&[$(stringify!($secret))?]).len() > 0,
            }),+],
        }),+];

        impl Config {
            /// Reads every option; what cannot be read is told to `reader` and makes the result `None`.
            fn read(reader: &mut load::Reader<'_>) -> Option<Self> {
                $(let $section = {
                    $(let $option = reader.option::<$value>(stringify!($section), stringify!($option));)+
                    (|| Some($type { $($option: $option?),+ }))()
                };)+
                Some(Self { $($section: $section?),+ })
            }
        }
    };
}
pub(super) use options;

/// The first text that says something.
pub(super) const fn first_non_empty(texts: &[&'static str]) -> &'static str {
    let mut index = 0;
    while index < texts.len() {
        if !texts[index].is_empty() {
            return texts[index];
        }
        index += 1;
    }
    ""
}

/// Two numbers as a range; none as no range.
pub(super) const fn bounds(ends: &[u64]) -> Option<RangeInclusive<u64>> {
    match ends {
        [min, max] => Some(RangeInclusive::new(*min, *max)),
        _ => None,
    }
}
