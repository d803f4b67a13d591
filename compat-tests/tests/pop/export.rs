//! What is popped is moved from the KV store to the revive topic, if it is not there already.

use oxmq_compat_tests::admin::mqadmin;
use oxmq_compat_tests::ops::{self, response};
use oxmq_compat_tests::popper::Popper;
use oxmq_compat_tests::server::{BROKER_NAME, CLUSTER_NAME};
use oxmq_compat_tests::wire::{Command, Conn};

use crate::{Books, LONG_MS, POP_ROLLBACK, setup};

/// Long enough that nothing is due again before it has been moved, on a machine that is not too busy.
const INVISIBLE_MS: i64 = 20_000;

with_all_books! {
    what_is_given_out_when_pop_records_are_exported_comes_back_once,
}

fn what_is_given_out_when_pop_records_are_exported_comes_back_once(books: Books) {
    // Its own: the reference takes no receipt of before any more.
    let server = setup(books).start();
    let mut popper = Popper::create(&server, "exported", 1);
    popper.send_all(&["done", "kept"]);
    let given = popper.pop(INVISIBLE_MS).messages;
    popper.ack(&given[0]);

    let broker = server.broker_addr();
    for port in [&broker, &server.vip_addr()] {
        let answer = Conn::connect(port).call(Command::request(POP_ROLLBACK, &[]));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        assert!(answer.ext.is_empty() && answer.body.is_empty(), "{answer:?}");
    }
    for (args, dry_run) in [
        (["-b", &broker, "-d", "true"], false),
        (["-c", CLUSTER_NAME, "-d", "true"], false),
        // The tool takes it the other way round.
        (["-b", &broker, "-d", "false"], true),
    ] {
        let output = mqadmin(&server, "exportPopRecord", &args);
        output.assert_no_error();
        let line = format!(
            "Export broker records, brokerName={BROKER_NAME}, brokerAddr={broker}, dryRun={dry_run}"
        );
        assert_eq!(output.lines(), [&line]);
    }

    let again = popper.await_messages(LONG_MS, 1).remove(0);
    assert_eq!((again.record.text(), again.record.reconsume_times), ("kept", 1));
    popper.ack(&again);
    let retry_topic = popper.retry_topic();
    assert_eq!(ops::max_offset(&mut popper.conn, &retry_topic, 0), 1);
}
