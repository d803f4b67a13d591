//! Start and stop of a broker.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_protocol::address::{host_port, is_host_port, parse_ip};
use oxmq_protocol::body::TopicConfig;
use oxmq_remoting::{
    Listener, RemotingClient, RemotingClientConfig, Server, ServerConfig, Tls, TlsClient,
    TlsSettingsError,
};
use oxmq_store::{MessageStore, StoreConfig, StoreError};
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::arrivals::Arrivals;
use crate::attributes::{BATCH_QUEUES, QUEUE_TYPE};
use crate::config::{BrokerConfig, BrokerSettings};
use crate::delays::Delays;
use crate::dispatch::Dispatch;
use crate::name_servers::{self, NameServers};
use crate::pop::Revive;
use crate::processors::Processors;
use crate::producer::ProducerManager;
use crate::registration::{Registration, TopicChanges};
use crate::schedule::ScheduleMessageService;
use crate::tables::{LoadError, Tables};
use crate::timer::TimerService;
use crate::transaction::{AskProducer, TransactionService};

/// How often held pulls are looked at for those whose time is up.
const EXPIRE_PULLS_EVERY: Duration = Duration::from_millis(100);
/// How often pops are looked at for what is not needed any more.
const CLEAN_POPS_EVERY: Duration = Duration::from_secs(60);
/// How often silent clients are looked for, as in the reference.
const SCAN_CLIENTS_EVERY: Duration = Duration::from_secs(10);
/// How often it is committed how far groups that broadcast have got, as in the reference.
const SCAN_BROADCASTS_EVERY: Duration = Duration::from_secs(5);
/// How often groups that consume too slowly are looked for, as in the reference.
const STOP_SLOW_GROUPS_EVERY: Duration = Duration::from_secs(180);
/// How often traffic is counted for the rates that tools show.
const SAMPLE_TRAFFIC_EVERY: Duration = Duration::from_secs(1);
/// How often what went to and from each topic is counted, as in the reference.
const SAMPLE_TOPICS_EVERY: Duration = Duration::from_secs(10);
/// How often the progress of delay levels is saved, as in the reference.
const SAVE_SCHEDULE_EVERY: Duration = Duration::from_secs(10);
/// How often decisions on transactions are looked at that wait to be written.
const TICK_TRANSACTIONS_EVERY: Duration = Duration::from_millis(100);
/// Distance of the fast port below the main one.
const FAST_PORT_DISTANCE: u16 = 2;
/// Ports tried when the system chooses: the one two below has to be free too.
const PORT_ATTEMPTS: usize = 50;

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
        mut config: BrokerSettings,
        store_config: StoreConfig,
    ) -> Result<BrokerHandle, StartError> {
        let (main, fast) = bind(&config)?;
        config.listen_port = main.local_addr().port();
        let store_host = SocketAddr::new(advertised_ip(&config).await?, config.listen_port);
        let tls = Tls::load(config.tls_server_mode, &config.tls_config_file)?;
        let client = client(&config)?;
        let config = Arc::new(BrokerConfig::new(config));
        let name_servers = Arc::new(NameServers::new(Arc::clone(&config), client));

        let root = PathBuf::from(&store_config.store_path_root_dir);
        let tables = Arc::new(Tables::load(&config, &root, store_config.enable_lmq)?);
        let store = open_store(store_config).await?;
        for topic in tables.topics.snapshot().0 {
            use_queues_of(&topic, &store);
        }
        let (filters, settings) = (Arc::clone(&tables.filters), Arc::clone(&config));
        store.set_filter_bits(Arc::new(move |record| {
            let bits = || filters.bits(record.topic(), record.properties());
            settings.enable_calc_filter_bit_map.then(bits).flatten()
        }));
        let schedule = Arc::new(ScheduleMessageService::load(Arc::clone(&store), &root)?);
        let timers = match config.timer_wheel_enable {
            true => Some(open_timers(&store, &root).await?),
            false => None,
        };
        let delays = Delays { schedule: Arc::clone(&schedule), timers };
        let producers = Arc::new(ProducerManager::default());
        let transactions = Arc::new(TransactionService::load(
            Arc::clone(&config),
            Arc::clone(&store),
            Arc::clone(&tables.topics),
            Arc::clone(&tables.offsets),
            delays.clone(),
            Arc::clone(&producers) as Arc<dyn AskProducer>,
            store_host,
            &root,
        ));
        let processors = Arc::new(Processors::new(
            &config,
            &store,
            &tables,
            &delays,
            &producers,
            &transactions,
            store_host,
        ));
        processors.assignment.ask_at(name_servers.clone());
        // The store outlives neither: the cycle is broken when the broker shuts down.
        store.set_arrival_listener(Arc::new(Arrivals(Arc::downgrade(&processors))));

        let changes = Arc::new(TopicChanges::default());
        let marked = Arc::clone(&changes);
        let (topics, batch_store) = (Arc::downgrade(&tables.topics), Arc::downgrade(&store));
        tables.topics.on_change(move |topic| {
            if let (Some(topics), Some(store)) = (topics.upgrade(), batch_store.upgrade())
                && let Some(topic) = topics.get(topic)
            {
                use_queues_of(&topic, &store);
            }
            marked.mark(topic);
        });
        let ha_port = match config.ha_listen_port {
            0 => config.listen_port.saturating_add(1),
            port => port,
        };
        let registration = Arc::new(Registration::new(
            Arc::clone(&config),
            Arc::clone(&tables.topics),
            changes,
            Arc::clone(&name_servers),
            Arc::clone(&processors.absent_clients),
            config.broker_address(),
            host_port(&config.broker_ip2, ha_port),
        ));

        if let Some(timers) = &delays.timers {
            timers.start().map_err(StartError::Thread)?;
        }
        let revive = delays
            .timers
            .as_ref()
            .map(|timers| Arc::new(Revive::new(Arc::clone(&processors.pop), Arc::clone(timers))));
        let servers = serve(&config, &processors, main, fast, &tls);
        registration.find_name_servers().await;
        registration.register_full().await;
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
        handle.spawn_tasks();
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
        self.registration.unregister().await;
        if let Some(wait) = self.drain {
            // The ports share their clients.
            Server::drain_all(&self.servers, wait).await;
        }
        self.tasks.shutdown().await;
        self.processors.pull_message.release_all();
        self.processors.pop.release_all();
        for server in self.servers.drain(..) {
            server.shutdown().await;
        }
        let (tables, store) = (Arc::clone(&self.tables), Arc::clone(&self.store));
        let delays = self.delays.clone();
        let transactions = Arc::clone(&self.transactions);
        let revive = self.revive.clone();
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(timers) = &delays.timers {
                timers.stop();
            }
            transactions.close();
            if let Some(revive) = revive {
                revive.close();
            }
            tables.save_all();
            save_schedule(&delays.schedule);
            let closed = store.close();
            if let Some(timers) = &delays.timers
                && closed.is_ok()
            {
                timers.save_last();
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

    fn spawn_tasks(&mut self) {
        let registration = Arc::clone(&self.registration);
        self.tasks.spawn(async move { registration.run().await });
        let registration = Arc::clone(&self.registration);
        self.tasks.spawn(async move { registration.follow_name_servers().await });
        self.tasks.spawn(Arc::clone(&self.processors.request_counters).log());
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(EXPIRE_PULLS_EVERY, move || {
            processors.pull_message.expire(Instant::now());
        }));
        let pop = Arc::clone(&self.processors.pop);
        self.tasks.spawn(every(EXPIRE_PULLS_EVERY, move || pop.tick(Instant::now())));
        let pop = Arc::clone(&self.processors.pop);
        self.tasks.spawn(every(CLEAN_POPS_EVERY, move || pop.clean()));
        if let Some(revive) = &self.revive {
            self.tasks.spawn(Arc::clone(revive).run());
        }
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(SCAN_CLIENTS_EVERY, move || processors.scan_clients()));
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(SCAN_BROADCASTS_EVERY, move || processors.scan_broadcasts()));
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(STOP_SLOW_GROUPS_EVERY, move || processors.stop_slow_groups()));
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(SAMPLE_TRAFFIC_EVERY, move || processors.sample_traffic()));
        let processors = Arc::clone(&self.processors);
        self.tasks.spawn(every(SAMPLE_TOPICS_EVERY, move || {
            let processors = Arc::clone(&processors);
            tokio::task::spawn_blocking(move || processors.sample_topics_and_groups());
        }));
        let schedule = Arc::clone(&self.delays.schedule);
        self.tasks.spawn(every(SAVE_SCHEDULE_EVERY, move || {
            let schedule = Arc::clone(&schedule);
            tokio::task::spawn_blocking(move || save_schedule(&schedule));
        }));
        self.tasks.spawn(Arc::clone(&self.delays.schedule).run());
        self.tasks.spawn(Arc::clone(&self.transactions).run());
        let transactions = Arc::clone(&self.transactions);
        self.tasks.spawn(every(TICK_TRANSACTIONS_EVERY, move || transactions.tick()));
        let transactions = Arc::clone(&self.transactions);
        self.tasks.spawn(every(self.save_transaction_metrics_every, move || {
            let transactions = Arc::clone(&transactions);
            tokio::task::spawn_blocking(move || transactions.save_metrics());
        }));
        let tables = Arc::clone(&self.tables);
        self.tasks.spawn(async move { tables.save_in_background().await });
    }
}

fn save_schedule(schedule: &ScheduleMessageService) {
    if let Err(error) = schedule.save_if_changed() {
        error!(%error, "progress of delay levels not saved");
    }
}

async fn every(period: Duration, work: impl Fn()) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        work();
    }
}

/// What speaks to the name servers.
fn client(config: &BrokerSettings) -> Result<RemotingClient, StartError> {
    if let Some(list) = &config.namesrv_addr
        && let Some(bad) = name_servers::split(list).iter().find(|one| !is_host_port(one))
    {
        return Err(StartError::Address {
            key: "namesrvAddr",
            value: list.clone(),
            reason: format!("{bad:?} is not host:port, as in 127.0.0.1:9876;192.168.0.1:9876"),
        });
    }
    let tls = config.use_tls.then(|| TlsClient::load_settings(&config.tls_config_file));
    let connect_timeout = config.connect_timeout_millis.max(1).unsigned_abs();
    Ok(RemotingClient::new(RemotingClientConfig {
        connect_timeout: Duration::from_millis(connect_timeout.into()),
        tls: tls.transpose()?.map(Arc::new),
        max_idle: Duration::from_secs(config.client_channel_max_idle_time_seconds.max(1).into()),
        close_on_timeout: config.client_close_socket_if_timeout,
        reconnect_for_go_away: config.enable_reconnect_for_go_away,
    }))
}

/// Binds the main port, and the fast one two below unless that would be none.
fn bind(config: &BrokerSettings) -> Result<(Listener, Option<Listener>), StartError> {
    let host = parse_ip(&config.bind_address).ok_or_else(|| StartError::Address {
        key: "bindAddress",
        value: config.bind_address.clone(),
        reason: "not an IP address".to_owned(),
    })?;
    let listen = |port| {
        let address = SocketAddr::new(host, port);
        Listener::bind(address).map_err(|source| StartError::Listen { address, source })
    };
    let pair = || {
        let main = listen(config.listen_port)?;
        let fast =
            main.local_addr().port().checked_sub(FAST_PORT_DISTANCE).filter(|port| *port > 0);
        let fast = fast.map(listen).transpose()?;
        Ok((main, fast))
    };
    let mut bound = pair();
    if config.listen_port == 0 {
        for _ in 1..PORT_ATTEMPTS {
            if bound.is_ok() {
                break;
            }
            bound = pair();
        }
    }
    bound
}

/// The address that stands in records and message ids.
async fn advertised_ip(config: &BrokerSettings) -> Result<IpAddr, StartError> {
    let unusable = |reason: String| StartError::Address {
        key: "brokerIP1",
        value: config.broker_ip1.clone(),
        reason,
    };
    if let Some(ip) = parse_ip(&config.broker_ip1) {
        return Ok(ip);
    }
    let found = tokio::net::lookup_host((config.broker_ip1.as_str(), config.listen_port))
        .await
        .map_err(|error| unusable(error.to_string()))?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| unusable("no such host".to_owned()))
}

/// Has the store use the kind of queues that the topic's attributes ask for.
fn use_queues_of(topic: &TopicConfig, store: &MessageStore) {
    if topic.attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == BATCH_QUEUES) {
        store.use_batch_queues(&topic.topic_name);
    }
}

async fn open_store(config: StoreConfig) -> Result<Arc<MessageStore>, StartError> {
    let root = config.store_path_root_dir.clone();
    let opened = tokio::task::spawn_blocking(move || MessageStore::open(config)).await;
    match opened {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(source)) => Err(StartError::Store { root, source }),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn open_timers(
    store: &Arc<MessageStore>,
    root: &Path,
) -> Result<Arc<TimerService>, StartError> {
    let (store, dir) = (Arc::clone(store), root.to_owned());
    let opened = tokio::task::spawn_blocking(move || TimerService::load(store, &dir)).await;
    match opened {
        Ok(Ok(timers)) => Ok(Arc::new(timers)),
        Ok(Err(source)) => Err(StartError::Store { root: root.display().to_string(), source }),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn serve(
    config: &BrokerSettings,
    processors: &Arc<Processors>,
    main: Listener,
    fast: Option<Listener>,
    tls: &Tls,
) -> Vec<Server> {
    let start = |listener: Listener, fast_port| {
        let mut server = ServerConfig::new(listener.local_addr());
        server.max_idle = Duration::from_secs(config.server_channel_max_idle_time_seconds.into());
        server.tls = tls.clone();
        server.counters = Arc::clone(&processors.request_counters);
        let service = Dispatch { processors: Arc::clone(processors), fast_port };
        Server::serve(listener, &server, Arc::new(service))
    };
    let mut servers = vec![start(main, false)];
    servers.extend(fast.map(|listener| start(listener, true)));
    servers
}
