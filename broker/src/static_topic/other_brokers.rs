//! Requests to the brokers that have the other parts of a logical queue.
//!
//! Reference: `RpcClientImpl`, `ClientMetadata` (remoting), 5.5.0.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use oxmq_protocol::body::{ClusterInfo, MASTER_ID, TopicRouteData};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::fastjson;
use oxmq_protocol::header::GetRouteInfoRequestHeader;
use oxmq_remoting::RemotingClient;
use tokio::runtime::Handle;
use tracing::warn;

use crate::config::BrokerConfig;
use crate::error::RequestError;
use crate::name_servers::NameServers;
use crate::sync::lock;

/// How long the addresses of brokers are taken to be right. The reference asks for them every 5 s.
const FRESH: Duration = Duration::from_secs(5);

/// Whom to ask, once the broker has started.
#[derive(Debug)]
struct Ways {
    config: Arc<BrokerConfig>,
    name_servers: Arc<NameServers>,
    client: RemotingClient,
    runtime: Handle,
}

/// The masters by broker name, asked for when one is needed.
#[derive(Debug, Default)]
pub(crate) struct OtherBrokers {
    ways: OnceLock<Ways>,
    masters: Mutex<Masters>,
}

#[derive(Debug, Default)]
struct Masters {
    asked: Option<Instant>,
    addresses: BTreeMap<String, String>,
}

impl OtherBrokers {
    /// Sets how to ask. Only the first call counts.
    pub(crate) fn ask_by(
        &self,
        config: Arc<BrokerConfig>,
        name_servers: Arc<NameServers>,
        client: RemotingClient,
    ) {
        let _ = self.ways.set(Ways { config, name_servers, client, runtime: Handle::current() });
    }

    /// Closes every connection.
    pub(crate) fn close(&self) {
        if let Some(ways) = self.ways.get() {
            ways.client.close();
        }
    }

    /// Asks the broker called `name`, for as long as `forwardTimeout` says.
    ///
    /// # Errors
    /// When it is not known or does not answer in time.
    pub(crate) async fn ask(
        &self,
        name: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, RequestError> {
        let failed = |reason: String| RequestError::OtherBroker { name: name.to_owned(), reason };
        let Some(ways) = self.ways.get() else { return Err(failed("not started".to_owned())) };
        let timeout = Duration::from_millis(ways.config.forward_timeout.max(0).unsigned_abs());
        let until = Instant::now() + timeout;
        let Some(address) = self.master(ways, name, timeout).await else {
            return Err(failed("no name server knows its address".to_owned()));
        };
        let left = until.saturating_duration_since(Instant::now());
        ways.client.invoke(&address, request, left).await.map_err(|error| failed(error.to_string()))
    }

    /// The same, on a thread that may wait.
    ///
    /// # Errors
    /// As [`OtherBrokers::ask`].
    pub(crate) fn ask_and_wait(
        &self,
        name: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, RequestError> {
        let Some(ways) = self.ways.get() else {
            let reason = "not started".to_owned();
            return Err(RequestError::OtherBroker { name: name.to_owned(), reason });
        };
        ways.runtime.block_on(self.ask(name, request))
    }

    /// The route of a topic, as the first name server has it that answers.
    pub(super) async fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let ways = self.ways.get()?;
        let timeout = Duration::from_millis(ways.config.forward_timeout.max(0).unsigned_abs());
        let header =
            GetRouteInfoRequestHeader { topic: topic.to_owned(), accept_standard_json_only: None };
        let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
        let request = RemotingCommand::request(code).with_header(&header);
        for name_server in &*ways.name_servers.current() {
            let asked = ways.name_servers.client().invoke(name_server, request.clone(), timeout);
            match asked.await {
                Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => {
                    return fastjson::from_slice(&answer.body)
                        .inspect_err(|error| warn!(%name_server, topic, %error, "route not read"))
                        .ok();
                }
                Ok(_) => {}
                Err(error) => warn!(%name_server, %error, "name server not reached"),
            }
        }
        None
    }

    async fn master(&self, ways: &Ways, name: &str, timeout: Duration) -> Option<String> {
        let is_fresh = |asked: Option<Instant>| asked.is_some_and(|at| at.elapsed() < FRESH);
        let known = {
            let masters = lock(&self.masters);
            masters.addresses.get(name).cloned().filter(|_| is_fresh(masters.asked))
        };
        if known.is_some() {
            return known;
        }
        // Better an old answer than none while the name servers are away.
        if let Some(addresses) = ask_name_servers(ways, name, timeout).await {
            *lock(&self.masters) = Masters { asked: Some(Instant::now()), addresses };
        }
        lock(&self.masters).addresses.get(name).cloned()
    }
}

/// Asks one name server after the other for the masters, until one knows that of `name`.
async fn ask_name_servers(
    ways: &Ways,
    name: &str,
    timeout: Duration,
) -> Option<BTreeMap<String, String>> {
    let request = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_INFO);
    for name_server in &*ways.name_servers.current() {
        let asked = ways.name_servers.client().invoke(name_server, request.clone(), timeout);
        let answer = match asked.await {
            Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => answer,
            Ok(_) => continue,
            Err(error) => {
                warn!(%name_server, %error, "name server not reached");
                continue;
            }
        };
        match fastjson::from_slice::<ClusterInfo>(&answer.body) {
            Ok(cluster) => {
                let brokers = cluster.broker_addr_table.into_iter();
                let masters: BTreeMap<_, _> = brokers
                    .filter_map(|(name, mut broker)| {
                        Some((name, broker.broker_addrs.remove(&MASTER_ID)?))
                    })
                    .collect();
                if masters.contains_key(name) {
                    return Some(masters);
                }
            }
            Err(error) => warn!(%name_server, %error, "brokers of a name server not read"),
        }
    }
    None
}

/// A client's request for the broker called `name`: about the physical queue, so that it is not passed on.
pub(crate) fn passed_on(
    code: RequestCode,
    request: &CommandView<'_>,
    name: &str,
    queue_id: i32,
) -> RemotingCommand {
    let mut command = RemotingCommand::request(code);
    command.ext_fields = request.to_command().ext_fields;
    command.ext_fields.insert("lo", "false");
    command.ext_fields.insert("bname", name);
    command.ext_fields.insert("queueId", queue_id.to_string());
    command
}
