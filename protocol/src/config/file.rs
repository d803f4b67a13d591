//! From a file to settings, and what is to be said about the file.

use std::collections::HashSet;
use std::fmt;

use super::{Config, did_you_mean, nearest};
use crate::properties_file::{self, Entry, PropertiesError};

/// Characters of a bad value that are repeated in a log line.
const MAX_VALUE_SHOWN: usize = 64;

/// A configuration that stops the start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file as the user named it.
        file: String,
        /// Why.
        source: std::io::Error,
    },
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
    /// A key asks for what does not exist here.
    #[error("{file}:{line}: {key}={value} is not supported: {reason}")]
    Unsupported {
        /// The file as the user named it.
        file: String,
        /// Line from 1.
        line: usize,
        /// Key as written.
        key: String,
        /// Value as written.
        value: String,
        /// Why it cannot be ignored.
        reason: &'static str,
    },
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
        match cause {
            Cause::NoEffect(why) => {
                write!(f, "{file}:{line}: {key} has no effect here, because {why}")
            }
            Cause::Unknown(near) => {
                write!(f, "{file}:{line}: there is no key {key}{}", did_you_mean(*near))
            }
        }
    }
}

/// What a server knows about keys beside their type.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Why a key cannot have a value, if so.
    pub refusal: fn(key: &str, value: &str) -> Option<&'static str>,
    /// Why a key that is a setting has no effect, if so.
    pub without_effect: fn(key: &str) -> Option<Cause>,
    /// The same of a key that is no setting, given the one that is spelled most like it.
    pub unknown: fn(key: &str, nearest: Option<&'static str>) -> Option<Cause>,
}

impl Rules {
    /// Every setting has an effect, and there are no keys beside them.
    pub const NONE: Self = Self {
        refusal: |_, _| None,
        without_effect: |_| None,
        unknown: |_, nearest| Some(Cause::Unknown(nearest)),
    };
}

/// All that is to be said about a configuration, in the order of its lines.
#[derive(Debug)]
pub struct Checked {
    /// What stops the start.
    pub problems: Vec<ConfigError>,
    /// Keys without effect, each once.
    pub notices: Vec<Notice>,
}

impl Checked {
    /// The notices, for who starts in spite of them.
    ///
    /// # Errors
    /// The first problem, if there is any.
    pub fn into_notices(self) -> Result<Vec<Notice>, ConfigError> {
        self.problems.into_iter().next().map_or(Ok(self.notices), Err)
    }
}

/// Reads `text` of `file` into every group of settings that knows a key.
///
/// Returns a notice for each key that no group knows. The reference ignores those silently.
///
/// # Errors
/// When the file is not a properties file or a value does not read as its type.
pub fn apply(
    file: &str,
    text: &[u8],
    groups: &mut [&mut dyn Config],
) -> Result<Vec<Notice>, ConfigError> {
    check(file, text, groups, &Rules::NONE)?.into_notices()
}

/// Does what [`apply`] does with a server's `rules`, past all that stops a start: returns it.
///
/// # Errors
/// When the file is not a properties file.
pub fn check(
    file: &str,
    text: &[u8],
    groups: &mut [&mut dyn Config],
    rules: &Rules,
) -> Result<Checked, ConfigError> {
    let entries = properties_file::parse(text)
        .map_err(|source| ConfigError::File { file: file.to_owned(), source })?;
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let mut noticed = HashSet::new();
    for Entry { line, key, value } in entries {
        let file = || file.to_owned();
        if let Some(reason) = (rules.refusal)(&key, &value) {
            let (key, value) = (key.clone(), value.clone());
            problems.push(ConfigError::Unsupported { file: file(), line, key, value, reason });
        }
        let results: Vec<_> =
            groups.iter_mut().filter_map(|group| group.set(&key, &value)).collect();
        let cause = if results.is_empty() {
            let keys = groups.iter().flat_map(|group| group.keys().iter().copied());
            (rules.unknown)(&key, nearest(&key, keys))
        } else {
            (rules.without_effect)(&key)
        };
        if let Some(expected) = results.into_iter().find_map(Result::err) {
            let (key, value) = (key.clone(), value.chars().take(MAX_VALUE_SHOWN).collect());
            problems.push(ConfigError::Value { file: file(), line, key, expected, value });
        }
        if let Some(cause) = cause
            && noticed.insert(key.clone())
        {
            notices.push(Notice { file: file(), line, key, cause });
        }
    }
    Ok(Checked { problems, notices })
}
