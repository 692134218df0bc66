//! Tonic services that send back what came, with HTTP/2 tuned as frameserve tunes it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use frameserve::config::{Config, Transport};
use frameserve::proto::image_test_server::{ImageTest, ImageTestServer};
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::model_infer_response::InferOutputTensor;
use frameserve::proto::inference::{ModelInferRequest, ModelInferResponse};
use frameserve::proto::{DescribeReply, DescribeRequest, MsgReply, MsgRequest, StreamSettings};
use futures_util::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
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
        .add_service(ModelEcho { max_message_bytes: limits.max_message_bytes })
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

/// The same for models: the outputs are the inputs.
#[derive(Debug, Clone)]
struct ModelEcho {
    max_message_bytes: usize,
}

impl NamedService for ModelEcho {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl UnaryService<ModelInferRequest> for ModelEcho {
    type Response = ModelInferResponse;
    type Future = Ready<Result<Response<ModelInferResponse>, Status>>;

    fn call(&mut self, request: Request<ModelInferRequest>) -> Self::Future {
        let ModelInferRequest { model_name, model_version, id, inputs, raw_input_contents, .. } =
            request.into_inner();
        let output = |InferInputTensor { name, datatype, shape, .. }: InferInputTensor| InferOutputTensor {
            name,
            datatype,
            shape,
            ..InferOutputTensor::default()
        };
        ready(Ok(Response::new(ModelInferResponse {
            model_name,
            model_version,
            id,
            outputs: inputs.into_iter().map(output).collect(),
            raw_output_contents: raw_input_contents,
            ..ModelInferResponse::default()
        })))
    }
}

/// What is generated for a service, for one call of it.
impl Service<http::Request<Body>> for ModelEcho {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/ModelInfer") {
                return Ok(Status::unimplemented("this is an echo").into_http());
            }
            let most = Some(service.max_message_bytes);
            let codec = tonic_prost::ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).apply_max_message_size_config(most, None);
            Ok(grpc.unary(service, request).await)
        })
    }
}
