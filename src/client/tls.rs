//! Whom a client trusts over TLS, and what it shows of itself.

use std::sync::Arc;

use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::ClientError;
use super::target::Target;
use super::trouble::Trouble;
use crate::tls::{HTTP2, Pem, TlsError, identity, provider};

/// How a client of an `https://` URL tells the server, and says who it is. Without more it trusts the authorities that
/// this machine trusts, and shows nothing.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<CertifiedKey>>,
    server_name: Option<String>,
}

/// What a connection is made with.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

impl Tls {
    /// Trusts the authorities whose certificates these are, and no others.
    pub fn with_authorities(self, certificates: &Pem) -> Result<Tls, TlsError> {
        Ok(Tls { authorities: Some(Arc::new(certificates.authorities()?)), ..self })
    }

    /// Shows a certificate to servers that ask for one; after it may stand those that lead to its authority.
    pub fn with_identity(self, certificate: &Pem, key: &Pem) -> Result<Tls, TlsError> {
        Ok(Tls { identity: Some(Arc::new(identity(certificate, key)?)), ..self })
    }

    /// Expects the server's certificate to be for this name, and not for the host of the URL.
    #[must_use]
    pub fn with_server_name(self, name: impl Into<String>) -> Tls {
        Tls { server_name: Some(name.into()), ..self }
    }

    /// Whether nothing was set.
    pub(super) fn is_default(&self) -> bool {
        self.authorities.is_none() && self.identity.is_none() && self.server_name.is_none()
    }

    /// What a connection to that target takes: nothing if it is one without TLS.
    pub(super) fn handshake(&self, target: &Target) -> Result<Option<Handshake>, ClientError> {
        let Some(host) = target.host() else {
            let plain = matches!(target, Target::Plain { .. });
            let other = if plain { "; write https://HOST:PORT for TLS" } else { "" };
            return match self.is_default() {
                true => Ok(None),
                false => Err(ClientError::Url {
                    url: target.url(),
                    reason: format!(
                        "certificates and names are for TLS, which this connection has not{other}"
                    ),
                }),
            };
        };
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_string()).map_err(|_| ClientError::Url {
            url: target.url(),
            reason: format!(
                "a certificate can't be for '{name}', which is neither a host's name nor an IP address"
            ),
        })?;
        let failed = |trouble: Trouble| ClientError::Tls { url: target.url(), reason: trouble.to_string() };
        let authorities = match &self.authorities {
            Some(authorities) => Arc::clone(authorities),
            None => Arc::new(of_this_machine().map_err(failed)?),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(authorities);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let shown: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(Arc::clone(identity)));
                builder.with_client_cert_resolver(shown)
            }
        };
        config.alpn_protocols = vec![HTTP2.into()];
        Ok(Some(Handshake { config: Arc::new(config), name }))
    }
}

/// The authorities that this machine trusts.
fn of_this_machine() -> Result<RootCertStore, Trouble> {
    let mut authorities = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some machines have authorities of a kind that nobody can use any more.
    authorities.add_parsable_certificates(found.certs);
    match (authorities.is_empty(), found.errors.first()) {
        (false, _) => Ok(authorities),
        (true, why) => Err(Trouble::no_authorities(why.map(ToString::to_string))),
    }
}
