//! Where a server is: what a user writes, and what a connection needs to know of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ClientError, DEFAULT_PORT, DEFAULT_URL};

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `http://HOST:PORT`.
    Plain { authority: String },
    /// `https://HOST:PORT`.
    Tls { authority: String },
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Target {
    pub fn parse(given: &str) -> Result<Target, ClientError> {
        let fail = |reason: &str| ClientError::Url { url: given.into(), reason: reason.into() };
        if let Some(path) = given.strip_prefix("unix:") {
            return match path.strip_prefix("//") {
                Some(path) if path.starts_with('/') => Ok(Target::Unix(path.into())),
                Some(_) => Err(fail("after unix:// comes an absolute path, as in unix:///run/x.sock")),
                None if path.is_empty() => Err(fail("there must be a socket's path after unix:")),
                None => Ok(Target::Unix(path.into())),
            };
        }
        match given.split_once("://") {
            None => Ok(Target::Plain { authority: authority(given).map_err(fail)? }),
            Some(("http", rest)) => Ok(Target::Plain { authority: authority(rest).map_err(fail)? }),
            Some(("https", rest)) => Ok(Target::Tls { authority: authority(rest).map_err(fail)? }),
            Some(_) => Err(fail("the scheme must be http, https or unix")),
        }
    }

    /// In full, as users see it.
    pub fn url(&self) -> String {
        match self {
            Target::Plain { authority } => format!("http://{authority}"),
            Target::Tls { authority } => format!("https://{authority}"),
            Target::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// What HTTP/2 names the server by.
    pub fn origin(&self) -> String {
        match self {
            Target::Unix(_) => "http://localhost".into(),
            target => target.url(),
        }
    }

    /// Where a TCP connection leads to, if it is one.
    pub fn place(&self) -> String {
        match self {
            Target::Plain { authority } | Target::Tls { authority } => format!("http://{authority}"),
            Target::Unix(_) => "http://localhost".into(),
        }
    }

    /// The host that a certificate has to be for.
    pub fn host(&self) -> Option<&str> {
        let Target::Tls { authority } = self else { return None };
        let (host, _port) = authority.rsplit_once(':')?;
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

/// What to type for a server at that URL, if it is to be on this machine.
pub fn start_command(url: &str) -> String {
    let on = |address: &str| match address.parse::<SocketAddr>() {
        Ok(_) if url != DEFAULT_URL => format!("frameserve-server --listen {address}"),
        _ => "frameserve-server".into(),
    };
    match url.split_once("://") {
        Some(("https", address)) => format!("{} --tls-cert FILE --tls-key FILE", on(address)),
        Some((_, address)) => on(address),
        None => format!("frameserve-server --listen {url}"),
    }
}

/// `HOST:PORT`, with the port that servers listen on where there is none.
fn authority(address: &str) -> Result<String, &'static str> {
    let address = address.trim_end_matches('/');
    if address.is_empty() || address.contains(['/', ' ', '@']) {
        return Err("there must be a host and nothing after its port");
    }
    let after_host = address.rfind(']').map_or(address, |end| &address[end..]);
    match after_host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(address.into()),
        Some(_) => Err("the port must be a number from 1 to 65535"),
        None => Ok(format!("{address}:{DEFAULT_PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        for (given, full) in [
            ("http://10.0.0.1:7000", "http://10.0.0.1:7000"),
            ("http://10.0.0.1:7000/", "http://10.0.0.1:7000"),
            ("localhost:7000", "http://localhost:7000"),
            ("camera.example", "http://camera.example:50051"),
            ("https://camera.example", "https://camera.example:50051"),
            ("[::1]", "http://[::1]:50051"),
            ("[::1]:80", "http://[::1]:80"),
            ("unix:x.sock", "unix:x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(Target::parse(given).expect(given).url(), full);
        }
    }

    #[test]
    fn bad_addresses_are_named() {
        for given in
            ["", "http://", "ftp://a", "a:0", "a:65536", "a:x", "a:1/path", "a b", "unix:", "unix://x"]
        {
            let error = Target::parse(given).expect_err(given).to_string();
            assert!(error.contains(&format!("'{given}'")), "{error}");
        }
    }

    #[test]
    fn a_certificate_is_for_the_host_alone() {
        let host = |url| Target::parse(url).expect(url).host().map(String::from);
        assert_eq!(host("https://[::1]:80").as_deref(), Some("::1"));
        assert_eq!(host("https://a.example").as_deref(), Some("a.example"));
        assert_eq!(host("http://a.example"), None);
    }

    #[test]
    fn how_a_server_is_started_there_is_said() {
        assert_eq!(start_command(DEFAULT_URL), "frameserve-server");
        assert_eq!(start_command("http://127.0.0.1:7"), "frameserve-server --listen 127.0.0.1:7");
        assert_eq!(
            start_command("https://127.0.0.1:7"),
            "frameserve-server --listen 127.0.0.1:7 --tls-cert FILE --tls-key FILE"
        );
        assert_eq!(start_command("unix:x.sock"), "frameserve-server --listen unix:x.sock");
    }
}
