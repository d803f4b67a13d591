//! Closed loop of transactions: a half message, and its commit once that is stored.
//!
//! Clients send a commit oneway. Here its answer is asked for, so that what is counted has happened.

use std::net::TcpStream;
use std::sync::Arc;

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{EndTransactionRequestHeader, Header, SendMessageResponseHeader};
use oxmq_protocol::message::{message_id, sys_flag};

use super::answer::Answer;
use super::args::TransactionArgs;
use super::clock::{Nanos, Window};
use super::error::BenchError;
use super::lane::{Line, Traffic};
use super::meter::Meter;
use super::payload::{FIRST_OPAQUE, PRODUCER_GROUP};
use super::report::{Counts, Report};
use super::sender::Sender;
use super::setup::{Setup, run_lanes};
use super::tally::Tally;

/// Runs `transaction`.
pub(super) fn run(args: &TransactionArgs) -> Result<Report, BenchError> {
    let mut setup = Setup::new(&args.common)?;
    let common = setup.common;
    common.without_count("transaction")?;
    let templates = Arc::new(setup.half_templates()?);
    let streams = setup.connect(common.connections)?;
    let before = setup.control.stored(&common.topic, common.queues)?;
    let window = setup.window();
    let line = |(connection, stream): (u32, TcpStream)| {
        let traffic = Transactions {
            sender: Sender::new(connection, &templates, args.in_flight),
            topic: common.topic.clone(),
            form: common.form(),
            commits: Vec::new(),
            committed: 0,
            window,
        };
        Line::new(stream, traffic)
    };
    let lines = (0..).zip(streams).map(line).collect();
    let meter = Meter::start(setup.clock, window, common.server_pid);
    let threads = common.threads(args.in_flight);
    let (traffic, tallies) =
        run_lanes(lines, threads, setup.clock, window, || Tally::new(window, 0))?;
    let usage = meter.finish()?;
    let tally = Tally::sum(window, tallies)?;
    // What was committed has to be where consumers find it.
    let committed: u64 = traffic.iter().map(|line| line.committed).sum();
    let stored = (setup.settle()? - before).max(0) as u64;
    if stored < committed {
        let message = format!("{committed} messages were committed, {stored} can be consumed");
        return Err(BenchError::Wrong(message));
    }
    let counts = Counts {
        messages: tally.succeeded,
        seconds: Some(window.seconds()),
        refused: tally.refused,
        unanswered: traffic.iter().map(|line| line.sender.in_flight() as u64).sum(),
        verified: committed,
    };
    let mut shape = setup.shape("transaction");
    shape.in_flight = Some(args.in_flight);
    Ok(Report::new(shape, counts, &usage).with_latency(&tally.latency))
}

struct Transactions {
    sender: Sender,
    topic: String,
    form: HeaderForm,
    /// Commits that may leave, as frames.
    commits: Vec<u8>,
    /// Commits that were answered with success.
    committed: u64,
    window: Window,
}

/// The opaque of the commit whose half message was sent as `sequence`: halves have the positive ones.
fn commit_opaque(sequence: u32) -> i32 {
    -1 - sequence.cast_signed()
}

impl Traffic for Transactions {
    type Tally = Tally;

    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>) {
        out.append(&mut self.commits);
        self.sender.fill(now, out, || now < self.window.end);
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let answer = Answer::read(frame)?;
        if answer.opaque >= FIRST_OPAQUE {
            let sequence = (answer.opaque - FIRST_OPAQUE).cast_unsigned();
            if answer.code == 0 {
                return self.commit(sequence, &CommandView::decode(frame)?);
            }
            tally.count(answer.code, self.sender.answered(sequence)?, now);
            return Ok(());
        }
        let sequence = (-1 - answer.opaque).cast_unsigned();
        let sent_at = self.sender.answered(sequence)?;
        self.committed += u64::from(answer.code == 0);
        tally.count(answer.code, sent_at, now);
        Ok(())
    }

    fn is_done(&self, now: Nanos) -> bool {
        self.sender.in_flight() == 0 && now >= self.window.end
    }
}

impl Transactions {
    /// Prepares the commit of a half message that was stored.
    fn commit(&mut self, sequence: u32, answer: &CommandView<'_>) -> Result<(), BenchError> {
        let half = SendMessageResponseHeader::decode(answer)?;
        let (_, commit_log_offset) = message_id::decode(&half.msg_id)
            .map_err(|_| BenchError::Unexpected(format!("message id {:?}", half.msg_id)))?;
        let header = EndTransactionRequestHeader {
            topic: Some(self.topic.clone()),
            producer_group: PRODUCER_GROUP.to_owned(),
            tran_state_table_offset: half.queue_offset,
            commit_log_offset,
            commit_or_rollback: sys_flag::TRANSACTION_COMMIT,
            from_transaction_check: false,
            msg_id: None,
            transaction_id: half.transaction_id,
        };
        let mut writer = CommandWriter::request(
            &mut self.commits,
            self.form,
            RequestCode::END_TRANSACTION,
            commit_opaque(sequence),
            false,
        );
        header.encode(&mut writer);
        writer.finish(&[]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaques_of_commits_lead_back_to_their_halves_and_are_those_of_no_half() {
        for sequence in [0, 1, super::super::payload::MAX_SEQUENCE] {
            let opaque = commit_opaque(sequence);
            assert!(opaque < FIRST_OPAQUE);
            assert_eq!((-1 - opaque).cast_unsigned(), sequence);
        }
    }
}
