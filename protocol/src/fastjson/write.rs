//! Writing: a serde serializer that sorts members and leaves nulls out.

use serde::Serialize;
use serde::ser::{
    Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};

use super::{Dialect, FastjsonError};

/// Largest integer that JavaScript holds exactly; the strict dialect quotes what is beyond.
const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) dialect: Dialect,
    pub(super) pretty: bool,
}

pub(super) fn to_vec<T: Serialize + ?Sized>(
    value: &T,
    form: Form,
) -> Result<Vec<u8>, FastjsonError> {
    let mut writer = Writer { out: Vec::new(), form, level: 0, members: Vec::new() };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// Where one written member of an object is.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

struct Writer {
    out: Vec<u8>,
    form: Form,
    level: usize,
    /// Members of all objects that are open, innermost last.
    members: Vec<Member>,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                0x08 => self.out.extend_from_slice(b"\\b"),
                0x09 => self.out.extend_from_slice(b"\\t"),
                0x0a => self.out.extend_from_slice(b"\\n"),
                0x0c => self.out.extend_from_slice(b"\\f"),
                0x0d => self.out.extend_from_slice(b"\\r"),
                0..0x20 => self.out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }

    fn integer(&mut self, number: i64) {
        let is_safe = (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(&number);
        if self.form.dialect == Dialect::Strict && !is_safe {
            return self.text(&number.to_string());
        }
        self.out.extend_from_slice(number.to_string().as_bytes());
    }

    fn line(&mut self) {
        if self.form.pretty {
            self.out.push(b'\n');
            self.out.extend(std::iter::repeat_n(b'\t', self.level));
        }
    }

    fn open(&mut self, bracket: u8) -> Compound<'_> {
        self.out.push(bracket);
        self.level += 1;
        Compound { base: self.members.len(), first: true, sorts: true, key: None, writer: self }
    }

    fn close(&mut self, bracket: u8, empty: bool) {
        self.level -= 1;
        if !empty {
            self.line();
        }
        self.out.push(bracket);
    }

    /// Writes a key; returns whether it is text.
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<bool, FastjsonError> {
        let start = self.out.len();
        let pretty = std::mem::replace(&mut self.form.pretty, false);
        let written = key.serialize(&mut *self);
        self.form.pretty = pretty;
        written?;
        let is_text = self.out.get(start) == Some(&b'"');
        if !is_text && self.form.dialect == Dialect::Strict {
            let raw = self.out.split_off(start);
            self.text(&String::from_utf8_lossy(&raw));
        }
        Ok(is_text)
    }
}

/// An object or array under way.
struct Compound<'a> {
    writer: &'a mut Writer,
    /// Its first member in [`Writer::members`].
    base: usize,
    first: bool,
    sorts: bool,
    /// Start of the separator before the member whose key was just written, and the member.
    key: Option<(usize, Member)>,
}

impl Compound<'_> {
    fn separate(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.writer.out.push(b',');
        }
        self.writer.line();
    }

    fn begin_member<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FastjsonError> {
        let before = self.writer.out.len();
        let first = self.first;
        self.separate();
        // Put back until the value turns out not to be null.
        self.first = first;
        let start = self.writer.out.len();
        let is_text = self.writer.key(key)?;
        self.sorts &= is_text;
        self.key = Some((before, Member { start, key_end: self.writer.out.len(), end: 0 }));
        self.writer.out.push(b':');
        Ok(())
    }

    fn end_member<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FastjsonError> {
        let (before, mut member) =
            self.key.take().ok_or_else(|| FastjsonError::custom("value without a key"))?;
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if &self.writer.out[start..] == b"null" {
            self.writer.out.truncate(before);
            return Ok(());
        }
        self.first = false;
        member.end = self.writer.out.len();
        self.writer.members.push(member);
        Ok(())
    }

    fn end_object(self) {
        let members = &self.writer.members[self.base..];
        let key = |member: &Member| &self.writer.out[member.start..member.key_end - 1];
        if self.sorts && !members.is_sorted_by_key(key) {
            let mut sorted = members.to_vec();
            sorted.sort_by_key(key);
            let separator = self.writer.out[members[0].end..members[1].start].to_vec();
            let parts: Vec<&[u8]> =
                sorted.iter().map(|member| &self.writer.out[member.start..member.end]).collect();
            let body = parts.join(separator.as_slice());
            self.writer.out.truncate(members[0].start);
            self.writer.out.extend_from_slice(&body);
        }
        self.writer.members.truncate(self.base);
        self.writer.close(b'}', self.first);
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FastjsonError> {
        self.separate();
        value.serialize(&mut *self.writer)
    }

    fn end_array(self) {
        self.writer.close(b']', self.first);
    }
}

impl SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = FastjsonError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        self.begin_member(key)?;
        self.end_member(value)
    }

    fn end(self) -> Result<(), Self::Error> {
        self.end_object();
        Ok(())
    }
}

impl SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = FastjsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        self.begin_member(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.end_member(value)
    }

    fn end(self) -> Result<(), Self::Error> {
        self.end_object();
        Ok(())
    }
}

/// The kinds of arrays, which differ in nothing but the names.
macro_rules! arrays {
    ($($kind:ident::$element:ident)+) => {$(
        impl $kind for Compound<'_> {
            type Ok = ();
            type Error = FastjsonError;

            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Self::Error> {
                self.end_array();
                Ok(())
            }
        }
    )+};
}

arrays! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
}

macro_rules! integers {
    ($($method:ident: $type:ty)+) => {$(
        fn $method(self, number: $type) -> Result<(), Self::Error> {
            self.integer(number.into());
            Ok(())
        }
    )+};
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = FastjsonError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Impossible<(), FastjsonError>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Impossible<(), FastjsonError>;

    integers! {
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64
        serialize_u8: u8 serialize_u16: u16 serialize_u32: u32
    }

    fn serialize_u64(self, number: u64) -> Result<(), Self::Error> {
        self.out.extend_from_slice(number.to_string().as_bytes());
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Self::Error> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Self::Error> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Self::Error> {
        if !number.is_finite() {
            return self.serialize_none();
        }
        // `Debug` keeps the decimal point that Java always writes.
        self.out.extend_from_slice(format!("{number:?}").as_bytes());
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Self::Error> {
        self.text(character.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Self::Error> {
        self.text(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Self::Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Self::Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Self::Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Self::Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _value: &T,
    ) -> Result<(), Self::Error> {
        Err(FastjsonError::custom(format!("variant {variant} has no form")))
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Self::SerializeSeq, Self::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple, Self::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, Self::Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, Self::Error> {
        Err(FastjsonError::custom(format!("variant {variant} has no form")))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, Self::Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStruct, Self::Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, Self::Error> {
        Err(FastjsonError::custom(format!("variant {variant} has no form")))
    }
}
