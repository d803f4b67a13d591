//! Where other brokers have a topic's queues, as the name servers say.
//!
//! Reference: `TopicRouteInfoManager` (broker), 5.5.0.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use oxmq_protocol::body::{MessageQueue, TopicRouteData};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson;
use oxmq_protocol::header::GetRouteInfoRequestHeader;
use tracing::warn;

use crate::config::BrokerConfig;
use crate::limits::{MAX_CACHED_ROUTES, MAX_QUEUES_PER_TOPIC};
use crate::name_servers::NameServers;
use crate::perm;
use crate::sync::lock;
use crate::topic::TopicConfigManager;

/// How long a route is taken to be right, as in the reference.
const FRESH: Duration = Duration::from_secs(30);
/// What a name server has to answer in.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The queues that consumers of a topic read, in order.
pub(crate) type Queues = Arc<[MessageQueue]>;

/// Routes, each asked for when it is needed and kept for a while.
#[derive(Debug)]
pub(crate) struct TopicRoutes {
    config: Arc<BrokerConfig>,
    topics: Arc<TopicConfigManager>,
    name_servers: OnceLock<Arc<NameServers>>,
    cache: Mutex<HashMap<Box<str>, (Instant, Queues)>>,
}

impl TopicRoutes {
    pub(crate) fn new(config: Arc<BrokerConfig>, topics: Arc<TopicConfigManager>) -> Self {
        Self { config, topics, name_servers: OnceLock::new(), cache: Mutex::default() }
    }

    /// Sets whom to ask. Only the first call counts.
    pub(crate) fn ask_at(&self, name_servers: Arc<NameServers>) {
        let _ = self.name_servers.set(name_servers);
    }

    /// The readable queues of a topic on every broker; `None` when no broker has it.
    pub(crate) async fn queues(&self, topic: &str) -> Option<Queues> {
        let known = lock(&self.cache).get(topic).cloned();
        if let Some((since, queues)) = &known
            && since.elapsed() < FRESH
        {
            return Some(Arc::clone(queues));
        }
        let Some(queues) = self.ask(topic).await else {
            // Better an old answer than none while the name servers are away.
            return known.map(|(_, queues)| queues);
        };
        let mut cache = lock(&self.cache);
        if cache.len() >= MAX_CACHED_ROUTES {
            cache.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if cache.len() < MAX_CACHED_ROUTES {
            cache.insert(topic.into(), (Instant::now(), Arc::clone(&queues)));
        }
        Some(queues)
    }

    /// Asks one name server after the other.
    async fn ask(&self, topic: &str) -> Option<Queues> {
        let Some(name_servers) = self.name_servers.get().filter(|all| all.are_expected()) else {
            return self.own_queues(topic);
        };
        let header =
            GetRouteInfoRequestHeader { topic: topic.to_owned(), accept_standard_json_only: None };
        let request =
            RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        for name_server in &*name_servers.current() {
            let answer =
                match name_servers.client().invoke(name_server, request.clone(), TIMEOUT).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        warn!(%name_server, %error, "name server not reached");
                        continue;
                    }
                };
            if answer.response_code() != ResponseCode::SUCCESS {
                continue;
            }
            match fastjson::from_slice::<TopicRouteData>(&answer.body) {
                Ok(route) => return Some(readable_queues(topic, &route)),
                Err(error) => warn!(%name_server, topic, %error, "route not read"),
            }
        }
        None
    }

    /// A broker without name servers is alone.
    fn own_queues(&self, topic: &str) -> Option<Queues> {
        let config = self.topics.get(topic)?;
        let queues = if perm::is_readable(config.perm) { config.read_queue_nums } else { 0 };
        Some(queues_of(topic, &self.config.broker_name, queues).collect())
    }
}

fn readable_queues(topic: &str, route: &TopicRouteData) -> Queues {
    let readable = route.queue_datas.iter().filter(|data| perm::is_readable(data.perm));
    let mut queues: Vec<_> = readable
        .flat_map(|data| queues_of(topic, &data.broker_name, data.read_queue_nums))
        .collect();
    queues.sort();
    queues.into()
}

fn queues_of(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    (0..count.min(MAX_QUEUES_PER_TOPIC)).map(move |queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id,
    })
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::body::QueueData;

    use super::*;

    #[test]
    fn queues_are_those_to_read_in_order() {
        let data = |broker_name: &str, perm, read_queue_nums| QueueData {
            broker_name: broker_name.to_owned(),
            perm,
            read_queue_nums,
            write_queue_nums: 9,
            ..QueueData::default()
        };
        let route = TopicRouteData {
            queue_datas: vec![data("b", 4, 2), data("c", 2, 2), data("a", 6, 1)],
            ..TopicRouteData::default()
        };
        let queues = readable_queues("t", &route);
        let names: Vec<_> =
            queues.iter().map(|queue| (queue.broker_name.as_str(), queue.queue_id)).collect();
        assert_eq!(names, [("a", 0), ("b", 0), ("b", 1)]);
    }
}
