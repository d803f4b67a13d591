//! Attributes of topics and groups: which there are, and how a request alters them.
//!
//! Reference: `TopicAttributes`, `SubscriptionGroupAttributes`, `AttributeParser`, `AttributeUtil`
//! (common), 5.5.0.

use std::collections::{BTreeMap, BTreeSet};

/// Attributes by name, as stored.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Name of the attribute that says what kind of messages a topic is for.
pub(crate) const MESSAGE_TYPE: &str = "message.type";

/// Its value for topics that have lite topics.
pub(crate) const LITE: &str = "LITE";

/// Name of the attribute that says for how many minutes a lite topic is kept without use.
pub(crate) const LITE_EXPIRATION: &str = "lite.topic.expiration";

/// Name of the attribute of a group that says which topic's lite topics it consumes.
pub(crate) const LITE_BIND_TOPIC: &str = "lite.bind.topic";

/// Name of the attribute that says what queues a topic has, and its value for batch queues.
pub(crate) const QUEUE_TYPE: &str = "queue.type";
pub(crate) const BATCH_QUEUES: &str = "BatchCQ";

/// Name of the attribute that says which messages of a topic are kept, and its value for the last
/// of each key.
pub(crate) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(crate) const COMPACTION: &str = "COMPACTION";

/// Name of our own attribute that says for how long a message is stored once, however often it is sent.
pub(crate) const DEDUP_WINDOW_MS: &str = "oxmq.dedup.window.ms";

/// Longest such time: clients give up long before.
const MOST_DEDUP_WINDOW_MS: i64 = 60 * 60 * 1_000;

/// Minutes of the longest time that a lite topic is kept without use.
const MOST_LITE_EXPIRATION_MINUTES: i64 = 30 * 24 * 60;

enum Values {
    OneOf(&'static [&'static str]),
    Range(i64, i64),
    Bool,
    Any,
}

/// What an attribute may be.
pub(crate) struct Attribute {
    name: &'static str,
    changeable: bool,
    values: Values,
}

impl Attribute {
    const fn changeable(name: &'static str, values: Values) -> Self {
        Self { name, changeable: true, values }
    }

    const fn fixed(name: &'static str, values: Values) -> Self {
        Self { name, changeable: false, values }
    }
}

/// Attributes of topics.
pub(crate) const OF_TOPICS: &[Attribute] = &[
    Attribute::fixed(QUEUE_TYPE, Values::OneOf(&[BATCH_QUEUES, "SimpleCQ"])),
    Attribute::fixed(CLEANUP_POLICY, Values::OneOf(&[COMPACTION, "DELETE"])),
    Attribute::changeable(
        MESSAGE_TYPE,
        Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "MIXED",
            "PRIORITY",
            LITE,
        ]),
    ),
    // Of messages in tiers of storage: kept and shown.
    Attribute::changeable("reserve.time", Values::Range(-1, i64::MAX)),
    Attribute::changeable(DEDUP_WINDOW_MS, Values::Range(0, MOST_DEDUP_WINDOW_MS)),
    Attribute::changeable(LITE_EXPIRATION, Values::Range(-1, MOST_LITE_EXPIRATION_MINUTES)),
];

/// Percent of the pops of a group that prefer messages by their priority.
const PRIORITY_FACTOR: &str = "priority.factor";
const DEFAULT_PRIORITY_FACTOR: i64 = 100;

/// What a group says about [`PRIORITY_FACTOR`].
pub(crate) fn priority_factor(group: &Attributes) -> i64 {
    let said = group.get(PRIORITY_FACTOR).and_then(|percent| percent.parse().ok());
    said.unwrap_or(DEFAULT_PRIORITY_FACTOR)
}

/// Attributes of groups. They are kept and shown; what they set belongs to pop and lite consumption.
pub(crate) const OF_GROUPS: &[Attribute] = &[
    Attribute::changeable(PRIORITY_FACTOR, Values::Range(0, 100)),
    Attribute::changeable(LITE_BIND_TOPIC, Values::Any),
    Attribute::changeable("lite.sub.model", Values::OneOf(&["Exclusive", "Shared"])),
    Attribute::changeable("lite.sub.reset.offset.exclusive", Values::Bool),
    Attribute::changeable("lite.sub.reset.offset.unsubscribe", Values::Bool),
    Attribute::changeable("lite.sub.client.quota", Values::Range(-1, i64::MAX)),
    Attribute::changeable("lite.sub.client.max.event.cnt", Values::Range(10, i64::MAX)),
    Attribute::changeable("lite.sub.wildcard", Values::Any),
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

/// Applies a request's attributes, with signs, to the stored ones; `None` when what has them is new.
///
/// # Errors
/// The remark that the client gets.
pub(crate) fn alter(
    all: &[Attribute],
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
        check(all, name, value, is_delete, current.is_none())?;
        if is_delete {
            attributes.remove(name);
        } else {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    Ok(attributes)
}

fn check(
    all: &[Attribute],
    name: &str,
    value: &str,
    is_delete: bool,
    is_create: bool,
) -> Result<(), String> {
    let attribute = all
        .iter()
        .find(|attribute| attribute.name == name)
        .ok_or_else(|| format!("unsupported key: {name}"))?;
    if !is_create && !attribute.changeable {
        return Err(format!("attempt to update an unchangeable attribute. key: {name}"));
    }
    match attribute.values {
        _ if is_delete => Ok(()),
        Values::Any => Ok(()),
        Values::OneOf(values) if values.contains(&value) => Ok(()),
        Values::OneOf(values) => Err(format!("value is not in set: [{}]", values.join(", "))),
        Values::Range(least, most) => match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(format!("value is not in range({least}, {most})")),
            Err(_) => Err(format!("For input string: \"{value}\"")),
        },
        Values::Bool if ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
            Ok(())
        }
        Values::Bool => Err("boolean attribute format is wrong.".to_owned()),
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
            alter(OF_TOPICS, None, &map(&[("+queue.type", "BatchCQ")])),
            Ok(map(&[("queue.type", "BatchCQ")]))
        );
        assert_eq!(
            alter(OF_TOPICS, None, &map(&[("-queue.type", "")])),
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
            ("+reserve.time", "-2", "value is not in range(-1, 9223372036854775807)"),
        ] {
            let refused = alter(OF_TOPICS, Some(&stored), &map(&[(key, value)])).unwrap_err();
            assert_eq!(refused, remark);
        }
        assert_eq!(
            alter(OF_TOPICS, Some(&stored), &map(&[("+message.type", "FIFO")])),
            Ok(map(&[("queue.type", "SimpleCQ"), ("message.type", "FIFO")]))
        );
        assert_eq!(
            alter(OF_TOPICS, Some(&stored), &map(&[("-message.type", "")])),
            Ok(map(&[("queue.type", "SimpleCQ")]))
        );
        // Whatever its code says, the reference takes it without tiers of storage, too.
        assert_eq!(
            alter(OF_TOPICS, None, &map(&[("+reserve.time", "72")])),
            Ok(map(&[("reserve.time", "72")]))
        );
    }

    #[test]
    fn values_of_groups_are_checked_in_the_words_of_the_reference() {
        let alter = |key: &str, value: &str| alter(OF_GROUPS, None, &map(&[(key, value)]));
        for (key, value, remark) in [
            ("+priority.factor", "101", "value is not in range(0, 100)"),
            ("+priority.factor", "many", "For input string: \"many\""),
            ("+lite.sub.model", "Own", "value is not in set: [Exclusive, Shared]"),
            ("+lite.sub.reset.offset.exclusive", "yes", "boolean attribute format is wrong."),
            ("+message.type", "FIFO", "unsupported key: message.type"),
        ] {
            assert_eq!(alter(key, value), Err(remark.to_owned()));
        }
        assert!(alter("+priority.factor", "50").is_ok());
        assert!(alter("+lite.sub.reset.offset.exclusive", "True").is_ok());
        assert!(alter("+lite.bind.topic", "any").is_ok());
    }
}
