//! The official Java client over TLS, with certificates that openssl makes.

// Trouble has one answer here: the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use oxmq_compat_tests::server::{Kind, Setup};
use oxmq_compat_tests::{Client, ClientKind, ServerUnderTest, ops, wait};

const COUNT: usize = 100;

/// A folder with an authority, and what it has signed.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let dir = authority.0.path();
        openssl(
            dir,
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        );
        authority.sign("server");
        authority.sign("client");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes `NAME.key` and `NAME.pem`, in place of older ones.
    fn sign(&self, name: &str) {
        let dir = self.0.path();
        fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        openssl(
            dir,
            &format!("req -newkey rsa:2048 -nodes -keyout new.key -out new.csr -subj /CN={name}"),
        );
        openssl(
            dir,
            "x509 -req -in new.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out new.pem -days 2 -extfile ext",
        );
        fs::rename(dir.join("new.key"), dir.join(format!("{name}.key"))).unwrap();
        fs::rename(dir.join("new.pem"), dir.join(format!("{name}.pem"))).unwrap();
    }

    /// A `tls.properties` for one side, with more lines.
    fn properties(&self, side: &str, lines: &str) -> String {
        let file = self.path(&format!("{side}.properties"));
        let path = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "tls.test.mode.enable=false\ntls.{side}.certPath={}\ntls.{side}.keyPath={}\n\
             tls.{side}.trustCertPath={}\n{lines}",
            path(&format!("{side}.pem")),
            path(&format!("{side}.key")),
            path("ca.pem"),
        );
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }
}

fn openssl(dir: &Path, args: &str) {
    let output =
        Command::new("openssl").args(args.split(' ')).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Servers with this file; their plain-text peers are the broker and this test.
fn servers(file: &str, broker_mode: &str) -> Setup {
    let setup = ServerUnderTest::setup();
    match Kind::under_test() {
        Kind::Ours => setup
            .namesrv_conf("tls.config.file", file)
            .broker_conf("tls.config.file", file)
            .broker_conf("tls.server.mode", broker_mode),
        _ => setup
            .java_option(&format!("-Dtls.config.file={file}"))
            .broker_java_option(&format!("-Dtls.server.mode={broker_mode}")),
    }
}

fn tls_client(server: &ServerUnderTest, file: Option<&str>) -> Client {
    let mut options = vec!["-Dtls.enable=true".to_owned()];
    options.extend(file.map(|file| format!("-Dtls.config.file={file}")));
    Client::start_with(ClientKind::Java550, &server.namesrv_addr(), &options)
}

fn sends_and_receives(client: &mut Client, topic: &str) {
    assert_eq!(client.send("sync", topic, topic, COUNT).len(), COUNT);
    client.consume("c", topic, &format!("{topic}_group"));
    assert_eq!(client.await_received("c", COUNT).len(), COUNT);
}

#[test]
fn test_mode_takes_tls_and_plain_text_on_one_port() {
    let server = ServerUnderTest::start();
    ops::create_topic(&server, "tls_default", 4);
    sends_and_receives(&mut tls_client(&server, None), "tls_default");
    ops::create_topic(&server, "plain_default", 4);
    sends_and_receives(&mut Client::start(ClientKind::Java550, &server), "plain_default");
}

#[test]
fn permissive_server_shows_its_certificate_to_clients_that_check_it() {
    let authority = Authority::new();
    let server = servers(&authority.properties("server", ""), "permissive").start();
    ops::create_topic(&server, "tls_pem", 4);
    let file = authority.properties("client", "tls.client.authServer=true\n");
    sends_and_receives(&mut tls_client(&server, Some(&file)), "tls_pem");
    // A client that trusts another authority does not talk to it.
    let other = Authority::new();
    let file = other.properties("client", "tls.client.authServer=true\n");
    let args = [("mode", "sync"), ("topic", "tls_pem"), ("prefix", "x"), ("count", "1")];
    let sent = tls_client(&server, Some(&file)).try_run("send", &args);
    assert!(sent.is_err() || sent.unwrap()["sent"].as_array().unwrap().is_empty());
}

#[test]
fn enforcing_mutual_broker_takes_clients_with_a_certificate_and_no_others() {
    let authority = Authority::new();
    let path = |name: &str| authority.path(name).display().to_string();
    // The name server wants a certificate as well: of the reference's broker, which speaks TLS to it.
    let lines = format!(
        "tls.server.need.client.auth=require\ntls.server.authClient=true\n\
         tls.client.certPath={}\ntls.client.keyPath={}\ntls.client.trustCertPath={}\n",
        path("client.pem"),
        path("client.key"),
        path("ca.pem"),
    );
    let file = authority.properties("server", &lines);
    let server = servers(&file, "enforcing").start();
    let file = authority.properties("client", "tls.client.authServer=true\n");
    let mut client = tls_client(&server, Some(&file));
    sends_and_receives(&mut client, "tls_mutual");
    let args = [("mode", "sync"), ("topic", "tls_mutual"), ("prefix", "x"), ("count", "1")];
    for mut refused in [Client::start(ClientKind::Java550, &server), tls_client(&server, None)] {
        let sent = refused.try_run("send", &args);
        assert!(sent.is_err() || sent.unwrap()["sent"].as_array().unwrap().is_empty());
    }
}

#[test]
fn our_broker_registers_with_a_name_server_of_the_reference_that_enforces_tls() {
    let authority = Authority::new();
    let file = authority.properties("server", "");
    let enforcing = ServerUnderTest::setup()
        .kind(Kind::Reference)
        .java_option("-Dtls.server.mode=enforcing")
        .java_option(&format!("-Dtls.config.file={file}"))
        .without_broker()
        .start();
    // It also registers with a name server of its own, which is how this test knows that it is up.
    let client_file = authority.properties("client", "tls.client.authServer=true\n");
    let own_file = authority.path("own.properties");
    let both = [fs::read_to_string(&file).unwrap(), fs::read_to_string(&client_file).unwrap()];
    fs::write(&own_file, both.concat()).unwrap();
    let own_file = own_file.display().to_string();
    let broker = ServerUnderTest::setup()
        .kind(Kind::Ours)
        .namesrv_conf("tls.config.file", &own_file)
        .broker_conf("tls.config.file", &own_file)
        .broker_conf("useTLS", "true")
        .also_register_at(enforcing.namesrv_addr())
        .start();
    ops::create_topic(&broker, "tls_registered", 4);
    let options = ["-Dtls.enable=true".to_owned(), format!("-Dtls.config.file={client_file}")];
    let addr = enforcing.namesrv_addr();
    let mut client = Client::start_with(ClientKind::Java550, &addr, &options);
    sends_and_receives(&mut client, "tls_registered");
}

#[test]
fn certificate_is_loaded_again_under_load_without_a_failed_request() {
    let authority = Authority::new();
    let server = servers(&authority.properties("server", ""), "permissive").start();
    ops::create_topic(&server, "tls_reload", 4);
    let file = authority.properties("client", "tls.client.authServer=true\n");
    let mut client = tls_client(&server, Some(&file));
    let mut sent = client.send("sync", "tls_reload", "before", COUNT).len();
    for round in 0..2 {
        let old = shown(&server, &authority).expect("a certificate");
        authority.sign("server");
        let prefix = format!("round{round}");
        wait::until("the new certificate", Duration::from_secs(60), || {
            sent += client.send("sync", "tls_reload", &prefix, COUNT).len();
            let now = shown(&server, &authority).expect("no handshake may fail");
            (now != old).then_some(())
        });
    }
    sent += client.send("sync", "tls_reload", "after", COUNT).len();
    client.consume("c", "tls_reload", "tls_reload_group");
    assert_eq!(client.await_received("c", sent).len(), sent);
}

/// The certificate that a new connection to the broker is shown, once checked.
fn shown(server: &ServerUnderTest, authority: &Authority) -> Option<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-verify_return_error", "-connect", &server.broker_addr(), "-CAfile"])
        .arg(authority.path("ca.pem"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (certificate, _) = rest.split_once("-----END CERTIFICATE-----")?;
    output.status.success().then(|| certificate.to_owned())
}
