//! The broker's settings: keys, defaults and file format are the reference's.

mod address;
pub(crate) mod change;
mod known;
mod no_effect;
mod values;

use std::path::Path;

use oxmq_protocol::address::host_port;
use oxmq_protocol::advertised_listeners::AdvertisedListeners;
use oxmq_protocol::body::MessageRequestMode;
use oxmq_protocol::config::{
    self, Checked, Config, ConfigError, Explanation, Notice, Setting, Standing,
};
use oxmq_protocol::live::Live;
use oxmq_remoting::{DEFAULT_TLS_CONFIG_FILE, TlsMode};
use oxmq_store::StoreConfig;

pub use self::values::{BrokerRole, RequestMode};

oxmq_protocol::config! {
    /// Settings of the broker and its server, at one moment.
    ///
    /// Reference: `BrokerConfig`, `NettyServerConfig` and `MessageStoreConfig`, 5.5.0. A key is here
    /// once something depends on it; every other key of the reference is in `known.rs`.
    pub struct BrokerSettings {
        /// File that changes over the wire are kept in; the one that was loaded, unless it says
        /// otherwise.
        broker_config_path: Option<String> = "brokerConfigPath" | None,
        /// Keys that may not be changed over the wire, besides those that never may.
        config_black_list: String =
            "configBlackList" | "configBlackList;brokerConfigPath".to_owned(),
        /// Name of the master and slaves that hold the same messages.
        broker_name: String = "brokerName" | address::host_name(),
        /// Name of the cluster.
        broker_cluster_name: String = "brokerClusterName" | "DefaultCluster".to_owned(),
        /// 0 is the master.
        broker_id: i64 = "brokerId" | 0,
        /// Role in a group of brokers of one name.
        broker_role: BrokerRole = "brokerRole" | BrokerRole::AsyncMaster,
        /// Host that clients are told to connect to.
        broker_ip1: String = "brokerIP1" | address::advertised_host(),
        /// Host that slaves are told to connect to.
        broker_ip2: String = "brokerIP2" | address::advertised_host(),
        /// Addresses for clients of other networks, which the name server tells apart. Not a key of
        /// the reference.
        advertised_listeners: AdvertisedListeners =
            "advertisedListeners" | AdvertisedListeners::default(),
        /// Address that the ports are bound on.
        bind_address: String = "bindAddress" | "0.0.0.0".to_owned(),
        /// Port; 0 lets the system choose. The fast port is two below.
        listen_port: u16 = "listenPort" | DEFAULT_LISTEN_PORT,
        /// Port that is advertised for slaves.
        ha_listen_port: u16 = "haListenPort" | 10912,
        /// Name servers, as `host:port;host:port`.
        namesrv_addr: Option<String> = "namesrvAddr" | None,
        /// Whether each name in that list stands for all the addresses that it means.
        fetch_name_srv_addr_by_dns_lookup: bool = "fetchNameSrvAddrByDnsLookup" | false,
        /// Whether an HTTP server is asked for the name servers when there is no list.
        fetch_namesrv_addr_by_address_server: bool = "fetchNamesrvAddrByAddressServer" | false,
        /// That server, as `host` or `host:port`. A property of the JVM in the reference.
        rmq_address_server_domain: String =
            "rmqAddressServerDomain" | "jmenv.tbsite.net".to_owned(),
        /// What it is asked for. A property of the JVM in the reference.
        rmq_address_server_sub_group: String = "rmqAddressServerSubGroup" | "nsaddr".to_owned(),
        /// Milliseconds between two requests to it.
        fetch_namesrv_addr_interval: i64 = "fetchNamesrvAddrInterval" | 10_000,
        /// Milliseconds between two looks for name servers whose host has moved.
        update_name_server_addr_period: i32 = "updateNameServerAddrPeriod" | 120_000,
        /// Whether name servers are spoken to over TLS.
        use_tls: bool = "useTLS" | false,
        /// Milliseconds that a connection to a name server may take.
        connect_timeout_millis: i32 = "connectTimeoutMillis" | 3_000,
        /// Seconds without a byte after which a connection to a name server is closed; 0 is never.
        client_channel_max_idle_time_seconds: u32 = "clientChannelMaxIdleTimeSeconds" | 120,
        /// Whether a connection to a name server is closed when an answer does not come in time.
        client_close_socket_if_timeout: bool = "clientCloseSocketIfTimeout" | true,
        /// Whether what a name server sends away because it stops is sent again on a new connection.
        enable_reconnect_for_go_away: bool = "enableReconnectForGoAway" | true,
        /// Read 4 and write 2: what the broker's topics are advertised with at most.
        broker_permission: i32 = "brokerPermission" | 6,
        /// Queues of the topic that auto-created topics take theirs from.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" | 8,
        /// Whether a topic appears when it is first sent to.
        auto_create_topic_enable: bool = "autoCreateTopicEnable" | true,
        /// Whether the topic named like the cluster can be read and written.
        cluster_topic_enable: bool = "clusterTopicEnable" | true,
        /// Whether the topic named like the broker can be read and written.
        broker_topic_enable: bool = "brokerTopicEnable" | true,
        /// Whether a consumer group appears when it is first heard of.
        auto_create_subscription_group: bool = "autoCreateSubscriptionGroup" | true,
        /// Whether a group with a system name appears even when others do not.
        enable_create_sys_group: bool = "enableCreateSysGroup" | true,
        /// Topic that clients send trace messages to.
        msg_trace_topic_name: String = "msgTraceTopicName" | "RMQ_SYS_TRACE_TOPIC".to_owned(),
        /// Whether the trace topic exists.
        trace_topic_enable: bool = "traceTopicEnable" | false,
        /// Whether the topic of arbitrary delays exists.
        timer_wheel_enable: bool = "timerWheelEnable" | true,
        /// Whether waiting messages may be taken back.
        recall_message_enable: bool = "recallMessageEnable" | false,
        /// Whether they may while the broker takes no messages.
        allow_recall_when_broker_not_writeable: bool = "allowRecallWhenBrokerNotWriteable" | true,
        /// Queues of the topic that holds unacknowledged pops.
        revive_queue_num: i32 = "reviveQueueNum" | 8,
        /// Percent of pops that look for messages to try again first.
        pop_from_retry_probability: i32 = "popFromRetryProbability" | 20,
        /// The same for pops by priority.
        pop_from_retry_probability_for_priority: i32 = "popFromRetryProbabilityForPriority" | 0,
        /// Whether a higher queue number is a higher priority.
        priority_order_asc: bool = "priorityOrderAsc" | true,
        /// Whether messages to try again keep their queue number, in as many queues as their topic has.
        use_separate_retry_queue: bool = "useSeparateRetryQueue" | false,
        /// Whether a queue from which too much is given out and not done gives out nothing more.
        enable_pop_message_threshold: bool = "enablePopMessageThreshold" | false,
        /// How many messages of a queue those are, for each group.
        pop_inflight_message_threshold: i64 = "popInflightMessageThreshold" | 10_000,
        /// Whether messages to try again are named `%RETRY%group+topic` instead of `%RETRY%group_topic`.
        enable_retry_topic_v2: bool = "enableRetryTopicV2" | false,
        /// Whether those with the other name are popped, too.
        retrieve_message_from_pop_retry_topic_v1: bool =
            "retrieveMessageFromPopRetryTopicV1" | true,
        /// Whether they are given out under that name.
        pop_response_return_actual_retry_topic: bool = "popResponseReturnActualRetryTopic" | false,
        /// Whether clients are answered as by a broker that keeps what is popped in RocksDB. It is kept
        /// in the revive topic all the same.
        pop_consumer_kv_service_enable: bool = "popConsumerKVServiceEnable" | false,
        /// Whether such a broker passes over messages of a group that is gone when they come back.
        pop_revive_skip_if_group_absent: bool = "popReviveSkipIfGroupAbsent" | true,
        /// Whether a new group that wants just what is new gets all of a queue that is young.
        init_pop_offset_by_check_msg_in_mem: bool = "initPopOffsetByCheckMsgInMem" | true,
        /// Pops that wait.
        max_pop_polling_size: i64 = "maxPopPollingSize" | 100_000,
        /// Pops that wait of one group for one queue.
        pop_polling_size: i32 = "popPollingSize" | 1_024,
        /// One message in so many wakes pops that wait for other messages.
        pop_long_polling_force_notify_interval: i64 = "popLongPollingForceNotifyInterval" | 800,
        /// Whether what a notification says of the messages that are wanted is looked at.
        use_message_filter_for_notification: bool = "useMessageFilterForNotification" | true,
        /// Messages of a queue from which on one of them is taken to be wanted.
        max_message_filter_num_for_notification: i32 = "maxMessageFilterNumForNotification" | 64,
        /// Whether pops in order are woken when a message that blocks them is due again.
        enable_notify_after_pop_order_lock_release: bool =
            "enableNotifyAfterPopOrderLockRelease" | true,
        /// Whether clients are told which lite topics have messages, or look at all of theirs each time.
        enable_lite_event_mode: bool = "enableLiteEventMode" | true,
        /// Milliseconds between two looks for clients that were told and do not come.
        lite_event_check_interval: i64 = "liteEventCheckInterval" | 10_000,
        /// Milliseconds after which a client that had no room looks at all of its lite topics.
        lite_event_full_dispatch_delay_time: i64 = "liteEventFullDispatchDelayTime" | 10_000,
        /// The same for a group that takes every lite topic.
        lite_event_full_dispatch_delay_time_for_wildcard_group: i64 =
            "liteEventFullDispatchDelayTimeForWildcardGroup" | 10_000,
        /// Lite topics that a client may have to look at, unless its group says otherwise.
        max_client_event_count: i32 = "maxClientEventCount" | 100,
        /// Milliseconds between two looks for lite topics that nobody uses.
        lite_ttl_check_interval: i64 = "liteTtlCheckInterval" | 120_000,
        /// Milliseconds that they are kept at least, and that the broker runs before it looks.
        min_lite_ttl: i64 = "minLiteTTl" | 900_000,
        /// Milliseconds between two looks for subscriptions that nobody renews.
        lite_subscription_check_interval: i64 = "liteSubscriptionCheckInterval" | 120_000,
        /// Milliseconds that a subscription counts.
        lite_subscription_check_timeout_mills: i64 = "liteSubscriptionCheckTimeoutMills" | 180_000,
        /// Subscriptions of lite topics from which on no client gets more.
        max_lite_subscription_count: i64 = "maxLiteSubscriptionCount" | 100_000,
        /// Whether it is kept since when lite topics have had messages that a group was not given.
        lite_lag_latency_collect_enable: bool = "liteLagLatencyCollectEnable" | false,
        /// Of how many lite topics of each group, the oldest.
        lite_lag_latency_top_k: i32 = "liteLagLatencyTopK" | 50,
        /// Milliseconds between saves of the consumer offsets.
        flush_consumer_offset_interval: i64 = "flushConsumerOffsetInterval" | 5_000,
        /// Commits between two versions of the offset table.
        consumer_offset_update_version_step: i64 = "consumerOffsetUpdateVersionStep" | 500,
        /// Whether a pull that finds nothing may wait for as long as it asks.
        long_polling_enable: bool = "longPollingEnable" | true,
        /// Milliseconds that it waits otherwise.
        short_polling_time_mills: i64 = "shortPollingTimeMills" | 1_000,
        /// Milliseconds that another broker has to answer what a client asks of a static topic.
        forward_timeout: i64 = "forwardTimeout" | 3_000,
        /// Whether lite pulls are served.
        lite_pull_message_enable: bool = "litePullMessageEnable" | true,
        /// Whether a send is refused when the log has been stuck for too long.
        broker_fast_failure_enable: bool = "brokerFastFailureEnable" | true,
        /// Milliseconds that are too long.
        wait_time_mills_in_send_queue: i64 = "waitTimeMillsInSendQueue" | 200,
        /// Whether groups may read only so much from disk in a while.
        cold_data_flow_control_enable: bool = "coldDataFlowControlEnable" | false,
        /// Bytes that each may.
        cg_cold_read_threshold: i64 = "cgColdReadThreshold" | 3 * 1024 * 1024,
        /// Bytes that all together may.
        global_cold_read_threshold: i64 = "globalColdReadThreshold" | 100 * 1024 * 1024,
        /// Whether what a group may is raised while all together stay below that, and lowered again.
        cold_ctr_strategy_enable: bool = "coldCtrStrategyEnable" | false,
        /// Whether the last windows decide about that, or the last one alone.
        use_pid_cold_ctr_strategy: bool = "usePIDColdCtrStrategy" | true,
        /// Whether it is kept how far each member of a group that broadcasts has pulled.
        enable_broadcast_offset_store: bool = "enableBroadcastOffsetStore" | true,
        /// Seconds that this is kept of a member that has gone.
        broadcast_offset_expire_second: i64 = "broadcastOffsetExpireSecond" | 120,
        /// Seconds that it is kept of one that is there and does not pull.
        broadcast_offset_expire_max_second: i64 = "broadcastOffsetExpireMaxSecond" | 300,
        /// Whether pulls may be answered with the broker to pull from that the group's settings name.
        slave_read_enable: bool = "slaveReadEnable" | false,
        /// Whether traffic of light queues and their groups is counted for each, not for all together.
        enable_lmq_stats: bool = "enableLmqStats" | false,
        /// Whether a group that is too far behind may consume nothing any more.
        disable_consume_if_consumer_read_slowly: bool = "disableConsumeIfConsumerReadSlowly" | false,
        /// Bytes of the log that are too far.
        consumer_fallbehind_threshold: i64 = "consumerFallbehindThreshold" | 16 * 1024 * 1024 * 1024,
        /// Whether a queue is locked only by most of the replicas together.
        lock_in_strict_mode: bool = "lockInStrictMode" | false,
        /// Replicas that there are to be.
        total_replicas: i32 = "totalReplicas" | 1,
        /// Whether messages may be filtered by an SQL92 expression over their properties.
        enable_property_filter: bool = "enablePropertyFilter" | false,
        /// Whether such a filter counts for messages to try again, too.
        filter_support_retry: bool = "filterSupportRetry" | false,
        /// Milliseconds that the expressions of a group are kept for after it has gone.
        filter_data_clean_time_span: i64 = "filterDataCleanTimeSpan" | 86_400_000,
        /// Error rate in percent that positions in a Bloom filter are saved for.
        max_error_rate_of_bloom_filter: i32 = "maxErrorRateOfBloomFilter" | 20,
        /// Groups that they are saved for.
        expect_consumer_num_use_filter: i32 = "expectConsumerNumUseFilter" | 32,
        /// Whether extended units of queues say which of those filters a message matches.
        enable_calc_filter_bit_map: bool = "enableCalcFilterBitMap" | false,
        /// Whether members of a group hear when one joins or leaves.
        notify_consumer_ids_changed_enable: bool = "notifyConsumerIdsChangedEnable" | true,
        /// Whether they hear it at once, or each 15 seconds of what happened since.
        real_time_notify_consumer_change: bool = "realTimeNotifyConsumerChange" | true,
        /// Region stamped on every message.
        region_id: String = "regionId" | "DefaultRegion".to_owned(),
        /// Whether clients should trace, stamped on every message.
        trace_on: bool = "traceOn" | true,
        /// Milliseconds that one round of registration may take.
        register_broker_timeout_mills: i64 = "registerBrokerTimeoutMills" | 24_000,
        /// Milliseconds between two rounds of registration, held between 10 000 and 60 000.
        register_name_server_period: i64 = "registerNameServerPeriod" | 30_000,
        /// Wall-clock milliseconds before which no message is accepted.
        start_accept_send_request_timestamp: i64 = "startAcceptSendRequestTimeStamp" | 0,
        /// Whether consumers that pull on their own account are left out of their group.
        reject_pull_consumer_enable: bool = "rejectPullConsumerEnable" | false,
        /// Whether half messages are refused.
        reject_transaction_message: bool = "rejectTransactionMessage" | false,
        /// Milliseconds that a producer is left alone with its half message.
        transaction_time_out: i64 = "transactionTimeOut" | 6_000,
        /// Milliseconds between two rounds of questions about half messages.
        transaction_check_interval: i64 = "transactionCheckInterval" | 30_000,
        /// How often a producer is asked before its half message is given up.
        transaction_check_max: i32 = "transactionCheckMax" | 15,
        /// Milliseconds between saves of the counts of half messages.
        transaction_metric_flush_interval: i64 = "transactionMetricFlushInterval" | 10_000,
        /// Bytes of decisions that are written together.
        transaction_op_msg_max_size: i32 = "transactionOpMsgMaxSize" | 4_096,
        /// Milliseconds that a decision waits for others to be written with.
        transaction_op_batch_interval: i32 = "transactionOpBatchInterval" | 3_000,
        /// Whether the answers that clients give to each other's requests are stored, too.
        store_reply_message_enable: bool = "storeReplyMessageEnable" | true,
        /// Whether the broker shares out queues among clients that ask it to, or gives each all.
        server_load_balancer_enable: bool = "serverLoadBalancerEnable" | true,
        /// How such clients get their messages unless a tool has said otherwise.
        default_message_request_mode: RequestMode = "defaultMessageRequestMode" | RequestMode(MessageRequestMode::Pull),
        /// With how many others a client shares its queues then; 0 and less is with all.
        default_pop_share_queue_num: i32 = "defaultPopShareQueueNum" | -1,
        /// Whether a reset offset is set here, or told to the members of the group.
        use_server_side_reset_offset: bool = "useServerSideResetOffset" | true,
        /// Whether producers are kept at all.
        enable_register_producer: bool = "enableRegisterProducer" | true,
        /// Milliseconds after which a silent consumer is dropped.
        channel_expired_timeout: i64 = "channelExpiredTimeout" | 120_000,
        /// Whether a topic may not be created or changed under a system topic's name.
        validate_system_topic_when_update_topic: bool =
            "validateSystemTopicWhenUpdateTopic" | true,
        /// Whether a topic takes the pop retry topics of its groups along when it is deleted.
        clear_retry_topic_when_delete_topic: bool = "clearRetryTopicWhenDeleteTopic" | true,
        /// Whether a topic may hold every type of message.
        enable_mixed_message_type: bool = "enableMixedMessageType" | false,
        /// Whether topics and groups may be asked for in pages.
        enable_split_metadata: bool = "enableSplitMetadata" | true,
        /// Most topics or groups of one page.
        split_metadata_size: i32 = "splitMetadataSize" | 2_000,
        /// Seconds without a byte after which a connection is closed; 0 is never.
        server_channel_max_idle_time_seconds: u32 = "serverChannelMaxIdleTimeSeconds" | 120,
        /// Whether newer clients are told to go elsewhere before the broker stops.
        enable_shutdown_gracefully: bool = "enableShutdownGracefully" | false,
        /// Seconds that they are given for it.
        shutdown_wait_time_seconds: u32 = "shutdownWaitTimeSeconds" | 30,
        /// Whether connections may or must be TLS. A property of the JVM in the reference.
        tls_server_mode: TlsMode = "tls.server.mode" | TlsMode::Permissive,
        /// File with the certificate and what else TLS needs. A property of the JVM in the reference.
        tls_config_file: String = "tls.config.file" | DEFAULT_TLS_CONFIG_FILE.to_owned(),
    }
}

/// Settings of the broker, which may change while they are read.
pub(crate) type BrokerConfig = Live<BrokerSettings>;

/// The port in use unless the file says otherwise; the reference sets it when it starts.
const DEFAULT_LISTEN_PORT: u16 = 10911;

/// Environment variable that names the name servers when nothing else does.
pub const NAMESRV_ADDR_VARIABLE: &str = "NAMESRV_ADDR";

impl BrokerSettings {
    /// Fills this and every other group of settings that the broker has from `file`.
    ///
    /// Returns one notice for each key in it that has no effect.
    ///
    /// # Errors
    /// When the file cannot be read, a value is not what its key needs, or a key asks for a way of
    /// storing messages that would make the ones on disk unreadable or lose them.
    pub fn load(
        &mut self,
        file: &Path,
        others: &mut [&mut dyn Config],
    ) -> Result<Vec<Notice>, ConfigError> {
        self.ha_listen_port = 0;
        let notices = self.check(file, others)?.into_notices()?;
        self.settle_ha_port();
        if self.broker_config_path.is_none() {
            self.broker_config_path = Some(file.display().to_string());
        }
        self.settle_role();
        Ok(notices)
    }

    /// Does what [`BrokerSettings::load`] does, past what would stop the start: returns all of it.
    ///
    /// # Errors
    /// When the file cannot be read as properties at all.
    pub fn check(
        &mut self,
        file: &Path,
        others: &mut [&mut dyn Config],
    ) -> Result<Checked, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read(file)
            .map_err(|source| ConfigError::Read { file: name.clone(), source })?;
        let mut groups: Vec<&mut dyn Config> = vec![self];
        groups.extend(others.iter_mut().map(|group| &mut **group as &mut dyn Config));
        config::check(&name, &text, &mut groups, &known::RULES)
    }

    /// What every key that the reference's broker knows does here, by class and in its order.
    pub fn explanations() -> Vec<Explanation> {
        let used: Vec<_> = Self::KEYS.iter().chain(StoreConfig::KEYS).copied().collect();
        let mut explanations = known::explanations(&used);
        for explanation in &mut explanations {
            // The reference sets it when it starts, behind its own default.
            if explanation.key == "listenPort" {
                explanation.default = "10911";
            }
        }
        let own = [
            ("tls.server.mode", "TlsSystemConfig", "permissive"),
            ("tls.config.file", "TlsSystemConfig", DEFAULT_TLS_CONFIG_FILE),
            ("rmqAddressServerDomain", "BrokerStartup", "jmenv.tbsite.net"),
            ("rmqAddressServerSubGroup", "BrokerStartup", "nsaddr"),
        ];
        explanations.extend(own.map(|(key, class, default)| {
            Setting { class, key, type_name: "String", default }.explained(Standing::Works)
        }));
        explanations
    }

    /// Sets the name servers by the order of precedence: command line, file, environment.
    pub fn settle_namesrv_addr(&mut self, flag: Option<&str>, environment: Option<&str>) {
        let non_empty = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        self.namesrv_addr = flag
            .and_then(non_empty)
            .or_else(|| self.namesrv_addr.as_deref().and_then(non_empty))
            .or_else(|| environment.and_then(non_empty));
    }

    /// Without a port of its own replication has the one above; above one that the system chooses, too.
    fn settle_ha_port(&mut self) {
        if self.ha_listen_port == 0 && self.listen_port != 0 {
            self.ha_listen_port = self.listen_port.saturating_add(1);
        }
    }

    /// A master has id 0, whatever the file says.
    fn settle_role(&mut self) {
        if self.broker_role != BrokerRole::Slave {
            self.broker_id = 0;
        }
    }

    /// The address that clients are told to connect to.
    pub fn broker_address(&self) -> String {
        host_port(&self.broker_ip1, self.listen_port)
    }
}

#[cfg(test)]
mod tests;
