//! What the Java client and mqadmin are asked to do.

use std::time::Duration;

/// Long enough for a heartbeat, a commit and a rebalance of the clients that are not told a period.
pub(crate) const IDLE: Duration = Duration::from_secs(12);

/// Long enough for a slave to register again and to take over the state of its master.
pub(crate) const FOLLOW: Duration = Duration::from_secs(30);

/// What every version of the Java client can.
pub(crate) const COMMON: &[&str] = &[
    "start",
    "send-sync",
    "send-async",
    "send-oneway",
    "send-to-queue",
    "send-delayed",
    "send-batch",
    "send-compressed",
    "send-to-new-topic",
    "send-refused",
    "offsets",
    "query-message",
    "view-message",
    "consume",
    "consume-sql",
    "consume-orderly",
    "consume-broadcast",
    "pull",
    "lite-pull",
    "transaction",
    "request-reply",
];

/// Popping, which only newer ones can.
pub(crate) const POP: &[&str] = &[
    "mqadmin setConsumeMode -b @broker -t GoldenTopic -g golden_pop -m POP -q 8",
    "consume-pop",
    "mqadmin exportPopRecord -b @broker",
];

/// What only classes of the newest version do, and no client or tool by itself.
pub(crate) const API: &[&str] = &[
    "begin",
    "create-topics",
    "create-groups",
    "get-group",
    "forbid-group",
    "kv-list",
    "topic-lists",
    "consumer-status",
    "group-queries",
    "offsets-of-groups",
    "check-half-message",
    "first-version",
    "recall",
    "cold-data",
    "timer",
    "register-topic",
    "member-group",
    "heartbeat",
];

/// The same of popping.
pub(crate) const API_POP: &[&str] = &["peek", "notification", "polling", "batch-ack"];

/// The same of lite topics.
pub(crate) const API_LITE: &[&str] = &["begin", "lite", "end"];

/// `@broker` is the broker's address, `@id` and `@offset-id` are ids of a message that was sent.
pub(crate) const ADMIN: &[&str] = &[
    "consume-on",
    "mqadmin updateTopic -b @broker -t GoldenAdmin -r 4 -w 4 -a +message.type=NORMAL",
    "mqadmin updateTopic -c DefaultCluster -t GoldenCluster -r 1 -w 1",
    "mqadmin updateTopicPerm -b @broker -t GoldenAdmin -p 4",
    "mqadmin updateSubGroup -b @broker -g golden_admin -r 3",
    "mqadmin updateSubGroup -c DefaultCluster -g golden_cluster",
    "mqadmin topicList",
    "mqadmin topicList -c DefaultCluster",
    "mqadmin topicRoute -t GoldenTopic",
    "mqadmin topicRoute -t GoldenNone",
    "mqadmin topicClusterList -t GoldenTopic",
    "mqadmin topicStatus -t GoldenTopic",
    "mqadmin allocateMQ -t GoldenTopic -i 127.0.0.1",
    "mqadmin clusterList",
    "mqadmin clusterList -m",
    "mqadmin brokerStatus -b @broker",
    "mqadmin getBrokerConfig -b @broker",
    "mqadmin updateBrokerConfig -b @broker -k longPollingEnable -v true",
    "mqadmin getNamesrvConfig",
    "mqadmin updateNamesrvConfig -k orderMessageEnable -v false",
    "mqadmin updateKvConfig -s golden -k k -v v",
    "mqadmin deleteKvConfig -s golden -k k",
    "mqadmin updateOrderConf -t GoldenTopic -m put -v broker-a:2",
    "mqadmin updateOrderConf -t GoldenTopic -m get",
    "mqadmin updateOrderConf -t GoldenTopic -m delete",
    "mqadmin consumerProgress",
    "mqadmin consumerProgress -g golden_on",
    "mqadmin consumerStatus -g golden_on -s",
    "mqadmin consumerConnection -g golden_on",
    "mqadmin producerConnection -g golden_producer -t GoldenTopic",
    "mqadmin producer -b @broker",
    "mqadmin queryMsgByKey -t GoldenTopic -k key-one",
    "mqadmin queryMsgByUniqueKey -t GoldenTopic -i @id",
    "mqadmin queryMsgById -t GoldenTopic -i @offset-id",
    "mqadmin queryMsgById -t GoldenTopic -i @offset-id -g golden_on -d @client",
    "mqadmin exportMetadata -c DefaultCluster -f .",
    "mqadmin exportConfigs -c DefaultCluster -f .",
    "mqadmin exportMetrics -c DefaultCluster -f .",
    "mqadmin queryMsgByOffset -t GoldenTopic -b broker-a -i 0 -o 0",
    "mqadmin printMsg -t GoldenTopic",
    "mqadmin consumeMessage -t GoldenTopic -b broker-a -i 0 -c 1",
    "mqadmin sendMessage -t GoldenTopic -p hello -k k",
    "mqadmin statsAll -t GoldenTopic",
    "mqadmin queryCq -t GoldenTopic -q 0 -i 0 -c 2 -b @broker",
    "mqadmin brokerConsumeStats -b @broker",
    "mqadmin cloneGroupOffset -s golden_on -d golden_admin -t GoldenTopic",
    "mqadmin resetOffsetByTime -g golden_on -t GoldenTopic -s -1",
    "mqadmin skipAccumulatedMessage -g golden_on -t GoldenTopic",
    "mqadmin wipeWritePerm -b broker-a",
    "mqadmin addWritePerm -b broker-a",
    "mqadmin cleanExpiredCQ -b @broker",
    "mqadmin cleanUnusedTopic -b @broker",
    "mqadmin deleteExpiredCommitLog -b @broker",
    "mqadmin haStatus -b @broker",
    "mqadmin getColdDataFlowCtrInfo -b @broker",
    "mqadmin updateStaticTopic -b broker-a -t GoldenStatic -qn 4",
    "mqadmin createUser -b @broker -u golden -p secret -t Normal",
    "mqadmin listUser -b @broker",
    "mqadmin getUser -b @broker -u golden",
    "mqadmin createAcl -b @broker -s User:golden -r Topic:* -a Pub -d Allow",
    "mqadmin listAcl -b @broker",
    "mqadmin deleteAcl -b @broker -s User:golden",
    "mqadmin deleteUser -b @broker -u golden",
    "mqadmin deleteSubGroup -b @broker -g golden_admin",
    "mqadmin deleteTopic -t GoldenAdmin -c DefaultCluster",
    "consume-off",
    "stop",
];
