//! What the broker can do: one `match` on the request code.

use std::sync::Arc;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::CommandView;
use oxmq_protocol::frame;
use oxmq_remoting::{Connection, Reply, Service};
use tracing::warn;

use crate::error::RequestError;
use crate::limits::{MAX_WAITING_BYTES, MAX_WAITING_REQUESTS};
use crate::processor::Answer;
use crate::processor::maintenance::Maintenance;
use crate::processors::Processors;
use crate::waiting::Waiting;

/// The service of one port. The fast port serves everything but pulls.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) processors: Arc<Processors>,
    pub(crate) fast_port: bool,
}

impl Service for Dispatch {
    fn request(&self, connection: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        if let RequestCode::SEND_MESSAGE
        | RequestCode::SEND_MESSAGE_V2
        | RequestCode::SEND_BATCH_MESSAGE = request.request_code()
        {
            return self.processors.send_message.process(&request, reply);
        }
        // Whoever asks for something finds what it has sent before.
        self.processors.send_message.settle();
        match request.request_code() {
            RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE if !self.fast_port => {
                self.processors.pull_message.process(&request, reply);
            }
            RequestCode::POP_MESSAGE if !self.fast_port => {
                self.processors.pop_message.pop(&request, reply);
            }
            RequestCode::NOTIFICATION if !self.fast_port => {
                self.processors.pop_message.notify(&request, reply);
            }
            RequestCode::POP_LITE_MESSAGE if !self.fast_port => {
                self.processors.lite_topics.pop(&request, reply);
            }
            RequestCode::ACK_MESSAGE => self.processors.pop_ack.ack(&request, reply),
            RequestCode::BATCH_ACK_MESSAGE => self.processors.pop_ack.batch_ack(&request, reply),
            RequestCode::CHANGE_MESSAGE_INVISIBLETIME => {
                self.processors.pop_ack.change_invisible_time(&request, reply);
            }
            RequestCode::PEEK_MESSAGE if self.fast_port => unknown(&request, reply),
            RequestCode::END_TRANSACTION => {
                self.processors.end_transaction.process(&request, reply);
            }
            RequestCode::SEND_REPLY_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => {
                self.processors.reply_message.process(&request, reply);
            }
            RequestCode::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => {
                self.processors.client_status.process(&request, reply);
            }
            RequestCode::QUERY_ASSIGNMENT => self.processors.assignment.query(&request, reply),
            RequestCode::GET_CONSUMER_RUNNING_INFO => {
                self.processors.relay.get_consumer_running_info(&request, reply);
            }
            RequestCode::CONSUME_MESSAGE_DIRECTLY => {
                self.processors.relay.consume_message_directly(&request, reply);
            }
            _ => match self.answer(connection, &request) {
                Some(Ok(answer)) => reply.send(answer),
                Some(Err(error)) => refuse(connection, &request, &error, reply),
                None => self.answer_elsewhere(&request, reply),
            },
        }
    }

    fn turn_ends(&self) {
        self.processors.send_message.settle();
    }

    fn opened(&self, connection: &Arc<Connection>) {
        self.processors.absent_clients.opened(connection);
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.processors.absent_clients.closed(connection);
        self.processors.client_manage.connection_closed(connection);
    }
}

impl Dispatch {
    /// Answers what is answered at once; `None` for everything else.
    fn answer(&self, connection: &Arc<Connection>, request: &CommandView<'_>) -> Option<Answer> {
        let on = &self.processors;
        Some(match request.request_code() {
            RequestCode::QUERY_CONSUMER_OFFSET
            | RequestCode::UPDATE_CONSUMER_OFFSET
            | RequestCode::GET_MAX_OFFSET
            | RequestCode::GET_MIN_OFFSET
                if on.static_topics.may_ask_others(request) =>
            {
                return None;
            }
            RequestCode::QUERY_CONSUMER_OFFSET => on.consumer_offsets.query(request),
            RequestCode::UPDATE_CONSUMER_OFFSET => on.consumer_offsets.update(request),
            RequestCode::HEART_BEAT => {
                on.absent_clients.heard(connection);
                on.client_manage.heart_beat(request, connection)
            }
            RequestCode::UNREGISTER_CLIENT => {
                on.client_manage.unregister_client(request, connection)
            }
            RequestCode::LITE_SUBSCRIPTION_CTL => on.lite_topics.subscribe(request, connection),
            RequestCode::CHECK_CLIENT_CONFIG => on.client_manage.check_client_config(request),
            RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
                on.connection_list.consumer_list_by_group(request)
            }
            RequestCode::LOCK_BATCH_MQ => on.rebalance_lock.lock_batch_mq(request),
            RequestCode::UNLOCK_BATCH_MQ => on.rebalance_lock.unlock_batch_mq(request),
            RequestCode::RECALL_MESSAGE => on.timer.recall(request, connection),
            RequestCode::POLLING_INFO if !self.fast_port => {
                on.pop_message.polling_info(request, connection)
            }
            RequestCode::GET_MAX_OFFSET => on.queue_offset.max(request),
            RequestCode::GET_MIN_OFFSET => on.queue_offset.min(request),
            _ => return None,
        })
    }

    /// Answers what may wait for the disk or takes long on a thread that may.
    fn answer_elsewhere(&self, request: &CommandView<'_>, reply: Reply) {
        static WAITING: Waiting = Waiting::new(MAX_WAITING_REQUESTS, MAX_WAITING_BYTES);
        let mut bytes = Vec::new();
        request.to_command().encode(&mut bytes);
        let place = match WAITING.enter(bytes.len()) {
            Ok(place) => place,
            Err(error) => return reply.fail(error.response_code(), &error.to_string()),
        };
        let processors = Arc::clone(&self.processors);
        tokio::task::spawn_blocking(move || {
            match own_view(&bytes) {
                Some(request) => match answer_blocking(&processors, &request, reply.connection()) {
                    Some(Ok(answer)) => reply.send(answer),
                    Some(Err(error)) => {
                        let connection = Arc::clone(reply.connection());
                        refuse(&connection, &request, &error, reply);
                    }
                    None => unknown(&request, reply),
                },
                None => reply.fail(ResponseCode::SYSTEM_ERROR, "the request cannot be read again"),
            }
            drop(place);
        });
    }
}

/// Reads a command that was written here.
fn own_view(bytes: &[u8]) -> Option<CommandView<'_>> {
    let (frame, _) = frame::split(bytes).ok()??;
    CommandView::decode(frame).ok()
}

/// Answers one request; `None` when the code is not known.
fn answer_blocking(
    on: &Processors,
    request: &CommandView<'_>,
    connection: &Connection,
) -> Option<Answer> {
    Some(match request.request_code() {
        // Of static topics with parts on other brokers.
        RequestCode::QUERY_CONSUMER_OFFSET => on.consumer_offsets.query(request),
        RequestCode::UPDATE_CONSUMER_OFFSET => on.consumer_offsets.update(request),
        RequestCode::GET_MAX_OFFSET => on.queue_offset.max(request),
        RequestCode::GET_MIN_OFFSET => on.queue_offset.min(request),
        RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => on.queue_offset.search(request),
        RequestCode::GET_EARLIEST_MSG_STORETIME => on.queue_offset.earliest_store_time(request),
        RequestCode::CONSUMER_SEND_MSG_BACK => on.send_back.process(request),
        RequestCode::RESUME_CHECK_HALF_MESSAGE => on.end_transaction.resume(request),
        RequestCode::GET_TIMER_CHECK_POINT => on.timer.check_point(),
        RequestCode::GET_TIMER_METRICS => on.timer.metrics(),
        RequestCode::GET_ALL_DELAY_OFFSET => on.runtime_info.delay_offsets(),
        RequestCode::QUERY_MESSAGE => on.view_message.by_key(request),
        RequestCode::VIEW_MESSAGE_BY_ID => on.view_message.by_id(request),
        RequestCode::UPDATE_AND_CREATE_TOPIC => on.topics.update_and_create(request),
        RequestCode::UPDATE_AND_CREATE_STATIC_TOPIC => on.topics.update_and_create_static(request),
        RequestCode::DELETE_TOPIC_IN_BROKER => on.topics.delete(request),
        RequestCode::GET_ALL_TOPIC_CONFIG => on.topics.get_all(request),
        RequestCode::GET_TOPIC_CONFIG => on.topics.get(request),
        RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => on.subscription_groups.update(request),
        RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => on.subscription_groups.get_all(request),
        RequestCode::DELETE_SUBSCRIPTIONGROUP => on.subscription_groups.delete(request),
        RequestCode::GET_BROKER_RUNTIME_INFO => on.runtime_info.get(),
        RequestCode::GET_BROKER_CONFIG => on.configuration.get(),
        RequestCode::UPDATE_BROKER_CONFIG => on.configuration.update(request),
        RequestCode::GET_TOPIC_STATS_INFO => on.stats.topic_stats(request),
        RequestCode::GET_CONSUME_STATS => on.stats.consume_stats(request),
        RequestCode::GET_CONSUMER_CONNECTION_LIST => {
            on.connection_list.consumer_connections(request)
        }
        RequestCode::GET_PRODUCER_CONNECTION_LIST => {
            on.connection_list.producer_connections(request)
        }
        RequestCode::GET_ALL_CONSUMER_OFFSET => on.group_query.all_consumer_offsets(),
        RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => on.group_query.consumers_of_topic(request),
        RequestCode::QUERY_TOPICS_BY_CONSUMER => on.group_query.topics_of_consumer(request),
        RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER => on.group_query.subscription(request),
        RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG => on.group_query.group_config(request),
        RequestCode::UPDATE_AND_CREATE_TOPIC_LIST => on.topics.update_and_create_list(request),
        RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => on.topics.system_topics(),
        RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
            on.subscription_groups.update_list(request)
        }
        RequestCode::UPDATE_AND_GET_GROUP_FORBIDDEN => on.subscription_groups.forbidden(request),
        RequestCode::GET_ALL_PRODUCER_INFO => on.connection_list.all_producers(),
        RequestCode::CLONE_GROUP_OFFSET => on.group_query.clone_offsets(request),
        RequestCode::INVOKE_BROKER_TO_RESET_OFFSET => on.reset_offset.process(request),
        RequestCode::QUERY_CONSUME_TIME_SPAN => on.stats.consume_time_span(request),
        RequestCode::QUERY_CORRECTION_OFFSET => on.stats.correction_offset(request),
        RequestCode::VIEW_BROKER_STATS_DATA => on.stats.broker_stats_data(request),
        RequestCode::GET_BROKER_CONSUME_STATS => on.stats.broker_consume_stats(request),
        RequestCode::QUERY_CONSUME_QUEUE => on.queue_view.query(request),
        RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE | RequestCode::DELETE_EXPIRED_COMMITLOG => {
            Ok(on.maintenance.delete_expired_files())
        }
        RequestCode::CLEAN_UNUSED_TOPIC => Ok(on.maintenance.clean_unused_topics()),
        RequestCode::POP_ROLLBACK => Ok(Maintenance::move_pop_records()),
        RequestCode::PEEK_MESSAGE => on.pop_message.peek(request, connection),
        RequestCode::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => on.cold_data.update(request),
        RequestCode::REMOVE_COLD_DATA_FLOW_CTR_CONFIG => Ok(on.cold_data.remove(request)),
        RequestCode::GET_COLD_DATA_FLOW_CTR_INFO => on.cold_data.info(),
        RequestCode::SET_COMMITLOG_READ_MODE => on.cold_data.set_read_mode(request),
        RequestCode::SET_MESSAGE_REQUEST_MODE => on.assignment.set_mode(request),
        RequestCode::GET_BROKER_LITE_INFO => on.lite_info.broker(),
        RequestCode::GET_PARENT_TOPIC_INFO => on.lite_info.parent(request),
        RequestCode::GET_LITE_TOPIC_INFO => on.lite_info.topic(request),
        RequestCode::GET_LITE_CLIENT_INFO => on.lite_info.client(request),
        RequestCode::GET_LITE_GROUP_INFO => on.lite_info.group_progress(request),
        RequestCode::TRIGGER_LITE_DISPATCH => on.lite_info.trigger(request),
        RequestCode::GET_ALL_MESSAGE_REQUEST_MODE => on.assignment.all_modes(),
        _ => return None,
    })
}

fn unknown(request: &CommandView<'_>, reply: Reply) {
    let remark = format!(" request type {} not supported", request.code);
    reply.fail(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, &remark);
}

fn refuse(connection: &Connection, request: &CommandView<'_>, error: &RequestError, reply: Reply) {
    if matches!(error, RequestError::Header(_) | RequestError::Body(_)) {
        warn!(peer = %connection.peer(), code = %request.request_code(), %error, "bad request");
    }
    reply.fail(error.response_code(), &error.to_string());
}
