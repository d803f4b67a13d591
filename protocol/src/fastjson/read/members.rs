//! Elements of arrays and members of objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use super::key::Key;
use super::text::Reader;
use crate::fastjson::FastjsonError;

/// Elements of an array.
pub(super) struct Elements<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    pub(super) first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = FastjsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        if !self.reader.next_or_end(b']', &mut self.first)? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// Members of an object.
pub(super) struct Members<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    /// Names of a struct's members; `None` for a map.
    pub(super) fields: Option<&'static [&'static str]>,
    /// Where those are that count, in an object that may repeat some.
    pub(super) last: Option<Vec<usize>>,
    pub(super) first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = FastjsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        while self.reader.next_or_end(b'}', &mut self.first)? {
            let place = self.reader.at;
            let mut key = self.reader.key()?;
            self.reader.take(b':')?;
            // A member that is null is as one that was not sent: the default stays.
            if self.reader.is_null() {
                self.reader.word()?;
                continue;
            }
            if let Some(field) = self.fields.and_then(|fields| field_meant(fields, &key)) {
                if self.last.as_ref().is_some_and(|last| !last.contains(&place)) {
                    self.reader.skip()?;
                    continue;
                }
                key = Cow::Borrowed(field);
            }
            return seed.deserialize(Key(key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// Where the object that `reader` has entered has each member for the last time.
pub(super) fn last_places(
    mut reader: Reader<'_>,
    fields: &'static [&'static str],
) -> Result<Vec<usize>, FastjsonError> {
    let mut last = BTreeMap::new();
    let mut first = true;
    while reader.next_or_end(b'}', &mut first)? {
        let place = reader.at;
        let key = reader.key()?;
        reader.take(b':')?;
        if let Some(field) = field_meant(fields, &key).filter(|_| !reader.is_null()) {
            last.insert(field, place);
        }
        reader.skip()?;
    }
    Ok(last.into_values().collect())
}

/// Finds the member that a name means: itself, or the one equal to it without case, `_`, `-` and a
/// leading `is`.
fn field_meant(fields: &'static [&'static str], name: &str) -> Option<&'static str> {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes()
            .filter(|byte| !matches!(byte, b'_' | b'-'))
            .map(|byte| byte.to_ascii_lowercase())
    }
    if let Some(field) = fields.iter().find(|field| **field == name) {
        return Some(field);
    }
    let same = |name: &str| fields.iter().find(|field| letters(field).eq(letters(name)));
    same(name)
        .or_else(|| name.strip_prefix("is").filter(|rest| !rest.is_empty()).and_then(same))
        .copied()
}
