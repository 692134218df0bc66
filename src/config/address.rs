//! Where a server listens: a TCP address, or the path of a Unix domain socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Bytes of the longest path that the system takes for a socket.
const MOST_PATH_BYTES: usize = 107;

const RANGE: &str = "IP:PORT, as in 127.0.0.1:50051, or unix:PATH, as in unix:/run/frameserve.sock";

/// An address to listen on. Its text is `IP:PORT`, `unix:PATH` or `unix:///PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix domain socket: clients on this machine that may open its file.
    Unix(PathBuf),
}

impl Address {
    /// The socket's path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |range: String| Error::Range { what: "address", value: format!("`{text}`"), range };
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Address::Tcp).map_err(|_| wrong(RANGE.into()));
        };
        let path = match path.strip_prefix("//") {
            // As a URL it could name a host, which a socket has none of.
            Some(path) if !path.starts_with('/') => {
                return Err(wrong("after unix:// comes an absolute path, as in unix:///run/x.sock".into()));
            }
            Some(path) => path,
            None => path,
        };
        if path.len() > MOST_PATH_BYTES {
            let bytes = path.len();
            return Err(wrong(format!(
                "a socket's path has {MOST_PATH_BYTES} bytes at most, this has {bytes}"
            )));
        }
        if path.is_empty() || path.ends_with('/') || path.contains('\0') {
            return Err(wrong(RANGE.into()));
        }
        Ok(Address::Unix(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let longest = format!("unix:/{}", "x".repeat(MOST_PATH_BYTES - 1));
        for (text, shown) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:50051", "[::1]:50051"),
            ("unix:some/where.sock", "unix:some/where.sock"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
            (&longest, &longest),
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn wrong_ones_are_named() {
        let long = format!("unix:/{}", "x".repeat(MOST_PATH_BYTES));
        for text in
            ["", "localhost", "1.2.3.4", "unix:", "unix://host/x", "unix:/run/", "unix://", "UNIX:/x", &long]
        {
            let said = text.parse::<Address>().expect_err(text).to_string();
            assert!(said.contains(&format!("`{text}`")), "{said}");
        }
        assert!(
            long.parse::<Address>()
                .expect_err("long")
                .to_string()
                .contains("107 bytes at most, this has 108")
        );
    }
}
