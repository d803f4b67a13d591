//! The server under test: a name server and a broker from their real binaries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::address_server::AddressServer;
use crate::process::Process;
use crate::{artifacts, ops, ports, wait};

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

/// What to start, before it is started.
pub struct Setup {
    kind: Kind,
    namesrv_kind: Kind,
    more_namesrvs: Vec<String>,
    joined: Option<String>,
    address_server: Option<AddressServer>,
    has_broker: bool,
    broker_ip: String,
    java_options: Vec<String>,
    broker_java_options: Vec<String>,
    broker_conf: Vec<(String, String)>,
    namesrv_conf: Vec<(String, String)>,
    store: Option<PathBuf>,
}

impl Setup {
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
        let store = self.store.unwrap_or_else(|| root.path().join("store"));
        for dir in [store.as_path(), &root.path().join("home")] {
            fs::create_dir_all(dir).unwrap();
        }
        let mut server = ServerUnderTest {
            address_server: self.address_server,
            kind: self.kind,
            namesrv_kind: self.namesrv_kind,
            more_namesrvs: self.more_namesrvs,
            joined: self.joined,
            namesrv_port: ports::free_port(),
            broker_port: ports::free_broker_port(),
            broker_ip: self.broker_ip,
            java_options: self.java_options,
            broker_java_options: self.broker_java_options,
            broker_conf: self.broker_conf,
            namesrv_conf: self.namesrv_conf,
            store,
            namesrv: None,
            broker: None,
            root,
        };
        server.write_configs();
        // First the name server: a broker of the reference that finds none tries again after 10 s.
        if server.joined.is_none() {
            let mut namesrv = server.spawn_namesrv();
            namesrv.wait_for_output(BOOT_LINE, BOOT_LIMIT);
            server.namesrv = Some(namesrv);
        }
        if let Some(address_server) = &server.address_server {
            address_server.set(&server.namesrv_addr());
        }
        if self.has_broker {
            server.broker = Some(server.spawn_broker());
        }
        server.wait_until_ready();
        server
    }
}

/// A running name server and broker. Both die with it.
pub struct ServerUnderTest {
    address_server: Option<AddressServer>,
    kind: Kind,
    namesrv_kind: Kind,
    more_namesrvs: Vec<String>,
    joined: Option<String>,
    namesrv_port: u16,
    broker_port: u16,
    broker_ip: String,
    java_options: Vec<String>,
    broker_java_options: Vec<String>,
    broker_conf: Vec<(String, String)>,
    namesrv_conf: Vec<(String, String)>,
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
        let kind = Kind::under_test();
        Setup {
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
        self.kind
    }

    /// `host:port` of the name server.
    #[must_use]
    pub fn namesrv_addr(&self) -> String {
        self.joined.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.namesrv_port))
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn broker_addr(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port)
    }

    /// `host:port` of the broker as the name server tells it.
    #[must_use]
    pub fn advertised_addr(&self) -> String {
        format!("{}:{}", self.broker_ip, self.broker_port)
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
        self.broker_conf.retain(|(known, _)| known != key);
        self.broker_conf.push((key.to_owned(), value.to_owned()));
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

    fn write_configs(&self) {
        let mut namesrv = format!("listenPort={}\n", self.namesrv_port);
        for (key, value) in &self.namesrv_conf {
            namesrv.push_str(&format!("{key}={value}\n"));
        }
        fs::write(self.root.path().join("namesrv.conf"), namesrv).unwrap();
        let store = self.store.display();
        let mut broker = format!(
            "brokerClusterName={CLUSTER_NAME}\nbrokerName={BROKER_NAME}\nbrokerId=0\n\
             brokerIP1=127.0.0.1\nlistenPort={}\n\
             storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n",
            self.broker_port,
        );
        broker.push_str(&match &self.address_server {
            None => format!("namesrvAddr={}\n", self.namesrv_addr()),
            Some(server) => format!(
                "fetchNamesrvAddrByAddressServer=true\nfetchNamesrvAddrInterval=500\n\
                 rmqAddressServerDomain={}\nrmqAddressServerSubGroup={}\n",
                server.address(),
                AddressServer::SUB_GROUP,
            ),
        });
        for (key, value) in &self.broker_conf {
            broker.push_str(&format!("{key}={value}\n"));
        }
        fs::write(self.root.path().join("broker.conf"), broker).unwrap();
    }

    fn spawn_namesrv(&self) -> Process {
        let mut command = self.program(
            self.namesrv_kind,
            "namesrv",
            "org.apache.rocketmq.namesrv.NamesrvStartup",
            "256m",
        );
        command.arg("-c").arg(self.root.path().join("namesrv.conf"));
        self.spawn("namesrv", &command)
    }

    fn spawn_broker(&self) -> Process {
        let mut command =
            self.program(self.kind, "broker", "org.apache.rocketmq.broker.BrokerStartup", "768m");
        command.arg("-c").arg(self.root.path().join("broker.conf"));
        if self.address_server.is_none() {
            let mut namesrvs = self.more_namesrvs.clone();
            namesrvs.push(self.namesrv_addr());
            command.arg("-n").arg(namesrvs.join(";"));
        }
        self.spawn("broker", &command)
    }

    /// The command line up to the flags, which are the same for both kinds.
    fn program(&self, kind: Kind, subcommand: &str, main_class: &str, heap: &str) -> Command {
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(artifacts::oxmq());
                command.arg(subcommand);
                command
            }
            Kind::Reference => {
                self.java_program(artifacts::REFERENCE_JARS.to_owned(), main_class, heap)
            }
            Kind::Older(version) => {
                self.java_program(artifacts::older_jars(version), main_class, heap)
            }
        };
        // Nothing that the caller has set may change what is under test.
        for key in ["NAMESRV_ADDR", "ROCKETMQ_SERIALIZE_TYPE", "JAVA_TOOL_OPTIONS"] {
            command.env_remove(key);
        }
        command.env("HOME", self.root.path()).current_dir(self.root.path());
        command
    }

    fn java_program(&self, jars: String, main_class: &str, heap: &str) -> Command {
        let home = self.root.path().join("home");
        // Servers before 5.0 reach into the Java runtime, and read these files from their home.
        fs::create_dir_all(home.join("conf")).unwrap();
        for part in ["namesrv", "broker"] {
            let file = home.join(format!("conf/logback_{part}.xml"));
            fs::write(file, "<configuration/>").unwrap();
        }
        let mut command = artifacts::java(self.root.path(), heap);
        command.args(&self.java_options);
        if main_class.ends_with("BrokerStartup") {
            command.args(&self.broker_java_options);
        }
        for package in ["java.nio", "jdk.internal.ref", "sun.nio.ch"] {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command.arg("-cp").arg(artifacts::class_path(&jars, None)).arg(main_class);
        command.env("ROCKETMQ_HOME", home);
        command
    }

    fn spawn(&self, name: &str, command: &Command) -> Process {
        Process::spawn(
            name,
            command,
            self.root.path(),
            &self.root.path().join(format!("{name}.log")),
        )
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
