//! Everything that answers requests, and the managers that they share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use oxmq_store::MessageStore;

use crate::broker_stats::BrokerStats;
use crate::clock;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::delays::Delays;
use crate::processor::broker_config::Configuration;
use crate::processor::client_manage::ClientManage;
use crate::processor::connection_list::ConnectionList;
use crate::processor::consumer_manage::ConsumerOffsets;
use crate::processor::end_transaction::EndTransaction;
use crate::processor::group_query::GroupQuery;
use crate::processor::pull_message::PullMessage;
use crate::processor::queue_offset::QueueOffset;
use crate::processor::rebalance_lock::RebalanceLock;
use crate::processor::relay::Relay;
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
use crate::tables::Tables;
use crate::transaction::TransactionService;

/// The processors of one broker.
#[derive(Debug)]
pub(crate) struct Processors {
    pub(crate) send_message: SendMessage,
    pub(crate) send_back: SendBack,
    pub(crate) pull_message: Arc<PullMessage>,
    pub(crate) client_manage: ClientManage,
    pub(crate) configuration: Configuration,
    pub(crate) connection_list: ConnectionList,
    pub(crate) consumer_offsets: ConsumerOffsets,
    pub(crate) end_transaction: EndTransaction,
    pub(crate) group_query: GroupQuery,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) rebalance_lock: RebalanceLock,
    pub(crate) relay: Relay,
    pub(crate) reset_offset: ResetOffset,
    pub(crate) runtime_info: RuntimeInfo,
    pub(crate) stats: Stats,
    pub(crate) subscription_groups: SubscriptionGroups,
    pub(crate) timer: Timer,
    pub(crate) topics: Topics,
    pub(crate) view_message: ViewMessage,
    consumers: Arc<ConsumerManager>,
    producers: Arc<ProducerManager>,
    locks: Arc<RebalanceLockManager>,
    broker_stats: Arc<BrokerStats>,
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
        let groups = || Arc::clone(&tables.groups);
        let offsets = || Arc::clone(&tables.offsets);
        let broker_stats = Arc::new(BrokerStats::new(clock::now_ms()));
        let stats = || Arc::clone(&broker_stats);
        let delays = || delays.clone();
        let locks = Arc::new(RebalanceLockManager::default());
        let consumers = Arc::new(ConsumerManager::new(config(), groups(), Arc::clone(&locks)));
        let consumers = || Arc::clone(&consumers);
        let producers = || Arc::clone(producers);
        let transactions = || Arc::clone(transactions);
        Self {
            send_message: SendMessage::new(
                config(),
                store(),
                tables,
                stats(),
                Arc::clone(&locks),
                delays(),
                transactions(),
                store_host,
            ),
            send_back: SendBack::new(config(), topics(), groups(), delays(), store()),
            pull_message: Arc::new(PullMessage::new(
                config(),
                store(),
                topics(),
                groups(),
                consumers(),
                offsets(),
                stats(),
            )),
            client_manage: ClientManage::new(
                config(),
                topics(),
                groups(),
                consumers(),
                producers(),
            ),
            configuration: Configuration::new(config(), store(), topics()),
            connection_list: ConnectionList::new(consumers(), producers()),
            consumer_offsets: ConsumerOffsets::new(topics(), groups(), offsets(), store()),
            end_transaction: EndTransaction::new(transactions(), stats()),
            group_query: GroupQuery::new(config(), groups(), offsets(), consumers()),
            queue_offset: QueueOffset::new(store()),
            rebalance_lock: RebalanceLock::new(Arc::clone(&locks)),
            relay: Relay::new(config(), topics(), groups(), consumers(), store()),
            reset_offset: ResetOffset::new(config(), topics(), groups(), offsets(), store()),
            runtime_info: RuntimeInfo::new(config(), stats(), delays(), transactions(), store()),
            stats: Stats::new(config(), topics(), offsets(), consumers(), store()),
            subscription_groups: SubscriptionGroups::new(config(), groups(), offsets()),
            timer: Timer::new(config(), store(), topics(), delays(), store_host),
            topics: Topics::new(config(), topics(), offsets(), store()),
            view_message: ViewMessage::new(store()),
            consumers: consumers(),
            producers: producers(),
            locks,
            broker_stats,
        }
    }

    /// Drops clients that were silent for too long, and locks that are over.
    pub(crate) fn scan_clients(&self) {
        let now = Instant::now();
        self.consumers.scan(now);
        self.producers.scan(now);
        self.locks.remove_expired(now);
    }

    /// Takes the sample of traffic that is due once a second.
    pub(crate) fn sample_traffic(&self) {
        self.broker_stats.sample(Instant::now(), clock::now_ms());
    }
}
