//! The beginning of a connection: TLS where the listener has it, and a word to who does not speak as it does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;

use super::authority::Renamed;
use super::connections::Stream;
use super::listener::Listener;
use super::notice::Notice;
use super::tls::{self, Tls};
use crate::grpc::peer::Peer;
use crate::tls::{HANDSHAKE, TLS_FIRST, goaway};
use crate::writes::writes_through;

/// What a client is told that speaks HTTP/2 where TLS is spoken.
const WITH_TLS: &str = "this address speaks TLS: connect with TLS (https://)";

/// What one gets that speaks TLS where HTTP/2 is spoken at once. It sees that this is no TLS; the text is for who looks
/// at what went over the wire.
const WITHOUT_TLS: &str = "this address speaks HTTP/2 without TLS: connect without TLS (http://)";

/// Bytes that are still read from a client that is turned away. It would not see why if the connection were closed
/// while bytes of its own are on the way.
const MOST_FROM_WRONG: u64 = 1 << 20;

/// HTTP/2's preface, and what its frames begin with.
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;

/// The type of HTTP/2's frames that open a call.
const HEADERS: u8 = 1;

/// Bytes that are looked at: a TLS record and an HTTP/2 preface differ in the first.
const FIRST_BYTES: usize = 64;

/// What those who come to one listener are greeted with.
#[derive(Debug)]
pub struct Door {
    tls: Option<Tls>,
    address: String,
    without_tls: Notice,
    with_tls: Notice,
    failed: Notice,
}

/// A stream of which some bytes have been read already.
struct Rewound {
    first: [u8; FIRST_BYTES],
    /// Those of `first` that are to be read again.
    again: std::ops::Range<usize>,
    stream: Box<dyn Stream>,
}

impl Door {
    pub fn new(listener: &Listener) -> Self {
        let address =
            listener.address().map_or_else(|error| error.to_string(), |address| address.to_string());
        Door {
            tls: listener.tls().cloned(),
            address,
            without_tls: Notice::default(),
            with_tls: Notice::default(),
            failed: Notice::default(),
        }
    }

    /// Waits for the client's first bytes, and for the end of a TLS handshake. None if that came to nothing, which has
    /// been said then.
    pub async fn greet(&self, mut stream: Box<dyn Stream>, peer: Peer) -> Option<Box<dyn Stream>> {
        let mut first = [0; FIRST_BYTES];
        let read = stream.read(&mut first).await.ok().filter(|read| *read > 0)?;
        let stream = Rewound { first, again: 0..read, stream };
        match (&self.tls, first[0] == HANDSHAKE) {
            (None, false) if peer == Peer::Unix => Some(Box::new(Renamed::new(stream))),
            (None, false) => Some(Box::new(stream)),
            (Some(tls), true) => self.shake_hands(tls, stream, peer).await,
            (Some(_), false) => {
                if let Some(unsaid) = self.without_tls.due(Instant::now()) {
                    let (address, client) = (&self.address, client(peer));
                    tracing::warn!(%address, %client, unsaid, "a client without TLS came to an address with TLS");
                }
                turn_away(stream).await
            }
            (None, true) => {
                if let Some(unsaid) = self.with_tls.due(Instant::now()) {
                    let (address, client) = (&self.address, client(peer));
                    tracing::warn!(%address, %client, unsaid, "a client with TLS came to an address without TLS");
                }
                leave(stream, &goaway(WITHOUT_TLS)).await
            }
        }
    }

    async fn shake_hands(&self, tls: &Tls, stream: Rewound, peer: Peer) -> Option<Box<dyn Stream>> {
        match TlsAcceptor::from(std::sync::Arc::clone(&tls.0)).accept(stream).into_fallible().await {
            Ok(stream) => Some(Box::new(stream)),
            Err((error, stream)) => {
                if let Some(unsaid) = self.failed.due(Instant::now()) {
                    let (address, client, reason) = (&self.address, client(peer), tls::reason(&error));
                    tracing::warn!(%address, %client, unsaid, "no TLS with a client: {reason}");
                }
                // The alert has been sent.
                leave(stream, b"").await
            }
        }
    }
}

/// Tells a client of HTTP/2 that it needs TLS here, as the answer to its first call: gRPC's clients show that, while those
/// that are told before it connect again and again, and never say why.
async fn turn_away(mut stream: Rewound) -> Option<Box<dyn Stream>> {
    match until_call(&mut stream).await {
        Ok(()) => leave(stream, &goaway(WITH_TLS)).await,
        Err(error) => {
            tracing::debug!(%error, "a client without TLS left before its first call");
            None
        }
    }
}

async fn until_call(stream: &mut Rewound) -> io::Result<()> {
    stream.write_all(&TLS_FIRST).await?;
    let mut left = stream.take(MOST_FROM_WRONG);
    left.read_exact(&mut [0; PREFACE_BYTES]).await?;
    loop {
        let mut header = [0; FRAME_HEADER_BYTES];
        left.read_exact(&mut header).await?;
        let [high, middle, low, kind, ..] = header;
        if kind == HEADERS {
            return Ok(());
        }
        let length = u64::from(u32::from_be_bytes([0, high, middle, low]));
        if tokio::io::copy(&mut (&mut left).take(length), &mut tokio::io::sink()).await? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Ends a connection so that the client sees why.
async fn leave(mut stream: Rewound, last: &[u8]) -> Option<Box<dyn Stream>> {
    let ended = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST_FROM_WRONG), &mut tokio::io::sink()).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a client left before it was told why");
    }
    None
}

fn client(peer: Peer) -> String {
    match peer {
        Peer::Tcp { remote: Some(remote), .. } => remote.to_string(),
        Peer::Tcp { .. } => "unknown".into(),
        Peer::Unix => "on this machine".into(),
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.again.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let count = this.again.len().min(buffer.remaining());
        buffer.put_slice(&this.first[this.again.start..this.again.start + count]);
        this.again.start += count;
        Poll::Ready(Ok(()))
    }
}

writes_through!([] Rewound, stream);
