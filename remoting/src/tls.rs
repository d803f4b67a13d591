//! TLS on the same port as plain connections.
//!
//! Reference: `TlsSystemConfig`, `TlsHelper`, `FileWatchService` (remoting, srvutil), 5.5.0.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, ServerConnection, WantsVerifier};
use tracing::{info, warn};

use crate::sync::lock;
use crate::sync::{read, write};

/// Who may connect how (`tls.server.mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain only: whoever begins a handshake is closed.
    Disabled,
    /// Plain and TLS, as the peer begins.
    #[default]
    Permissive,
    /// TLS only: whoever begins with a frame is closed.
    Enforcing,
}

/// Whether clients show a certificate (`tls.server.need.client.auth`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; a certificate that is shown has to be good.
    Optional,
    /// They have to.
    Require,
}

/// Where a server's key material is.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Chain of certificates, PEM, the server's own first.
    pub cert: PathBuf,
    /// Private key, PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
    /// Certificates that clients' ones have to be signed by, PEM.
    pub trust_cert: Option<PathBuf>,
    /// Whether clients show one.
    pub client_auth: ClientAuth,
}

/// Key material that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of its kind.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The parts do not fit together.
    #[error("certificate and key are not usable: {0}")]
    Material(#[from] rustls::Error),
    /// The certificates of servers cannot be checked.
    #[error("servers' certificates cannot be checked: {0}")]
    Servers(String),
    /// The certificates of clients cannot be checked.
    #[error("clients' certificates cannot be checked: {0}")]
    Clients(String),
}

/// What a server needs to speak TLS. It follows its files: connections that are open keep what they
/// began with.
#[derive(Debug)]
pub struct TlsContext {
    /// None is a certificate made here, for tests.
    files: Option<TlsFiles>,
    /// None until the first client asks for the certificate made here.
    current: RwLock<Option<Arc<ServerConfig>>>,
    seen: Mutex<Vec<Option<SystemTime>>>,
}

impl TlsContext {
    /// Loads the key material.
    ///
    /// # Errors
    /// When a file cannot be read or the parts do not fit together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // In this order: what changes while the files are read is loaded at the next look.
        let seen = Mutex::new(modification_times(&files));
        let current = RwLock::new(Some(Arc::new(server_config(&files)?)));
        Ok(Self { files: Some(files), current, seen })
    }

    /// A certificate of its own that nobody has signed, made when the first client asks for it:
    /// what the reference calls test mode, and its default.
    pub fn self_signed() -> Self {
        Self { files: None, current: RwLock::default(), seen: Mutex::default() }
    }

    /// Loads the files again if one of them has changed. What cannot be used is named in the log,
    /// and the material in use stays.
    pub fn reload_if_changed(&self) {
        let Some(files) = &self.files else { return };
        let now = modification_times(files);
        let mut seen = lock(&self.seen);
        if *seen == now {
            return;
        }
        match server_config(files) {
            Ok(config) => {
                *write(&self.current) = Some(Arc::new(config));
                *seen = now;
                info!(cert = %files.cert.display(), "certificate loaded again");
            }
            // Certificate and key are written one after the other: the next look finds both.
            Err(error) => warn!(%error, "changed certificate not loaded"),
        }
    }

    /// Begins a session.
    pub(crate) fn accept(&self) -> io::Result<ServerConnection> {
        let loaded = read(&self.current).clone();
        let config = match loaded {
            Some(config) => config,
            None => self.sign_own()?,
        };
        ServerConnection::new(config).map_err(io::Error::other)
    }

    #[cold]
    fn sign_own(&self) -> io::Result<Arc<ServerConfig>> {
        let mut current = write(&self.current);
        if let Some(config) = &*current {
            return Ok(Arc::clone(config));
        }
        let names = vec!["localhost".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key =
            PrivateKeyDer::try_from(own.signing_key.serialize_der()).map_err(io::Error::other)?;
        let config = builder()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        warn!("TLS with a certificate that nobody has signed: tls.test.mode.enable is on");
        Ok(Arc::clone(current.insert(Arc::new(config))))
    }
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn modification_times(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    [Some(&files.cert), Some(&files.key), files.trust_cert.as_ref()]
        .into_iter()
        .flatten()
        .map(|file| file.metadata().and_then(|metadata| metadata.modified()).ok())
        .collect()
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let builder = builder()?;
    let provider = Arc::clone(builder.crypto_provider());
    let builder = match (&files.trust_cert, files.client_auth) {
        (_, ClientAuth::None) => builder.with_no_client_auth(),
        (None, _) => {
            return Err(TlsError::Clients("there is no trust certificate".to_owned()));
        }
        (Some(trust), auth) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(trust)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                ClientAuth::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier =
                verifier.build().map_err(|error| TlsError::Clients(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad(&files.key, error))?;
    Ok(builder.with_single_cert(certificates(&files.cert)?, key)?)
}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(bad(file, "there is no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(bad(file, error)),
    }
}

pub(crate) fn bad(file: &Path, reason: impl ToString) -> TlsError {
    TlsError::File { file: file.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn file_that_changes_while_the_files_are_read_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let cert = dir.path().join("cert.pem");
        std::fs::write(&cert, own.cert.pem()).unwrap();
        let key = std::io::pipe().unwrap();
        let files = TlsFiles {
            cert: cert.clone(),
            key: format!("/proc/self/fd/{}", key.0.as_raw_fd()).into(),
            trust_cert: None,
            client_auth: ClientAuth::None,
        };
        let load = std::thread::spawn({
            let files = files.clone();
            move || TlsContext::load(files)
        });
        let (reader, mut writer) = key;
        // More than there is room for: once it is written, the key is being read.
        writer.write_all(&vec![b'\n'; 1 << 20]).unwrap();
        let changed = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&cert).unwrap().set_modified(changed).unwrap();
        writer.write_all(own.signing_key.serialize_pem().as_bytes()).unwrap();
        drop(writer);
        let context = load.join().unwrap().unwrap();
        assert_ne!(lock(&context.seen)[0], modification_times(&files)[0]);
        drop(reader);
    }
}
