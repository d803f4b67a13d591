//! Tells every name server what this broker has.
//!
//! A round is full at start, every `registerNameServerPeriod` and after a failure; a changed topic
//! starts a round with just that topic at once.
//!
//! Reference: `BrokerController`, `BrokerOuterAPI` (broker), 5.5.0.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use oxmq_protocol::address::host_port;
use oxmq_protocol::advertised_listeners::ADVERTISED_LISTENERS;
use oxmq_protocol::body::{
    KVTable, RegisterBrokerBody, TopicConfig, TopicConfigAndMappingSerializeWrapper,
};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config::ConfigValue as _;
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::{RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader};
use oxmq_protocol::route_askers::{self, ROUTE_ASKERS, RouteAsker};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::absent_clients::AbsentClients;
use crate::config::BrokerConfig;
use crate::name_servers::NameServers;
use crate::static_topic::StaticTopics;
use crate::sync::lock;
use crate::tables::Tables;
use crate::topic::TopicConfigManager;

/// Shortest and longest period that the reference accepts.
const PERIOD_MS: std::ops::RangeInclusive<i64> = 10_000..=60_000;
/// The reference gives each name server this long to hear that the broker leaves.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// Topics that changed since the last round. Who changes one marks it here and goes on.
#[derive(Debug, Default)]
pub(crate) struct TopicChanges {
    state: Mutex<Changes>,
    marked: Notify,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Changes {
    topics: BTreeSet<String>,
    /// Changes so far, and up to which of them a round has told.
    marks: u64,
    told: u64,
}

impl TopicChanges {
    pub(crate) fn mark(&self, topic: &str) {
        let mut state = lock(&self.state);
        state.topics.insert(topic.to_owned());
        state.marks += 1;
        drop(state);
        self.marked.notify_one();
    }

    /// The topics, and the number of the last change.
    fn take(&self) -> (BTreeSet<String>, u64) {
        let mut state = lock(&self.state);
        (std::mem::take(&mut state.topics), state.marks)
    }

    /// A round has told of everything up to this change, whoever heard it.
    fn tell(&self, mark: u64) {
        let mut state = lock(&self.state);
        state.told = state.told.max(mark);
        self.told.notify_all();
    }

    /// Waits until a round has told of every change so far, for at most `limit`, and returns whether one has. On a
    /// thread that may wait.
    pub(crate) fn await_told(&self, limit: Duration) -> bool {
        let state = lock(&self.state);
        let mark = state.marks;
        let waited = self.told.wait_timeout_while(state, limit, |state| state.told < mark);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Registers one broker with every name server.
#[derive(Debug)]
pub(crate) struct Registration {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    static_topics: Arc<StaticTopics>,
    changes: Arc<TopicChanges>,
    name_servers: Arc<NameServers>,
    absent_clients: Arc<AbsentClients>,
    broker_addr: String,
    ha_server_addr: String,
}

/// Which topics a round tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Full,
    Changed,
}

impl Registration {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        tables: &Tables,
        changes: Arc<TopicChanges>,
        name_servers: Arc<NameServers>,
        absent_clients: Arc<AbsentClients>,
    ) -> Self {
        let ha_port = match config.ha_listen_port {
            0 => config.listen_port.saturating_add(1),
            port => port,
        };
        Self {
            topics: Arc::clone(&tables.topics),
            static_topics: Arc::clone(&tables.static_topics),
            changes,
            name_servers,
            absent_clients,
            broker_addr: config.broker_address(),
            ha_server_addr: host_port(&config.broker_ip2, ha_port),
            config,
        }
    }

    /// Finds the name servers, before the first round.
    pub(crate) async fn find_name_servers(&self) {
        self.name_servers.refresh().await;
    }

    /// Follows name servers that move, for ever.
    pub(crate) async fn follow_name_servers(&self) {
        loop {
            tokio::time::sleep(self.name_servers.period()).await;
            self.name_servers.refresh().await;
            self.name_servers.client().retain(&self.name_servers.current());
            self.name_servers.client().leave_moved_hosts().await;
        }
    }

    /// Registers once in full; then on every change and period, for ever.
    pub(crate) async fn run(&self) {
        let mut round = Instant::now();
        let mut complete = true;
        loop {
            let period = self.config.register_name_server_period;
            let period = period.clamp(*PERIOD_MS.start(), *PERIOD_MS.end()).unsigned_abs();
            let scope = tokio::select! {
                () = tokio::time::sleep_until(round + Duration::from_millis(period)) => {
                    round = Instant::now();
                    Scope::Full
                }
                () = self.name_servers.changed() => Scope::Full,
                () = self.changes.marked.notified() => {
                    if complete { Scope::Changed } else { Scope::Full }
                }
            };
            complete = self.register(scope).await;
        }
    }

    /// Registers everything now. Returns whether every name server took it.
    pub(crate) async fn register_full(&self) -> bool {
        self.register(Scope::Full).await
    }

    /// Takes the broker out of every name server.
    pub(crate) async fn unregister(&self) {
        let header = UnRegisterBrokerRequestHeader {
            broker_name: self.config.broker_name.clone(),
            broker_addr: self.broker_addr.clone(),
            cluster_name: self.config.broker_cluster_name.clone(),
            broker_id: self.config.broker_id,
        };
        let request = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&header);
        self.send_to_all(request, UNREGISTER_TIMEOUT).await;
        self.name_servers.client().close();
    }

    async fn register(&self, scope: Scope) -> bool {
        let (body, mark) = self.body(scope);
        let complete = match body {
            Some(body) => self.send(&body).await,
            None => true,
        };
        self.changes.tell(mark);
        complete
    }

    async fn send(&self, body: &RegisterBrokerBody) -> bool {
        let body = match fastjson::to_vec(body, Dialect::Raw) {
            Ok(body) => body,
            Err(error) => {
                warn!(%error, "topics cannot be written for the name servers");
                return false;
            }
        };
        let header = RegisterBrokerRequestHeader {
            broker_name: self.config.broker_name.clone(),
            broker_addr: self.broker_addr.clone(),
            cluster_name: self.config.broker_cluster_name.clone(),
            ha_server_addr: self.ha_server_addr.clone(),
            broker_id: self.config.broker_id,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: oxmq_protocol::message::record::body_crc(&body),
        };
        let mut request = RemotingCommand::request(RequestCode::REGISTER_BROKER)
            .with_header(&header)
            .with_body(body);
        let advertised = &self.config.advertised_listeners;
        if !advertised.is_empty() {
            request.ext_fields.insert(ADVERTISED_LISTENERS, advertised.print());
        }
        request.ext_fields.insert(ROUTE_ASKERS, "true");
        let timeout = self.config.register_broker_timeout_mills.max(0).unsigned_abs();
        self.send_to_all(request, Duration::from_millis(timeout)).await
    }

    /// What a round tells, or `None` when an earlier round has told all of it, and up to which change.
    fn body(&self, scope: Scope) -> (Option<RegisterBrokerBody>, u64) {
        let mut mark = 0;
        let mut take = || {
            let (topics, last) = self.changes.take();
            mark = last;
            topics
        };
        // A name server passes over a version that it knows: a version must not be told of without
        // every topic that changed up to it.
        let (topics, data_version) = match scope {
            Scope::Full => {
                take();
                self.topics.snapshot()
            }
            Scope::Changed => self.topics.named(take),
        };
        if scope == Scope::Changed && topics.is_empty() {
            return (None, mark);
        }
        let topic_queue_mapping_info_map =
            self.static_topics.infos(topics.iter().map(|topic| topic.topic_name.as_str()));
        let topic_config_table = topics
            .iter()
            .map(|topic| {
                let mut topic = TopicConfig::clone(topic);
                topic.perm &= self.permission_mask();
                (topic.topic_name.clone(), topic)
            })
            .collect();
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version,
                topic_config_table,
                topic_queue_mapping_info_map,
                ..Default::default()
            },
            ..Default::default()
        };
        (Some(body), mark)
    }

    /// A broker that may not be read or written says so through each of its topics.
    fn permission_mask(&self) -> i32 {
        let permission = self.config.broker_permission;
        if crate::perm::is_readable(permission) && crate::perm::is_writeable(permission) {
            return -1;
        }
        permission
    }

    async fn send_to_all(&self, request: RemotingCommand, timeout: Duration) -> bool {
        let mut rounds = JoinSet::new();
        for name_server in &*self.name_servers.current() {
            let name_server = name_server.clone();
            let (name_servers, request) = (Arc::clone(&self.name_servers), request.clone());
            rounds.spawn(async move {
                let code = request.request_code();
                match name_servers.client().invoke(&name_server, request, timeout).await {
                    Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => {
                        debug!(%name_server, %code, "name server told");
                        Some(answer)
                    }
                    Ok(answer) => {
                        let remark = answer.remark.as_deref().unwrap_or_default();
                        warn!(%name_server, %code, answer = %answer.response_code(), remark,
                            "name server refused");
                        None
                    }
                    Err(error) => {
                        warn!(%name_server, %code, %error, "name server not reached");
                        None
                    }
                }
            });
        }
        let mut all = true;
        let mut askers: Option<Vec<RouteAsker>> = None;
        while let Some(told) = rounds.join_next().await {
            let Some(answer) = told.ok().flatten() else {
                all = false;
                continue;
            };
            self.mark_ordered(&answer);
            if let Some(list) = answer.ext_fields.get(ROUTE_ASKERS) {
                let list = route_askers::parse(&list).unwrap_or_else(|| {
                    warn!(%list, "list of clients of a name server not read");
                    Vec::new()
                });
                askers.get_or_insert_default().extend(list);
            }
        }
        // A name server of the reference does not tell.
        if let Some(askers) = askers {
            self.absent_clients.compare(&askers, std::time::Instant::now());
        }
        all
    }

    /// A name server answers a registration with the topics that are ordered.
    fn mark_ordered(&self, answer: &RemotingCommand) {
        if answer.body.is_empty() {
            return;
        }
        match fastjson::from_slice::<KVTable>(&answer.body) {
            Ok(ordered) => self.topics.mark_ordered(ordered.table.keys().map(String::as_str)),
            Err(error) => warn!(%error, "ordered topics of a name server not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_goes_on_once_a_round_has_told_of_all_that_was_marked_before() {
        let changes = Arc::new(TopicChanges::default());
        assert!(changes.await_told(Duration::ZERO), "nothing is to be told");
        changes.mark("t");
        changes.mark("u");
        assert!(!changes.await_told(Duration::ZERO));
        let (topics, mark) = changes.take();
        assert_eq!(topics, BTreeSet::from(["t".to_owned(), "u".to_owned()]));
        let waits = Arc::clone(&changes);
        let waiting = std::thread::spawn(move || waits.await_told(Duration::from_secs(60)));
        changes.tell(mark);
        assert!(waiting.join().unwrap());
        changes.mark("t");
        assert!(!changes.await_told(Duration::ZERO));
    }
}
