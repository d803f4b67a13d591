//! Names of the queues of lite topics: `%LMQ%$topic$lite topic`.
//!
//! Reference: `LiteUtil` (common), 5.5.0.

const PREFIX: &str = "%LMQ%$";
const SEPARATOR: char = '$';

/// The queue of a lite topic; nothing when either has no name.
pub(crate) fn queue_name(parent: &str, lite: &str) -> Option<String> {
    (!parent.is_empty() && !lite.is_empty()).then(|| format!("{PREFIX}{parent}{SEPARATOR}{lite}"))
}

/// Whether a light queue is that of a lite topic.
pub(crate) fn is_lite_queue(queue: &str) -> bool {
    queue.starts_with(PREFIX)
}

/// The topic that a lite topic is of, and its own name.
pub(crate) fn parts(queue: &str) -> Option<(&str, &str)> {
    let (parent, lite) = queue.strip_prefix(PREFIX)?.split_once(SEPARATOR)?;
    (!parent.is_empty() && !lite.is_empty() && !lite.contains(SEPARATOR)).then_some((parent, lite))
}

/// Whether a queue is that of a lite topic of `parent`.
pub(crate) fn belongs_to(queue: &str, parent: &str) -> bool {
    let rest = queue.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(parent));
    rest.is_some_and(|rest| rest.starts_with(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        assert_eq!(queue_name("t", "a").as_deref(), Some("%LMQ%$t$a"));
        assert_eq!((queue_name("", "a"), queue_name("t", "")), (None, None));
        assert_eq!(parts("%LMQ%$t$a"), Some(("t", "a")));
        for none in ["t", "%LMQ%t$a", "%LMQ%$t", "%LMQ%$t$", "%LMQ%$$a", "%LMQ%$t$a$b"] {
            assert_eq!(parts(none), None, "{none}");
        }
        assert!(is_lite_queue("%LMQ%$t$a") && !is_lite_queue("%LMQ%a"));
        assert!(belongs_to("%LMQ%$t$a", "t") && !belongs_to("%LMQ%$tt$a", "t"));
    }
}
