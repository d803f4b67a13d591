//! `{"$ref":"$.path"}`: how fastjson 1.2 writes an object that the document holds already.

use serde_json::Value;

use super::{FastjsonError, MAX_DEPTH, read};

/// Most values that references of one document may stand for, so that a small document that refers
/// to itself over and over stays small.
const MAX_REFERRED_VALUES: usize = 100_000;

/// Replaces every reference by what it refers to and returns plain JSON.
pub(super) fn expand(text: &str) -> Result<String, FastjsonError> {
    let root: Value = read::from_str(text)?;
    let mut expanded = root.clone();
    let mut budget = MAX_REFERRED_VALUES;
    replace(&mut expanded, &root, false, 0, &mut budget)?;
    Ok(expanded.to_string())
}

fn replace(
    value: &mut Value,
    root: &Value,
    copied: bool,
    depth: usize,
    budget: &mut usize,
) -> Result<(), FastjsonError> {
    if depth > MAX_DEPTH || (copied && *budget == 0) {
        return Err(serde::de::Error::custom("references stand for too much"));
    }
    if copied {
        *budget -= 1;
    }
    if let Some(path) = reference(value) {
        // A reference that leads nowhere is a null, as it is to the reference.
        let target = find(root, path).cloned().unwrap_or_default();
        *value = target;
        return replace(value, root, true, depth + 1, budget);
    }
    match value {
        Value::Object(members) => {
            for member in members.values_mut() {
                replace(member, root, copied, depth + 1, budget)?;
            }
        }
        Value::Array(elements) => {
            for element in elements {
                replace(element, root, copied, depth + 1, budget)?;
            }
        }
        _ => {}
    }
    Ok(())
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
