//! Attributes of topics: which there are, and how a request alters them.
//!
//! Reference: `TopicAttributes`, `AttributeParser`, `AttributeUtil` (common), 5.5.0.

use std::collections::{BTreeMap, BTreeSet};

/// Attributes by name, as stored.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Name of the attribute that says what kind of messages a topic is for.
pub(crate) const MESSAGE_TYPE: &str = "message.type";

/// Name of the attribute that says what queues a topic has, and its value for batch queues.
pub(crate) const QUEUE_TYPE: &str = "queue.type";
pub(crate) const BATCH_QUEUES: &str = "BatchCQ";

enum Values {
    OneOf(&'static [&'static str]),
    /// A number that only tiered storage, which there is none of, gives a meaning.
    ReserveTime,
}

struct Attribute {
    name: &'static str,
    changeable: bool,
    values: Values,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: QUEUE_TYPE,
        changeable: false,
        values: Values::OneOf(&[BATCH_QUEUES, "SimpleCQ"]),
    },
    Attribute {
        name: "cleanup.policy",
        changeable: false,
        values: Values::OneOf(&["COMPACTION", "DELETE"]),
    },
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        values: Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "MIXED",
            "PRIORITY",
            "LITE",
        ]),
    },
    Attribute { name: "reserve.time", changeable: true, values: Values::ReserveTime },
];

/// Reads `+key=value,-key`; the signs stay in the keys.
///
/// # Errors
/// The remark that the client gets.
pub(crate) fn parse(text: &str) -> Result<Attributes, String> {
    let mut attributes = Attributes::new();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => {
                if !key.contains('+') {
                    return Err(format!("add/alter attribute format is wrong: {key}"));
                }
                (key, value)
            }
            None => {
                if !item.contains('-') {
                    return Err(format!("delete attribute format is wrong: {item}"));
                }
                (item, "")
            }
        };
        if attributes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("key duplication: {key}"));
        }
    }
    Ok(attributes)
}

/// Applies a request's attributes, with signs, to the stored ones; `None` when the topic is new.
///
/// # Errors
/// The remark that the client gets.
pub(crate) fn alter(
    current: Option<&Attributes>,
    request: &Attributes,
) -> Result<Attributes, String> {
    let mut attributes = current.cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut alterations = Vec::new();
    for (key, value) in request {
        let name = key.get(1..).unwrap_or_default();
        if name.is_empty() || name.contains(['+', '-']) {
            return Err("kv string format wrong.".to_owned());
        }
        if !names.insert(name) {
            return Err(format!("alter duplication key. key: {name}"));
        }
        let is_delete = match (key.as_bytes()[0], current) {
            (b'+', _) => false,
            (_, None) => {
                return Err(format!(
                    "only add attribute is supported while creating topic. key: {name}"
                ));
            }
            (b'-', Some(current)) if current.contains_key(name) => true,
            (b'-', Some(_)) => {
                return Err(format!("attempt to delete a nonexistent key: {name}"));
            }
            _ => return Err(format!("wrong format key: {name}")),
        };
        alterations.push((name, value, is_delete));
    }
    for (name, value, is_delete) in alterations {
        check(name, value, is_delete, current.is_none())?;
        if is_delete {
            attributes.remove(name);
        } else {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    Ok(attributes)
}

fn check(name: &str, value: &str, is_delete: bool, is_create: bool) -> Result<(), String> {
    let attribute = ATTRIBUTES
        .iter()
        .find(|attribute| attribute.name == name)
        .ok_or_else(|| format!("unsupported key: {name}"))?;
    if !is_create && !attribute.changeable {
        return Err(format!("attempt to update an unchangeable attribute. key: {name}"));
    }
    match attribute.values {
        _ if is_delete => Ok(()),
        Values::OneOf(values) if values.contains(&value) => Ok(()),
        Values::OneOf(values) => Err(format!("value is not in set: [{}]", values.join(", "))),
        Values::ReserveTime => Err("Update topic reserveTime not supported".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn attribute_text_is_read_with_its_signs() {
        assert_eq!(parse(""), Ok(Attributes::new()));
        assert_eq!(
            parse("+message.type=FIFO,-queue.type"),
            Ok(map(&[("+message.type", "FIFO"), ("-queue.type", "")]))
        );
        assert_eq!(parse("a=b"), Err("add/alter attribute format is wrong: a".to_owned()));
        assert_eq!(parse("a"), Err("delete attribute format is wrong: a".to_owned()));
        assert_eq!(parse("+a=1,+a=2"), Err("key duplication: +a".to_owned()));
    }

    #[test]
    fn creating_takes_additions_only() {
        assert_eq!(
            alter(None, &map(&[("+queue.type", "BatchCQ")])),
            Ok(map(&[("queue.type", "BatchCQ")]))
        );
        assert_eq!(
            alter(None, &map(&[("-queue.type", "")])),
            Err("only add attribute is supported while creating topic. key: queue.type".to_owned())
        );
    }

    #[test]
    fn altering_is_refused_in_the_words_of_the_reference() {
        let stored = map(&[("queue.type", "SimpleCQ"), ("message.type", "NORMAL")]);
        for (key, value, remark) in [
            (
                "+queue.type",
                "BatchCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            ("-reserve.time", "", "attempt to delete a nonexistent key: reserve.time"),
            ("message.type", "FIFO", "wrong format key: essage.type"),
            ("+no.such", "1", "unsupported key: no.such"),
            ("+", "1", "kv string format wrong."),
            ("+reserve.time", "1", "Update topic reserveTime not supported"),
        ] {
            let refused = alter(Some(&stored), &map(&[(key, value)])).unwrap_err();
            assert_eq!(refused, remark);
        }
        assert_eq!(
            alter(Some(&stored), &map(&[("+message.type", "FIFO")])),
            Ok(map(&[("queue.type", "SimpleCQ"), ("message.type", "FIFO")]))
        );
        assert_eq!(
            alter(Some(&stored), &map(&[("-message.type", "")])),
            Ok(map(&[("queue.type", "SimpleCQ")]))
        );
    }
}
