//! Bodies between brokers, name servers and clients, compared with what the reference 5.5.0 prints.

#![allow(clippy::unwrap_used)] // Helpers of tests, too.

use std::collections::{BTreeMap, BTreeSet};

use oxmq_protocol::body::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, GetBrokerMemberGroupResponseBody,
    KVTable, QueueData, RegisterBrokerBody, TopicConfig, TopicList, TopicQueueMappingInfo,
    TopicRouteData,
};
use oxmq_protocol::fastjson::{Dialect, from_slice, to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks that a value writes as the sample, and that the sample reads as the value.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
    dialect: Dialect,
    sample: &str,
) {
    assert_eq!(String::from_utf8(to_vec(value, dialect).unwrap()).unwrap(), sample);
    assert_eq!(&from_slice::<T>(sample.as_bytes()).unwrap(), value);
}

fn broker() -> BrokerData {
    BrokerData {
        broker_addrs: BTreeMap::from([(0, "1.2.3.4:10911".into()), (10, "x".into())]),
        broker_name: "b".into(),
        cluster: "C".into(),
        enable_acting_master: false,
        zone_name: None,
    }
}

fn route() -> TopicRouteData {
    TopicRouteData {
        broker_datas: vec![broker()],
        queue_datas: vec![QueueData {
            broker_name: "b".into(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
        ..TopicRouteData::default()
    }
}

#[test]
fn route_has_the_bytes_of_the_reference_in_both_dialects() {
    check(
        &route(),
        Dialect::Raw,
        r#"{"brokerDatas":[{"brokerAddrs":{0:"1.2.3.4:10911",10:"x"},"brokerName":"b","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    );
    check(
        &route(),
        Dialect::Strict,
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"1.2.3.4:10911","10":"x"},"brokerName":"b","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    );
}

#[test]
fn cluster_bodies_have_the_bytes_of_the_reference() {
    let cluster = ClusterInfo {
        broker_addr_table: BTreeMap::from([("b".into(), broker())]),
        cluster_addr_table: BTreeMap::from([("C".into(), BTreeSet::from(["b".into()]))]),
    };
    check(
        &cluster,
        Dialect::Raw,
        r#"{"brokerAddrTable":{"b":{"brokerAddrs":{0:"1.2.3.4:10911",10:"x"},"brokerName":"b","cluster":"C","enableActingMaster":false}},"clusterAddrTable":{"C":["b"]}}"#,
    );
    let group = GetBrokerMemberGroupResponseBody {
        broker_member_group: BrokerMemberGroup {
            broker_addrs: broker().broker_addrs,
            broker_name: "b".into(),
            cluster: "C".into(),
        },
    };
    check(
        &group,
        Dialect::Raw,
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"1.2.3.4:10911",10:"x"},"brokerName":"b","cluster":"C"}}"#,
    );
    check(&TopicList::default(), Dialect::Raw, r#"{"topicList":[]}"#);
    check(&KVTable::default(), Dialect::Raw, r#"{"table":{}}"#);
    check(
        &DataVersion { counter: 0, state_version: 0, timestamp: 1_795_536_252_556 },
        Dialect::Raw,
        r#"{"counter":0,"stateVersion":0,"timestamp":1795536252556}"#,
    );
}

#[test]
fn registration_of_a_static_topic_has_the_bytes_of_the_reference() {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version.timestamp = 1;
    wrapper.mapping_data_version.timestamp = 1;
    wrapper.topic_config_table.insert("T".into(), TopicConfig::new("T"));
    let mapping = TopicQueueMappingInfo {
        bname: Some("b".into()),
        curr_id_map: BTreeMap::from([(0, 1), (1, 3)]),
        epoch: 5,
        topic: Some("T".into()),
        total_queues: 8,
        ..TopicQueueMappingInfo::default()
    };
    wrapper.topic_queue_mapping_info_map.insert("T".into(), mapping);
    check(
        &body,
        Dialect::Raw,
        r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1},"topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{"T":{"bname":"b","currIdMap":{0:1,1:3},"dirty":false,"epoch":5,"scope":"__global__","topic":"T","totalQueues":8}}}}"#,
    );
}

#[test]
fn registration_by_an_older_broker_reads_with_defaults() {
    let body: RegisterBrokerBody = from_slice(
        br#"{"filterServerList":null,"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"timestamp":9},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}}"#,
    )
    .unwrap();
    let wrapper = body.topic_config_serialize_wrapper;
    assert_eq!(wrapper.data_version, DataVersion { counter: 3, state_version: 0, timestamp: 9 });
    assert_eq!(wrapper.topic_config_table["T"].write_queue_nums, 4);
    assert!(wrapper.data_version.is_older_than(&DataVersion { counter: 4, ..Default::default() }));
}
