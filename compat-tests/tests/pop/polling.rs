//! Requests that wait for a message.

use std::time::{Duration, Instant};

use oxmq_compat_tests::ops::{code, now_ms, response};
use oxmq_compat_tests::wait;
use oxmq_compat_tests::wire::{Command, Conn};

use crate::{Books, LONG_MS, server};
use oxmq_compat_tests::popper::{Popper, REVIVE_LIMIT};

with_all_books! {
    a_message_wakes_one_of_the_pops_that_wait,
    a_message_for_others_wakes_nobody,
    a_message_that_comes_back_is_given_to_who_asks_again,
    a_notification_says_that_there_is_something_and_takes_nothing,
}

#[test]
fn an_empty_pop_is_answered_when_its_time_is_up() {
    let server = server(Books::ReviveTopic);
    let mut popper = Popper::create(server, "timeout", 4).with("pollTime", "2000");
    let begin = Instant::now();
    let answer = popper.pop(LONG_MS).command;
    let took = begin.elapsed();
    assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
    assert_eq!(answer.remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert!(took < Duration::from_millis(4_000), "{took:?}");
}

fn a_message_wakes_one_of_the_pops_that_wait(books: Books) {
    for queue_id in ["-1", "2"] {
        let name = format!("wake{}", queue_id.trim_start_matches('-'));
        let mut popper = Popper::create(server(books), &name, 4)
            .with("pollTime", "20000")
            .with("queueId", queue_id);
        let mut waiting = [popper.again(server(books)), popper.again(server(books))];
        for one in &mut waiting {
            let request = one.request(LONG_MS);
            one.conn.send(request).unwrap();
        }
        wait_for_pollers(&mut popper, queue_id, 2);
        popper.send(2, "", "first");
        wait_for_pollers(&mut popper, queue_id, 1);
        popper.send(2, "", "second");
        wait_for_pollers(&mut popper, queue_id, 0);
        let mut bodies: Vec<String> = waiting
            .iter_mut()
            .flat_map(|one| {
                let answer = one.conn.receive().unwrap();
                assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
                one.read(answer).bodies()
            })
            .collect();
        bodies.sort();
        assert_eq!(bodies, ["first", "second"]);
    }
}

/// Waits until so many pops of the group wait.
fn wait_for_pollers(popper: &mut Popper, queue_id: &str, count: i64) {
    wait::until(&format!("{count} waiting pops"), REVIVE_LIMIT, || {
        let fields = [
            ("consumerGroup", popper.group.as_str()),
            ("topic", popper.topic.as_str()),
            ("queueId", queue_id),
        ];
        let answer = popper.conn.call(Command::request(code::POLLING_INFO, &fields));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        (answer.number("pollingNum") == count).then_some(())
    });
}

fn a_message_for_others_wakes_nobody(books: Books) {
    let mut popper = Popper::create(server(books), "wake_filter", 1)
        .with("pollTime", "20000")
        .with("exp", "TagA");
    // The first message of a queue wakes everyone in the reference.
    popper.send(0, "TAGS\u{1}TagB\u{2}", "before");
    let mut waiting = popper.again(server(books));
    let request = waiting.request(LONG_MS);
    waiting.conn.send(request).unwrap();
    wait_for_pollers(&mut popper, "-1", 1);
    popper.send(0, "TAGS\u{1}TagB\u{2}", "for others");
    popper.send(0, "TAGS\u{1}TagA\u{2}", "for us");
    let answer = waiting.conn.receive().unwrap();
    assert_eq!(waiting.read(answer).bodies(), ["for us"]);
}

fn a_message_that_comes_back_is_given_to_who_asks_again(books: Books) {
    let mut popper = Popper::create(server(books), "wake_retry", 2);
    popper.send_all(&["again"]);
    popper.pop(1_000);
    // The reference does not wake who waits for a message to try again.
    popper.set("pollTime", "1000");
    let again = popper.await_messages(LONG_MS, 1);
    assert_eq!((again[0].record.text(), again[0].record.reconsume_times), ("again", 1));
}

fn a_notification_says_that_there_is_something_and_takes_nothing(books: Books) {
    let mut popper = Popper::create(server(books), "notify", 2);
    let request = |poll_ms: &str| {
        Command::request(
            code::NOTIFICATION,
            &[
                ("consumerGroup", popper.group.as_str()),
                ("topic", popper.topic.as_str()),
                ("queueId", "-1"),
                ("pollTime", poll_ms),
                ("bornTime", &now_ms().to_string()),
            ],
        )
    };
    let mut conn = Conn::connect(&server(books).broker_addr());
    let begin = Instant::now();
    let nothing = conn.call(request("1500"));
    assert_eq!((nothing.code, nothing.ext["hasMsg"].as_str()), (response::SUCCESS, "false"));
    assert!(begin.elapsed() >= Duration::from_millis(1_400), "{:?}", begin.elapsed());

    // It may wait already or come after the message: the answer is the same.
    let (long, short) = (request("20000"), request("1500"));
    conn.send(long).unwrap();
    popper.send(1, "", "a");
    let answer = conn.receive().unwrap();
    assert_eq!((answer.code, answer.ext["hasMsg"].as_str()), (response::SUCCESS, "true"));
    let answer = conn.call(short);
    assert_eq!(answer.ext["hasMsg"], "true");
    assert_eq!(popper.pop(LONG_MS).bodies(), ["a"]);
}
