//! Settings, each declared once: field, type, key, default and doc.
//!
//! One file feeds several groups of settings (broker, store, server): [`apply`] hands each entry to
//! every group that knows its key. An unknown key is a warning that names the nearest known one; a
//! value that does not read as its type stops the start with its line.

use std::fmt;

use crate::properties_file::{self, Entry, PropertiesError};

/// A group of settings, made by [`config!`](crate::config!).
pub trait Config {
    /// Every key, in the order declared.
    fn keys(&self) -> &'static [&'static str];

    /// Sets one key from text; `None` when there is no such key.
    ///
    /// # Errors
    /// What the text should have been.
    fn set(&mut self, key: &str, text: &str) -> Option<Result<(), &'static str>>;

    /// The text of one key; `None` when there is no such key.
    fn get(&self, key: &str) -> Option<String>;

    /// What the text of one key has to be; `None` when there is no such key.
    fn expected(&self, key: &str) -> Option<&'static str>;
}

/// A type that a setting can have.
pub trait ConfigValue: Sized {
    /// What an error says the text should be.
    const EXPECTED: &'static str;

    /// Reads trimmed text.
    fn parse(text: &str) -> Option<Self>;

    /// Writes the text that [`ConfigValue::parse`] reads.
    fn print(&self) -> String;
}

macro_rules! config_value {
    ($($type:ty: $expected:literal)+) => {$(
        impl ConfigValue for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

config_value! {
    String: "text"
    i32: "a 32-bit integer"
    i64: "a 64-bit integer"
    u16: "a whole number from 0 to 65535"
    u32: "a whole number from 0 to 4294967295"
    u64: "a whole number, not negative"
    usize: "a whole number, not negative"
    f64: "a number"
}

impl ConfigValue for bool {
    const EXPECTED: &'static str = "true or false";

    // The reference reads every other text as false; here that is an error, as it never is meant.
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else {
            text.eq_ignore_ascii_case("false").then_some(false)
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// A setting that may be unset, which prints as nothing.
impl<T: ConfigValue> ConfigValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::parse(text).map(Some) }
    }

    fn print(&self) -> String {
        self.as_ref().map(T::print).unwrap_or_default()
    }
}

/// Declares a group of settings: `field: Type = "key" | default,`, with a doc for each.
#[macro_export]
macro_rules! config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $config:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty = $key:literal | $default:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $config {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $config {
            /// Every key, in the order declared.
            $vis const KEYS: &'static [&'static str] = &[$($key),*];
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::Config for $config {
            fn keys(&self) -> &'static [&'static str] {
                Self::KEYS
            }

            fn set(
                &mut self,
                key: &str,
                text: &str,
            ) -> ::core::option::Option<::core::result::Result<(), &'static str>> {
                match key {
                    $($key => Some(
                        match <$type as $crate::config::ConfigValue>::parse(text.trim()) {
                            Some(value) => {
                                self.$field = value;
                                Ok(())
                            }
                            None => Err(<$type as $crate::config::ConfigValue>::EXPECTED),
                        },
                    ),)*
                    _ => None,
                }
            }

            fn get(&self, key: &str) -> ::core::option::Option<::std::string::String> {
                match key {
                    $($key => Some($crate::config::ConfigValue::print(&self.$field)),)*
                    _ => None,
                }
            }

            fn expected(&self, key: &str) -> ::core::option::Option<&'static str> {
                match key {
                    $($key => Some(<$type as $crate::config::ConfigValue>::EXPECTED),)*
                    _ => None,
                }
            }
        }
    };
}

/// A configuration that stops the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not a properties file.
    #[error("{file}: {source}")]
    File {
        /// The file as the user named it.
        file: String,
        /// What is wrong with it.
        source: PropertiesError,
    },
    /// A value does not read as its type.
    #[error("{file}:{line}: {key} must be {expected}, not {value:?}")]
    Value {
        /// The file as the user named it.
        file: String,
        /// Line from 1.
        line: usize,
        /// Key as written.
        key: String,
        /// What the value should be.
        expected: &'static str,
        /// The value, cut to a length fit for a log line.
        value: String,
    },
}

/// A key that has no effect, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// Line from 1.
    pub line: usize,
    /// Key as written.
    pub key: String,
    /// The known key that is spelled most like it, if any is near.
    pub nearest: Option<&'static str>,
}

/// A key in a configuration file that has no effect, as a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The file as the user named it.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// Key as written.
    pub key: String,
    /// Why it has none.
    pub cause: Cause,
}

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is a key of the reference, but the reason for it is not here.
    NoEffect(&'static str),
    /// It is nobody's key, and this one may have been meant.
    Unknown(Option<&'static str>),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, key, cause } = self;
        write!(f, "{file}:{line}: ")?;
        match cause {
            Cause::NoEffect(why) => write!(f, "{key} has no effect here, because {why}"),
            Cause::Unknown(None) => write!(f, "there is no key {key}"),
            Cause::Unknown(Some(near)) => {
                write!(f, "there is no key {key}; did you mean {near}?")
            }
        }
    }
}

/// Reads `text` of `file` into every group of settings that knows a key.
///
/// Returns the keys that no group knows. The reference ignores those silently.
///
/// # Errors
/// When the file is not a properties file or a value does not read as its type.
pub fn apply(
    file: &str,
    text: &[u8],
    groups: &mut [&mut dyn Config],
) -> Result<Vec<UnknownKey>, ConfigError> {
    let (unknown, errors) = check(file, text, groups)?;
    errors.into_iter().next().map_or(Ok(unknown), Err)
}

/// Does what [`apply`] does, past values that do not read as their type: returns them all.
///
/// # Errors
/// When the file is not a properties file.
pub fn check(
    file: &str,
    text: &[u8],
    groups: &mut [&mut dyn Config],
) -> Result<(Vec<UnknownKey>, Vec<ConfigError>), ConfigError> {
    let entries = properties_file::parse(text)
        .map_err(|source| ConfigError::File { file: file.to_owned(), source })?;
    let (mut unknown, mut errors) = (Vec::new(), Vec::new());
    for Entry { line, key, value } in entries {
        let results: Vec<_> =
            groups.iter_mut().filter_map(|group| group.set(&key, &value)).collect();
        if results.is_empty() {
            let keys = groups.iter().flat_map(|group| group.keys().iter().copied());
            let nearest = nearest(&key, keys);
            unknown.push(UnknownKey { line, key, nearest });
        } else if let Some(expected) = results.into_iter().find_map(Result::err) {
            let value = value.chars().take(64).collect();
            errors.push(ConfigError::Value { file: file.to_owned(), line, key, expected, value });
        }
    }
    Ok((unknown, errors))
}

/// What one key is and does, for people who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The key.
    pub key: &'static str,
    /// Class of the reference that has it.
    pub class: &'static str,
    /// Its type there.
    pub type_name: &'static str,
    /// Its value when the file does not set it.
    pub default: &'static str,
    /// What it does here.
    pub standing: Standing,
}

/// What a key of the reference does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it does in the reference.
    Works,
    /// It is accepted and changes nothing.
    NoEffect(&'static str),
    /// Every value but one stops the start.
    Refused {
        /// The value that does not.
        accepted: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl Standing {
    /// Status and notes, the last two cells of its row in COMPATIBILITY.md.
    pub fn cells(&self) -> (&'static str, String) {
        match self {
            Self::Works => ("works", String::new()),
            Self::NoEffect(reason) => ("no effect", (*reason).to_owned()),
            Self::Refused { accepted: "", reason } => {
                ("refused", format!("any value stops the start: {reason}"))
            }
            Self::Refused { accepted, reason } => {
                ("refused", format!("anything but `{accepted}` stops the start: {reason}"))
            }
        }
    }
}

/// Prints every setting as `key=value`, sorted, one a line.
pub fn print(groups: &[&dyn Config]) -> String {
    let mut lines: Vec<_> = groups
        .iter()
        .flat_map(|group| {
            group.keys().iter().filter_map(|key| Some(format!("{key}={}\n", group.get(key)?)))
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

/// The one of `keys` that `key` most likely was meant to be.
pub fn nearest<'k>(key: &str, keys: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters wrong is no slip of the pen any more.
    let limit = key.chars().count().div_ceil(3);
    keys.map(|known| (edit_distance(key, known), known))
        .filter(|&(distance, _)| distance <= limit)
        .min()
        .map(|(_, known)| known)
}

/// Letters to change, add or leave out to get from one word to the other, ignoring case.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    config! {
        /// Settings of a server.
        struct ServerConfig {
            /// Port; 0 lets the system choose.
            listen_port: i32 = "listenPort" | 10911,
            /// Name servers.
            namesrv_addr: Option<String> = "namesrvAddr" | None,
            /// Whether topics appear when first sent to.
            auto_create_topic_enable: bool = "autoCreateTopicEnable" | true,
        }
    }

    config! {
        /// Settings of a store.
        struct DiskConfig {
            /// Where.
            store_path_root_dir: String = "storePathRootDir" | "store".to_owned(),
        }
    }

    #[test]
    fn every_group_takes_its_keys_and_unknown_ones_are_named_with_the_nearest() {
        let (mut server, mut disk) = (ServerConfig::default(), DiskConfig::default());
        let text = b"listenPort = 1\nnamesrvAddr=a:1;b:2\nautoCreateTopicEnable=FALSE\n\
            storePathRootDir=/data\nstorePathRotDir=/x\nbananas=3\n";
        let unknown = apply("broker.conf", text, &mut [&mut server, &mut disk]).unwrap();
        assert_eq!(
            server,
            ServerConfig {
                listen_port: 1,
                namesrv_addr: Some("a:1;b:2".to_owned()),
                auto_create_topic_enable: false
            }
        );
        assert_eq!(disk.store_path_root_dir, "/data");
        let expected = [(5, "storePathRotDir", Some("storePathRootDir")), (6, "bananas", None)];
        assert_eq!(
            unknown,
            expected.map(|(line, key, nearest)| UnknownKey { line, key: key.to_owned(), nearest })
        );
    }

    #[test]
    fn bad_value_names_file_line_key_and_type() {
        let mut server = ServerConfig::default();
        let error = apply("conf/broker.conf", b"\nlistenPort=1O911", &mut [&mut server]);
        assert_eq!(
            error.unwrap_err().to_string(),
            r#"conf/broker.conf:2: listenPort must be a 32-bit integer, not "1O911""#
        );
        let error = apply("b", b"autoCreateTopicEnable=yes", &mut [&mut server]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"b:1: autoCreateTopicEnable must be true or false, not "yes""#
        );
    }

    #[test]
    fn settings_print_sorted_and_read_back() {
        let (server, disk) = (ServerConfig::default(), DiskConfig::default());
        let text = print(&[&server, &disk]);
        assert_eq!(
            text,
            "autoCreateTopicEnable=true\nlistenPort=10911\nnamesrvAddr=\nstorePathRootDir=store\n"
        );
        let mut again = ServerConfig { listen_port: 7, ..ServerConfig::default() };
        apply("x", text.as_bytes(), &mut [&mut again, &mut DiskConfig::default()]).unwrap();
        assert_eq!(again, server);
    }
}
