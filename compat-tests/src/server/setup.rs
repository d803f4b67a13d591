//! What is started.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BOOT_LIMIT, BOOT_LINE, Kind, ServerUnderTest};
use crate::address_server::AddressServer;
use crate::ports;

/// What to start, before it is started.
pub struct Setup {
    pub(super) kind: Kind,
    pub(super) namesrv_kind: Kind,
    pub(super) more_namesrvs: Vec<String>,
    pub(super) joined: Option<String>,
    pub(super) address_server: Option<AddressServer>,
    pub(super) has_broker: bool,
    pub(super) broker_ip: String,
    pub(super) java_options: Vec<String>,
    pub(super) broker_java_options: Vec<String>,
    pub(super) broker_conf: Vec<(String, String)>,
    pub(super) namesrv_conf: Vec<(String, String)>,
    pub(super) store: Option<PathBuf>,
}

impl Setup {
    pub(super) fn of(kind: Kind) -> Self {
        Self {
            kind,
            namesrv_kind: kind,
            more_namesrvs: Vec::new(),
            joined: None,
            address_server: None,
            has_broker: true,
            broker_ip: "127.0.0.1".to_owned(),
            java_options: Vec::new(),
            broker_java_options: Vec::new(),
            broker_conf: Vec::new(),
            namesrv_conf: Vec::new(),
            store: None,
        }
    }

    /// Starts `kind` whatever `BROKER_UNDER_TEST` says.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        (self.kind, self.namesrv_kind) = (kind, kind);
        self
    }

    /// Starts a name server of this kind, whatever the broker's is.
    #[must_use]
    pub fn namesrv_kind(mut self, kind: Kind) -> Self {
        self.namesrv_kind = kind;
        self
    }

    /// Has the broker register with a name server that runs already, too.
    #[must_use]
    pub fn also_register_at(mut self, namesrv_addr: String) -> Self {
        self.more_namesrvs.push(namesrv_addr);
        self
    }

    /// Starts a broker called `name` alone: its name server is that of `first`.
    #[must_use]
    pub fn joining(mut self, first: &ServerUnderTest, name: &str) -> Self {
        self.joined = Some(first.namesrv_addr());
        self.broker_conf("brokerName", name)
    }

    /// Has the broker name this address to the name server, where a proxy stands before it; the
    /// broker itself is at 127.0.0.1 and leaves the address free.
    #[must_use]
    pub fn broker_ip(mut self, ip: &str) -> Self {
        ip.clone_into(&mut self.broker_ip);
        self.broker_conf("brokerIP1", ip)
            .broker_conf("brokerIP2", ip)
            .broker_conf("bindAddress", "127.0.0.1")
    }

    /// Adds an option for the JVM of servers of the reference.
    #[must_use]
    pub fn java_option(mut self, option: &str) -> Self {
        self.java_options.push(option.to_owned());
        self
    }

    /// Adds an option for the JVM of a broker of the reference.
    #[must_use]
    pub fn broker_java_option(mut self, option: &str) -> Self {
        self.broker_java_options.push(option.to_owned());
        self
    }

    /// Has the broker ask this server for the name server instead of being told.
    #[must_use]
    pub fn address_server(mut self, server: &AddressServer) -> Self {
        self.address_server = Some(server.clone());
        self
    }

    /// Adds a line to `broker.conf`.
    #[must_use]
    pub fn broker_conf(mut self, key: &str, value: &str) -> Self {
        self.broker_conf.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line to `namesrv.conf`.
    #[must_use]
    pub fn namesrv_conf(mut self, key: &str, value: &str) -> Self {
        self.namesrv_conf.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts the name server alone.
    #[must_use]
    pub fn without_broker(mut self) -> Self {
        self.has_broker = false;
        self
    }

    /// Uses this folder as the store; whoever made it removes it.
    #[must_use]
    pub fn store(mut self, dir: &Path) -> Self {
        self.store = Some(dir.to_owned());
        self
    }

    /// Starts the servers and waits until the broker, if there is one, is known to the name server.
    #[must_use]
    pub fn start(self) -> ServerUnderTest {
        let root = tempfile::Builder::new().prefix("oxmq-compat-").tempdir().unwrap();
        let store = self.store.clone().unwrap_or_else(|| root.path().join("store"));
        for dir in [store.as_path(), &root.path().join("home")] {
            fs::create_dir_all(dir).unwrap();
        }
        let mut server = ServerUnderTest {
            setup: self,
            namesrv_port: ports::free_port(),
            broker_port: ports::free_broker_port(),
            store,
            namesrv: None,
            broker: None,
            root,
        };
        server.write_configs();
        // First the name server: a broker of the reference that finds none tries again after 10 s.
        if server.setup.joined.is_none() {
            let mut namesrv = server.spawn_namesrv();
            namesrv.wait_for_output(BOOT_LINE, BOOT_LIMIT);
            server.namesrv = Some(namesrv);
        }
        if let Some(address_server) = &server.setup.address_server {
            address_server.set(&server.namesrv_addr());
        }
        if server.setup.has_broker {
            server.broker = Some(server.spawn_broker());
        }
        server.wait_until_ready();
        server
    }
}
