//! What requests may name.

use super::*;

fn acknowledge(setup: &Setup, given: &Given<'_>) -> Result<i64, RequestError> {
    setup.pop.acknowledge(given, &[0], false, ([192, 0, 2, 3], 1).into())
}

#[test]
fn nothing_is_kept_of_a_group_that_is_not_there() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    let catch = setup.catch(LONG_MS);
    let in_order = Given { revive_queue_id: ReceiptHandle::ORDERLY, ..given(&catch, LONG_MS) };
    assert!(acknowledge(&setup, &Given { group: "nobody", ..in_order }).is_ok());
    assert_eq!(setup.pop.offsets.query("nobody", "t", 0), None);
    assert!(acknowledge(&setup, &in_order).is_ok());
    assert_eq!(setup.committed(), Some(1));
}

#[test]
fn note_with_names_that_nobody_has_is_refused() {
    let setup = setup(|_| ());
    setup.send(&["one"]);
    let catch = setup.catch(LONG_MS);
    let long = "x".repeat(3_000);
    for absurd in [
        Given { group: &long, ..given(&catch, LONG_MS) },
        Given { broker_name: Some(&long), ..given(&catch, LONG_MS) },
    ] {
        let refused = acknowledge(&setup, &absurd);
        assert!(matches!(refused, Err(RequestError::PopNotNoted)), "{refused:?}");
        assert!(setup.pop.change_invisible_time(&absurd, 0, LONG_MS, false).is_err());
    }
    assert!(acknowledge(&setup, &given(&catch, LONG_MS)).is_ok());
}
