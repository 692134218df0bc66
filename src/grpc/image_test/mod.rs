//! `ImageTest`: frames go up, processed frames come back.

mod convert;
mod describe;
mod stream;

pub use describe::stages;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::layer::CallContext;
use crate::engine::Engine;
use crate::proto::image_test_server::ImageTest;
use crate::proto::{DescribeReply, DescribeRequest, MsgReply, MsgRequest};

/// The service, on an engine that it may share with others.
#[derive(Clone)]
pub struct ImageTestService {
    engine: Arc<Engine>,
    /// Names of all services on the same address.
    services: Arc<[String]>,
}

impl ImageTestService {
    /// Serves frames with this engine; `services` is what `Describe` says of the others.
    pub fn new(engine: Arc<Engine>, services: impl IntoIterator<Item = String>) -> Self {
        ImageTestService { engine, services: services.into_iter().collect() }
    }
}

#[tonic::async_trait]
impl ImageTest for ImageTestService {
    type AnalyseStream = Pin<Box<dyn Stream<Item = Result<MsgReply, Status>> + Send>>;

    async fn analyse(
        &self,
        request: Request<Streaming<MsgRequest>>,
    ) -> Result<Response<Self::AnalyseStream>, Status> {
        let permit = self.engine.admit_stream()?;
        let raw = convert::RawFrames::of(self.engine.config(), request.metadata())?;
        let call = CallContext::of(request.extensions());
        let opened = stream::Opened { call, raw, permit };
        let replies = stream::replies(Arc::clone(&self.engine), request.into_inner(), opened);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        Ok(Response::new(describe::describe(&self.engine, &self.services)))
    }
}
