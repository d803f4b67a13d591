//! The checker takes what is right, and finds each fault that is planted.

use std::collections::BTreeMap;

use super::super::log::Stored;
use super::*;

const LIMITS: Limits = Limits { in_flight: 2, overlap_ms: 1_000, locking_group: "locks" };

fn message(index: u32) -> Message {
    Message { producer: 1, index }
}

/// Ten messages in queue 0, each with an acknowledgement.
fn sent() -> History {
    let mut history = History::default();
    for index in 0..10 {
        let (message, offset) = (message(index), i64::from(index));
        history.push(What::Sent { message });
        history.push(What::Acked { message, queue: 0, offset });
        history.stored.push(Stored { queue: 0, offset, message });
    }
    history
}

impl History {
    fn push(&mut self, what: What) {
        let at_ms = self.events.len() as u64;
        self.events.push(Event { at_ms, what });
    }

    /// A question, its answer, and a session from there.
    fn begin(&mut self, session: u32, answer: Option<i64>) {
        self.begin_in("g", session, answer);
    }

    fn begin_in(&mut self, group: &'static str, session: u32, answer: Option<i64>) {
        let query = session;
        self.push(What::QuerySent { query });
        self.push(What::QueryAnswered { query, group, queue: 0, offset: answer });
        let offset = answer.unwrap_or(0);
        self.push(What::Began { session, group, queue: 0, offset });
    }

    fn deliver(&mut self, session: u32, offsets: std::ops::Range<u32>) {
        for index in offsets {
            let (offset, message) = (index.into(), message(index));
            self.push(What::Delivered { session, offset, message });
        }
    }

    fn commit(&mut self, commit: u32, offset: i64) {
        self.push(What::CommitSent { commit, group: "g", queue: 0, offset });
        self.push(What::CommitAcked { commit });
    }

    fn end(&mut self, session: u32) {
        self.push(What::Ended { session });
    }

    fn kill(&mut self, saved: i64) {
        self.push(What::Killed { persisted: BTreeMap::from([(("g", 0), saved)]) });
        self.push(What::Started);
    }

    fn found(&self) -> Vec<Violation> {
        check(self, &LIMITS)
    }
}

/// Two consumers, one after the other.
fn right() -> History {
    let mut history = sent();
    history.begin(1, None);
    history.deliver(1, 0..6);
    history.commit(1, 4);
    history.end(1);
    history.begin(2, Some(4));
    history.deliver(2, 4..10);
    history.commit(2, 10);
    history.end(2);
    history
}

#[test]
fn a_history_without_fault_is_taken() {
    assert_eq!(right().found(), []);
}

#[test]
fn a_lost_message_is_found() {
    let mut history = right();
    history.stored.remove(3);
    let found = history.found();
    let lost = Violation::Lost { message: message(3), queue: 0, offset: 3, found: None };
    assert!(found.contains(&lost), "{found:?}");
}

#[test]
fn a_message_that_a_group_never_got_is_found() {
    let mut history = right();
    history.events.retain(|event| !matches!(event.what, What::Delivered { offset: 8.., .. }));
    let found = history.found();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[0], Violation::NotDelivered { offset: 8, .. }), "{found:?}");
}

#[test]
fn a_place_that_was_given_away_twice_is_found() {
    let mut history = right();
    history.push(What::Sent { message: message(11) });
    history.push(What::Acked { message: message(11), queue: 0, offset: 9 });
    let found = history.found();
    assert!(matches!(found[0], Violation::GivenAwayTwice { offset: 9, .. }), "{found:?}");
}

#[test]
fn messages_that_were_stored_out_of_order_are_found() {
    let mut history = right();
    let places = [(10, 12), (11, 10)];
    for (offset, index) in places {
        history.stored.push(Stored { queue: 0, offset, message: message(index) });
    }
    for (offset, index) in [places[1], places[0]] {
        history.push(What::Sent { message: message(index) });
        history.push(What::Acked { message: message(index), queue: 0, offset });
    }
    let found = history.found();
    assert!(matches!(found[0], Violation::StoredOutOfOrder { .. }), "{found:?}");
}

#[test]
fn deliveries_out_of_order_are_found() {
    let mut history = right();
    let deliveries: Vec<usize> = history
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| matches!(event.what, What::Delivered { session: 2, .. }))
        .map(|(at, _)| at)
        .collect();
    history.events.swap(deliveries[1], deliveries[2]);
    let found = history.found();
    let swapped = Violation::DeliveredOutOfOrder { session: 2, expected: 5, got: 6 };
    assert_eq!(found[0], swapped);
}

#[test]
fn a_repeat_within_a_session_is_found() {
    let mut history = sent();
    history.begin(1, None);
    history.deliver(1, 0..10);
    history.deliver(1, 9..10);
    assert_eq!(
        history.found(),
        [Violation::DeliveredOutOfOrder { session: 1, expected: 10, got: 9 }]
    );
}

#[test]
fn another_message_than_the_one_stored_is_found() {
    let mut history = right();
    let (offset, got) = (10, message(3));
    history.push(What::Delivered { session: 2, offset, message: got });
    let other = Violation::DeliveredAnother { session: 2, offset, got, stored: None };
    assert_eq!(history.found(), [other]);
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    let mut history = right();
    history.stored.push(Stored { queue: 1, offset: 0, message: message(99) });
    assert_eq!(history.found(), [Violation::NeverSent { message: message(99) }]);
}

#[test]
fn an_offset_that_went_back_is_found() {
    let mut history = right();
    history.begin(3, Some(4));
    let found = history.found();
    assert!(matches!(found[0], Violation::OffsetWentBack { answer: Some(4), .. }), "{found:?}");
}

#[test]
fn a_forgotten_offset_is_found() {
    let mut history = right();
    history.begin(3, None);
    let found = history.found();
    assert!(matches!(found[0], Violation::OffsetWentBack { answer: None, .. }), "{found:?}");
}

#[test]
fn a_commit_without_an_answer_counts_or_not() {
    for answer in [8, 10] {
        let mut history = right();
        history.push(What::CommitSent { commit: 9, group: "g", queue: 0, offset: 8 });
        history.begin(3, Some(answer));
        assert_eq!(history.found(), [], "{answer}");
    }
}

#[test]
fn a_clean_stop_loses_no_offset_and_a_kill_none_that_was_saved() {
    let mut stopped = right();
    stopped.push(What::Stopped);
    stopped.push(What::Started);
    stopped.begin(3, Some(4));
    assert!(matches!(stopped.found()[0], Violation::OffsetWentBack { .. }));

    for (answer, right_answer) in [(10, true), (4, false)] {
        let mut killed = right();
        killed.commit(5, 7);
        killed.commit(6, 10);
        killed.kill(7);
        killed.begin(3, Some(answer));
        let found = killed.found();
        assert_eq!(found.is_empty(), right_answer, "{answer}: {found:?}");
    }
}

#[test]
fn after_a_kill_what_was_saved_may_come_again() {
    let mut history = right();
    history.kill(4);
    history.begin(3, Some(4));
    assert_eq!(history.found(), []);
}

#[test]
fn who_takes_over_before_another_has_caught_up_after_a_kill_repeats_no_more() {
    let mut history = right();
    history.kill(4);
    history.begin(3, Some(4));
    history.deliver(3, 4..5);
    history.end(3);
    history.begin(4, Some(4));
    assert_eq!(history.found(), []);
}

#[test]
fn more_duplicates_than_were_in_flight_are_found() {
    let mut history = sent();
    history.begin(1, None);
    history.deliver(1, 0..10);
    // It never committed, so the offset is right.
    history.end(1);
    history.begin(2, None);
    history.deliver(2, 0..10);
    let many = Violation::TooManyDuplicates { group: "g", queue: 0, again: 10, allowed: 2 };
    assert_eq!(history.found()[..], [many]);
}

#[test]
fn two_owners_for_long_are_found() {
    let mut history = right();
    history.begin(3, Some(10));
    history.begin(4, Some(10));
    history.events.last_mut().unwrap().at_ms = 5_000;
    history.events.push(Event { at_ms: 7_000, what: What::Ended { session: 3 } });
    let found = history.found();
    assert!(matches!(found[0], Violation::TwoOwners { for_ms: 2_000, .. }), "{found:?}");
}

#[test]
fn deliveries_without_the_lock_are_found() {
    let mut history = sent();
    history.begin_in("locks", 1, None);
    history.deliver(1, 0..6);
    history.begin_in("locks", 2, None);
    history.deliver(2, 0..10);
    history.deliver(1, 6..10);
    history.end(1);
    let found = history.found();
    let late = Violation::GivenWithoutLock { queue: 0, session: 1, messages: 4 };
    assert!(found.contains(&late), "{found:?}");
}
