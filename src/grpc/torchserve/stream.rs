//! `StreamPredictions2`: requests of one or more sequences, answered in the order in which they came. A request that fails
//! is answered with its status.

use async_stream::stream;
use futures_util::Stream;
use prost::Message as _;
use tonic::{Status, Streaming};

use super::TorchServe;
use super::refusal::{self, Refusal};
use crate::engine::StreamPermit;
use crate::error::Error;
use crate::grpc::exchange::{self, Exchange};
use crate::grpc::layer::CallContext;
use crate::proto::torchserve::inference::{PredictionResponse, PredictionsRequest};

/// Inputs with these names are about the sequence, and none of the model's.
const OF_THE_SEQUENCE: [&str; 3] =
    ["ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"];

/// What is done with requests.
#[derive(Clone)]
struct Requests {
    service: TorchServe,
    call: CallContext,
}

/// The replies to a stream of requests.
pub fn replies(
    service: TorchServe,
    messages: Streaming<PredictionsRequest>,
    call: CallContext,
    permit: StreamPermit,
) -> impl Stream<Item = Result<PredictionResponse, Status>> + Send {
    stream! {
        let _permit = permit;
        let requests = Requests { service: service.clone(), call };
        for await reply in exchange::replies(service.engine(), requests, messages) {
            yield reply;
        }
    }
}

impl Exchange for Requests {
    type Request = PredictionsRequest;
    type Reply = PredictionResponse;

    fn request_bytes(request: &PredictionsRequest) -> usize {
        request.encoded_len()
    }

    fn reply_bytes(reply: &PredictionResponse) -> usize {
        reply.encoded_len()
    }

    fn reply(
        &self,
        mut request: PredictionsRequest,
    ) -> impl Future<Output = PredictionResponse> + Send + 'static {
        let Requests { service, call } = self.clone();
        async move {
            let sequence_id = request.sequence_id.clone().filter(|id| !id.is_empty());
            request.input.retain(|name, _| !OF_THE_SEQUENCE.contains(&name.as_str()));
            let answered: Result<_, Refusal> = match &sequence_id {
                Some(_) => service.predict(request, &call).await,
                None => Err(refusal::required("sequenceId")),
            };
            match answered {
                Ok(prediction) => PredictionResponse { prediction, sequence_id, status: None },
                Err(refusal) => PredictionResponse {
                    sequence_id,
                    status: Some(refusal.in_band()),
                    ..PredictionResponse::default()
                },
            }
        }
    }

    fn going_down(&self) -> Status {
        Error::Draining(": it takes no new requests".into()).into()
    }
}
