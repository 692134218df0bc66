//! Why a client and a server don't come together over TLS, in words that say what to do.

use std::error::Error;
use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as Rustls};

use super::target::Target;
use crate::tls::{HANDSHAKE, TLS_FIRST, fault_in_words};

/// The reason, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(String);

/// A TLS alert, the first byte of what a server with TLS answers to who speaks without.
const ALERT: u8 = 0x15;

impl Trouble {
    /// What a server's first bytes say that is asked without TLS, if they are not HTTP/2's.
    pub fn in_plain(first: &[u8], target: &Target) -> Option<Trouble> {
        let alert = matches!(first, [ALERT, 3, ..]);
        if !alert && !first.starts_with(&TLS_FIRST) {
            return None;
        }
        Some(Trouble(match target {
            Target::Unix(_) => {
                "the server speaks TLS on this socket, and clients without TLS are all it can have".into()
            }
            target => format!("the server speaks TLS: use {}", target.url().replace("http://", "https://")),
        }))
    }

    /// What a server's first byte says that is asked for TLS, if it is not that of TLS.
    pub fn in_tls(first: &[u8], target: &Target) -> Option<Trouble> {
        let is_tls = matches!(first.first(), Some(&HANDSHAKE | &ALERT | 0x14 | 0x17));
        let plain = target.url().replace("https://", "http://");
        (!is_tls).then(|| Trouble(format!("the server does not speak TLS: use {plain}")))
    }

    pub fn no_authorities(why: Option<String>) -> Trouble {
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        Trouble(format!(
            "this machine names no certificate authorities{why}: give the server's with --tls-ca FILE"
        ))
    }

    pub fn no_word() -> Trouble {
        Trouble("the server hung up in the TLS handshake: perhaps it does not speak TLS".into())
    }

    /// What failed in TLS, if it was that.
    pub fn of(error: &io::Error) -> Option<Trouble> {
        let inner = error.get_ref()?;
        if let Some(trouble) = inner.downcast_ref::<Trouble>() {
            return Some(trouble.clone());
        }
        Some(Trouble(match inner.downcast_ref::<Rustls>()? {
            Rustls::InvalidCertificate(fault) => {
                format!("the server's certificate {}{}", fault_in_words(fault), advice(fault))
            }
            Rustls::AlertReceived(alert) => of_alert(*alert),
            Rustls::InvalidMessage(_) => "what the server sends is no TLS".into(),
            error => format!("TLS: {error}"),
        }))
    }

    /// The first cause that is one.
    pub fn among(error: &(dyn Error + 'static)) -> Option<Trouble> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let as_io = error.downcast_ref::<io::Error>().and_then(Trouble::of);
            if let Some(trouble) = as_io.or_else(|| error.downcast_ref::<Trouble>().cloned()) {
                return Some(trouble);
            }
            cause = error.source();
        }
        None
    }
}

fn advice(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ": give its authority's certificate with --tls-ca FILE"
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            ": use a name that it is for, or give one with --tls-server-name NAME"
        }
        _ => "",
    }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server asks its clients for a certificate: give one with --tls-cert FILE and --tls-key FILE".into()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the server does not accept this client's certificate: it must be of an authority that the server was given"
                .into()
        }
        AlertDescription::CertificateExpired => {
            "the server does not accept this client's certificate, which has expired".into()
        }
        AlertDescription::HandshakeFailure => {
            "the server refused the TLS handshake: perhaps it asks its clients for a certificate (--tls-cert and \
             --tls-key)"
                .into()
        }
        AlertDescription::NoApplicationProtocol => "the server speaks TLS, and no HTTP/2 in it".into(),
        alert => format!("the server ended TLS with the alert {alert:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_what_is_told_from_the_first_bytes() {
        let plain = Target::parse("http://h:1").expect("a URL");
        let tls = Target::parse("https://h:1").expect("a URL");
        let said = |trouble: Option<Trouble>| trouble.map(|trouble| trouble.to_string());
        let speaks = Some("the server speaks TLS: use https://h:1".to_string());
        assert_eq!(said(Trouble::in_plain(b"\x15\x03\x03\0\x02\x02\x46", &plain)), speaks);
        assert_eq!(said(Trouble::in_plain(&TLS_FIRST, &plain)), speaks);
        assert_eq!(Trouble::in_plain(b"\0\0\x12\x04\0\0\0\0\0", &plain), None);
        let speaks_not = Some("the server does not speak TLS: use http://h:1".to_string());
        assert_eq!(said(Trouble::in_tls(b"\0\0\x12\x04\0\0\0\0\0", &tls)), speaks_not);
        assert_eq!(Trouble::in_tls(b"\x16\x03\x03", &tls), None);
    }
}
