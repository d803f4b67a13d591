//! `{"$ref":"$.path"}`: how fastjson 1.2 writes an object that the document holds already.

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::Value;

use super::{FastjsonError, MAX_DEPTH, read};

/// Bytes that what references stand for may take, with those of the paths that lead there, so that a small
/// document that refers to itself over and over stays small.
const MAX_REFERRED_BYTES: usize = 8 * 1024 * 1024;

/// Replaces every reference by what it refers to and returns plain JSON.
pub(super) fn expand(text: &str) -> Result<String, FastjsonError> {
    let root: Value = read::from_str(text)?;
    let mut expansion = Expansion { root: &root, out: String::new(), left: MAX_REFERRED_BYTES };
    expansion.write(&root, false, 0)?;
    Ok(expansion.out)
}

struct Expansion<'a> {
    root: &'a Value,
    out: String,
    /// Of [`MAX_REFERRED_BYTES`].
    left: usize,
}

impl<'a> Expansion<'a> {
    /// Writes a value, which is `copied` when a reference stands for it.
    fn write(&mut self, value: &'a Value, copied: bool, depth: usize) -> Result<(), FastjsonError> {
        if depth > MAX_DEPTH {
            return Err(too_much());
        }
        if let Some(path) = reference(value) {
            self.spend(path.len())?;
            // A reference that leads nowhere is a null, as it is to the reference.
            let target = find(self.root, path).unwrap_or(&Value::Null);
            return self.write(target, true, depth + 1);
        }
        if copied {
            self.spend(value.as_str().map_or(0, str::len))?;
        }
        match value {
            Value::Object(members) => self.each('{', members, '}', |this, (name, member)| {
                if copied {
                    this.spend(name.len())?;
                }
                this.scalar(name)?;
                this.out.push(':');
                this.write(member, copied, depth + 1)
            }),
            Value::Array(elements) => self
                .each('[', elements, ']', |this, element| this.write(element, copied, depth + 1)),
            scalar => self.scalar(scalar),
        }
    }

    fn each<T>(
        &mut self,
        open: char,
        parts: impl IntoIterator<Item = T>,
        close: char,
        mut write: impl FnMut(&mut Self, T) -> Result<(), FastjsonError>,
    ) -> Result<(), FastjsonError> {
        self.out.push(open);
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            write(self, part)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn scalar(&mut self, value: &impl Serialize) -> Result<(), FastjsonError> {
        self.out.push_str(&serde_json::to_string(value).map_err(FastjsonError::custom)?);
        Ok(())
    }

    /// Takes a value with so many bytes of text from what is left.
    fn spend(&mut self, bytes: usize) -> Result<(), FastjsonError> {
        const VALUE_BYTES: usize = 32;
        self.left = self.left.checked_sub(VALUE_BYTES + bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

fn too_much() -> FastjsonError {
    FastjsonError::custom("references stand for too much")
}

fn reference(value: &Value) -> Option<&str> {
    let members = value.as_object()?;
    if members.len() != 1 {
        return None;
    }
    members.get("$ref")?.as_str()
}

fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix('$')?;
    path.split(['.', '[']).filter(|step| !step.is_empty()).try_fold(root, |value, step| match step
        .strip_suffix(']')
    {
        Some(index) => match index.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(index.trim_matches(['\'', '"'])),
        },
        None => value.get(step),
    })
}
