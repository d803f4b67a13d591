//! What the broker knows until it stops: who is there, and what was read and counted.

use std::sync::Arc;

use oxmq_remoting::RequestCounters;
use oxmq_store::MessageStore;

use crate::broadcast_offset::BroadcastOffsets;
use crate::broker_stats::BrokerStats;
use crate::clock::now_ms;
use crate::cold::ColdReads;
use crate::config::BrokerConfig;
use crate::consumer::ConsumerManager;
use crate::producer::ProducerManager;
use crate::rebalance_lock::RebalanceLockManager;
use crate::stamps::Stamps;
use crate::tables::Tables;
use crate::traffic::TrafficHistory;
use crate::watch::Watch;

/// The managers whose tables are in no file: those that are, are in [`Tables`].
#[derive(Debug)]
pub(crate) struct InMemory {
    pub(crate) consumers: Arc<ConsumerManager>,
    pub(crate) producers: Arc<ProducerManager>,
    pub(crate) locks: Arc<RebalanceLockManager>,
    pub(crate) broadcasts: Arc<BroadcastOffsets>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) stats: Arc<BrokerStats>,
    pub(crate) traffic: Arc<TrafficHistory>,
    pub(crate) requests: Arc<RequestCounters>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) watch: Arc<Watch>,
}

impl InMemory {
    pub(crate) fn new(
        config: &Arc<BrokerConfig>,
        tables: &Tables,
        store: &Arc<MessageStore>,
    ) -> Self {
        let config = || Arc::clone(config);
        let topics = || Arc::clone(&tables.topics);
        let offsets = || Arc::clone(&tables.offsets);
        let (groups, filters) = (Arc::clone(&tables.groups), Arc::clone(&tables.filters));
        let modes = Arc::clone(&tables.request_modes);
        let locks = Arc::default();
        let consumers = ConsumerManager::new(config(), groups, filters, Arc::clone(&locks));
        let consumers = Arc::new(consumers);
        let broadcasts = BroadcastOffsets::new(config(), topics(), offsets(), Arc::clone(store));
        Self {
            watch: Arc::new(Watch::new(Arc::clone(&consumers), offsets(), topics(), modes)),
            consumers,
            producers: Arc::default(),
            locks,
            broadcasts: Arc::new(broadcasts),
            cold: Arc::new(ColdReads::new(config())),
            stats: Arc::new(BrokerStats::new(now_ms())),
            traffic: Arc::default(),
            requests: Arc::default(),
            stamps: Arc::new(Stamps::new(config())),
        }
    }
}
