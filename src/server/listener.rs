//! A bound socket and how it is spoken to: over TCP, with TLS or without, or over a Unix domain socket.

use std::io;
use std::path::PathBuf;

use tokio::net::{TcpListener, UnixListener};

use super::connections::Stream;
use super::socket_file::SocketFile;
use super::tls::Tls;
use crate::config::Address;
use crate::grpc::peer::Peer;

/// A bound socket. Connections wait in its backlog until [`Server::serve`](super::Server::serve) takes them.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { socket: UnixListener, path: PathBuf, file: Option<SocketFile> },
}

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {reason}")]
pub struct ListenError {
    /// Where.
    pub address: Address,
    /// Why.
    pub reason: io::Error,
}

impl Listener {
    /// Binds a socket; over TCP, TLS is spoken where it is given. The file of a Unix domain socket is removed when
    /// the listener ends.
    pub async fn bind(address: &Address, tls: Option<&Tls>) -> Result<Listener, ListenError> {
        let failed = |reason| ListenError { address: address.clone(), reason };
        Ok(match address {
            Address::Tcp(to) => {
                let socket = TcpListener::bind(to).await.map_err(failed)?;
                Listener { socket: Socket::Tcp(socket), tls: tls.cloned() }
            }
            Address::Unix(path) => {
                let (socket, file) = SocketFile::bind(path).await.map_err(failed)?;
                Listener { socket: Socket::Unix { socket, path: path.clone(), file: Some(file) }, tls: None }
            }
        })
    }

    /// The same with TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Listener {
        self.tls = Some(tls);
        self
    }

    /// Where it listens; the port is the one that was taken.
    pub fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Socket::Unix { path, .. } => Ok(Address::Unix(path.clone())),
        }
    }

    /// The file that it removes in the end, if it made one: for who ends the process without that.
    pub fn file(&self) -> Option<SocketFile> {
        match &self.socket {
            Socket::Unix { file, .. } => file.clone(),
            Socket::Tcp(_) => None,
        }
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, remote) = socket.accept().await?;
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                let peer = Peer::Tcp { local: stream.local_addr().ok(), remote: Some(remote) };
                Ok((Box::new(stream), peer))
            }
            Socket::Unix { socket, .. } => {
                let (stream, _) = socket.accept().await?;
                Ok((Box::new(stream), Peer::Unix))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = self.file() {
            file.remove();
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Listener { socket: Socket::Tcp(socket), tls: None }
    }
}

impl From<UnixListener> for Listener {
    /// Its file is left where it is.
    fn from(socket: UnixListener) -> Self {
        let bound = socket.local_addr().ok();
        let path = bound.as_ref().and_then(|address| address.as_pathname()).unwrap_or("".as_ref()).into();
        Listener { socket: Socket::Unix { socket, path, file: None }, tls: None }
    }
}
