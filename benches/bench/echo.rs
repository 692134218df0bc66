//! A tonic service that sends back what came, with HTTP/2 tuned as frameserve tunes it.

use std::pin::Pin;

use frameserve::config::{Config, Transport};
use frameserve::proto::image_test_server::{ImageTest, ImageTestServer};
use frameserve::proto::{DescribeReply, DescribeRequest, MsgReply, MsgRequest, StreamSettings};
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

struct Echo;

#[tonic::async_trait]
impl ImageTest for Echo {
    type AnalyseStream = Pin<Box<dyn Stream<Item = Result<MsgReply, Status>> + Send>>;

    async fn analyse(
        &self,
        request: Request<Streaming<MsgRequest>>,
    ) -> Result<Response<Self::AnalyseStream>, Status> {
        let mut sequence = 0;
        let replies = request.into_inner().map(move |request| Ok(answer(request?, &mut sequence)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        Err(Status::unimplemented("this is an echo"))
    }
}

fn answer(request: MsgRequest, sequence: &mut u64) -> MsgReply {
    if let Some(config) = request.config {
        let settings = StreamSettings { pipeline: config.pipeline.unwrap_or_default(), ..Default::default() };
        return MsgReply { settings: Some(settings), ..MsgReply::default() };
    }
    let reply = MsgReply {
        sequence: *sequence,
        img: request.img,
        encoding: request.encoding,
        width: request.width,
        height: request.height,
        pixel_format: request.pixel_format,
        ..MsgReply::default()
    };
    *sequence += 1;
    reply
}

/// Serves until the process is ended.
pub async fn serve() -> crate::Result<()> {
    let Config { limits, transport, .. } = Config::default();
    let Transport { stream_window, streams_per_connection, .. } = transport;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let connections = tokio_stream::wrappers::TcpListenerStream::new(listener).map(|connection| {
        let connection = connection?;
        connection.set_nodelay(true)?;
        Ok::<_, std::io::Error>(connection)
    });
    tonic::transport::Server::builder()
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(
            stream_window.saturating_mul(streams_per_connection).min(i32::MAX as u32),
        )
        .max_concurrent_streams(streams_per_connection)
        .max_frame_size(1 << 20)
        .add_service(ImageTestServer::new(Echo).max_decoding_message_size(limits.max_message_bytes))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}
