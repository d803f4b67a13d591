//! Settings: keys and defaults are the reference's, and so is the file format.

mod change;
mod known;

use std::path::{Path, PathBuf};

use oxmq_protocol::config::{self, Checked, Config, ConfigError, Notice};
use oxmq_protocol::properties_file;
use oxmq_remoting::{DEFAULT_TLS_CONFIG_FILE, TlsMode};

pub(crate) use self::change::ChangeError;
pub use self::known::NO_EFFECT;
use crate::listeners::{ListenerNetworks, ListenerPorts};

oxmq_protocol::config! {
    /// Settings of a name server and its port.
    ///
    /// Reference: `NamesrvConfig` (common) and `NettyServerConfig` (remoting), 5.5.0.
    pub struct NamesrvConfig {
        /// Installation folder; nothing is read from it.
        rocketmq_home: Option<String> = "rocketmqHome" | None,
        /// File of the key-value settings.
        kv_config_path: String = "kvConfigPath" | under_home("kvConfig.json"),
        /// File that these settings are written to when changed over the wire.
        config_store_path: String = "configStorePath" | under_home("namesrv.properties"),
        /// Name of the environment that a cluster test falls back to.
        product_env_name: String = "productEnvName" | "center".to_owned(),
        /// Whether to answer route queries for tests of another environment.
        cluster_test: bool = "clusterTest" | false,
        /// Whether routes carry the order settings of their topic.
        order_message_enable: bool = "orderMessageEnable" | false,
        /// Whether registering brokers are told which topics are ordered.
        return_order_topic_config_to_broker: bool = "returnOrderTopicConfigToBroker" | true,
        /// See [`NO_EFFECT`].
        client_request_thread_pool_nums: i32 = "clientRequestThreadPoolNums" | 8,
        /// See [`NO_EFFECT`].
        default_thread_pool_nums: i32 = "defaultThreadPoolNums" | 16,
        /// See [`NO_EFFECT`].
        client_request_thread_pool_queue_capacity: i32 =
            "clientRequestThreadPoolQueueCapacity" | 50_000,
        /// See [`NO_EFFECT`].
        default_thread_pool_queue_capacity: i32 = "defaultThreadPoolQueueCapacity" | 10_000,
        /// Milliseconds between two looks for silent brokers.
        scan_not_active_broker_interval: u64 = "scanNotActiveBrokerInterval" | 5_000,
        /// Departures that may wait to be worked off.
        un_register_broker_queue_capacity: u32 = "unRegisterBrokerQueueCapacity" | 3_000,
        /// Whether routes show a slave as master where it stands in for one.
        support_acting_master: bool = "supportActingMaster" | false,
        /// Whether the list of all topics is given out.
        enable_all_topic_list: bool = "enableAllTopicList" | true,
        /// Whether the lists of topics by cluster and unit are given out.
        enable_topic_list: bool = "enableTopicList" | true,
        /// Whether brokers hear when another one is to act for their group.
        notify_min_broker_id_changed: bool = "notifyMinBrokerIdChanged" | false,
        /// Whether to run a controller in this process.
        enable_controller_in_namesrv: bool = "enableControllerInNamesrv" | false,
        /// Whether route queries are refused for a while after the start, until brokers registered.
        need_wait_for_service: bool = "needWaitForService" | false,
        /// Seconds of that while.
        wait_seconds_for_service: u64 = "waitSecondsForService" | 45,
        /// Whether topics that a full registration lacks are forgotten.
        delete_topic_with_broker_registration: bool = "deleteTopicWithBrokerRegistration" | false,
        /// Keys that may not be changed over the wire, beside the closed ones.
        config_black_list: String =
            "configBlackList" | "configBlackList;configStorePath;kvConfigPath".to_owned(),
        /// Port on which `GET /rocketmq/nsaddr` answers where the name servers are; unset serves
        /// nothing. Not a key of the reference.
        http_endpoint_port: Option<u16> = "httpEndpointPort" | None,
        /// What that answers, as `host:port;host:port`; unset is the address that it was reached
        /// by. Not a key of the reference.
        namesrv_addr: Option<String> = "namesrvAddr" | None,
        /// Further ports: who asks there is answered with the addresses that brokers advertise for
        /// the listener of that name. Not a key of the reference.
        listeners: ListenerPorts = "listeners" | ListenerPorts::default(),
        /// Networks whose clients are answered with the addresses of a listener, whatever port they
        /// ask on, unless the port has a listener itself. Not a key of the reference.
        listener_networks: ListenerNetworks =
            "listenerNetworks" | ListenerNetworks::default(),
        /// Address to listen on.
        bind_address: String = "bindAddress" | "0.0.0.0".to_owned(),
        /// Whether connections may or must be TLS. A property of the JVM in the reference.
        tls_server_mode: TlsMode = "tls.server.mode" | TlsMode::Permissive,
        /// File with the certificate and what else TLS needs. A property of the JVM in the reference.
        tls_config_file: String = "tls.config.file" | DEFAULT_TLS_CONFIG_FILE.to_owned(),
        /// Port; 0 lets the system choose.
        listen_port: u16 = "listenPort" | 9876,
        /// Seconds of silence after which a connection is closed; 0 is never.
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds" | 120,
        /// See [`NO_EFFECT`].
        server_worker_threads: i32 = "serverWorkerThreads" | 8,
        /// See [`NO_EFFECT`].
        server_callback_executor_threads: i32 = "serverCallbackExecutorThreads" | 0,
        /// See [`NO_EFFECT`].
        server_selector_threads: i32 = "serverSelectorThreads" | 3,
        /// See [`NO_EFFECT`].
        server_oneway_semaphore_value: i32 = "serverOnewaySemaphoreValue" | 256,
        /// See [`NO_EFFECT`].
        server_async_semaphore_value: i32 = "serverAsyncSemaphoreValue" | 64,
        /// See [`NO_EFFECT`].
        server_socket_snd_buf_size: i32 = "serverSocketSndBufSize" | 0,
        /// See [`NO_EFFECT`].
        server_socket_rcv_buf_size: i32 = "serverSocketRcvBufSize" | 0,
        /// See [`NO_EFFECT`].
        write_buffer_high_water_mark: i32 = "writeBufferHighWaterMark" | 0,
        /// See [`NO_EFFECT`].
        write_buffer_low_water_mark: i32 = "writeBufferLowWaterMark" | 0,
        /// See [`NO_EFFECT`].
        server_socket_backlog: i32 = "serverSocketBacklog" | 1_024,
        /// See [`NO_EFFECT`].
        server_netty_worker_group_enable: bool = "serverNettyWorkerGroupEnable" | true,
        /// See [`NO_EFFECT`].
        server_pooled_byte_buf_allocator_enable: bool =
            "serverPooledByteBufAllocatorEnable" | true,
        /// Whether newer clients are told to go elsewhere before the name server stops.
        enable_shutdown_gracefully: bool = "enableShutdownGracefully" | false,
        /// Seconds that they are given for it.
        shutdown_wait_time_seconds: u32 = "shutdownWaitTimeSeconds" | 30,
        /// See [`NO_EFFECT`].
        use_epoll_native_selector: bool = "useEpollNativeSelector" | false,
    }
}

/// A path below the user's home, as the reference has it.
fn under_home(file: &str) -> String {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join("namesrv").join(file).display().to_string()
}

impl NamesrvConfig {
    /// Reads the settings in `file` over the defaults. What is changed over the wire later goes to
    /// the same file, unless it names another.
    ///
    /// Returns one notice for each key in it that has no effect.
    ///
    /// # Errors
    /// When the file cannot be read or a value does not read as its type.
    pub fn load(file: &Path) -> Result<(Self, Vec<Notice>), ConfigError> {
        let (settings, checked) = Self::check(file)?;
        Ok((settings, checked.into_notices()?))
    }

    /// Does what [`NamesrvConfig::load`] does, past what would stop the start: returns all of it.
    ///
    /// # Errors
    /// When the file cannot be read as properties at all.
    pub fn check(file: &Path) -> Result<(Self, Checked), ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read(file)
            .map_err(|source| ConfigError::Read { file: name.clone(), source })?;
        let mut settings = Self { config_store_path: name.clone(), ..Self::default() };
        let checked = config::check(&name, &text, &mut [&mut settings], &known::RULES)?;
        Ok((settings, checked))
    }

    /// All settings as properties text, sorted by key.
    pub fn print(&self) -> String {
        config::print(&[self])
    }

    /// The settings that differ from the defaults, as the file that [`NamesrvConfig::load`] reads.
    /// The file's own place is not in it: that is where it is loaded from.
    pub(crate) fn file(&self) -> String {
        let defaults = Self::default();
        let mut text = String::new();
        for key in Self::KEYS.iter().filter(|key| **key != "configStorePath") {
            if let Some(value) =
                self.get(key).filter(|value| defaults.get(key).as_ref() != Some(value))
            {
                properties_file::write_entry(key, &value, &mut text);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::config::Setting;

    use super::change::CLOSED;
    use super::known::{OWN, REFUSED, reference_settings};
    use super::*;

    #[test]
    fn every_key_of_the_reference_is_known_with_its_default() {
        let settings = NamesrvConfig::default();
        let home = std::env::var("HOME").unwrap();
        for Setting { key, default, .. } in reference_settings() {
            let expected = default.replace("${user.home}", &home).replace("null", "");
            // The class default; the name server sets its own when it starts.
            let expected = if key == "listenPort" { "9876" } else { &expected };
            assert_eq!(settings.get(key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(reference_settings().count() + OWN.len(), NamesrvConfig::KEYS.len());
    }

    #[test]
    fn every_key_is_explained_and_the_refused_ones_are_refused_with_their_line() {
        let explained: Vec<_> = NamesrvConfig::explanations();
        let mut keys: Vec<_> = explained.iter().map(|explanation| explanation.key).collect();
        let mut expected = NamesrvConfig::KEYS.to_vec();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("namesrv.conf");
        for (key, reason) in REFUSED {
            std::fs::write(&file, format!("listenPort=1\n{key}=true\n")).unwrap();
            let error = NamesrvConfig::load(&file).unwrap_err().to_string();
            let end = format!("namesrv.conf:2: {key}=true is not supported: {reason}");
            assert!(error.ends_with(&end), "{error}");
            std::fs::write(&file, format!("{key}=false\n")).unwrap();
            assert!(NamesrvConfig::load(&file).is_ok());
        }
    }

    #[test]
    fn keys_without_effect_and_closed_keys_are_keys() {
        let listed = NO_EFFECT.iter().map(|(key, _)| key).chain(CLOSED);
        for key in listed {
            assert!(NamesrvConfig::KEYS.contains(key), "{key}");
        }
    }

    #[test]
    fn commented_file_holds_defaults_and_every_key_in_it_is_known() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/namesrv.conf");
        let (mut settings, notices) = NamesrvConfig::load(&file).unwrap();
        assert_eq!(notices, []);
        settings.config_store_path = NamesrvConfig::default().config_store_path;
        assert_eq!(settings, NamesrvConfig::default());

        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        let shown: Vec<_> = lines.filter(|line| line.contains('=')).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("namesrv.conf");
        std::fs::write(&file, shown.join("\n")).unwrap();
        let (settings, notices) = NamesrvConfig::load(&file).unwrap();
        assert_eq!(notices, []);
        for line in shown {
            let (key, value) = line.split_once('=').unwrap();
            assert_eq!(settings.get(key).as_deref(), Some(value));
            assert_ne!(NamesrvConfig::default().get(key).as_deref(), Some(value), "{key}");
        }
    }

    #[test]
    fn keys_with_a_path_an_address_or_a_port_are_closed() {
        for key in NamesrvConfig::KEYS {
            let words = ["path", "file", "home", "addr", "port"];
            let is_place = words.iter().any(|word| {
                let key = key.to_ascii_lowercase();
                key.ends_with(word) || key.ends_with("address")
            });
            assert!(!is_place || NamesrvConfig::default().is_closed(key), "{key}");
        }
    }

    #[test]
    fn file_sets_keys_and_becomes_where_changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("namesrv.conf");
        std::fs::write(
            &file,
            "listenPort = 9877\nsupportActingMaster=true\nlistenPrt=1\nuseTLS=true\n\
            listenPrt=2\nserverSelectorThreads=4\nbananas=1\n",
        )
        .unwrap();
        let (settings, notices) = NamesrvConfig::load(&file).unwrap();
        assert_eq!(settings.listen_port, 9877);
        assert!(settings.support_acting_master);
        assert_eq!(settings.config_store_path, file.display().to_string());
        let notices: Vec<_> =
            notices.iter().map(|notice| notice.to_string().replace(&notice.file, "conf")).collect();
        assert_eq!(
            notices,
            [
                "conf:3: there is no key listenPrt; did you mean listenPort?",
                "conf:4: useTLS has no effect here, because brokers are told without settings",
                "conf:6: serverSelectorThreads has no effect here, because requests are handled \
                 where they are read, not in pools of threads",
                "conf:7: there is no key bananas",
            ]
        );
        std::fs::write(&file, "listenPort = nine\n").unwrap();
        let error = NamesrvConfig::load(&file).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "namesrv.conf:1: listenPort must be a whole number from 0 to 65535, not \"nine\""
            ),
            "{error}"
        );
        assert!(NamesrvConfig::load(&folder.path().join("missing")).is_err());
    }
}
