//! A server in this process, a client on its address, and frames to send.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use frameserve::config::{Address, Config, Services};
use frameserve::engine::Engine;
use frameserve::grpc::layer::Calls;
use frameserve::proto::image_test_client::ImageTestClient;
use frameserve::proto::{Encoding, MsgReply, MsgRequest, ReplyFormat, StreamConfig};
use frameserve::server::{Ended, Listener, Listening, ServeError, Server};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::puppet::PATIENCE;

pub type Client = ImageTestClient<Channel>;

/// A server on a free port.
pub struct TestServer {
    pub address: SocketAddr,
    pub engine: Arc<Engine>,
    pub calls: Calls,
    stop: CancellationToken,
    serving: JoinHandle<Result<Ended, ServeError>>,
}

impl TestServer {
    pub async fn start(config: Config) -> Self {
        Self::of(Server::new(config).unwrap()).await
    }

    pub async fn of(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(server, vec![listener.into()])
    }

    pub async fn start_on(config: Config, listeners: Vec<Listener>) -> Self {
        Self::on(Server::new(config).unwrap(), listeners)
    }

    /// Its address is that of the first listener, if that is one of TCP.
    fn on(server: Server, listeners: Vec<Listener>) -> Self {
        let address = match listeners[0].address().unwrap() {
            Address::Tcp(address) => address,
            Address::Unix(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let engine = Arc::clone(server.engine());
        let calls = server.calls().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        // Everything that it serves, on the same address.
        let torchserve = engine.config().torchserve.is_some();
        let services = if torchserve { Services::MainAndManagement } else { Services::Main };
        let listening = listeners.into_iter().map(|socket| Listening { socket, services }).collect();
        let serving = tokio::spawn(server.serve::<Listening>(listening, stopped));
        TestServer { address, engine, calls, stop, serving }
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> Client {
        ImageTestClient::new(self.channel().await).max_decoding_message_size(64 << 20)
    }

    /// Waits until its models are loaded, or failed to load.
    pub async fn loaded(&self) {
        self.engine.models().opened().await;
    }

    /// Waits until it says that this service of it is well.
    pub async fn well(&self, service: &str) {
        let request = HealthCheckRequest { service: service.into() };
        let seen = HealthClient::new(self.channel().await).watch(request).await.unwrap().into_inner();
        let mut serving = seen.filter(|seen| seen.as_ref().unwrap().status() == ServingStatus::Serving);
        let told = tokio::time::timeout(PATIENCE, serving.next()).await.expect(service);
        assert!(told.is_some(), "`{service}` never was well");
    }

    /// Tells it to end, without waiting for that.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> Ended {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap()
    }
}

/// A stream of which messages are sent and replies read one by one.
pub struct Talk {
    pub requests: mpsc::Sender<MsgRequest>,
    pub replies: Streaming<MsgReply>,
}

impl Talk {
    pub async fn new(client: &mut Client) -> Self {
        Self::with(client, Request::new(())).await.unwrap()
    }

    /// With the metadata of `like`.
    pub async fn with(client: &mut Client, like: Request<()>) -> Result<Self, Status> {
        let (requests, messages) = mpsc::channel(1024);
        let (metadata, extensions, ()) = like.into_parts();
        let request = Request::from_parts(metadata, extensions, ReceiverStream::new(messages));
        let replies = client.analyse(request).await?.into_inner();
        Ok(Talk { requests, replies })
    }

    pub async fn send(&self, request: MsgRequest) {
        self.requests.send(request).await.unwrap();
    }

    pub async fn reply(&mut self) -> MsgReply {
        self.replies.message().await.unwrap().expect("the stream has ended")
    }

    /// The status with which the stream ends, once replies still to come are read.
    pub async fn end(self) -> (Vec<MsgReply>, Result<(), Status>) {
        drop(self.requests);
        read_all(self.replies).await
    }
}

async fn read_all(mut stream: Streaming<MsgReply>) -> (Vec<MsgReply>, Result<(), Status>) {
    let mut replies = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => return (replies, Ok(())),
            Err(status) => return (replies, Err(status)),
        }
    }
}

/// Sends all of it, then reads all replies.
pub async fn exchange(client: &mut Client, requests: Vec<MsgRequest>) -> (Vec<MsgReply>, Result<(), Status>) {
    let Talk { requests: send, replies } = Talk::new(client).await;
    let sending = tokio::spawn(async move {
        for request in requests {
            if send.send(request).await.is_err() {
                break;
            }
        }
    });
    let ended = read_all(replies).await;
    sending.await.unwrap();
    ended
}

/// A message that opens a stream.
pub fn open(pipeline: &str) -> MsgRequest {
    MsgRequest { config: Some(config(pipeline)), ..MsgRequest::default() }
}

pub fn config(pipeline: &str) -> StreamConfig {
    StreamConfig { pipeline: Some(pipeline.into()), ..StreamConfig::default() }
}

pub fn reply_as(encoding: Encoding) -> Option<ReplyFormat> {
    Some(ReplyFormat { encoding: encoding.into(), ..ReplyFormat::default() })
}

/// A gray picture of 8x8, all of one value, as raw bytes.
pub fn gray(value: u8) -> MsgRequest {
    MsgRequest { img: Bytes::from(vec![value; 64]), width: 8, height: 8, ..MsgRequest::default() }
}

/// The one value that a raw reply consists of.
pub fn value(reply: &MsgReply) -> u8 {
    assert_eq!(reply.error, None);
    let first = reply.img[0];
    assert!(reply.img.iter().all(|value| *value == first), "{reply:?}");
    first
}

/// A smooth color picture as JPEG.
pub fn jpeg(width: usize, height: usize) -> Bytes {
    let mut image = turbojpeg::Image {
        pixels: vec![0; width * height * 3],
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::BGR,
    };
    for (at, pixel) in image.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (at % width, at / width);
        pixel.copy_from_slice(&[(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) % 256) as u8]);
    }
    Bytes::copy_from_slice(&turbojpeg::compress(image.as_deref(), 90, turbojpeg::Subsamp::Sub2x2).unwrap())
}
