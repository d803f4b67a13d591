//! The server under test: a name server and a broker from their real binaries.

mod launch;
mod setup;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

pub use self::setup::Setup;
use crate::process::Process;
use crate::{ops, wait};

/// A Java broker needs 3 to 6 s, and several times that on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// The reference flushes, and waits for its own timers, before it ends.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Printed by both servers, of both kinds, once they accept requests.
const BOOT_LINE: &str = "boot success";

/// The one broker's name.
pub const BROKER_NAME: &str = "broker-a";
/// The one cluster's name.
pub const CLUSTER_NAME: &str = "DefaultCluster";

/// Which implementation is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The `oxmq` binary of this clone.
    Ours,
    /// The official 5.5.0 servers.
    Reference,
    /// The official servers of an older release.
    Older(&'static str),
}

impl Kind {
    /// The kind that is not under test.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Ours => Self::Reference,
            Self::Reference | Self::Older(_) => Self::Ours,
        }
    }

    /// What `BROKER_UNDER_TEST` asks for.
    ///
    /// # Panics
    /// On any value but `ours` and `reference`: a typing error must not pass as a green run.
    #[must_use]
    pub fn under_test() -> Self {
        match std::env::var("BROKER_UNDER_TEST").as_deref() {
            Err(_) | Ok("" | "ours") => Self::Ours,
            Ok("reference") => Self::Reference,
            Ok(other) => panic!("BROKER_UNDER_TEST is ours or reference, not {other:?}"),
        }
    }
}

/// A running name server and broker. Both die with it.
pub struct ServerUnderTest {
    setup: Setup,
    namesrv_port: u16,
    broker_port: u16,
    store: PathBuf,
    namesrv: Option<Process>,
    broker: Option<Process>,
    // Last: removed after both processes are gone.
    root: TempDir,
}

impl ServerUnderTest {
    /// Describes a server of the kind under test.
    #[must_use]
    pub fn setup() -> Setup {
        Setup::of(Kind::under_test())
    }

    /// Starts the kind under test with an empty store.
    #[must_use]
    pub fn start() -> Self {
        Self::setup().start()
    }

    /// One server for all tests of a test binary, each with its own topics and groups.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ServerUnderTest> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Which implementation this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.setup.kind
    }

    /// `host:port` of the name server.
    #[must_use]
    pub fn namesrv_addr(&self) -> String {
        self.setup.joined.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.namesrv_port))
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn broker_addr(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port)
    }

    /// `host:port` of the broker as the name server tells it.
    #[must_use]
    pub fn advertised_addr(&self) -> String {
        format!("{}:{}", self.setup.broker_ip, self.broker_port)
    }

    /// `host:port` of the broker's second port, which old clients send to.
    #[must_use]
    pub fn vip_addr(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port - 2)
    }

    /// The folder that the broker keeps its files in.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.store
    }

    /// The home folder of the user that runs the servers.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.root.path()
    }

    /// The process id of the running broker.
    #[must_use]
    pub fn broker_pid(&self) -> u32 {
        self.broker.as_ref().expect("the broker runs").pid()
    }

    /// Kills the broker as a crash would.
    pub fn kill9(&mut self) {
        self.broker.take().expect("the broker runs").kill9();
    }

    /// Stops the broker cleanly (SIGTERM) and waits until it is gone.
    pub fn stop(&mut self) {
        self.broker.take().expect("the broker runs").stop(STOP_LIMIT);
    }

    /// Starts the broker again on the same store and ports.
    pub fn restart(&mut self) {
        assert!(self.broker.is_none(), "kill or stop the broker first");
        self.broker = Some(self.spawn_broker());
        self.wait_until_ready();
    }

    /// Starts the broker and kills it after `time`, wherever in its start it is by then.
    pub fn kill9_in_start(&mut self, time: Duration) {
        assert!(self.broker.is_none(), "kill or stop the broker first");
        let broker = self.spawn_broker();
        std::thread::sleep(time);
        broker.kill9();
    }

    /// Sets a line of `broker.conf` for the next start.
    pub fn configure(&mut self, key: &str, value: &str) {
        self.setup.broker_conf.retain(|(known, _)| known != key);
        self.setup.broker_conf.push((key.to_owned(), value.to_owned()));
        self.write_configs();
    }

    /// Kills the name server; the broker goes on with others, if it knows any.
    pub fn kill9_namesrv(&mut self) {
        self.namesrv.take().expect("the name server runs").kill9();
    }

    /// Kills the name server, which keeps nothing, and starts a new one in its place.
    pub fn restart_namesrv(&mut self) {
        self.kill9_namesrv();
        let mut namesrv = self.spawn_namesrv();
        namesrv.wait_for_output(BOOT_LINE, BOOT_LIMIT);
        self.namesrv = Some(namesrv);
    }

    fn wait_until_ready(&mut self) {
        let Some(broker) = self.broker.as_mut() else { return };
        broker.wait_for_output(BOOT_LINE, BOOT_LIMIT);
        let (namesrv, broker) = (self.namesrv_addr(), self.advertised_addr());
        wait::until("the broker in the name server's cluster table", BOOT_LIMIT, || {
            ops::cluster_info(&namesrv).filter(|body| body.contains(&broker))
        });
    }
}

impl Drop for ServerUnderTest {
    fn drop(&mut self) {
        if std::env::var_os("OXMQ_COMPAT_KEEP").is_some() {
            self.root.disable_cleanup(true);
            eprintln!("kept: {}", self.root.path().display());
        }
    }
}
