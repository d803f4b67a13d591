//! Storing again what nobody has acknowledged.

use std::sync::Arc;

use oxmq_protocol::body::PopCheckPoint;
use oxmq_protocol::message::{Message, MessageExt, RecordView, TopicKind, properties};
use oxmq_store::offset_in;
use tracing::{error, info, warn};

use crate::again::{Again, store_again};
use crate::pop::PopService;
use crate::queue_key::GroupQueueRef;

/// Stores again what is `left` of a check point, but for what was stored before a crash if it `is_old` enough
/// for that. Returns whether nothing is left.
pub(super) fn give_again(
    pop: &Arc<PopService>,
    point: &PopCheckPoint,
    left: &mut Vec<i64>,
    is_old: bool,
) -> bool {
    if left.is_empty() {
        return true;
    }
    let PopCheckPoint { topic, consumer_group: group, .. } = point;
    let normal_topic = TopicKind::normal_topic(topic, group);
    let queue = GroupQueueRef { topic, group, queue_id: point.queue_id };
    if pop.topics.get(normal_topic).is_none() || !has_group(pop, group) {
        info!(topic, group, "popped messages are not given out again: topic or group is gone");
        pop.count_done(queue, point.pop_time, left.len());
        return true;
    }
    let mut log_end = 0;
    while let Some(offset) = left.first().copied() {
        let Some(stored_to) = give_one(pop, point, offset, is_old) else { return false };
        log_end = log_end.max(stored_to);
        left.remove(0);
        pop.count_done(queue, point.pop_time, 1);
    }
    // With SYNC_FLUSH nobody sees what is not on disk, and nobody waits for the retry topic itself.
    let pop_then = Arc::clone(pop);
    let (topic, group): (Box<str>, Box<str>) = (normal_topic.into(), group.as_str().into());
    pop.store.when_durable(log_end, Box::new(move |_| pop_then.wake_group(&topic, &group)));
    true
}

/// Whether there is a group to give messages to.
fn has_group(pop: &PopService, group: &str) -> bool {
    if !pop.config.pop_consumer_kv_service_enable {
        return pop.groups.find_or_create(group).is_some();
    }
    !pop.config.pop_revive_skip_if_group_absent || pop.groups.get(group).is_some()
}

/// Sees to it that there are the queues of a retry topic, and returns how many.
fn make_retry_queues(pop: &PopService, retry_topic: &str, group: &str) -> Option<i32> {
    let count = if pop.config.use_separate_retry_queue {
        pop.topics.get(TopicKind::normal_topic(retry_topic, group))?.write_queue_nums
    } else {
        1
    };
    pop.topics.create_pop_retry(retry_topic, count)?;
    for queue_id in 0..count {
        if pop.offsets.query(group, retry_topic, queue_id).is_none() {
            pop.offsets.commit(group, retry_topic, queue_id, 0);
        }
    }
    Some(count)
}

/// Stores a message again, if it can be. Returns up to where in the log that is, or `None` when it is to be
/// tried again.
fn give_one(pop: &PopService, point: &PopCheckPoint, offset: i64, is_old: bool) -> Option<i64> {
    let PopCheckPoint { topic, consumer_group: group, queue_id, .. } = point;
    let mut record = Vec::new();
    pop.store.get_message(topic, *queue_id, offset, 1, 0, |_, _| true, &mut record);
    // A record of a light queue is numbered there, and not by its own queue.
    let is_it = |view: &RecordView<'_>| offset_in(view, topic, *queue_id) == Some(offset);
    let found = RecordView::parse(&record).ok().filter(is_it);
    let Some(Ok(message)) = found.map(|view| MessageExt::decode(view.bytes())) else {
        warn!(topic, queue_id, queue_offset = offset, "popped message is gone");
        return Some(0);
    };
    let retry_topic = if TopicKind::of(topic) == TopicKind::Normal {
        let is_v2 = pop.config.enable_retry_topic_v2;
        let kind = if is_v2 { TopicKind::RetryV2 } else { TopicKind::RetryV1 };
        kind.topic(topic, group)
    } else {
        topic.clone()
    };
    let retry_queues = make_retry_queues(pop, &retry_topic, group)?;
    // One queue for all but where each priority keeps its own.
    let retry_queue_id = if *queue_id < retry_queues { *queue_id } else { 0 };
    let mut text = message.properties.clone();
    if message.reconsume_times == 0
        || properties::property(&text, properties::FIRST_POP_TIME).is_none()
    {
        let first = point.pop_time.to_string();
        properties::set(&mut text, properties::FIRST_POP_TIME, first.as_bytes());
    }
    properties::set(&mut text, properties::ORIGIN_GROUP, group.as_bytes());
    let again = Message {
        topic: &retry_topic,
        queue_id: retry_queue_id,
        born_host: pop.journal.store_host(),
        store_host: pop.journal.store_host(),
        reconsume_times: message.reconsume_times.saturating_add(i32::from(!point.suspend)),
        prepared_transaction_offset: 0,
        properties: &text,
        ..message.as_message()
    };
    if is_old && pop.given_again.take(&again) {
        return Some(0);
    }
    match store_again(&pop.store, &again) {
        Again::Stored(stored) => Some(stored.end_phy_offset()),
        Again::NotNow(_) => None,
        Again::Never(status) => {
            error!(
                topic,
                queue_id,
                queue_offset = offset,
                ?status,
                "popped message cannot be given out again"
            );
            Some(0)
        }
    }
}
