//! Settings that are changed over the wire while the broker runs.
//!
//! Whoever reaches the port can send such a change. Of the published exploits, CVE-2023-33246 set
//! `rocketmqHome` to a command line, and CVE-2023-37582 a path and what was to be written there. So
//! whatever says where something is, whom to talk to, what code to load or who the broker is can
//! only be changed in its file, whatever the black-list says.
//!
//! Reference: `AdminBrokerProcessor.updateBrokerConfig` (broker), `Configuration` (remoting), 5.5.0.

use oxmq_protocol::config::{self, Config as _, ConfigValue};
use oxmq_protocol::properties_file::Entry;
use oxmq_store::StoreConfig;

use super::{BrokerSettings, known, no_effect};

/// Parts of keys that are closed: paths, addresses, ports, code that is loaded, and sizes of files,
/// which a store cannot be opened again with.
const CLOSED_PARTS: &[&str] = &[
    "Path", "Addr", "Host", "Domain", "SubGroup", "brokerIP", "Port", "Provider", "PlugIn",
    "Proxy", "Target", "Exporter", "FileSize", "tls.",
];

/// Keys that are closed besides.
const CLOSED: &[&str] = &[
    "rocketmqHome",
    "advertisedListeners",
    "configBlackList",
    "brokerName",
    "brokerClusterName",
    "brokerId",
    "brokerRole",
    "maxHashSlotNum",
    "maxIndexNum",
    "mappedFileSizeCommitLog",
    "mappedFileSizeConsumeQueue",
    "mappedFileSizeConsumeQueueExt",
];

/// Settings that count with the next request, or the next round of whoever reads them.
const LIVE: &[&str] = &[
    "transactionOpMsgMaxSize",
    "transactionOpBatchInterval",
    "filterDataCleanTimeSpan",
    "consumerOffsetUpdateVersionStep",
    "realTimeNotifyConsumerChange",
    "useMessageFilterForNotification",
    "maxMessageFilterNumForNotification",
    "indexFileReadEnable",
    "defaultQueryMaxNum",
    "brokerPermission",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "enableCreateSysGroup",
    "flushConsumerOffsetInterval",
    "longPollingEnable",
    "shortPollingTimeMills",
    "forwardTimeout",
    "litePullMessageEnable",
    "notifyConsumerIdsChangedEnable",
    "registerBrokerTimeoutMills",
    "registerNameServerPeriod",
    "fetchNamesrvAddrInterval",
    "updateNameServerAddrPeriod",
    "startAcceptSendRequestTimeStamp",
    "rejectPullConsumerEnable",
    "rejectTransactionMessage",
    "recallMessageEnable",
    "allowRecallWhenBrokerNotWriteable",
    "timerRollWindowSlot",
    "timerMaxDelaySec",
    "timerFlushIntervalMs",
    "timerCongestNumEachSlot",
    "timerStopEnqueue",
    "appendTopicForTimerDeleteKey",
    "transactionTimeOut",
    "transactionCheckInterval",
    "transactionCheckMax",
    "enableRegisterProducer",
    "channelExpiredTimeout",
    "validateSystemTopicWhenUpdateTopic",
    "clearRetryTopicWhenDeleteTopic",
    "enableMixedMessageType",
    "enablePropertyFilter",
    "brokerFastFailureEnable",
    "waitTimeMillsInSendQueue",
    "coldDataFlowControlEnable",
    "cgColdReadThreshold",
    "globalColdReadThreshold",
    "coldCtrStrategyEnable",
    "usePIDColdCtrStrategy",
    "enableBroadcastOffsetStore",
    "broadcastOffsetExpireSecond",
    "broadcastOffsetExpireMaxSecond",
    "slaveReadEnable",
    "disableConsumeIfConsumerReadSlowly",
    "consumerFallbehindThreshold",
    "lockInStrictMode",
    "totalReplicas",
    "useServerSideResetOffset",
    "filterSupportRetry",
    "enableCalcFilterBitMap",
    "regionId",
    "traceOn",
    "storeReplyMessageEnable",
    "serverLoadBalancerEnable",
    "defaultMessageRequestMode",
    "defaultPopShareQueueNum",
    "popFromRetryProbability",
    "popFromRetryProbabilityForPriority",
    "priorityOrderAsc",
    "useSeparateRetryQueue",
    "enablePopMessageThreshold",
    "popInflightMessageThreshold",
    "enableRetryTopicV2",
    "retrieveMessageFromPopRetryTopicV1",
    "popResponseReturnActualRetryTopic",
    "popConsumerKVServiceEnable",
    "popReviveSkipIfGroupAbsent",
    "initPopOffsetByCheckMsgInMem",
    "maxPopPollingSize",
    "popPollingSize",
    "popLongPollingForceNotifyInterval",
    "enableNotifyAfterPopOrderLockRelease",
    "enableLiteEventMode",
    "liteEventCheckInterval",
    "liteEventFullDispatchDelayTime",
    "liteEventFullDispatchDelayTimeForWildcardGroup",
    "maxClientEventCount",
    "liteTtlCheckInterval",
    "minLiteTTl",
    "liteSubscriptionCheckInterval",
    "liteSubscriptionCheckTimeoutMills",
    "maxLiteSubscriptionCount",
    "liteLagLatencyCollectEnable",
    "liteLagLatencyTopK",
    "enableSplitMetadata",
    "splitMetadataSize",
    "maxMsgsNumBatch",
    "maxMessageSize",
    "enableLmqQuota",
    "maxLmqConsumeQueueNum",
    "compactionScheduleInternal",
    "maxOffsetMapSize",
    "flushIntervalCommitLog",
    "flushCommitLogLeastPages",
    "flushCommitLogThoroughInterval",
    "syncFlushTimeout",
    "flushIntervalConsumeQueue",
    "flushConsumeQueueThoroughInterval",
    "accessMessageInMemoryMaxRatio",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "maxFilterMessageSize",
    "readUnCommitted",
    "osPageCacheBusyTimeOutMills",
    "cleanResourceInterval",
    "deleteWhen",
    "fileReservedTime",
    "deleteFileBatchMax",
    "diskMaxUsedSpaceRatio",
    "diskSpaceCleanForciblyRatio",
    "diskSpaceWarningLevelRatio",
    "cleanFileForciblyEnable",
];

/// A change that is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Nobody may change it this way.
    #[error("Can not update config in black list.")]
    Closed,
    /// The value does not read as the key's type.
    #[error("{key} must be {expected}")]
    Value { key: String, expected: &'static str },
    /// The value asks for what there is not.
    #[error("{key}={value} is not supported: {reason}")]
    Unsupported { key: String, value: String, reason: &'static str },
    /// Nobody's key.
    #[error("there is no key {key}{nearest}")]
    Unknown { key: String, nearest: String },
    /// No store can be opened with it.
    #[error("{0}")]
    Store(String),
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// At once.
    Now,
    /// When the broker starts again.
    NextStart,
    /// Never: it is a key of the reference that nothing here depends on.
    None(&'static str),
}

/// Returns the settings with all of `entries`, or none.
pub(crate) fn changed(
    broker: &BrokerSettings,
    store: &StoreConfig,
    entries: &[Entry],
) -> Result<(BrokerSettings, StoreConfig), ChangeError> {
    if entries.iter().any(|entry| is_closed(broker, &entry.key)) {
        return Err(ChangeError::Closed);
    }
    let (mut broker, mut store) = (broker.clone(), store.clone());
    for Entry { key, value, .. } in entries {
        let wrong = |expected| ChangeError::Value { key: key.clone(), expected };
        // They part the properties of a message, which some settings become.
        if value.contains(char::is_control) {
            return Err(wrong("text without control characters"));
        }
        if let Some(reason) = known::refusal(key, value) {
            let (key, value) = (key.clone(), value.chars().take(64).collect());
            return Err(ChangeError::Unsupported { key, value, reason });
        }
        match broker.set(key, value).or_else(|| store.set(key, value)) {
            Some(set) => set.map_err(wrong)?,
            None => check_foreign(key, value)?,
        }
    }
    Ok((broker, store))
}

/// When a change of `key` counts.
pub(crate) fn effect(key: &str) -> Effect {
    if LIVE.contains(&key) {
        Effect::Now
    } else if BrokerSettings::KEYS.contains(&key) || StoreConfig::KEYS.contains(&key) {
        Effect::NextStart
    } else {
        Effect::None(no_effect::why_no_effect(key))
    }
}

/// Tells whether `key` cannot be changed over the wire.
fn is_closed(broker: &BrokerSettings, key: &str) -> bool {
    let is_period = key.ends_with("Interval") || key.ends_with("Period");
    CLOSED.contains(&key)
        || broker.config_black_list.split(';').any(|listed| listed.trim() == key)
        || (!is_period && CLOSED_PARTS.iter().any(|part| key.contains(part)))
        || known::reference_settings()
            .any(|setting| setting.key == key && setting.class == "AuthConfig")
}

/// Checks the value of a key that nothing here depends on, for whoever reads the file next.
fn check_foreign(key: &str, value: &str) -> Result<(), ChangeError> {
    let Some(setting) = known::reference_settings().find(|setting| setting.key == key) else {
        let keys = known::reference_settings().map(|setting| setting.key);
        let nearest = config::did_you_mean(config::nearest(key, keys));
        return Err(ChangeError::Unknown { key: key.chars().take(64).collect(), nearest });
    };
    fn check<T: ConfigValue>(value: &str) -> Option<&'static str> {
        T::parse(value.trim()).is_none().then_some(T::EXPECTED)
    }
    let expected = match setting.type_name {
        "int" => check::<i32>(value),
        "long" => check::<i64>(value),
        "boolean" => check::<bool>(value),
        "float" | "double" => check::<f64>(value),
        _ => None,
    };
    expected.map_or(Ok(()), |expected| Err(ChangeError::Value { key: key.to_owned(), expected }))
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::properties_file;

    use super::*;

    fn change(text: &str) -> Result<(BrokerSettings, StoreConfig), ChangeError> {
        let entries = properties_file::parse(text.as_bytes()).unwrap();
        changed(&BrokerSettings::default(), &StoreConfig::default(), &entries)
    }

    #[test]
    fn what_carries_paths_addresses_or_code_is_closed_and_what_tunes_is_open() {
        for key in [
            "rocketmqHome",
            "brokerConfigPath",
            "configBlackList",
            "storePathRootDir",
            "storePathCommitLog",
            "storePathEpochFile",
            "readOnlyCommitLogStorePaths",
            "namesrvAddr",
            "rmqAddressServerDomain",
            "rmqAddressServerSubGroup",
            "fetchNamesrvAddrByAddressServer",
            "fetchNameSrvAddrByDnsLookup",
            "haMasterAddress",
            "controllerAddr",
            "brokerIP1",
            "brokerIP2",
            "bindAddress",
            "listenPort",
            "haListenPort",
            "metricsPromExporterHost",
            "metricsGrpcExporterTarget",
            "metricsExporterType",
            "messageStorePlugIn",
            "socksProxyConfig",
            "authenticationProvider",
            "initAuthenticationUser",
            "tls.server.mode",
            "mappedFileSizeCommitLog",
            "brokerName",
            "brokerRole",
        ] {
            assert_eq!(change(&format!("{key}=x")).unwrap_err(), ChangeError::Closed, "{key}");
        }
        for (key, value) in [
            ("fileReservedTime", "48"),
            ("brokerPermission", "4"),
            ("filterSupportRetry", "true"),
            ("fetchNamesrvAddrInterval", "10000"),
            ("sendMessageThreadPoolNums", "4"),
            ("deleteWhen", "04;16"),
        ] {
            change(&format!("{key}={value}")).unwrap();
        }
    }

    #[test]
    fn all_of_a_change_is_made_or_nothing() {
        let (broker, store) = change("brokerPermission=4\nfileReservedTime = 12").unwrap();
        assert_eq!((broker.broker_permission, store.file_reserved_time), (4, 12));
        for (text, reason) in [
            (
                "fileReservedTime=12\nbrokerPermission=four",
                "brokerPermission must be a 32-bit integer",
            ),
            ("sendMessageThreadPoolNums=x", "sendMessageThreadPoolNums must be a 32-bit integer"),
            ("aclEnabled=true", "there is no key aclEnabled"),
            (
                "fileReservedTimes=1",
                "there is no key fileReservedTimes; did you mean fileReservedTime?",
            ),
            ("regionId=a\\u0001b", "regionId must be text without control characters"),
            ("storeType=defaultRocksDB", "storeType=defaultRocksDB is not supported"),
            ("fileReservedTime=1\nrocketmqHome=x", "Can not update config in black list."),
        ] {
            let error = change(text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        let config_black_list = "fileReservedTime; deleteWhen".to_owned();
        let broker = BrokerSettings { config_black_list, ..BrokerSettings::default() };
        let entries = properties_file::parse(b"deleteWhen=05").unwrap();
        let refused = changed(&broker, &StoreConfig::default(), &entries);
        assert_eq!(refused.unwrap_err(), ChangeError::Closed);
    }

    #[test]
    fn it_is_known_of_each_setting_when_a_change_counts() {
        // Read when the broker or the store starts, and not again.
        const NEXT_START: &[&str] = &[
            "timerPrecisionMs",
            "transactionMetricFlushInterval",
            "maxErrorRateOfBloomFilter",
            "expectConsumerNumUseFilter",
            "defaultTopicQueueNums",
            "clusterTopicEnable",
            "brokerTopicEnable",
            "msgTraceTopicName",
            "traceTopicEnable",
            "timerWheelEnable",
            "reviveQueueNum",
            "useTLS",
            "clientChannelMaxIdleTimeSeconds",
            "clientCloseSocketIfTimeout",
            "connectTimeoutMillis",
            "enableReconnectForGoAway",
            "serverChannelMaxIdleTimeSeconds",
            "enableShutdownGracefully",
            "shutdownWaitTimeSeconds",
            "messageIndexEnable",
            "enableCompaction",
            "indexFileWriteEnable",
            "flushDelayOffsetInterval",
            "enableConsumeQueueExt",
            "enableLmq",
            "enableLmqStats",
            "enableMultiDispatch",
            "autoMessageVersionOnTopicLen",
            "enabledAppendPropCRC",
            "forceVerifyPropCRC",
            "checkCRCOnRecover",
            "flushDiskType",
            "messageDelayLevel",
        ];
        let broker = BrokerSettings::default();
        for key in BrokerSettings::KEYS.iter().chain(StoreConfig::KEYS) {
            let ways = [is_closed(&broker, key), LIVE.contains(key), NEXT_START.contains(key)];
            let ways = ways.into_iter().filter(|way| *way).count();
            assert_eq!(ways, 1, "{key} has to be closed, in LIVE or in NEXT_START");
        }
    }
}
