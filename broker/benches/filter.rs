//! Compiling and evaluating SQL92 expressions: `cargo bench -p oxmq-broker --bench filter`.
//!
//! Prints nanoseconds per operation, the best of several rounds, so that a busy machine shows least.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use oxmq_broker::SqlFilter;

const ROUNDS: usize = 20;
const PER_ROUND: usize = 50_000;

/// As in a record: a message that a producer keyed, and that has three properties of its own.
const PROPERTIES: &[u8] =
    b"KEYS\x01order-0000000001\x02UNIQ_KEY\x017F00000100010000000000000001ABCD\x02\
    WAIT\x01true\x02TAGS\x01TagA\x02region\x01eu-west-1\x02amount\x01129\x02vip\x01true\x02";

/// Expressions, and whether they want that message.
const EXPRESSIONS: [(&str, bool); 4] = [
    ("amount = 129", true),
    ("TAGS in ('TagA', 'TagB') and amount between 100 and 200", true),
    ("region is not null and (region = 'us-east-1' or vip = TRUE) and amount > 128.5", true),
    ("missing > 3 or region = 'us-east-1'", false),
];

fn main() {
    for (text, wanted) in EXPRESSIONS {
        println!("{text}");
        measure("compile", || {
            black_box(SqlFilter::compile(black_box(text)).unwrap());
        });
        let filter = SqlFilter::compile(text).unwrap();
        assert_eq!(filter.matches(PROPERTIES), wanted, "{text}");
        measure("evaluate", || {
            black_box(filter.matches(black_box(PROPERTIES)));
        });
    }
}

fn measure(what: &str, mut operation: impl FnMut()) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        (0..PER_ROUND).for_each(|_| operation());
        start.elapsed()
    });
    let best = rounds.min().unwrap();
    println!("    {what:<9} {:>8.1} ns", best.as_nanos() as f64 / PER_ROUND as f64);
}
