//! TLS beside plain connections on one port.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::frame;
use oxmq_remoting::{
    ClientAuth, Connection, RemotingClient, RemotingClientConfig, Reply, Server, ServerConfig,
    Service, Tls, TlsClient, TlsClientFiles, TlsContext, TlsFiles, TlsMode,
};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const DEADLINE: Duration = Duration::from_secs(10);

struct Echo;

impl Service for Echo {
    fn request(&self, _: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        let body = request.body;
        reply.write(ResponseCode::SUCCESS, None, |writer| writer.finish(body));
    }
}

/// An authority, and what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn write_pair(&self, dir: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn client(&self, identity: Option<(&Path, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((dir, name)) => {
                let cert = CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        })
    }
}

fn serve(mode: TlsMode, context: Option<Arc<TlsContext>>) -> Server {
    let mut config = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.tls = Tls { mode, context };
    Server::bind(&config, Arc::new(Echo)).unwrap()
}

fn context(dir: &Path, client_auth: ClientAuth, trust: Option<&str>) -> Arc<TlsContext> {
    let files = TlsFiles {
        cert: dir.join("server.pem"),
        key: dir.join("server.key"),
        trust_cert: trust.map(|name| dir.join(name)),
        client_auth,
    };
    Arc::new(TlsContext::load(files).unwrap())
}

fn plain(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn secure(server: &Server, config: &Arc<ClientConfig>) -> TlsStream {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), plain(server))
}

/// Sends a request and returns its answer's body; `None` when the connection is closed instead.
fn ask(stream: &mut (impl Read + Write), body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    RemotingCommand::request(RequestCode(1)).with_body(body.to_vec()).encode(&mut bytes);
    stream.write_all(&bytes).ok()?;
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer).ok()?;
    answer.resize(frame::total_bytes(&answer).unwrap().unwrap(), 0);
    stream.read_exact(&mut answer[4..]).ok()?;
    let (frame, _) = frame::split(&answer).unwrap().unwrap();
    Some(frame.body.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn permissive_port_serves_both() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write_pair(dir.path(), "server");
    let server = serve(TlsMode::Permissive, Some(context(dir.path(), ClientAuth::None, None)));
    let mut tls = secure(&server, &authority.client(None));
    for size in [0, 10, 3_000_000, 1] {
        let body = vec![7; size];
        assert_eq!(ask(&mut tls, &body), Some(body.clone()), "{size} bytes");
        assert_eq!(ask(&mut plain(&server), &body), Some(body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_client_speaks_tls_to_servers_that_it_trusts() {
    let (dir, authority, stranger) =
        (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let file = |name: &str| dir.path().join(name);
    authority.write_pair(dir.path(), "server");
    authority.write_pair(dir.path(), "client");
    std::fs::write(file("ca.pem"), authority.issuer.pem()).unwrap();
    std::fs::write(file("stranger.pem"), stranger.issuer.pem()).unwrap();
    let required = context(dir.path(), ClientAuth::Require, Some("ca.pem"));
    let server = serve(TlsMode::Enforcing, Some(required));
    let address = server.local_addr().to_string();
    let ask = async |files: Option<TlsClientFiles>, body: Vec<u8>| {
        let tls = files.map(|files| Arc::new(TlsClient::load(&files).unwrap()));
        let client =
            RemotingClient::new(RemotingClientConfig { tls, ..RemotingClientConfig::default() });
        let request = RemotingCommand::request(RequestCode(1)).with_body(body);
        client.invoke(&address, request, DEADLINE).await.map(|answer| answer.body.to_vec())
    };
    let own = Some((file("client.pem"), file("client.key")));
    let trusting = TlsClientFiles { own: own.clone(), trust_cert: Some(file("ca.pem")) };
    for size in [0, 10, 3_000_000] {
        let body = vec![7; size];
        assert_eq!(ask(Some(trusting.clone()), body.clone()).await.unwrap(), body, "{size} bytes");
    }
    // Whoever checks nothing is taken to mean it.
    let careless = TlsClientFiles { own: own.clone(), trust_cert: None };
    assert!(ask(Some(careless), vec![1]).await.is_ok());
    let strange = TlsClientFiles { own, trust_cert: Some(file("stranger.pem")) };
    let error = ask(Some(strange), vec![1]).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let nameless = TlsClientFiles { own: None, trust_cert: Some(file("ca.pem")) };
    assert!(ask(Some(nameless), vec![1]).await.is_err());
    assert!(ask(None, vec![1]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_port_closes_tls_and_enforcing_port_closes_plain() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write_pair(dir.path(), "server");
    let context = context(dir.path(), ClientAuth::None, None);
    let disabled = serve(TlsMode::Disabled, Some(Arc::clone(&context)));
    assert_eq!(ask(&mut secure(&disabled, &authority.client(None)), b"x"), None);
    assert!(ask(&mut plain(&disabled), b"x").is_some());
    let enforcing = serve(TlsMode::Enforcing, Some(context));
    assert!(ask(&mut secure(&enforcing, &authority.client(None)), b"x").is_some());
    assert_eq!(ask(&mut plain(&enforcing), b"x"), None);
    let without = serve(TlsMode::Permissive, None);
    assert_eq!(ask(&mut secure(&without, &authority.client(None)), b"x"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_certificate_is_asked_for_and_checked() {
    let (dir, authority, stranger) =
        (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    authority.write_pair(dir.path(), "server");
    authority.write_pair(dir.path(), "client");
    stranger.write_pair(dir.path(), "stranger");
    std::fs::write(dir.path().join("ca.pem"), authority.issuer.pem()).unwrap();
    let anonymous = authority.client(None);
    let known = authority.client(Some((dir.path(), "client")));
    let unknown = authority.client(Some((dir.path(), "stranger")));
    for (auth, anonymous_passes) in [(ClientAuth::Require, false), (ClientAuth::Optional, true)] {
        let context = context(dir.path(), auth, Some("ca.pem"));
        let server = serve(TlsMode::Permissive, Some(context));
        assert!(ask(&mut secure(&server, &known), b"x").is_some());
        assert_eq!(ask(&mut secure(&server, &unknown), b"x"), None);
        assert_eq!(ask(&mut secure(&server, &anonymous), b"x").is_some(), anonymous_passes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificate_is_followed_and_open_connections_stay() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    old.write_pair(dir.path(), "server");
    let context = context(dir.path(), ClientAuth::None, None);
    let server = serve(TlsMode::Permissive, Some(Arc::clone(&context)));
    let mut open = secure(&server, &old.client(None));
    assert!(ask(&mut open, b"before").is_some());

    // Half a change is no change.
    let pair = |name: &str| dir.path().join(name);
    new.write_pair(dir.path(), "next");
    std::fs::copy(pair("next.pem"), pair("server.pem")).unwrap();
    context.reload_if_changed();
    assert!(ask(&mut secure(&server, &old.client(None)), b"x").is_some());
    std::fs::copy(pair("next.key"), pair("server.key")).unwrap();

    let start = Instant::now();
    while ask(&mut secure(&server, &new.client(None)), b"x").is_none() {
        assert!(start.elapsed() < DEADLINE, "the new certificate is not used");
    }
    assert_eq!(ask(&mut secure(&server, &old.client(None)), b"x"), None);
    assert!(ask(&mut open, b"after").is_some());
}

#[test]
fn unusable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = |cert: &str| TlsFiles {
        cert: dir.path().join(cert),
        key: dir.path().join("server.key"),
        ..TlsFiles::default()
    };
    let error = TlsContext::load(files("none.pem")).unwrap_err().to_string();
    assert!(error.contains("server.key") || error.contains("none.pem"), "{error}");
    Authority::new().write_pair(dir.path(), "server");
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    let error = TlsContext::load(files("empty.pem")).unwrap_err().to_string();
    assert!(error.contains("empty.pem: there is no certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_behind_a_proxy_may_speak_tls_at_once_or_later() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write_pair(dir.path(), "server");
    let server = serve(TlsMode::Enforcing, Some(context(dir.path(), ClientAuth::None, None)));
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 10911\r\n";
    for in_one_piece in [true, false] {
        let mut stream = secure(&server, &authority.client(None));
        let mut first = header.to_vec();
        if in_one_piece {
            stream.conn.write_tls(&mut first).unwrap();
        }
        stream.sock.write_all(&first).unwrap();
        assert_eq!(ask(&mut stream, b"proxied").unwrap(), b"proxied");
    }
    let mut stream = plain(&server);
    stream.write_all(header).unwrap();
    assert!(ask(&mut stream, b"plain").is_none(), "TLS is enforced behind a proxy, too");
}
