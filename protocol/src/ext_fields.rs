//! The string map that carries a header's fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A source of header fields: a received command, borrowed or owned.
pub trait Fields {
    /// Returns the text of the field called `name`, or `None` when it was not sent.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// A sink for header fields: a map, or a frame under way.
pub trait FieldSink {
    /// Adds a text field, whose name is one that a header declares.
    fn text(&mut self, name: &str, value: &str);

    /// Adds a text field whose name and value are made of printable ASCII, without quotes and
    /// backslashes.
    fn plain(&mut self, name: &str, value: &str) {
        self.text(name, value);
    }

    /// Adds an integer field, whose name is one that a header declares.
    fn number(&mut self, name: &str, value: i64) {
        self.text(name, &value.to_string());
    }
}

/// Header fields by name, sorted: equal headers make equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtFields(BTreeMap<String, String>);

impl ExtFields {
    /// Sets a field; the last value of a name counts.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// All fields, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Fields for ExtFields {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

impl FieldSink for ExtFields {
    fn text(&mut self, name: &str, value: &str) {
        self.insert(name, value);
    }
}
