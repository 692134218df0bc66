//! The connections that a listener accepts: so many at a time, and each has to speak soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::stream;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long nothing is accepted after that has failed, which it does at once and again for as long as the
/// process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to say that it speaks HTTP/2.
const PREFACE_TIME: Duration = Duration::from_secs(10);

/// Bytes in which it says so.
const PREFACE_BYTES: usize = 24;

/// A client's connection. It fails if the client does not begin to speak HTTP/2 in time; from then on, HTTP/2's
/// own keepalive tells whether the client lives.
pub struct Connection {
    stream: TcpStream,
    /// Bytes of the preface still to come, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections as long as there are permits; the others wait in the listener's backlog.
pub fn connections(
    listener: TcpListener,
    permits: Arc<Semaphore>,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    stream! {
        let mut failing = false;
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    yield Ok(Connection::new(stream, permit));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "connections can't be accepted for the moment");
                    }
                    #[expect(clippy::disallowed_methods, reason = "there is nothing to wait for but time")]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        #[expect(clippy::disallowed_methods, reason = "a deadline, which is polled beside what it is for")]
        let deadline = Box::pin(tokio::time::sleep(PREFACE_TIME));
        Connection { stream, preface: Some((PREFACE_BYTES, deadline)), _permit: permit }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if let Some((missing, deadline)) = &mut this.preface {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.preface = None;
            } else if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
