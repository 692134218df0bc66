//! What TLS takes on both sides: certificates and keys out of PEM files, and words for what is wrong with one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, Error as Rustls, InconsistentKeys, RootCertStore};

/// HTTP/2, as it is named in a TLS handshake.
pub(crate) const HTTP2: &[u8] = b"h2";

/// The first byte of what a TLS client sends: a record of the handshake.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// HTTP/2's SETTINGS of a server that wants TLS first: with a setting that nobody but this library's client knows, and
/// that others have to ignore.
pub(crate) const TLS_FIRST: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0xf5, 0x75, 0, 0, 0, 1];

/// HTTP/2's GOAWAY, with a word as its debug data, which gRPC's clients show. It says that the connection is not secured
/// as it has to be, and that no call on it was looked at.
pub(crate) fn goaway(word: &str) -> Vec<u8> {
    const LAST_STREAM: [u8; 4] = [0; 4];
    const INADEQUATE_SECURITY: [u8; 4] = [0, 0, 0, 0xc];
    let length = (8 + word.len()) as u8;
    let header = [0, 0, length, 7, 0, 0, 0, 0, 0];
    [&header[..], &LAST_STREAM, &INADEQUATE_SECURITY, word.as_bytes()].concat()
}

/// A file in PEM form, or what would stand in one.
#[derive(Clone)]
pub struct Pem {
    name: String,
    bytes: Vec<u8>,
}

/// What is wrong with the files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file that can't be opened or read.
    #[error("{file} can't be read: {reason}")]
    Unreadable {
        /// Which.
        file: String,
        /// The operating system's reason.
        reason: String,
    },
    /// A file that is to hold certificates and has none.
    #[error("{file} has no certificate: it should have -----BEGIN CERTIFICATE-----, as PEM files do")]
    NoCertificate {
        /// Which.
        file: String,
    },
    /// A file that is to hold a key and has none.
    #[error(
        "{file} has no private key: it should have -----BEGIN PRIVATE KEY-----, or RSA or EC before PRIVATE, \
         as PEM files do"
    )]
    NoKey {
        /// Which.
        file: String,
    },
    /// A key that only its passphrase opens.
    #[error(
        "the key in {file} is encrypted: write it without its passphrase, with openssl pkey -in {file} -out FILE"
    )]
    EncryptedKey {
        /// Where.
        file: String,
    },
    /// A file that is damaged, or a key or certificate that can't be used.
    #[error("{file} can't be used: {reason}")]
    Unusable {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {key} is not that of the first certificate in {certificate}")]
    OtherKey {
        /// Where the key is.
        key: String,
        /// Where the certificate is.
        certificate: String,
    },
}

impl Pem {
    /// Reads a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Pem, TlsError> {
        let name = path.as_ref().display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Ok(Pem { name, bytes }),
            Err(error) => Err(TlsError::Unreadable { file: name, reason: error.to_string() }),
        }
    }

    /// What is no file; errors call it `name`.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Pem {
        Pem { name: name.into(), bytes: bytes.into() }
    }

    fn unusable(&self, reason: impl fmt::Display) -> TlsError {
        TlsError::Unusable { file: self.name.clone(), reason: reason.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if found.is_empty() => Err(TlsError::NoCertificate { file: self.name.clone() }),
            found => found.map_err(|error| self.unusable(error)),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let encrypted = || {
            let text = String::from_utf8_lossy(&self.bytes);
            text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
        };
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            _ if encrypted() => Err(TlsError::EncryptedKey { file: self.name.clone() }),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey { file: self.name.clone() }),
            key => key.map_err(|error| self.unusable(error)),
        }
    }

    /// The authorities whose certificates these are.
    pub(crate) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut authorities = RootCertStore::empty();
        for certificate in self.certificates()? {
            authorities.add(certificate).map_err(|error| self.unusable(in_words(&error)))?;
        }
        Ok(authorities)
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a key consists of has no place in a log.
        f.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A chain of certificates, the own one first, with the key of that one.
pub(crate) fn identity(certificate: &Pem, key: &Pem) -> Result<CertifiedKey, TlsError> {
    let chain = certificate.certificates()?;
    let signing = ring::sign::any_supported_type(&key.key()?).map_err(|error| key.unusable(error))?;
    let identity = CertifiedKey::new(chain, signing);
    match identity.keys_match() {
        Ok(()) | Err(Rustls::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(Rustls::InconsistentKeys(_)) => {
            Err(TlsError::OtherKey { key: key.name.clone(), certificate: certificate.name.clone() })
        }
        Err(error) => Err(certificate.unusable(in_words(&error))),
    }
}

/// The cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn in_words(error: &Rustls) -> String {
    match error {
        Rustls::InvalidCertificate(fault) => format!("the certificate {}", fault_in_words(fault)),
        error => error.to_string(),
    }
}

/// What is wrong with a certificate; goes on after "the certificate".
pub(crate) fn fault_in_words(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: look at the clocks of both machines".into()
        }
        CertificateError::UnknownIssuer => "is of an authority that is not trusted here".into(),
        CertificateError::BadSignature => "was signed by another authority of the same name".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = match expected {
                ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
                name => name.to_str().into_owned(),
            };
            format!("is not for {expected}, but for {}", names(presented))
        }
        CertificateError::NotValidForName => "is for another name".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not meant for this side of a connection (its extendedKeyUsage says so)".into()
        }
        CertificateError::Other(other) => match other.to_string() {
            said if said.contains("UnsupportedCertVersion") => {
                "is of X.509 version 1: make one with extensions, with openssl x509 -req ... -extfile FILE"
                    .into()
            }
            said if said.contains("CaUsedAsEndEntity") => {
                "is an authority's own: make one for the server, with openssl req -addext \
                 basicConstraints=critical,CA:FALSE, or sign one with it"
                    .into()
            }
            said => format!("is not accepted: {said}"),
        },
        fault => format!("is not accepted: {fault:?}"),
    }
}

fn names(presented: &[String]) -> String {
    // rustls shows a name as `DnsName("localhost")`.
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_string()
    };
    match presented.iter().map(bare).collect::<Vec<_>>().as_slice() {
        [] => "no name at all: it has no subjectAltName".into(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_named() {
        let empty = Pem::new("empty.pem", "");
        let said = empty.certificates().expect_err("nothing in it").to_string();
        assert!(said.starts_with("empty.pem has no certificate"), "{said}");
        assert!(matches!(empty.key(), Err(TlsError::NoKey { .. })));
        let encrypted = Pem::new(
            "k",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        assert!(matches!(encrypted.key(), Err(TlsError::EncryptedKey { .. })));
        assert!(matches!(Pem::read("/no/where"), Err(TlsError::Unreadable { .. })));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert!(!format!("{:?}", Pem::new("k", "secret")).contains("115"), "bytes of `secret`");
    }

    #[test]
    fn names_are_shown_bare() {
        let presented = ["DnsName(\"localhost\")".to_string(), "IpAddress(127.0.0.1)".to_string()];
        assert_eq!(names(&presented), "localhost, 127.0.0.1");
    }
}
