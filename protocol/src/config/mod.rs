//! Settings, each declared once: field, type, key, default and doc.
//!
//! One file feeds several groups of settings (broker, store, server): [`apply`] hands each entry to
//! every group that knows its key. An unknown key is a warning that names the nearest known one; a
//! value that does not read as its type stops the start with its line.

mod file;
mod nearest;
mod reference;

pub use self::file::{Cause, Checked, ConfigError, Notice, Rules, apply, check};
pub use self::nearest::{did_you_mean, nearest};
pub use self::reference::{Explanation, Setting, Standing, settings};

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
        let unknown: Vec<_> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            unknown,
            [
                "broker.conf:5: there is no key storePathRotDir; did you mean storePathRootDir?",
                "broker.conf:6: there is no key bananas"
            ]
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
