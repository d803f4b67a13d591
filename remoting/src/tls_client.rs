//! TLS towards other servers.
//!
//! Reference: `TlsHelper`, `NettyRemotingClient` (remoting), 5.5.0.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::tls::{TlsError, bad, certificates};

/// Where a client's key material is.
#[derive(Clone, Debug, Default)]
pub struct TlsClientFiles {
    /// Certificate and private key that are shown when the server asks, PEM.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Certificates that the server's one has to be signed by, PEM; `None` takes any server.
    pub trust_cert: Option<PathBuf>,
}

/// What a client needs to speak TLS.
#[derive(Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Loads the key material.
    ///
    /// # Errors
    /// When a file cannot be read or the parts do not fit together.
    pub fn load(files: &TlsClientFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            AnyName { trusted: trusted(files, &provider)?, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &files.own {
            Some((cert, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?;
                builder.with_client_auth_cert(certificates(cert)?, key)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// Begins a session on `stream`, and waits until both ends have agreed.
    pub(crate) async fn handshake(
        &self,
        stream: &TcpStream,
        host: &str,
    ) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut tls =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() || tls.wants_write() {
            let interest = if tls.wants_write() { Interest::WRITABLE } else { Interest::READABLE };
            stream.ready(interest).await?;
            let moved = if interest.is_writable() {
                tls.write_tls(&mut Ready(stream))
            } else {
                tls.read_tls(&mut Ready(stream))
            };
            match moved {
                Ok(0) if interest.is_readable() => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tls)
    }
}

/// What checks the server's certificate; `None` when none is checked.
fn trusted(
    files: &TlsClientFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsError> {
    let Some(trust) = &files.trust_cert else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(trust)? {
        roots.add(certificate)?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(Some)
        .map_err(|error| TlsError::Servers(error.to_string()))
}

/// Checks who has signed a certificate, and not for which name: servers are reached by addresses
/// that are in no certificate, and the reference does not look at the name either.
#[derive(Debug)]
struct AnyName {
    trusted: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            trusted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The socket as a reader and writer that does not wait.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(room)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
