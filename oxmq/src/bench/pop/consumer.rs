//! One connection: a pop, the acknowledgements of all that it gave, the next pop.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::header::{
    AckMessageRequestHeader, Header, PopMessageRequestHeader, PopMessageResponseHeader,
};
use oxmq_protocol::message::RecordView;

use super::Given;
use crate::bench::answer::Answer;
use crate::bench::clock::{Nanos, Window, wall_clock_ms};
use crate::bench::error::BenchError;
use crate::bench::lane::Traffic;
use crate::bench::payload::FIRST_OPAQUE;
use crate::bench::records::records;
use crate::bench::tally::Tally;

/// One record in so many is checked against its CRC.
const CHECK_STRIDE: usize = 64;

/// A consumer of the group.
#[derive(Debug)]
pub(super) struct Consumer {
    pop: PopMessageRequestHeader,
    broker_name: Arc<str>,
    form: HeaderForm,
    window: Window,
    /// Messages in the topic.
    filled: u64,
    /// Messages that all consumers have acknowledged.
    done: Arc<AtomicU64>,
    popping: bool,
    popped_at: Nanos,
    /// Acknowledgements that may leave, as frames.
    acks: Vec<u8>,
    /// For each acknowledgement of the last pop: whether it has been answered.
    answered: Vec<bool>,
    /// Queue and offset of all that came.
    popped: Vec<(i32, i64)>,
    pub(super) checked: u64,
}

impl Consumer {
    pub(super) fn new(
        pop: PopMessageRequestHeader,
        broker_name: &Arc<str>,
        form: HeaderForm,
        window: Window,
        filled: u64,
        done: &Arc<AtomicU64>,
    ) -> Self {
        Self {
            pop,
            broker_name: Arc::clone(broker_name),
            form,
            window,
            filled,
            done: Arc::clone(done),
            popping: false,
            popped_at: 0,
            acks: Vec::new(),
            answered: Vec::new(),
            popped: Vec::new(),
            checked: 0,
        }
    }

    /// Acknowledgements that nothing was heard of.
    pub(super) fn unanswered(&self) -> u64 {
        self.answered.iter().filter(|answered| !**answered).count() as u64
    }

    fn is_all_done(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.filled
    }

    /// Acknowledges all messages in the answer to a pop.
    fn take(&mut self, view: &CommandView<'_>) -> Result<(), BenchError> {
        let header = PopMessageResponseHeader::decode(view)?;
        let given = Given {
            pop_time_ms: header.pop_time,
            invisible_ms: header.invisible_time,
            revive_queue_id: header.revive_qid,
            starts: header.start_offset_info.as_deref().unwrap_or_default(),
        };
        for (index, record) in (1..).zip(records(view.body)) {
            let record = RecordView::parse(record?.bytes)?;
            let (queue_id, offset) = (record.queue_id(), record.queue_offset());
            self.popped.push((queue_id, offset));
            if self.popped.len().is_multiple_of(CHECK_STRIDE) {
                record.verify_body_crc()?;
                self.checked += 1;
            }
            let header = AckMessageRequestHeader {
                consumer_group: self.pop.consumer_group.clone(),
                topic: self.pop.topic.clone(),
                queue_id,
                extra_info: given.receipt(&self.broker_name, queue_id, offset)?,
                offset,
                lite_topic: None,
            };
            let (code, opaque) = (RequestCode::ACK_MESSAGE, FIRST_OPAQUE + index);
            let mut writer = CommandWriter::request(&mut self.acks, self.form, code, opaque, false);
            header.encode(&mut writer);
            writer.finish(&[]);
            self.answered.push(false);
        }
        Ok(())
    }
}

/// Messages that were popped.
///
/// # Errors
/// When one came twice.
pub(super) fn popped_once(consumers: &[Consumer]) -> Result<u64, BenchError> {
    let mut seen = HashSet::new();
    for message in consumers.iter().flat_map(|consumer| &consumer.popped) {
        if !seen.insert(*message) {
            return Err(BenchError::Wrong(format!("(queue, offset) {message:?} came twice")));
        }
    }
    Ok(seen.len() as u64)
}

impl Traffic for Consumer {
    type Tally = Tally;

    fn fill(&mut self, now: Nanos, out: &mut Vec<u8>) {
        out.append(&mut self.acks);
        let may_pop = !self.popping && self.answered.iter().all(|answered| *answered);
        if !may_pop || now >= self.window.end || self.is_all_done() {
            return;
        }
        self.answered.clear();
        self.popping = true;
        self.popped_at = now;
        self.pop.born_time = wall_clock_ms();
        let code = RequestCode::POP_MESSAGE;
        let mut writer = CommandWriter::request(out, self.form, code, FIRST_OPAQUE, false);
        self.pop.encode(&mut writer);
        writer.finish(&[]);
    }

    fn receive(
        &mut self,
        now: Nanos,
        frame: Frame<'_>,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let answer = Answer::read(frame)?;
        if answer.opaque == FIRST_OPAQUE && self.popping {
            self.popping = false;
            let view = CommandView::decode(frame)?;
            return match view.response_code() {
                ResponseCode::SUCCESS => self.take(&view),
                // Somebody else has taken the last ones, or is taking them.
                ResponseCode::PULL_NOT_FOUND | ResponseCode::POLLING_TIMEOUT => Ok(()),
                code => Err(BenchError::Wrong(format!("a pop was refused with {code}"))),
            };
        }
        let index = answer.opaque.wrapping_sub(FIRST_OPAQUE + 1) as usize;
        match self.answered.get_mut(index) {
            Some(answered) if !*answered => *answered = true,
            _ => return Err(BenchError::Unexpected(format!("opaque {}", answer.opaque))),
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        tally.count(answer.code, self.popped_at, now);
        Ok(())
    }

    fn is_done(&self, now: Nanos) -> bool {
        (now >= self.window.end || self.is_all_done()) && self.unanswered() == 0
    }
}
