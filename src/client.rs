//! The client: connect, ask what the server can do, and open streams of frames. For models there is
//! [`InferenceClient`].
//!
//! Pictures go in and come out as the encoded bytes of the wire; nothing is decoded or copied here.
//!
//! ```no_run
//! use bytes::Bytes;
//! use frameserve::client::{Client, ClientError};
//! use frameserve::proto::{MsgRequest, StreamConfig};
//!
//! # async fn example(jpegs: Vec<Bytes>) -> Result<(), ClientError> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//! let config = StreamConfig { pipeline: Some("resize=640x360 | canny=50,150".into()), ..Default::default() };
//! let mut stream = client.open(config).await?;
//! println!("granted: {} frames in flight", stream.settings.window);
//!
//! let sender = stream.sender;
//! let sending = async move {
//!     for img in jpegs {
//!         sender.send(MsgRequest { img, ..Default::default() }).await?;
//!     }
//!     Ok::<(), ClientError>(()) // the sender is dropped here, which ends the stream after its last reply
//! };
//! let receiving = async {
//!     while let Some(reply) = stream.replies.next().await? {
//!         println!("frame {}: {} bytes", reply.sequence, reply.img.len());
//!     }
//!     Ok::<(), ClientError>(())
//! };
//! tokio::try_join!(sending, receiving)?;
//! # Ok(())
//! # }
//! ```

mod config_text;
mod connector;
mod encoded;
mod inference;
mod target;
mod tls;
mod trouble;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
pub use tonic::Code;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
pub use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub use config_text::{config_as_json, config_as_text};
pub use inference::InferenceClient;
pub use tls::Tls;

use connector::Connector;
use target::{Target, start_command};
use trouble::Trouble;

use crate::proto::image_test_client::ImageTestClient;
use crate::proto::{DescribeReply, DescribeRequest, MsgReply, MsgRequest, StreamConfig, StreamSettings};

/// Where a server listens unless it is told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:50051";

const DEFAULT_PORT: u16 = 50051;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After so long without a word the server is asked for a sign of life, and has so long to give one. A machine
/// that is frozen or gone would otherwise be waited for as long as TCP does, which may be for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Larger HTTP/2 frames, without which a larger window gains nothing.
const HTTP2_FRAME: u32 = 1 << 20;
/// Messages that wait between the sender and the connection. Few, since waiting is latency: the frames in
/// flight are counted by the server's window.
const QUEUE: usize = 2;

/// A connection to a server. Clones share it; open one client for each stream where a stalled stream must
/// not hold up the others.
#[derive(Debug, Clone)]
pub struct Client {
    service: ImageTestClient<Channel>,
    health: HealthClient<Channel>,
    url: Arc<str>,
}

/// A stream of frames that the server has granted. Its halves may live on different tasks.
#[derive(Debug)]
pub struct FrameStream {
    /// What is in force: the server may grant less than was asked for.
    pub settings: StreamSettings,
    /// Where frames go in.
    pub sender: FrameSender,
    /// Where replies come out, in the order of the frames.
    pub replies: FrameReplies,
}

/// The upward half of a stream. Dropping it says that no more frames come.
#[derive(Debug)]
pub struct FrameSender {
    messages: mpsc::Sender<MsgRequest>,
    url: Arc<str>,
}

/// Room for one message: what is sent with it leaves at once.
#[derive(Debug)]
pub struct Slot<'a>(mpsc::Permit<'a, MsgRequest>);

/// The downward half of a stream. Dropping it cancels the stream.
#[derive(Debug)]
pub struct FrameReplies {
    replies: Streaming<MsgReply>,
    url: Arc<str>,
}

/// What can go wrong between a client and its server. Every one names the server's URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Not a URL that can be connected to.
    #[error(
        "'{url}' is not a server's address ({reason}): write http://HOST:PORT or HOST:PORT, https://HOST:PORT for TLS, \
         or unix:PATH"
    )]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {url}: {reason}. Is the server running? Start it with: {}", start_command(.url))]
    Connect {
        /// Where it was looked for.
        url: String,
        /// The operating system's reason.
        reason: String,
    },
    /// TLS is spoken by one side only, or one side does not accept the other's certificate.
    #[error("no connection with {url}: {reason}")]
    Tls {
        /// Where to.
        url: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server said no to a request or to a stream's configuration.
    #[error("{url} refused: {}", describe_status(.status))]
    Refused {
        /// Who refused.
        url: String,
        /// Why.
        status: Box<Status>,
    },
    /// The server ended a running stream with an error.
    #[error("{url} ended the stream: {}", describe_status(.status))]
    Ended {
        /// Who ended it.
        url: String,
        /// Why.
        status: Box<Status>,
    },
    /// No answer came within the time that it was given.
    #[error("{url} gave no answer within {} s", .limit.as_secs_f64())]
    TimedOut {
        /// Who was asked.
        url: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The connection broke, or the server was killed.
    #[error("lost the connection to {url}: {reason}")]
    Lost {
        /// To whom it led.
        url: String,
        /// What the transport says.
        reason: String,
    },
    /// The first reply held no settings: another program, or the original imageTest server.
    #[error("{url} did not answer the stream's configuration: it is no frameserve")]
    NotFrameserve {
        /// Who answered.
        url: String,
    },
    /// A frame was sent after the stream's end. [`FrameReplies::next`] tells the reason.
    #[error("the stream to {url} has ended and takes no more frames")]
    Closed {
        /// To whom it went.
        url: String,
    },
}

impl Client {
    /// Connects to `url`: `http://HOST:PORT`, or `HOST:PORT`, or `HOST` with port 50051; `https://HOST:PORT` for TLS;
    /// `unix:PATH` for a Unix domain socket. The connection is lost when the server gives no sign of life for 15
    /// seconds, also while there is nothing to do.
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        Client::connect_with(url, &Tls::default()).await
    }

    /// The same with more said about TLS, for `https://` only.
    pub async fn connect_with(url: &str, tls: &Tls) -> Result<Client, ClientError> {
        let target = Target::parse(url)?;
        let endpoint = endpoint(&target)?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let url = target.url();
        let channel = dial(&endpoint, target, tls).await?;
        let service = ImageTestClient::new(channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        Ok(Client { service, health: HealthClient::new(channel), url: url.into() })
    }

    /// The full URL that this client is connected to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the server can do, and within which bounds.
    pub async fn describe(&self) -> Result<DescribeReply, ClientError> {
        let reply = self.service.clone().describe(DescribeRequest {}).await;
        reply.map(tonic::Response::into_inner).map_err(|status| self.refused(status))
    }

    /// The health of `service`, through `grpc.health.v1`; the empty name stands for the whole server.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, ClientError> {
        let request = HealthCheckRequest { service: service.into() };
        let reply = self.health.clone().check(request).await.map_err(|status| self.refused(status))?;
        Ok(reply.into_inner().status())
    }

    /// Opens a stream, and waits until the server has granted it.
    pub async fn open(&self, config: StreamConfig) -> Result<FrameStream, ClientError> {
        let (messages, queue) = mpsc::channel(QUEUE);
        let first = MsgRequest { config: Some(config), ..MsgRequest::default() };
        messages.try_send(first).expect("a new channel has room");
        let reply = self.service.clone().analyse(ReceiverStream::new(queue)).await;
        let mut replies = reply.map_err(|status| self.refused(status))?.into_inner();
        let first = replies.message().await.map_err(|status| self.refused(status))?;
        let Some(settings) = first.and_then(|reply| reply.settings) else {
            return Err(ClientError::NotFrameserve { url: self.url.to_string() });
        };
        let sender = FrameSender { messages, url: Arc::clone(&self.url) };
        let replies = FrameReplies { replies, url: Arc::clone(&self.url) };
        Ok(FrameStream { settings, sender, replies })
    }

    fn refused(&self, status: Status) -> ClientError {
        refused(&self.url, status)
    }
}

impl ClientError {
    /// The server's own status code, if it was the server that said no.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Refused { status, .. } | ClientError::Ended { status, .. } => Some(status.code()),
            _ => None,
        }
    }

    /// The server's own words, if it was the server that said no.
    #[must_use]
    pub fn server_message(&self) -> Option<&str> {
        match self {
            ClientError::Refused { status, .. } | ClientError::Ended { status, .. } => Some(status.message()),
            _ => None,
        }
    }
}

impl FrameSender {
    /// Sends a message as soon as there is room: a server that stops reading makes this wait.
    pub async fn send(&self, message: MsgRequest) -> Result<(), ClientError> {
        self.reserve().await.map(|slot| slot.send(message))
    }

    /// Waits for room without a message, for who wants to know when its frame left.
    pub async fn reserve(&self) -> Result<Slot<'_>, ClientError> {
        let permit = self.messages.reserve().await;
        permit.map(Slot).map_err(|_| ClientError::Closed { url: self.url.to_string() })
    }
}

impl Slot<'_> {
    /// Sends the message.
    pub fn send(self, message: MsgRequest) {
        self.0.send(message);
    }
}

impl FrameReplies {
    /// The next reply; `None` when the server has answered every frame and the stream is over. A reply with
    /// `answers_config` answers no frame. A server that gives no sign of life for 15 seconds counts as lost.
    pub async fn next(&mut self) -> Result<Option<MsgReply>, ClientError> {
        self.replies.message().await.map_err(|status| {
            let url = self.url.to_string();
            match broken_connection(&status) {
                Some(reason) => ClientError::Lost { url, reason },
                None => ClientError::Ended { url, status: Box::new(status) },
            }
        })
    }
}

/// What every connection is made with.
fn endpoint(target: &Target) -> Result<Endpoint, ClientError> {
    let wrong = |reason: String| ClientError::Url { url: target.url(), reason };
    let endpoint = Endpoint::from_shared(target.place()).map_err(|error| wrong(error.to_string()))?;
    let origin: Uri = target.origin().parse().map_err(|_| wrong("it is no URL".into()))?;
    Ok(endpoint
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(HTTP2_FRAME))
}

/// Connects, and waits for the server's first word: before that one can't know whether it speaks TLS, or accepts this
/// client's certificate. A server that says nothing for long is left to the first call.
async fn dial(endpoint: &Endpoint, target: Target, tls: &Tls) -> Result<Channel, ClientError> {
    let url = target.url();
    let handshake = tls.handshake(&target)?;
    let (connector, word) = Connector::new(target, handshake, CONNECT_TIMEOUT);
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
        let url = url.clone();
        match Trouble::among(&error) {
            Some(trouble) => ClientError::Tls { url, reason: trouble.to_string() },
            None => ClientError::Connect { url, reason: root_cause(&error) },
        }
    })?;
    match tokio::time::timeout(CONNECT_TIMEOUT, word).await {
        Ok(Ok(Err(trouble))) => Err(ClientError::Tls { url, reason: trouble.to_string() }),
        _ => Ok(channel),
    }
}

fn refused(url: &str, status: Status) -> ClientError {
    let url = url.to_string();
    match broken_connection(&status) {
        Some(reason) => ClientError::Lost { url, reason },
        None => ClientError::Refused { url, status: Box::new(status) },
    }
}

/// Why the connection broke, if the server did not send this status at all: one that came from the server has
/// no source, and one that the transport made up has.
fn broken_connection(status: &Status) -> Option<String> {
    status.source().map(root_cause)
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    // "(os error 111)" tells a reader nothing that the words before it don't.
    cause.split(" (os error").next().unwrap_or(&cause).to_string()
}

/// The name of a status code, as every gRPC library writes it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn describe_status(status: &Status) -> String {
    let code = code_name(status.code());
    match (status.message(), status.source()) {
        ("", None) => code.to_string(),
        ("", Some(source)) => format!("{code}: {source}"),
        (message, _) => format!("{code}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_says_how_to_start_a_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = Client::connect(&address).await.expect_err("nobody listens");
        assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains("frameserve-server --listen"), "{text}");
    }

    #[test]
    fn a_status_reads_as_code_and_message() {
        assert_eq!(describe_status(&Status::invalid_argument("no")), "INVALID_ARGUMENT: no");
        assert_eq!(describe_status(&Status::internal("")), "INTERNAL");
    }
}
