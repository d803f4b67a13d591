//! Messages that have become visible, and the pulls that wait for them.

use std::sync::Weak;

use oxmq_store::{Arrival, ArrivalListener};

use crate::pop::lite::is_lite_queue;
use crate::processors::Processors;
use crate::pull_hold::ArrivedMessage;
use crate::queue_key::QueueRef;

/// Hands messages to waiting pulls and pops. The store outlives neither: it does not hold what holds it.
pub(crate) struct Arrivals(pub(crate) Weak<Processors>);

impl ArrivalListener for Arrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if let Some(processors) = self.0.upgrade() {
            let queue = QueueRef { topic: arrival.topic, queue_id: arrival.queue_id };
            let Arrival { tags_code, properties, .. } = *arrival;
            if is_lite_queue(arrival.topic) {
                processors.lite.arrived(arrival.topic, None);
            }
            let message = ArrivedMessage { tags_code, properties };
            processors.pull_message.wake(queue, arrival.next_queue_offset, Some(message));
            processors.pop.arrived(queue, arrival.next_queue_offset, message);
        }
    }

    fn is_waiting(&self) -> bool {
        self.0.upgrade().is_some_and(|processors| {
            processors.pull_message.is_any_held()
                || processors.pop.is_any_held()
                || processors.lite.has_subscribers()
        })
    }
}
