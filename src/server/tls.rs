//! What the server's TLS listeners show and ask for.

use std::sync::Arc;

use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{AlertDescription, Error as Rustls, ServerConfig};

use crate::config::TlsFiles;
use crate::tls::{HTTP2, Pem, TlsError, fault_in_words, identity, provider};

/// A certificate with its key, and whom its clients must be vouched for by.
#[derive(Debug, Clone)]
pub struct Tls(pub(super) Arc<ServerConfig>);

impl Tls {
    /// Reads the files. They are not read again.
    pub fn read(files: &TlsFiles) -> Result<Tls, TlsError> {
        let authority = files.client_authority.as_ref().map(Pem::read).transpose()?;
        Tls::new(&Pem::read(&files.certificate)?, &Pem::read(&files.key)?, authority.as_ref())
    }

    /// Of a chain of certificates, the server's own first, and its key. With an authority, clients must show a
    /// certificate of it.
    pub fn new(certificate: &Pem, key: &Pem, client_authority: Option<&Pem>) -> Result<Tls, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.authorities()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is an authority"))
            }
        };
        let identity = SingleCertAndKey::from(identity(certificate, key)?);
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![HTTP2.into()];
        Ok(Tls(Arc::new(config)))
    }
}

/// Why a handshake came to nothing, in words for who looks after the server.
pub(super) fn reason(error: &std::io::Error) -> String {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>());
    match rustls {
        Some(Rustls::NoCertificatesPresented) => {
            "the client showed no certificate, and --tls-client-ca asks for one".into()
        }
        Some(Rustls::InvalidCertificate(fault)) => {
            format!("the client's certificate {}", fault_in_words(fault))
        }
        Some(Rustls::AlertReceived(AlertDescription::UnknownCA)) => {
            "the client does not trust the authority of this server's certificate".into()
        }
        Some(Rustls::AlertReceived(AlertDescription::CertificateExpired)) => {
            "the client says that this server's certificate has expired".into()
        }
        Some(Rustls::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        )) => "the client does not accept this server's certificate, perhaps since it is for another name"
            .into(),
        _ => error.to_string(),
    }
}
