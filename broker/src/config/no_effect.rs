//! Why a key of the reference changes nothing here.

/// The reason that is given for a key that nothing reads.
pub(super) fn why_no_effect(key: &str) -> &'static str {
    REASONS
        .iter()
        .find(|(parts, _)| parts.iter().any(|part| key.contains(part)))
        .map_or("what it sets is not built yet", |(_, reason)| reason)
}

const NO_POOLS: &str = "requests are handled on the thread that reads them, not in pools";
const NO_ROCKSDB: &str = "nothing is stored in RocksDB";
const NO_COUNTERPART: &str = "it tunes a part of the reference that has no counterpart";
pub(super) const NO_REPLICATION: &str = "replication is not built yet";
const NO_ACCESS_CONTROL: &str = "access control is not built yet";
const NO_METRICS: &str = "metrics are not exported yet";
const ASKED_WHEN_READ: &str = "whether something is in memory is asked when it is read";

/// Keys that no class of the reference asks for, 5.5.0.
const READ_BY_NOTHING: &[&str] = &[
    "maxReconnectInterval",
    "cleanOfflineBrokerInterval",
    "dispatchCqCacheNum",
    "dispatchCqThreads",
    "dispatchFromSenderThread",
    "enableAsyncReput",
    "enableCleanExpiredOffset",
    "flushConsumerOffsetHistoryInterval",
    "highSpeedMode",
    "maxBatchDeleteFilesNum",
    "maxRecoveryCommitlogFiles",
    "maxTopicLength",
    "pullBatchMaxMessageCount",
    "putMessageTimeout",
    "putMsgIndexHightWater",
];

/// Parts of keys that size pools of threads and their queues.
const POOLS: &[&str] = &[
    "ThreadPool",
    "PoolQueue",
    "ThreadNum",
    "ThreadsNum",
    "WorkerThreads",
    "SelectorThreads",
    "waitTimeMills",
    "CoreThreads",
    "MaxThreads",
    "ExecutorThreads",
    "CallbackExecutor",
    "WorkerGroup",
    "CorePool",
    "MaxPool",
];

/// Keys of locks, buffers and threads that are made otherwise here.
const TUNES: &[&str] = &[
    "asyncSendEnable",
    "correctLogicMinOffset",
    "dataReadAheadEnable",
    "debugLockEnable",
    "delayOffsetUpdateVersionStep",
    "enableBuildConsumeQueueConcurrently",
    "enableFastChannelEventProcess",
    "cheduleAsyncDeliver",
    "flushCommitLogTimed",
    "flushConsumeQueueLeastPages",
    "maxAsyncPutMessageRequests",
    "putConsumeQueueDataByFileChannel",
    "searchBcqByCacheEnable",
    "sharedByteBufferNum",
    "spinLockCollision",
    "subscriptionExpiredTimeout",
    "topicQueueLockNum",
    "travelCqFileNum",
    "useABSLock",
    "useReentrantLock",
    "wakeCommitWhenPutMessage",
    "wakeFlushWhenPutMessage",
];

/// Parts of keys, and what they belong to; the first that fits counts.
const REASONS: &[(&[&str], &str)] = &[
    (&["compactionThreadNum"], "one thread compacts all topics, one after the other"),
    (POOLS, NO_POOLS),
    (
        &["ocksdb", "ocksDB", "RocksDb", "memTable", "combineCQ", "combineAssign", "transWrite"],
        NO_ROCKSDB,
    ),
    (&["bottomMostCompression", "persistConsumerOffsetIncr"], NO_ROCKSDB),
    (&["PooledByteBuf", "EpollNative", "transferMsgByHeap", "SemaphoreValue"], NO_COUNTERPART),
    (READ_BY_NOTHING, "nothing in the reference reads it either"),
    (&["storePathBrokerIdentity", "syncBrokerMetadataPeriod"], "there is no controller"),
    (&["enableBatchPush", "storePathDLedgerCommitLog"], "there is no log in the format of DLedger"),
    (&["clusterName", "configName"], NO_ACCESS_CONTROL),
    (
        &["useStaticSubscription", "estimateAccumulation", "maxConsumeQueueScan", "sampleCount"],
        NO_METRICS,
    ),
    (
        &["isolateLogEnable", "printChannelGroups", "RepeatedlyBuildWhenRecover"],
        "what is logged is set by `RUST_LOG`",
    ),
    (
        &[
            "commercial",
            "accountStats",
            "DetailStat",
            "ScheduleMessageStats",
            "maxStatsIdle",
            "UnusedStats",
        ],
        "everything is counted as long as its topic or group is there",
    ),
    (&["diskFallRecorded"], "how far a group is behind is worked out when it is asked for"),
    (
        &["compressedRegister", "forceRegister", "enableSingleTopicRegister", "plitRegistration"],
        "name servers are told of changes at once, and of everything each period",
    ),
    (&["compatibleWithOldNameSrv"], "name servers of every age are registered with"),
    (
        &["DeleteFilesNum", "deleteCommitLogFilesInterval", "deleteConsumeQueueFilesInterval"],
        "a file is deleted as soon as it may be",
    ),
    (
        &["destroyMapedFileInterval", "redeleteHangedFile"],
        "a file that is deleted lasts as long as somebody reads it",
    ),
    (
        &["replicasPerDiskPartition", "logicalDiskSpaceClean"],
        "how full the whole disk is counts, whichever brokers share it",
    ),
    (&["recoverConcurrently"], "queues are always recovered in parallel"),
    (
        &["OnRecover", "commitLogRecoverMaxNum", "messageIndexSafe", "recheckReputOffset"],
        "recovery starts where the checkpoint says and looks at every record from there on",
    ),
    (&["armMapedFile"], "pages of the log are always made ahead of those who write"),
    (&["enableRunningFlagsInFlush"], "a flush that fails always stops the store"),
    (&["NetWorkFlowControl"], "what a client does not read is bounded by its connection"),
    (&["accessMessageInMemoryHotRatio", "sampleSteps"], ASKED_WHEN_READ),
    (&["rocketmqHome"], "nothing is read from the installation folder"),
    (
        &[
            "brokerHeartbeat",
            "sendHeartbeat",
            "brokerNotActive",
            "skipPreOnline",
            "loadBalancePoll",
        ],
        NO_REPLICATION,
    ),
    (
        &["asyncLearner", "syncFromLastFile", "storePathEpochFile", "RemoteEscape", "maxChecksum"],
        NO_REPLICATION,
    ),
    (&["syncMasterFlushOffset", "disappearTimeAfterStart"], NO_REPLICATION),
    (TUNES, NO_COUNTERPART),
    (&["dLeger", "DLeger", "preferredLeaderId"], "there is no log in the format of DLedger"),
    (&["ontroller", "checkSyncStateSet", "ElectionPriority"], "there is no controller"),
    (&["acl", "auth", "Auth", "migrateAuth", "userCache", "initAuthentication"], NO_ACCESS_CONTROL),
    (&["etrics", "metric"], NO_METRICS),
    (&["timer", "Timer"], NO_COUNTERPART),
    (&["PopLog", "KVServiceLog"], "what is logged is set by `RUST_LOG`"),
    (
        &["popConsumerFSServiceInit"],
        "popped messages are always noted in the revive topic, which the reference needs `true` for",
    ),
    (&["popConsumerKVServiceInit"], "popped messages are always noted in the revive topic"),
    (
        &["popReviveMaxAttemptTimes"],
        "a message that comes back is stored again as soon as that works, and never given up",
    ),
    (
        &["popReviveMaxReturnSizePerRead", "popReviveConcurrency"],
        "messages that come back are stored again one after the other, as many as are due",
    ),
    (&["PopCalculateLag"], NO_METRICS),
    (
        &["popCk", "PopBufferMerge", "PopBatchAck"],
        "popped messages are noted in the log at once, not in memory first",
    ),
    (
        &["pop", "Pop", "revive", "CkAsync", "AckAsync", "CKRePut", "LongAwaitingAck"],
        NO_COUNTERPART,
    ),
    (
        &["slave", "Slave", "nSync", "eplica", "haMaster", "haSend", "haHouse", "haTransfer"],
        NO_REPLICATION,
    ),
    (&["haMax", "haFlow", "HaTransfer", "BrokerMember"], NO_REPLICATION),
    (&["BufSize", "writeBuffer"], "buffers and sockets adapt by themselves within fixed limits"),
    (&["socksProxyConfig"], "name servers are connected to directly"),
    (
        &["channelNotActiveInterval"],
        "a connection whose answer does not come in time is closed at once",
    ),
    (&["SocketBacklog"], "the queue of connections to accept has a fixed length"),
    (&["cold", "Cold"], ASKED_WHEN_READ),
    (&["bitMapLengthConsumeQueueExt"], "the reference puts the size of its Bloom filter there"),
    (&["Swap", "Swaped"], "mapped files are left to the page cache"),
    (&["transient", "commitCommitLog", "commitInterval"], "messages are written to the page cache"),
    (&["fastFailIfNoBuffer", "writeWithoutMmap"], "messages are written to the page cache"),
];
