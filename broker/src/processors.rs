//! Everything that answers requests.

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_store::MessageStore;

use crate::absent_clients::AbsentClients;
use crate::config::BrokerConfig;
use crate::delays::Delays;
use crate::in_memory::InMemory;
use crate::pop::lite::LiteService;
use crate::pop::{Journal, PopService};
use crate::processor::assignment::Assignment;
use crate::processor::broker_config::Configuration;
use crate::processor::client_manage::ClientManage;
use crate::processor::client_status::ClientStatus;
use crate::processor::cold_data::ColdData;
use crate::processor::connection_list::ConnectionList;
use crate::processor::consumer_manage::ConsumerOffsets;
use crate::processor::end_transaction::EndTransaction;
use crate::processor::group_query::GroupQuery;
use crate::processor::lite::LiteTopics;
use crate::processor::lite_info::LiteInfo;
use crate::processor::maintenance::Maintenance;
use crate::processor::pop_ack::PopAck;
use crate::processor::pop_message::PopMessage;
use crate::processor::pull_message::PullMessage;
use crate::processor::queue_offset::QueueOffset;
use crate::processor::queue_view::QueueView;
use crate::processor::rebalance_lock::RebalanceLock;
use crate::processor::relay::Relay;
use crate::processor::reply_message::ReplyMessage;
use crate::processor::reset_offset::ResetOffset;
use crate::processor::runtime_info::RuntimeInfo;
use crate::processor::send_back::SendBack;
use crate::processor::send_message::SendMessage;
use crate::processor::stats::Stats;
use crate::processor::subscription_group::SubscriptionGroups;
use crate::processor::timer::Timer;
use crate::processor::topic::Topics;
use crate::processor::view_message::ViewMessage;
use crate::static_topic::StaticTopics;
use crate::tables::Tables;
use crate::transaction::TransactionService;

/// The processors of one broker.
#[derive(Debug)]
pub(crate) struct Processors {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) send_message: Arc<SendMessage>,
    pub(crate) reply_message: Arc<ReplyMessage>,
    pub(crate) send_back: SendBack,
    pub(crate) pop: Arc<PopService>,
    pub(crate) pop_ack: PopAck,
    pub(crate) pop_message: PopMessage,
    pub(crate) pull_message: Arc<PullMessage>,
    pub(crate) client_manage: ClientManage,
    pub(crate) configuration: Configuration,
    pub(crate) client_status: ClientStatus,
    pub(crate) cold_data: ColdData,
    pub(crate) connection_list: ConnectionList,
    pub(crate) consumer_offsets: ConsumerOffsets,
    pub(crate) end_transaction: EndTransaction,
    pub(crate) group_query: GroupQuery,
    pub(crate) lite: Arc<LiteService>,
    pub(crate) lite_info: LiteInfo,
    pub(crate) lite_topics: LiteTopics,
    pub(crate) maintenance: Maintenance,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) queue_view: QueueView,
    pub(crate) rebalance_lock: RebalanceLock,
    pub(crate) relay: Relay,
    pub(crate) reset_offset: ResetOffset,
    pub(crate) runtime_info: RuntimeInfo,
    pub(crate) stats: Stats,
    pub(crate) subscription_groups: SubscriptionGroups,
    pub(crate) timer: Timer,
    pub(crate) topics: Topics,
    pub(crate) static_topics: Arc<StaticTopics>,
    pub(crate) view_message: ViewMessage,
    pub(crate) absent_clients: Arc<AbsentClients>,
}

impl Processors {
    pub(crate) fn new(
        config: &Arc<BrokerConfig>,
        store: &Arc<MessageStore>,
        tables: &Tables,
        known: &InMemory,
        delays: &Delays,
        transactions: &Arc<TransactionService>,
        store_host: SocketAddr,
    ) -> Self {
        let config = || Arc::clone(config);
        let store = || Arc::clone(store);
        let topics = || Arc::clone(&tables.topics);
        let static_topics = || Arc::clone(&tables.static_topics);
        let groups = || Arc::clone(&tables.groups);
        let offsets = || Arc::clone(&tables.offsets);
        let filters = || Arc::clone(&tables.filters);
        let modes = || Arc::clone(&tables.request_modes);
        let consumers = || Arc::clone(&known.consumers);
        let producers = || Arc::clone(&known.producers);
        let stats = || Arc::clone(&known.stats);
        let stamps = || Arc::clone(&known.stamps);
        let delays = || delays.clone();
        let transactions = || Arc::clone(transactions);
        let sends = SendMessage::new(
            config(),
            store(),
            tables,
            known,
            delays(),
            transactions(),
            store_host,
        );
        let sends = Arc::new(sends);
        let replies =
            ReplyMessage::new(config(), Arc::clone(&sends), producers(), store(), store_host);
        let assignment = Assignment::new(config(), topics(), groups(), consumers(), modes());
        let journal = Journal::new(&config(), store(), delays(), store_host);
        let pop = Arc::new(PopService::new(config(), store(), tables, stats(), journal));
        let lite = LiteService::new(config(), store(), topics(), groups(), offsets(), stats());
        let lite = Arc::new(lite);
        let lite = || Arc::clone(&lite);
        Self {
            assignment: Arc::new(assignment),
            send_message: sends,
            reply_message: Arc::new(replies),
            send_back: SendBack::new(config(), topics(), groups(), offsets(), delays(), store()),
            pop_ack: PopAck::new(store(), topics(), Arc::clone(&pop), lite()),
            pop_message: PopMessage::new(config(), store(), topics(), groups(), Arc::clone(&pop)),
            pop,
            pull_message: Arc::new(PullMessage::new(config(), store(), tables, known)),
            client_manage: ClientManage::new(config(), tables, consumers(), producers()),
            configuration: Configuration::new(config(), store(), topics(), stamps()),
            cold_data: ColdData::new(Arc::clone(&known.cold)),
            connection_list: ConnectionList::new(consumers(), producers()),
            consumer_offsets: ConsumerOffsets::new(tables, store()),
            end_transaction: EndTransaction::new(transactions(), stats()),
            group_query: GroupQuery::new(config(), groups(), offsets(), consumers()),
            lite: lite(),
            lite_info: LiteInfo::new(store(), topics(), groups(), offsets(), lite()),
            lite_topics: LiteTopics::new(config(), topics(), groups(), lite()),
            maintenance: Maintenance::new(topics(), store()),
            queue_offset: QueueOffset::new(store(), static_topics()),
            queue_view: QueueView::new(consumers(), filters(), store()),
            rebalance_lock: RebalanceLock::new(config(), Arc::clone(&known.locks)),
            relay: Relay::new(config(), topics(), groups(), consumers(), store()),
            client_status: ClientStatus::new(consumers()),
            reset_offset: ResetOffset::new(config(), tables, consumers(), store()),
            runtime_info: RuntimeInfo::new(config(), known, delays(), transactions(), store()),
            stats: Stats::new(config(), tables, consumers(), Arc::clone(&known.traffic), store()),
            subscription_groups: SubscriptionGroups::new(config(), groups(), offsets()),
            timer: Timer::new(config(), store(), topics(), delays(), store_host),
            topics: Topics::new(config(), topics(), offsets(), store(), lite(), static_topics()),
            view_message: ViewMessage::new(store()),
            static_topics: static_topics(),
            absent_clients: Arc::new(AbsentClients::new(config(), known.watch.figures())),
        }
    }
}
