//! Configuration files and command lines of the servers.

use std::fs;
use std::process::Command;

use super::{BROKER_NAME, CLUSTER_NAME, Kind, ServerUnderTest};
use crate::address_server::AddressServer;
use crate::artifacts;
use crate::process::Process;

impl ServerUnderTest {
    pub(super) fn write_configs(&self) {
        let mut namesrv = format!("listenPort={}\n", self.namesrv_port);
        for (key, value) in &self.setup.namesrv_conf {
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
        broker.push_str(&match &self.setup.address_server {
            None => format!("namesrvAddr={}\n", self.namesrv_addr()),
            Some(server) => format!(
                "fetchNamesrvAddrByAddressServer=true\nfetchNamesrvAddrInterval=500\n\
                 rmqAddressServerDomain={}\nrmqAddressServerSubGroup={}\n",
                server.address(),
                AddressServer::SUB_GROUP,
            ),
        });
        for (key, value) in &self.setup.broker_conf {
            broker.push_str(&format!("{key}={value}\n"));
        }
        fs::write(self.root.path().join("broker.conf"), broker).unwrap();
    }

    pub(super) fn spawn_namesrv(&self) -> Process {
        let mut command = self.program(
            self.setup.namesrv_kind,
            "namesrv",
            "org.apache.rocketmq.namesrv.NamesrvStartup",
            "256m",
        );
        command.arg("-c").arg(self.root.path().join("namesrv.conf"));
        self.spawn("namesrv", &command)
    }

    pub(super) fn spawn_broker(&self) -> Process {
        let mut command = self.program(
            self.setup.kind,
            "broker",
            "org.apache.rocketmq.broker.BrokerStartup",
            "768m",
        );
        command.arg("-c").arg(self.root.path().join("broker.conf"));
        if self.setup.address_server.is_none() {
            let mut namesrvs = self.setup.more_namesrvs.clone();
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
        command.args(&self.setup.java_options);
        if main_class.ends_with("BrokerStartup") {
            command.args(&self.setup.broker_java_options);
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
}
