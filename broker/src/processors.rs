//! Everything that answers requests, and the managers that they share.

mod chores;

use std::net::SocketAddr;
use std::sync::Arc;

use oxmq_remoting::RequestCounters;
use oxmq_store::MessageStore;

use crate::absent_clients::AbsentClients;
use crate::broadcast_offset::BroadcastOffsets;
use crate::broker_stats::BrokerStats;
use crate::clock;
use crate::cold::ColdReads;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::consumer_offset::ConsumerOffsetManager;
use crate::delays::Delays;
use crate::durable::DurableAnswers;
use crate::filter::ConsumerFilters;
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
use crate::producer::ProducerManager;
use crate::rebalance_lock::RebalanceLockManager;
use crate::stamps::Stamps;
use crate::static_topic::StaticTopics;
use crate::subscription_group::SubscriptionGroupManager;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;
use crate::traffic::TrafficHistory;
use crate::transaction::TransactionService;
use crate::watch::Watch;

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
    consumers: Arc<ConsumerManager>,
    producers: Arc<ProducerManager>,
    filters: Arc<ConsumerFilters>,
    watch: Arc<Watch>,
    broadcasts: Arc<BroadcastOffsets>,
    config: Arc<BrokerConfig>,
    group_table: Arc<SubscriptionGroupManager>,
    broker_stats: Arc<BrokerStats>,
    traffic: Arc<TrafficHistory>,
    pub(crate) request_counters: Arc<RequestCounters>,
    topic_table: Arc<TopicConfigManager>,
    offset_table: Arc<ConsumerOffsetManager>,
    cluster: Box<str>,
}

impl Processors {
    pub(crate) fn new(
        config: &Arc<BrokerConfig>,
        store: &Arc<MessageStore>,
        tables: &Tables,
        delays: &Delays,
        producers: &Arc<ProducerManager>,
        transactions: &Arc<TransactionService>,
        store_host: SocketAddr,
    ) -> Self {
        let config = || Arc::clone(config);
        let store = || Arc::clone(store);
        let topics = || Arc::clone(&tables.topics);
        let static_topics = || Arc::clone(&tables.static_topics);
        let groups = || Arc::clone(&tables.groups);
        let offsets = || Arc::clone(&tables.offsets);
        let broker_stats = Arc::new(BrokerStats::new(clock::now_ms()));
        let stats = || Arc::clone(&broker_stats);
        let delays = || delays.clone();
        let traffic = Arc::new(TrafficHistory::default());
        let request_counters = Arc::new(RequestCounters::default());
        let locks = Arc::new(RebalanceLockManager::default());
        let filters = || Arc::clone(&tables.filters);
        let consumers = ConsumerManager::new(config(), groups(), filters(), Arc::clone(&locks));
        let consumers = Arc::new(consumers);
        let consumers = || Arc::clone(&consumers);
        let producers = || Arc::clone(producers);
        let transactions = || Arc::clone(transactions);
        let cold = Arc::new(ColdReads::new(config()));
        let broadcasts = BroadcastOffsets::new(config(), topics(), offsets(), store());
        let broadcasts = Arc::new(broadcasts);
        let stamps = Arc::new(Stamps::new(config()));
        let stamps = || Arc::clone(&stamps);
        let send_message = Arc::new(SendMessage::new(
            config(),
            store(),
            tables,
            stats(),
            Arc::clone(&locks),
            delays(),
            transactions(),
            Arc::new(DurableAnswers::new(store())),
            stamps(),
            store_host,
        ));
        let reply_message = ReplyMessage::new(
            config(),
            Arc::clone(&send_message),
            producers(),
            store(),
            store_host,
        );
        let modes = || Arc::clone(&tables.request_modes);
        let assignment = Assignment::new(config(), topics(), groups(), consumers(), modes());
        let watch = Arc::new(Watch::new(consumers(), offsets(), topics(), modes()));
        let journal = Journal::new(&config(), store(), delays(), store_host);
        let pop = Arc::new(PopService::new(
            config(),
            store(),
            topics(),
            groups(),
            offsets(),
            stats(),
            Arc::clone(&tables.order),
            journal,
        ));
        let lite = LiteService::new(config(), store(), topics(), groups(), offsets(), stats());
        let lite = Arc::new(lite);
        let lite = || Arc::clone(&lite);
        Self {
            assignment: Arc::new(assignment),
            send_message,
            reply_message: Arc::new(reply_message),
            send_back: SendBack::new(config(), topics(), groups(), offsets(), delays(), store()),
            pop_ack: PopAck::new(store(), topics(), Arc::clone(&pop), lite()),
            pop_message: PopMessage::new(config(), store(), topics(), groups(), Arc::clone(&pop)),
            pop,
            pull_message: Arc::new(PullMessage::new(
                config(),
                store(),
                tables,
                consumers(),
                stats(),
                Arc::clone(&cold),
                Arc::clone(&broadcasts),
            )),
            client_manage: ClientManage::new(
                config(),
                topics(),
                groups(),
                consumers(),
                producers(),
            ),
            configuration: Configuration::new(config(), store(), topics(), stamps()),
            cold_data: ColdData::new(Arc::clone(&cold)),
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
            rebalance_lock: RebalanceLock::new(config(), locks),
            relay: Relay::new(config(), topics(), groups(), consumers(), store()),
            client_status: ClientStatus::new(consumers()),
            reset_offset: ResetOffset::new(
                config(),
                topics(),
                groups(),
                offsets(),
                consumers(),
                store(),
            ),
            runtime_info: RuntimeInfo::new(
                config(),
                stats(),
                delays(),
                transactions(),
                watch.figures(),
                store(),
                Arc::clone(&request_counters),
            ),
            stats: Stats::new(config(), tables, consumers(), Arc::clone(&traffic), store()),
            subscription_groups: SubscriptionGroups::new(config(), groups(), offsets()),
            timer: Timer::new(config(), store(), topics(), delays(), store_host),
            topics: Topics::new(config(), topics(), offsets(), store(), lite(), static_topics()),
            view_message: ViewMessage::new(store()),
            static_topics: static_topics(),
            absent_clients: Arc::new(AbsentClients::new(config(), watch.figures())),
            consumers: consumers(),
            producers: producers(),
            filters: filters(),
            watch,
            broadcasts,
            config: config(),
            group_table: groups(),
            broker_stats,
            request_counters,
            traffic,
            topic_table: topics(),
            offset_table: offsets(),
            cluster: config().broker_cluster_name.as_str().into(),
        }
    }
}
