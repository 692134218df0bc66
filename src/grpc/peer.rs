//! Over what a call came in.

use std::net::SocketAddr;

use tonic::transport::server::TcpConnectInfo;

/// The two ends of a call's connection. Among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// TCP, with TLS or without.
    Tcp {
        /// This server's end, where the system tells it.
        local: Option<SocketAddr>,
        /// The client's end, where the system tells it.
        remote: Option<SocketAddr>,
    },
    /// A Unix domain socket.
    Unix,
}

impl Peer {
    /// Whether the connection can't have left this machine.
    pub fn is_on_this_machine(&self) -> bool {
        match self {
            Peer::Tcp { local, .. } => local.is_some_and(|local| local.ip().to_canonical().is_loopback()),
            Peer::Unix => true,
        }
    }

    /// What tonic's `Request::remote_addr` looks for.
    pub fn tcp(&self) -> Option<TcpConnectInfo> {
        match *self {
            Peer::Tcp { local, remote } => Some(TcpConnectInfo { local_addr: local, remote_addr: remote }),
            Peer::Unix => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_here_is_here() {
        let over = |local: &str| Peer::Tcp { local: local.parse().ok(), remote: None };
        for (peer, here) in [
            (over("127.0.0.1:1"), true),
            (over("[::1]:1"), true),
            (over("[::ffff:127.0.0.1]:1"), true),
            (over("192.0.2.1:1"), false),
            (over("unknown"), false),
            (Peer::Unix, true),
        ] {
            assert_eq!(peer.is_on_this_machine(), here, "{peer:?}");
        }
    }
}
