use proptest::prelude::*;

use oxmq_protocol::message::{tags_code, tags_code_of_properties};

use super::SqlFilter;

const MESSAGE: &[(&str, &str)] = &[
    ("i", "5"),
    ("neg", "-5"),
    ("big", "3000000000"),
    ("d", "1.5"),
    ("s", "it's"),
    ("word", "banana"),
    ("t", "true"),
    ("A", "upper"),
];

fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.extend_from_slice(format!("{name}\u{1}{value}\u{2}").as_bytes());
    }
    bytes
}

fn matches(text: &str) -> bool {
    let filter = SqlFilter::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.matches(&encode(MESSAGE))
}

fn error(text: &str) -> String {
    SqlFilter::compile(text).expect_err(text).to_string()
}

#[test]
fn values_are_compared_as_the_constant_beside_them() {
    for (text, expected) in [
        ("i = 5", true),
        ("i = '5'", true),
        ("i = 5.0", true),
        ("i > 4.9", true),
        ("d = 1.5", true),
        ("d > 1", false),
        ("neg = -5", true),
        ("neg < -4 AND neg > -6", true),
        ("+i = +5", true),
        ("-i = -5", false),
        ("big > 2999999999", true),
        ("big > 5", false),
        ("big > 5.0", true),
        ("i < big", true),
        ("t = TRUE", true),
        ("TRUE = t", false),
        ("word = TRUE", false),
        ("5 = 5 AND 1 < 2", true),
        ("5 = TRUE", false),
        ("5L = 5", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_compared_fails_the_whole_message() {
    assert!(!matches("word > 5 OR i = 5"), "the failure comes first");
    assert!(matches("i = 5 OR word > 5"), "it is not come to");
    assert!(!matches("NOT (word > 5)"));
    assert!(!matches("word = 5 OR TRUE"));
    assert!(!matches("(i = 5) = 't'"));
}

#[test]
fn null_is_neither_true_nor_false() {
    for (text, expected) in [
        ("none IS NULL", true),
        ("i IS NULL", false),
        ("none IS NOT NULL", false),
        ("i IS NOT NULL", true),
        ("none = 5", false),
        ("NOT (none = 5)", false),
        ("none <> 5", false),
        // A present value is different from an absent one, but not the other way round.
        ("i <> none", true),
        ("none <> i", false),
        ("none = nothing", true),
        ("none > 5 OR i = 5", true),
        ("none > 5 AND i = 5", false),
        ("NOT (none > 5 AND i = 4)", true),
        ("none IN ('a')", false),
        ("none NOT IN ('a')", false),
        ("NULL", false),
        ("NOT NULL", false),
        ("NULL IS NULL", true),
        ("TRUE OR NULL", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn texts_are_listed_and_searched() {
    for (text, expected) in [
        ("s = 'it''s'", true),
        ("word IN ('apple', 'banana')", true),
        ("(word) NOT IN ('apple', 'pear')", true),
        ("i IN ('5')", true),
        ("word CONTAINS 'nan'", true),
        ("word NOT CONTAINS 'nan'", false),
        ("word STARTSWITH 'ban' AND word ENDSWITH 'ana'", true),
        ("word NOT STARTSWITH 'x' AND word NOT ENDSWITH 'x'", true),
        ("word CONTAINS ''", false),
        ("word NOT CONTAINS ''", false),
        ("none CONTAINS 'a'", false),
        ("none NOT CONTAINS 'a'", false),
        ("'abc' CONTAINS 'b'", true),
        ("5 CONTAINS '5'", false),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn ranges_include_their_ends() {
    for (text, expected) in [
        ("i BETWEEN 5 AND 5", true),
        ("i between 6 and 7", false),
        ("i NOT BETWEEN 6 AND 7", true),
        ("neg BETWEEN -5 AND -10", false),
        ("none BETWEEN 1 AND 2", false),
        ("none NOT BETWEEN 1 AND 2", false),
        ("i BETWEEN 1 AND 9 AND word = 'banana'", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn a_property_alone_is_true_for_nobody() {
    assert!(!matches("t"), "its text is no truth value");
    assert!(matches("NOT t"));
    assert!(!matches("NOT none"));
    assert!(matches("a IS NULL AND A = 'upper'"), "names have a case");
}

#[test]
fn precedence_is_that_of_the_reference() {
    assert!(matches("i = 4 AND word = 'x' OR i = 5"));
    assert!(matches("i = 5 OR i = 4 AND word = 'x'"));
    assert!(!matches("(i = 5 OR i = 4) AND word = 'x'"));
    assert!(!matches("NOT i = 5"), "it is (NOT i) = 5");
}

#[test]
fn what_stands_behind_an_expression_is_not_looked_at() {
    assert!(matches("i = 5 ) ~"));
    assert!(matches("i = 5 i = 6"));
    assert!(error("i = 5 ~").starts_with("org.apache.rocketmq.filter.parser.TokenMgrError"));
}

#[test]
fn refusals_use_the_words_of_the_reference() {
    for (text, expected) in [
        (
            "",
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \"<EOF>\" at line 0, column 0.",
        ),
        (
            "a >",
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \"<EOF>\" at line 1, column 3.",
        ),
        ("a = b c AND", ""),
        (
            "a IS 5",
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \" <DECIMAL_LITERAL> \"5 \"\" at line 1, column 6.",
        ),
        (
            "a NOT b",
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \" \"NOT\" \"NOT \"\" at line 1, column 3.",
        ),
        (
            "5",
            "org.apache.rocketmq.filter.parser.ParseException: Expression will not result in a boolean value: 5",
        ),
        (
            "a AND 'x'",
            "org.apache.rocketmq.filter.parser.ParseException: Expression will not result in a boolean value: 'x'",
        ),
        (
            "-a",
            "org.apache.rocketmq.filter.parser.ParseException: Expression will not result in a boolean value: (- a)",
        ),
        ("a > 'x'", "java.lang.RuntimeException: Value ''x'' cannot be compared."),
        ("(a = 1) > 2", "java.lang.RuntimeException: Value '(a == 1)' cannot be compared."),
        (
            "(a AND b AND c) > 2",
            "java.lang.RuntimeException: Value '((a && b) && c)' cannot be compared.",
        ),
        ("a = NULL", "java.lang.RuntimeException: 'NULL' cannot be compared."),
        ("TRUE = 5", "java.lang.RuntimeException: 'TRUE' cannot be compared with '5'"),
        (
            "a BETWEEN 2 AND 1",
            "java.lang.RuntimeException: Illegal values of between, left value(2) must less than or equal to right value(1)",
        ),
        (
            "a BETWEEN NULL AND 1",
            "java.lang.RuntimeException: Illegal values of between, values can not be null!",
        ),
        ("5 IN ('5')", "java.lang.RuntimeException: Expected a property for In expression, got: 5"),
        (
            "a = 99999999999999999999",
            "java.lang.NumberFormatException: For input string: \"99999999999999999999\"",
        ),
        ("a = 0.0", "java.lang.RuntimeException: 0.0 is less than 4.9E-324"),
        ("a = 1e999", "java.lang.RuntimeException: 1e999 is greater than 1.7976931348623157E308"),
        (
            "a IN (5)",
            "org.apache.rocketmq.filter.parser.ParseException: Encountered \" <DECIMAL_LITERAL> \"5 \"\" at line 1, column 7.",
        ),
    ] {
        if expected.is_empty() {
            assert!(SqlFilter::compile(text).is_ok(), "{text}");
        } else {
            let error = error(text);
            assert_eq!(error.lines().next(), Some(expected), "{text}");
        }
    }
}

#[test]
fn size_and_depth_are_limited() {
    let deep = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(SqlFilter::compile(&deep(98)).is_ok());
    assert!(error(&deep(100_000 / 4)).contains("more levels than 100"));
    assert!(error(&format!("{} a", "NOT ".repeat(10_000))).contains("more levels than 100"));
    assert!(error(&vec!["a"; 10_000].join(" = ")).contains("more levels than 100"));
    assert!(error(&format!("a{}", " IS NULL".repeat(5_000))).contains("more levels than 100"));
    assert!(SqlFilter::compile(&vec!["a = 1"; 5_000].join(" OR ")).is_ok(), "wide is not deep");
    assert!(error(&"a".repeat(70_000)).contains("more bytes than 65536"));
}

#[test]
fn tags_rule_out_what_an_expression_cannot_match() {
    // The first two tags have one hash.
    for (text, expected) in [
        ("TAGS = 'Aa'", "Aa BB"),
        ("'x' = TAGS", "x"),
        ("TAGS IN ('x', 'BB')", "Aa BB x"),
        ("(TAGS = 'x' OR TAGS = 'Aa') AND i > 1", "Aa BB x"),
        ("i > 1 AND TAGS = 'x' AND word IS NULL", "x"),
        ("TAGS = 'x' AND TAGS IN ('Aa')", ""),
        ("TAGS = 'x' OR i > 1", "Aa BB x y"),
        ("TAGS NOT IN ('x')", "Aa BB x y"),
        ("NOT (TAGS = 'x')", "Aa BB x y"),
        ("TAGS <> 'x'", "Aa BB x y"),
        ("TAGS CONTAINS 'x'", "Aa BB x y"),
        ("TAGS = i", "Aa BB x y"),
        ("TAGS = 5", "Aa BB x y"),
        ("tags = 'x'", "Aa BB x y"),
    ] {
        let filter = SqlFilter::compile(text).unwrap();
        let tags =
            ["Aa", "BB", "x", "y"].into_iter().filter(|tag| filter.may_match(tags_code(tag)));
        assert_eq!(tags.collect::<Vec<_>>().join(" "), expected, "{text}");
        assert!(filter.may_match(1_700_000_000_000), "a time is no hash");
    }
}

/// Expressions over three properties, as text.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("TAGS = '1'"),
        Just("'31' = TAGS"),
        Just("TAGS IN ('2', '3', 'Aa')"),
        Just("TAGS NOT IN ('1')"),
        Just("TAGS IS NULL"),
        Just("TAGS = a"),
        Just("a = 1"),
        Just("b > 2"),
        Just("a IS NULL"),
        Just("b BETWEEN 1 AND 3"),
        Just("a IN ('1', 'x')"),
        Just("b <> a"),
        Just("b CONTAINS '1'"),
        Just("TRUE"),
        Just("NULL"),
    ]
    .prop_map(|text| format!("({text})"));
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|value| format!("(NOT {value})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} OR {b})")),
        ]
    })
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let value = || prop_oneof![Just(""), Just("1"), Just("2"), Just("3"), Just("31")];
    let tags = prop_oneof![value(), Just("Aa"), Just("BB")];
    (value(), value(), tags, value()).prop_map(|(a, b, tags, more)| {
        encode(&[("a", a), ("TAGS", tags), ("x", "y"), ("b", b), ("TAGS", more)])
    })
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in "[a-c0-9 ()'=<>.+-]{0,60}|.{0,40}", message in message()) {
        if let Ok(filter) = SqlFilter::compile(&text) {
            filter.matches(&message);
        }
    }

    #[test]
    fn any_bytes_are_matched_or_not(text in expression(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        SqlFilter::compile(&text).unwrap().matches(&bytes);
    }

    #[test]
    fn whatever_matches_is_not_ruled_out_by_its_tags(text in expression(), message in message()) {
        let filter = SqlFilter::compile(&text).unwrap();
        let may_match = filter.may_match(tags_code_of_properties(&message));
        prop_assert!(may_match || !filter.matches(&message));
    }

    #[test]
    fn negation_moves_through_and_and_or(a in expression(), b in expression(), message in message()) {
        let holds = |text: String| SqlFilter::compile(&text).unwrap().matches(&message);
        prop_assert_eq!(
            holds(format!("NOT ({a} AND {b})")),
            holds(format!("(NOT {a}) OR (NOT {b})"))
        );
        prop_assert_eq!(holds(format!("NOT (NOT {a})")), holds(a));
    }

    #[test]
    fn a_message_matches_an_expression_or_its_negation_but_not_both(a in expression(), message in message()) {
        let holds = |text: String| SqlFilter::compile(&text).unwrap().matches(&message);
        let negation = holds(format!("NOT {a}"));
        prop_assert!(!(holds(a) && negation));
    }
}
