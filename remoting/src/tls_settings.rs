//! The settings of TLS, in a file of their own as in the reference.
//!
//! Reference: `TlsSystemConfig`, `TlsHelper` (remoting), 5.5.0.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxmq_protocol::config::{self, ConfigError, ConfigValue};
use tracing::warn;

use crate::{ClientAuth, Tls, TlsClient, TlsClientFiles, TlsContext, TlsError, TlsFiles, TlsMode};

/// Where the reference looks for the settings.
pub const DEFAULT_TLS_CONFIG_FILE: &str = "/etc/rocketmq/tls.properties";

oxmq_protocol::config! {
    /// The keys of `tls.properties`.
    struct TlsSettings {
        /// A certificate made here; the other keys count once this is off.
        test_mode_enable: bool = "tls.test.mode.enable" | true,
        /// Whether clients show a certificate.
        need_client_auth: ClientAuth = "tls.server.need.client.auth" | ClientAuth::None,
        /// Private key, PEM.
        key_path: Option<String> = "tls.server.keyPath" | None,
        /// Password of the private key.
        key_password: Option<String> = "tls.server.keyPassword" | None,
        /// Chain of certificates, PEM.
        cert_path: Option<String> = "tls.server.certPath" | None,
        /// Whether clients' certificates are checked against `tls.server.trustCertPath`.
        auth_client: bool = "tls.server.authClient" | false,
        /// Certificates that clients' ones have to be signed by, PEM.
        trust_cert_path: Option<String> = "tls.server.trustCertPath" | None,
        /// Private key that is shown to servers, PEM.
        client_key_path: Option<String> = "tls.client.keyPath" | None,
        /// Password of that private key.
        client_key_password: Option<String> = "tls.client.keyPassword" | None,
        /// Chain of certificates that is shown to servers, PEM.
        client_cert_path: Option<String> = "tls.client.certPath" | None,
        /// Whether servers' certificates are checked against `tls.client.trustCertPath`.
        client_auth_server: bool = "tls.client.authServer" | false,
        /// Certificates that servers' ones have to be signed by, PEM.
        client_trust_cert_path: Option<String> = "tls.client.trustCertPath" | None,
    }
}

/// Settings that do not make a server that speaks TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsError {
    /// The file cannot be read or is not a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Key material that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A setting that another one needs, or that cannot be met.
    #[error("{file}: {reason}")]
    Setting {
        /// The file as the user named it.
        file: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl ConfigValue for TlsMode {
    const EXPECTED: &'static str = "disabled, permissive or enforcing";

    fn parse(text: &str) -> Option<Self> {
        [Self::Disabled, Self::Permissive, Self::Enforcing]
            .into_iter()
            .find(|mode| mode.print() == text)
    }

    fn print(&self) -> String {
        match self {
            Self::Disabled => "disabled",
            Self::Permissive => "permissive",
            Self::Enforcing => "enforcing",
        }
        .to_owned()
    }
}

impl ConfigValue for ClientAuth {
    const EXPECTED: &'static str = "none, optional or require";

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Optional, Self::Require].into_iter().find(|auth| auth.print() == text)
    }

    fn print(&self) -> String {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Require => "require",
        }
        .to_owned()
    }
}

impl Tls {
    /// Reads the settings in `file`. The default file may be missing.
    ///
    /// # Errors
    /// When the file or what it names cannot be used.
    pub fn load(mode: TlsMode, file: &str) -> Result<Self, TlsSettingsError> {
        let context = match mode {
            TlsMode::Disabled => None,
            TlsMode::Permissive | TlsMode::Enforcing => Some(Arc::new(context(file)?)),
        };
        Ok(Self { mode, context })
    }
}

impl TlsClient {
    /// Reads the settings of a client in `file`. The default file may be missing.
    ///
    /// # Errors
    /// When the file or what it names cannot be used.
    pub fn load_settings(file: &str) -> Result<Self, TlsSettingsError> {
        let settings = settings(file)?;
        let setting = |reason| TlsSettingsError::Setting { file: file.to_owned(), reason };
        if settings.test_mode_enable {
            return Ok(Self::load(&TlsClientFiles::default())?);
        }
        if settings.client_key_password.is_some() {
            return Err(setting("tls.client.keyPassword: encrypted keys are not supported"));
        }
        let own = match (settings.client_cert_path, settings.client_key_path) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            _ => return Err(setting("tls.client.certPath and tls.client.keyPath belong together")),
        };
        let trust_cert = match (settings.client_auth_server, settings.client_trust_cert_path) {
            (false, _) => None,
            (true, Some(trust)) => Some(PathBuf::from(trust)),
            (true, None) => {
                return Err(setting("tls.client.authServer needs tls.client.trustCertPath"));
            }
        };
        Ok(Self::load(&TlsClientFiles { own, trust_cert })?)
    }
}

/// Reads `file`; the default one may be missing, and is as if it were empty then.
fn settings(file: &str) -> Result<TlsSettings, TlsSettingsError> {
    if file == DEFAULT_TLS_CONFIG_FILE && !Path::new(file).exists() {
        return Ok(TlsSettings::default());
    }
    let text = std::fs::read(file)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    let mut settings = TlsSettings::default();
    for notice in config::apply(file, &text, &mut [&mut settings])? {
        warn!("{notice}");
    }
    Ok(settings)
}

fn context(file: &str) -> Result<TlsContext, TlsSettingsError> {
    let settings = settings(file)?;
    if settings.test_mode_enable {
        return Ok(TlsContext::self_signed());
    }
    let setting = |reason| TlsSettingsError::Setting { file: file.to_owned(), reason };
    if settings.key_password.is_some() {
        return Err(setting("tls.server.keyPassword: encrypted keys are not supported"));
    }
    let (Some(cert), Some(key)) = (settings.cert_path, settings.key_path) else {
        return Err(setting("tls.server.certPath and tls.server.keyPath are both needed"));
    };
    let client_auth = match (settings.need_client_auth, settings.auth_client) {
        (ClientAuth::None, _) => ClientAuth::None,
        (auth, true) => auth,
        (_, false) => {
            return Err(setting(
                "tls.server.need.client.auth without tls.server.authClient would take any certificate",
            ));
        }
    };
    Ok(TlsContext::load(TlsFiles {
        cert: PathBuf::from(cert),
        key: PathBuf::from(key),
        trust_cert: settings.trust_cert_path.map(PathBuf::from),
        client_auth,
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Tls, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tls.properties");
        std::fs::write(&file, text).unwrap();
        Tls::load(TlsMode::Permissive, &file.display().to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn test_mode_needs_nothing_else() {
        assert!(load("").unwrap().context.is_some());
        assert!(load("tls.server.certPath=/nowhere").unwrap().context.is_some());
        assert!(Tls::load(TlsMode::Disabled, "/nowhere").unwrap().context.is_none());
    }

    #[test]
    fn what_is_missing_or_cannot_be_met_is_named() {
        let off = "tls.test.mode.enable=false\n";
        for (text, reason) in [
            ("", "are both needed"),
            ("tls.server.certPath=/no.pem\ntls.server.keyPath=/no.key", "/no.key"),
            ("tls.server.keyPassword=x", "not supported"),
            (
                "tls.server.certPath=a\ntls.server.keyPath=b\ntls.server.need.client.auth=require",
                "would take any certificate",
            ),
            ("tls.server.need.client.auth=maybe", "none, optional or require"),
        ] {
            let error = load(&format!("{off}{text}")).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Tls::load(TlsMode::Enforcing, "/nowhere").is_err());
    }
}
