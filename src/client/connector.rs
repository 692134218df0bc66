//! How a client's connections are made: over TCP, with TLS or without, or over a Unix domain socket.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::codegen::{Service, http::Uri};

use super::target::Target;
use super::tls::Handshake;
use super::trouble::Trouble;
use crate::writes::writes_through;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Word = Result<(), Trouble>;

/// What a connection goes over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<W: AsyncRead + AsyncWrite + Send + Unpin> Wire for W {}

/// Makes connections to one server.
#[derive(Clone)]
pub struct Connector {
    target: Arc<Target>,
    handshake: Option<Handshake>,
    tcp: HttpConnector,
    /// Who waits for the server's first word on the first connection.
    waiting: Arc<Mutex<Option<oneshot::Sender<Word>>>>,
}

/// A connection whose first bytes are looked at, so that who speaks TLS to who does not gets to know it.
pub struct Heard<W> {
    wire: W,
    listening: Option<Listening>,
}

struct Listening {
    wrong: fn(&[u8], &Target) -> Option<Trouble>,
    target: Arc<Target>,
    tell: Option<oneshot::Sender<Word>>,
}

impl Connector {
    /// And what says whether the server's first word on the first connection was one of HTTP/2.
    pub fn new(
        target: Target,
        handshake: Option<Handshake>,
        patience: Duration,
    ) -> (Connector, oneshot::Receiver<Word>) {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience));
        let (tell, word) = oneshot::channel();
        let waiting = Arc::new(Mutex::new(Some(tell)));
        (Connector { target: Arc::new(target), handshake, tcp, waiting }, word)
    }

    async fn connect(mut self, to: Uri) -> Result<Heard<Box<dyn Wire>>, BoxError> {
        let tell = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wire: Box<dyn Wire> = match &*self.target {
            Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
            _ => Box::new(self.tcp.call(to).await?.into_inner()),
        };
        let listening = |wrong, tell| Some(Listening { wrong, target: Arc::clone(&self.target), tell });
        let Some(Handshake { config, name }) = self.handshake else {
            return Ok(Heard { wire, listening: listening(Trouble::in_plain, tell) });
        };
        let heard = Heard { wire, listening: listening(Trouble::in_tls, None) };
        let shaken = TlsConnector::from(config).connect(name, heard).await;
        let wire = shaken.map_err(|error| match (error.kind(), Trouble::of(&error)) {
            (_, Some(trouble)) => BoxError::from(trouble),
            (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, None) => {
                Trouble::no_word().into()
            }
            _ => error.into(),
        })?;
        Ok(Heard { wire: Box::new(wire), listening: listening(|_, _| None, tell) })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Heard<Box<dyn Wire>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.clone().connect(to);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

impl Listening {
    /// Tells what the server's first word was. Gives what is wrong with it.
    fn heard(self, read: Result<&[u8], &io::Error>) -> Option<Trouble> {
        let trouble = match read {
            Ok(first) => (self.wrong)(first, &self.target),
            Err(error) => Trouble::of(error),
        };
        if let Some(tell) = self.tell {
            let _nobody_waits = tell.send(trouble.clone().map_or(Ok(()), Err));
        }
        trouble
    }
}

impl<W: AsyncRead + Unpin> AsyncRead for Heard<W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut this.wire).poll_read(cx, buffer));
        let Some(listening) = this.listening.take() else { return Poll::Ready(read) };
        let first = read.as_ref().map(|()| &buffer.filled()[before..]);
        // A stream that ends without a word says nothing of what it would have spoken.
        if first.as_ref().is_ok_and(|first| first.is_empty()) {
            return Poll::Ready(read);
        }
        match listening.heard(first) {
            Some(trouble) => Poll::Ready(Err(io::Error::other(trouble))),
            None => Poll::Ready(read),
        }
    }
}

writes_through!([W: AsyncWrite + Unpin] Heard<W>, wire);
