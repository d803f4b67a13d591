//! The state behind the requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use crate::config::NamesrvConfig;
use crate::durable_file;
use crate::error::RequestError;
use crate::kv_config::KvConfigManager;
use crate::route_askers::RouteAskers;
use crate::route_info::{MinBrokerIdChange, RouteInfoManager};
use crate::sync::{lock, read, write};

/// Tells brokers that another one is to act for their group.
pub(crate) type Notifier = Box<dyn Fn(MinBrokerIdChange) + Send + Sync>;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The connection's number: brokers are removed with the connection that they registered on.
    pub(crate) connection: u64,
    pub(crate) peer: SocketAddr,
    /// The address of ours that it came in on.
    pub(crate) local: SocketAddr,
}

/// Everything a name server knows, without sockets and threads.
pub(crate) struct NameServer {
    pub(crate) route_info: RouteInfoManager,
    pub(crate) route_askers: RouteAskers,
    pub(crate) kv_config: KvConfigManager,
    pub(crate) started: Instant,
    settings: RwLock<Arc<NamesrvConfig>>,
    /// Held while settings change, so that two changes do not undo each other.
    changing: Mutex<()>,
    notifier: Notifier,
}

impl NameServer {
    pub(crate) fn new(
        settings: NamesrvConfig,
        kv_config: KvConfigManager,
        notifier: Notifier,
        started: Instant,
    ) -> Self {
        Self {
            route_info: RouteInfoManager::default(),
            route_askers: RouteAskers::default(),
            kv_config,
            started,
            settings: RwLock::new(Arc::new(settings)),
            changing: Mutex::default(),
            notifier,
        }
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> Arc<NamesrvConfig> {
        Arc::clone(&read(&self.settings))
    }

    /// Changes settings and keeps them, or does neither.
    pub(crate) fn change_settings(
        &self,
        change: impl FnOnce(&mut NamesrvConfig) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let _changing = lock(&self.changing);
        let mut settings = NamesrvConfig::clone(&self.settings());
        change(&mut settings)?;
        durable_file::replace(Path::new(&settings.config_store_path), settings.file().as_bytes())
            .map_err(RequestError::KeepConfig)?;
        *write(&self.settings) = Arc::new(settings);
        Ok(())
    }

    pub(crate) fn notify(&self, change: MinBrokerIdChange) {
        (self.notifier)(change);
    }
}
