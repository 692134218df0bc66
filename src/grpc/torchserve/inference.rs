//! `InferenceAPIsService`: health, and predictions one by one or in streams.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{TorchServe, refusal::Refusal, stream};
use crate::error::Error;
use crate::grpc::layer::CallContext;
use crate::model::registry::Held;
use crate::proto::torchserve::inference::inference_ap_is_service_server::InferenceApIsService;
use crate::proto::torchserve::inference::{PredictionResponse, PredictionsRequest, TorchServeHealthResponse};

type Replies = Pin<Box<dyn Stream<Item = Result<PredictionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl InferenceApIsService for TorchServe {
    type StreamPredictionsStream = Replies;
    type StreamPredictions2Stream = Replies;

    async fn ping(&self, _: Request<()>) -> Result<Response<TorchServeHealthResponse>, Status> {
        let status = if self.is_healthy() { "Healthy" } else { "Unhealthy" };
        let health = format!("{{\n  \"status\": \"{status}\"\n}}");
        Ok(Response::new(TorchServeHealthResponse { health }))
    }

    async fn predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<PredictionResponse>, Status> {
        let call = CallContext::of(request.extensions());
        let request = request.into_inner();
        let sequence_id = request.sequence_id.clone();
        let prediction = self.predict(request, &call).await?;
        Ok(Response::new(PredictionResponse { prediction, sequence_id, status: None }))
    }

    async fn stream_predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<Replies>, Status> {
        let refused = |error: Error| Refusal::of_prediction(error, "", "");
        let _permit = self.engine().admit_stream().map_err(refused)?;
        // No handler here has more than one reply to a request.
        let reply = self.predictions(request).await?.into_inner();
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(reply)))))
    }

    async fn stream_predictions2(
        &self,
        request: Request<Streaming<PredictionsRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let refused = |error: Error| Refusal::of_prediction(error, "", "");
        let permit = self.engine().admit_stream().map_err(refused)?;
        let call = CallContext::of(request.extensions());
        let replies = stream::replies(self.clone(), request.into_inner(), call, permit);
        Ok(Response::new(Box::pin(replies)))
    }
}

impl TorchServe {
    /// Whether the models that are to be there were loaded, and every model's default version has the instances that it
    /// should have.
    fn is_healthy(&self) -> bool {
        let is_whole = |held: &Held| held.version.instances().len() >= held.version.wanted().min;
        let held = self.engine().models().all_held();
        self.engine().is_ready() && held.iter().filter(|held| held.is_default).all(is_whole)
    }
}
