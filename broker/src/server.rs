//! Start and stop of a broker.

mod sockets;
mod tasks;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oxmq_protocol::body::TopicConfig;
use oxmq_remoting::{Server, Tls, TlsSettingsError};
use oxmq_store::offline::{POP_RECORDS_ADVICE, pop_records};
use oxmq_store::{Environment, MessageStore, StoreConfig, StoreError};
use tokio::task::JoinSet;
use tracing::{error, info};

use self::sockets::{advertised_ip, bind, client, serve};
use self::tasks::save_schedule;
use crate::arrivals::Arrivals;
use crate::attributes::{BATCH_QUEUES, CLEANUP_POLICY, COMPACTION, QUEUE_TYPE};
use crate::chores::Chores;
use crate::clock::now_ms;
use crate::config::{BrokerConfig, BrokerSettings};
use crate::delays::Delays;
use crate::in_memory::InMemory;
use crate::name_servers::NameServers;
use crate::pop::Revive;
use crate::processors::Processors;
use crate::registration::{Registration, TopicChanges};
use crate::schedule::ScheduleMessageService;
use crate::tables::{LoadError, Tables};
use crate::timer::TimerService;
use crate::transaction::{AskProducer, TransactionService};

/// A broker that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address of the settings is none.
    #[error("{key}={value}: {reason}")]
    Address {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A port is taken, or may not be used.
    #[error("listenPort: cannot listen on {address}: {source}")]
    Listen {
        /// Address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS as set cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
    /// A metadata file cannot be read, nor can its backup.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The reference has left records of what is popped that nobody would read.
    #[error(
        "{} may hold records of popped messages, which would never come back: {advice}",
        .0.display(),
        advice = POP_RECORDS_ADVICE
    )]
    PopRecords(PathBuf),
    /// There can be no more threads.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The store cannot be opened.
    #[error("storePathRootDir={root}: {source}")]
    Store {
        /// Folder of the store.
        root: String,
        /// What is wrong with it.
        source: StoreError,
    },
}

/// The broker, as a library: tests and the binary start it alike.
#[derive(Debug)]
pub struct Broker;

/// A running broker. It has to be shut down: dropping it leaves the store as after a crash.
#[derive(Debug)]
pub struct BrokerHandle {
    name: String,
    address: String,
    local_addr: SocketAddr,
    servers: Vec<Server>,
    tasks: JoinSet<()>,
    processors: Arc<Processors>,
    tables: Arc<Tables>,
    delays: Delays,
    transactions: Arc<TransactionService>,
    revive: Option<Arc<Revive>>,
    store: Arc<MessageStore>,
    registration: Arc<Registration>,
    save_transaction_metrics_every: Duration,
    /// How long clients have to go elsewhere before the end.
    drain: Option<Duration>,
}

impl Broker {
    /// Opens the store, serves both ports and registers with the name servers.
    ///
    /// # Errors
    /// When the settings, the ports or the store do not allow it.
    pub async fn start(
        config: BrokerSettings,
        store_config: StoreConfig,
    ) -> Result<BrokerHandle, StartError> {
        Self::start_with(config, store_config, Environment::default()).await
    }

    /// As [`Broker::start`], with what tests bring for the store.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_with(
        mut config: BrokerSettings,
        store_config: StoreConfig,
        environment: Environment,
    ) -> Result<BrokerHandle, StartError> {
        let (main, fast) = bind(&config)?;
        config.listen_port = main.local_addr().port();
        let store_host = SocketAddr::new(advertised_ip(&config)?, config.listen_port);
        let tls = Tls::load(config.tls_server_mode, &config.tls_config_file)?;
        let to_name_servers = client(&config)?;
        let to_brokers = client(&config)?;
        let config = Arc::new(BrokerConfig::new(config));
        let name_servers = Arc::new(NameServers::new(Arc::clone(&config), to_name_servers));

        let root = PathBuf::from(&store_config.store_path_root_dir);
        check_pop_records(&root).await?;
        let tables = Arc::new(Tables::load(&config, &root, store_config.enable_lmq)?);
        let store = open_store(&root, store_config, environment, &tables).await?;
        write_filter_bits(&config, &tables, &store);
        let delays = load_delays(&config, &root, &store).await?;
        let known = InMemory::new(&config, &tables, &store);
        let transactions = Arc::new(TransactionService::load(
            Arc::clone(&config),
            Arc::clone(&store),
            &tables,
            delays.clone(),
            Arc::clone(&known.producers) as Arc<dyn AskProducer>,
            store_host,
        ));
        let processors = Arc::new(Processors::new(
            &config,
            &store,
            &tables,
            &known,
            &delays,
            &transactions,
            store_host,
        ));
        processors.pop.recover();
        processors.assignment.ask_at(name_servers.clone());
        tables.static_topics.others.ask_by(Arc::clone(&config), name_servers.clone(), to_brokers);
        // The store outlives neither: the cycle is broken when the broker shuts down.
        store.set_arrival_listener(Arc::new(Arrivals(Arc::downgrade(&processors))));

        let changes = follow_topics(&tables, &store);
        processors.topics.tell_by(Arc::clone(&changes));
        let registration = Arc::new(Registration::new(
            Arc::clone(&config),
            &tables,
            changes,
            name_servers,
            Arc::clone(&processors.absent_clients),
        ));
        if let Some(timers) = &delays.timers {
            timers.start().map_err(StartError::Thread)?;
        }
        let revive = delays
            .timers
            .as_ref()
            .map(|timers| Arc::new(Revive::new(Arc::clone(&processors.pop), Arc::clone(timers))));
        let servers = serve(&config, &processors, &known.requests, main, fast, &tls);
        registration.find_name_servers().await;
        registration.register_full().await;
        let chores = Arc::new(Chores {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            tables: Arc::clone(&tables),
            known,
            delays: delays.clone(),
        });
        let mut handle = BrokerHandle {
            name: config.broker_name.clone(),
            address: config.broker_address(),
            local_addr: servers[0].local_addr(),
            servers,
            tasks: JoinSet::new(),
            processors,
            tables,
            delays,
            transactions,
            revive,
            store,
            registration,
            save_transaction_metrics_every: Duration::from_millis(
                config.transaction_metric_flush_interval.max(1).unsigned_abs(),
            ),
            drain: config
                .enable_shutdown_gracefully
                .then(|| Duration::from_secs(config.shutdown_wait_time_seconds.into())),
        };
        handle.spawn_tasks(&chores);
        Ok(handle)
    }
}

impl BrokerHandle {
    /// Name of the broker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that clients are told to connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address that the main port listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Leaves the name servers, ends every connection, saves everything and closes the store.
    pub async fn shutdown(mut self) {
        info!(broker = %self.name, "broker stops");
        self.registration.unregister().await;
        if let Some(wait) = self.drain {
            // The ports share their clients.
            Server::drain_all(&self.servers, wait).await;
        }
        self.tasks.shutdown().await;
        self.processors.pull_message.release_all();
        self.processors.pop.release_all();
        self.processors.lite.release_all();
        for server in self.servers.drain(..) {
            server.shutdown().await;
        }
        info!(broker = %self.name, "connections closed");
        self.tables.static_topics.others.close();
        let (tables, store) = (Arc::clone(&self.tables), Arc::clone(&self.store));
        let delays = self.delays.clone();
        let transactions = Arc::clone(&self.transactions);
        let revive = self.revive.clone();
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(timers) = &delays.timers {
                timers.stop();
            }
            delays.schedule.stop();
            transactions.close();
            if let Some(revive) = revive {
                revive.close();
            }
            info!("deliveries ended");
            tables.save_all();
            save_schedule(&delays.schedule);
            let closed = store.close();
            if closed.is_ok() {
                if let Some(timers) = &delays.timers {
                    timers.save_last();
                }
                transactions.commit_last();
                tables.save_all();
            }
            closed
        });
        match closed.await {
            Ok(Ok(())) => info!(broker = %self.name, "broker stopped"),
            Ok(Err(error)) => {
                error!(%error, "store not closed cleanly: it recovers at the next start")
            }
            Err(error) => error!(%error, "store not closed: it recovers at the next start"),
        }
    }
}

/// Opens the store with the queues that the topics ask for, and finds out what was sent before to those that
/// are sent each message once.
async fn open_store(
    root: &Path,
    config: StoreConfig,
    environment: Environment,
    tables: &Tables,
) -> Result<Arc<MessageStore>, StartError> {
    let topics = tables.topics.snapshot().0;
    let opening = move || {
        let store = MessageStore::open_with(config, environment)?;
        for topic in topics {
            use_queues_of(&topic, &store)?;
            if let Some(window) = &topic.window {
                window.recover(&topic, &store, now_ms());
            }
        }
        Ok(store)
    };
    open(root, opening).await
}

/// Finds out which messages wait for their time.
async fn load_delays(
    config: &BrokerConfig,
    root: &Path,
    store: &Arc<MessageStore>,
) -> Result<Delays, StartError> {
    let schedule = Arc::new(ScheduleMessageService::load(Arc::clone(store), root)?);
    if !config.timer_wheel_enable {
        return Ok(Delays { schedule, timers: None });
    }
    let (store, dir) = (Arc::clone(store), root.to_owned());
    let timers = open(root, move || TimerService::load(store, &dir)).await?;
    Ok(Delays { schedule, timers: Some(Arc::new(timers)) })
}

/// Has the store note in extended units which filters a message matches.
fn write_filter_bits(config: &Arc<BrokerConfig>, tables: &Tables, store: &MessageStore) {
    let (filters, settings) = (Arc::clone(&tables.filters), Arc::clone(config));
    store.set_filter_bits(Arc::new(move |record| {
        let bits = || filters.bits(record.topic(), record.properties());
        settings.enable_calc_filter_bit_map.then(bits).flatten()
    }));
}

/// Has topics that change from now on tell the store their kind of queues, and be noted for the next
/// registration.
fn follow_topics(tables: &Tables, store: &Arc<MessageStore>) -> Arc<TopicChanges> {
    let changes = Arc::new(TopicChanges::default());
    let marked = Arc::clone(&changes);
    let (topics, store) = (Arc::downgrade(&tables.topics), Arc::downgrade(store));
    tables.topics.on_change(move |topic| {
        if let (Some(topics), Some(store)) = (topics.upgrade(), store.upgrade())
            && let Some(topic) = topics.get(topic)
            && let Err(error) = use_queues_of(&topic, &store)
        {
            error!(topic = topic.topic_name, %error, "topic is not compacted");
        }
        marked.mark(topic);
    });
    changes
}

/// Has the store use the kind of queues that the topic's attributes ask for.
fn use_queues_of(topic: &TopicConfig, store: &MessageStore) -> Result<(), StoreError> {
    let has = |name, value| topic.attributes.get(name).is_some_and(|found| found == value);
    if has(QUEUE_TYPE, BATCH_QUEUES) {
        store.use_batch_queues(&topic.topic_name);
    }
    if has(CLEANUP_POLICY, COMPACTION) {
        store.use_compaction(&topic.topic_name)?;
    }
    Ok(())
}

/// Nobody would read what the reference has noted in RocksDB.
async fn check_pop_records(root: &Path) -> Result<(), StartError> {
    let dir = root.to_owned();
    match open(root, move || pop_records(&dir)).await? {
        Some(found) => Err(StartError::PopRecords(found)),
        None => Ok(()),
    }
}

/// Opens what has files, on a thread that may wait for them.
async fn open<T: Send + 'static>(
    root: &Path,
    open: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => {
            opened.map_err(|source| StartError::Store { root: root.display().to_string(), source })
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn start_is_refused_where_pops_would_be_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("kvStore");
        fs::create_dir(&dir).unwrap();
        for unused in ["CURRENT", "MANIFEST-000005", "000004.log"] {
            fs::write(dir.join(unused), "").unwrap();
        }
        check_pop_records(root.path()).await.unwrap();
        for (name, content) in [("000004.log", "record"), ("000012.sst", "")] {
            fs::write(dir.join(name), content).unwrap();
            let refused = check_pop_records(root.path()).await.unwrap_err().to_string();
            assert!(
                refused.contains("kvStore") && refused.contains("exportPopRecord"),
                "{refused}"
            );
            fs::write(dir.join("000004.log"), "").unwrap();
        }
    }
}
