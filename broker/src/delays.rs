//! Messages that are to be delivered later, by level or at a time of their own.

use std::sync::Arc;

use oxmq_protocol::message::properties;
use oxmq_store::PutMessageStatus;

use crate::schedule::ScheduleMessageService;
use crate::timer::{TIME_PROPERTIES, TIMER_TOPIC, TimerFlow, TimerService};

/// Where messages wait that are not to be delivered yet.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    pub(crate) schedule: Arc<ScheduleMessageService>,
    /// `None` when it is switched off.
    pub(crate) timers: Option<Arc<TimerService>>,
}

impl Delays {
    /// Turns a message that is to be delivered later into one that is kept aside: its properties
    /// get a note of where it belongs, and the topic and queue to store it under are returned.
    ///
    /// `None` when it is to be delivered now.
    ///
    /// # Errors
    /// The status that a message is refused with whose time makes no sense.
    pub(crate) fn divert(
        &self,
        topic: &str,
        queue_id: i32,
        text: &mut Vec<u8>,
        now_ms: i64,
    ) -> Result<Option<(&'static str, i32)>, PutMessageStatus> {
        let level = properties::property_str(text, properties::DELAY_TIME_LEVEL);
        if level.is_some_and(|level| level.parse::<i32>().is_err()) {
            return Err(PutMessageStatus::WheelTimerMsgIllegal);
        }
        if let Some(aside) = self.schedule.divert(topic, queue_id, text) {
            return Ok(Some(aside));
        }
        if let Some(timers) = &self.timers {
            return timers.divert(topic, queue_id, text, now_ms);
        }
        let has_waited = properties::property(text, properties::TIMER_OUT_MS).is_some();
        let has_time =
            || TIME_PROPERTIES.iter().any(|name| properties::property(text, name).is_some());
        if !has_waited && has_time() {
            return Err(PutMessageStatus::WheelTimerNotEnable);
        }
        Ok(None)
    }

    /// What went through the timer since the start.
    pub(crate) fn timer_flow(&self) -> TimerFlow {
        self.timers.as_ref().map(|timers| timers.metrics().flow()).unwrap_or_default()
    }

    /// Notes that a message was stored under `topic`.
    pub(crate) fn stored(&self, topic: &str) {
        if let Some(timers) = &self.timers
            && topic == TIMER_TOPIC
        {
            timers.poke();
        }
    }
}
