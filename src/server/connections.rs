//! The connections that a listener accepts: so many at a time, and each has to speak soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::stream;
use futures_util::Stream as Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout_at};
use tonic::transport::server::Connected;

use super::greeting::Door;
use super::listener::Listener;
use crate::grpc::peer::Peer;
use crate::writes::writes_through;

/// How long nothing is accepted after that has failed, which it does at once and again for as long as the
/// process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to say that it speaks HTTP/2, with TLS before that where there is TLS.
const PREFACE_TIME: Duration = Duration::from_secs(10);

/// Bytes in which it says so.
const PREFACE_BYTES: usize = 24;

/// Bytes that are read before it is the turn of what waits to be written. HTTP/2 reads for as long as there is anything:
/// the requests of many callers would all be taken in before the first reply goes out, and leave the caches meanwhile.
const READ_TURN_BYTES: usize = 2 << 20;

/// What a connection goes over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A client's connection. It fails if the client does not begin to speak HTTP/2 in time; from then on, HTTP/2's
/// own keepalive tells whether the client lives.
pub struct Connection {
    stream: Box<dyn Stream>,
    peer: Peer,
    /// Bytes that were read in this turn.
    turn: usize,
    /// Bytes of the preface still to come, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

/// A connection that was accepted and not yet greeted.
struct Arrival {
    stream: Box<dyn Stream>,
    peer: Peer,
    permit: OwnedSemaphorePermit,
}

/// Accepts connections as long as there are permits; the others wait in the listener's backlog. A connection has
/// its permit from the first byte on, and who is slow with the first bytes holds up nobody else.
pub fn connections(
    listener: Listener,
    permits: Arc<Semaphore>,
) -> impl Incoming<Item = io::Result<Connection>> + Send {
    stream! {
        let door = Arc::new(Door::new(&listener));
        let mut greetings = JoinSet::new();
        let mut failing = false;
        loop {
            let greeted = tokio::select! {
                Some(greeted) = greetings.join_next() => greeted,
                arrival = arrival(&listener, &permits, &mut failing) => {
                    greetings.spawn(greeted(Arc::clone(&door), arrival));
                    continue;
                }
            };
            if let Ok(Some(connection)) = greeted {
                yield Ok(connection);
            }
        }
    }
}

async fn arrival(listener: &Listener, permits: &Arc<Semaphore>, failing: &mut bool) -> Arrival {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, peer)) => {
                *failing = false;
                return Arrival { stream, peer, permit };
            }
            Err(error) => {
                if !std::mem::replace(failing, true) {
                    tracing::warn!(%error, "connections can't be accepted for the moment");
                }
                #[expect(clippy::disallowed_methods, reason = "there is nothing to wait for but time")]
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn greeted(door: Arc<Door>, arrival: Arrival) -> Option<Connection> {
    let Arrival { stream, peer, permit } = arrival;
    let deadline = Instant::now() + PREFACE_TIME;
    let stream = timeout_at(deadline, door.greet(stream, peer)).await.ok()??;
    let sleep = Box::pin(tokio::time::sleep_until(deadline));
    Some(Connection { stream, peer, turn: 0, preface: Some((PREFACE_BYTES, sleep)), _permit: permit })
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.turn >= READ_TURN_BYTES {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        this.turn = if read.is_pending() { 0 } else { this.turn + bytes };
        if let Some((missing, deadline)) = &mut this.preface {
            *missing = missing.saturating_sub(bytes);
            if *missing == 0 {
                this.preface = None;
            } else if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

writes_through!([] Connection, stream);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_writes_has_a_turn_while_there_is_ever_more_to_read() {
        let endless = tokio::io::join(tokio::io::repeat(1), tokio::io::sink());
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut connection = Connection {
            stream: Box::new(endless),
            peer: Peer::Unix,
            turn: 0,
            preface: None,
            _permit: permit,
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut bytes = vec![0; READ_TURN_BYTES / 4];
        let mut read = || {
            let mut buffer = ReadBuf::new(&mut bytes);
            let polled = Pin::new(&mut connection).poll_read(&mut Context::from_waker(&waker), &mut buffer);
            polled.is_ready().then(|| buffer.filled().len())
        };
        for _ in 0..3 {
            assert_eq!([(); 4].map(|()| read()), [Some(READ_TURN_BYTES / 4); 4]);
            assert!(!woken.0.load(Ordering::Relaxed));
            assert_eq!(read(), None);
            assert!(woken.0.swap(false, Ordering::Relaxed), "nobody else would have it read on");
        }
    }
}
