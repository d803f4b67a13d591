//! Which names topics and groups may have.
//!
//! Reference: `TopicValidator` (common), 5.5.0.

/// Prefix of the topic that a group's failed messages wait in.
pub(crate) const RETRY_TOPIC_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that a group's given-up messages end in.
pub(crate) const DLQ_TOPIC_PREFIX: &str = "%DLQ%";
/// Prefix of topics that brokers use among themselves.
pub(crate) const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Prefix of groups that brokers use among themselves.
pub(crate) const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Groups of the reference's tools and gateways.
const SYSTEM_GROUPS: &[&str] = &[
    "DEFAULT_CONSUMER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

/// Topic that auto-created topics take their settings from.
pub(crate) const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Topic of messages that wait for a delay level.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Topic for load tests.
pub(crate) const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Topic of messages whose transaction is undecided.
pub(crate) const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Topic of decisions on them.
pub(crate) const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Topic of transactions that nobody decided.
pub(crate) const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Topic for self tests.
pub(crate) const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Topic of notes on offsets that had to move.
pub(crate) const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Topic of message traces, unless another is configured.
pub(crate) const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

const SYSTEM_TOPICS: &[&str] = &[
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    "CHECKPOINT_TOPIC",
];

const MAX_TOPIC_LENGTH: usize = 127;
const MAX_RETRY_OR_DLQ_TOPIC_LENGTH: usize = 255;
const MAX_GROUP_LENGTH: usize = 120;
const ALLOWED: &str = "^[%|a-zA-Z0-9_-]+$";

/// A name that no topic or group can have; displays as the remark that the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidName(String);

/// Tells whether a group may pull whatever is held against others.
///
/// Reference: `MixAll.isSysConsumerGroupPullMessage` (common), 5.5.0.
pub(crate) fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || SYSTEM_GROUPS.contains(&group)
}

/// Checks a topic's name.
///
/// # Errors
/// When no topic can have it.
pub(crate) fn validate_topic(topic: &str) -> Result<(), InvalidName> {
    check_topic(topic).map_err(InvalidName)
}

/// Checks a group's name.
///
/// # Errors
/// When no group can have it.
pub(crate) fn validate_group(group: &str) -> Result<(), InvalidName> {
    check_group(group).map_err(InvalidName)
}

fn check_topic(topic: &str) -> Result<(), String> {
    if is_blank(topic) {
        return Err("The specified topic is blank.".to_owned());
    }
    if !has_legal_characters(topic) {
        return Err(format!(
            "The specified topic: {topic}, contains illegal characters, allowing only {ALLOWED}"
        ));
    }
    if is_retry_topic(topic) || topic.starts_with(DLQ_TOPIC_PREFIX) {
        if topic.len() > MAX_RETRY_OR_DLQ_TOPIC_LENGTH {
            return Err(format!(
                "The specified topic is DLQ or Retry topic: {topic}, and it's longer than topic \
                 max length: {MAX_RETRY_OR_DLQ_TOPIC_LENGTH}"
            ));
        }
    } else if topic.len() > MAX_TOPIC_LENGTH {
        return Err(format!(
            "The specified topic: {topic}, is longer than topic max length: {MAX_TOPIC_LENGTH}"
        ));
    }
    Ok(())
}

fn check_group(group: &str) -> Result<(), String> {
    if is_blank(group) {
        return Err("The specified group is blank.".to_owned());
    }
    if !has_legal_characters(group) {
        return Err(format!(
            "The specified group: {group}, contains illegal characters, allowing only {ALLOWED}"
        ));
    }
    if group.len() > MAX_GROUP_LENGTH {
        return Err(format!(
            "The specified group: {group}, is longer than group max length: {MAX_GROUP_LENGTH}"
        ));
    }
    Ok(())
}

/// Tells whether the topic is one of the reference's own, whatever the configuration.
pub(crate) fn is_built_in_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Names of the reference's own topics, whatever the configuration.
pub(crate) fn built_in_topics() -> impl Iterator<Item = &'static str> {
    SYSTEM_TOPICS.iter().copied()
}

/// Tells whether clients may not send to the topic.
pub(crate) fn is_topic_not_allowed_to_send(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | TRANS_HALF_TOPIC
            | TRANS_OP_HALF_TOPIC
            | TRANS_CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
    )
}

/// Tells whether the topic holds a group's failed messages.
pub(crate) fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_TOPIC_PREFIX)
}

/// The group whose failed messages a retry topic holds.
///
/// A pop retry topic names the original topic behind the group and a `+`.
pub(crate) fn group_of_retry_topic(topic: &str) -> &str {
    let group = topic.strip_prefix(RETRY_TOPIC_PREFIX).unwrap_or(topic);
    group.split_once('+').map_or(group, |(group, _)| group)
}

/// The topic that a group's failed messages wait in.
pub(crate) fn retry_topic(group: &str) -> String {
    format!("{RETRY_TOPIC_PREFIX}{group}")
}

/// The topic that a group's given-up messages end in.
pub(crate) fn dlq_topic(group: &str) -> String {
    format!("{DLQ_TOPIC_PREFIX}{group}")
}

/// Tells whether there is nothing but blanks in the text.
pub(crate) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn has_legal_characters(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_remarks_are_those_of_the_reference() {
        let long = "t".repeat(128);
        let retry = format!("%RETRY%{}", "t".repeat(249));
        for (topic, remark) in [
            ("", "The specified topic is blank.".to_owned()),
            (" \t", "The specified topic is blank.".to_owned()),
            (
                "../etc",
                "The specified topic: ../etc, contains illegal characters, allowing only \
                 ^[%|a-zA-Z0-9_-]+$"
                    .to_owned(),
            ),
            (&long, format!("The specified topic: {long}, is longer than topic max length: 127")),
            (
                &retry,
                format!(
                    "The specified topic is DLQ or Retry topic: {retry}, and it's longer than \
                     topic max length: 255"
                ),
            ),
        ] {
            assert_eq!(validate_topic(topic), Err(InvalidName(remark)));
        }
    }

    #[test]
    fn longest_and_oddest_legal_names_pass() {
        assert_eq!(validate_topic(&"t".repeat(127)), Ok(()));
        assert_eq!(validate_topic(&format!("%DLQ%{}", "t".repeat(250))), Ok(()));
        assert_eq!(validate_topic("a%B|c-D_9"), Ok(()));
        assert_eq!(validate_group(&"g".repeat(120)), Ok(()));
    }

    #[test]
    fn group_remarks_are_those_of_the_reference() {
        let long = "g".repeat(121);
        assert_eq!(
            validate_group(" "),
            Err(InvalidName("The specified group is blank.".to_owned()))
        );
        assert_eq!(
            validate_group("a b"),
            Err(InvalidName(
                "The specified group: a b, contains illegal characters, allowing only \
                 ^[%|a-zA-Z0-9_-]+$"
                    .to_owned()
            ))
        );
        assert_eq!(
            validate_group(&long),
            Err(InvalidName(format!(
                "The specified group: {long}, is longer than group max length: 120"
            )))
        );
    }

    #[test]
    fn retry_topic_names_its_group() {
        assert_eq!(group_of_retry_topic(&retry_topic("g")), "g");
        assert_eq!(group_of_retry_topic("%RETRY%g+t"), "g");
    }

    #[test]
    fn built_in_topics_are_known_by_name_and_by_prefix() {
        assert!(is_built_in_topic("TBW102") && is_built_in_topic("rmq_sys_anything"));
        assert!(!is_built_in_topic("RMQ_SYS_anything") && !is_built_in_topic("orders"));
        assert!(is_topic_not_allowed_to_send("SELF_TEST_TOPIC"));
        assert!(!is_topic_not_allowed_to_send("TBW102"));
    }
}
