//! `StreamPredictions2`: requests of one or more sequences, answered in the order in which they came.
//!
//! Several are in flight at a time, so that they can be part of one batch. A stream whose replies are not read is
//! not read either. A request that fails is answered with its status, and the stream goes on.

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::TorchServe;
use super::refusal::{self, Refusal};
use crate::engine::StreamPermit;
use crate::error::Error;
use crate::grpc::layer::CallContext;
use crate::grpc::status;
use crate::limits::{Budget, Share};
use crate::proto::torchserve::inference::{PredictionResponse, PredictionsRequest};
use crate::session::{self, Admission, End, Input, Options, Outcome, Pressure, Processor, Work};

/// Inputs with these names are about the sequence, and none of the model's.
const OF_THE_SEQUENCE: [&str; 3] =
    ["ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"];

/// A request of the stream.
struct Message(PredictionsRequest);

/// What is done with requests.
struct Requests {
    service: TorchServe,
    call: CallContext,
    /// What the stream may hold in requests and in replies that were not read.
    held: Budget,
}

/// What became of a request.
struct Answer {
    reply: PredictionResponse,
    /// Is held until the reply has left.
    _share: Share,
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
        let limits = service.engine().limits();
        let options = Options {
            window: limits.max_window,
            waiting_bytes: limits.max_stream_bytes,
            pressure: Pressure::Lossless,
            max_fps: None,
        };
        let held = Budget::new(limits.max_stream_bytes);
        let drain = service.engine().drain().clone();
        let requests = Requests { service: service.clone(), call, held };
        let messages = messages.map(|request| request.map(Message));
        for await outcome in session::run(messages, requests, options, drain) {
            match outcome {
                Ok(Outcome::Done(answer)) => yield Ok(answer.reply),
                // Nothing is dropped under this pressure.
                Ok(Outcome::Dropped(_)) => {}
                Err(End::Source(error)) => yield Err(status::of_stream(error)),
                Err(End::Drained) => {
                    yield Err(Error::Draining(": it takes no new requests".into()).into());
                }
            }
        }
    }
}

impl Input for Message {
    fn sequence(&self) -> Option<u64> {
        None
    }

    fn bytes(&self) -> usize {
        self.0.encoded_len()
    }

    fn without_frame(self) -> Option<Self> {
        Some(self)
    }
}

impl Processor for Requests {
    type Input = Message;
    type Output = Answer;
    type Ticket = Share;

    fn admit(&self, message: &Message) -> Admission<Share> {
        let (held, bytes) = (self.held.clone(), message.bytes());
        Box::pin(async move { held.take(bytes).await })
    }

    fn process(&mut self, Message(mut request): Message, mut share: Share) -> Work<Answer> {
        let (service, call) = (self.service.clone(), self.call.clone());
        Work::Running(AbortOnDropHandle::new(tokio::spawn(async move {
            let sequence_id = request.sequence_id.clone().filter(|id| !id.is_empty());
            request.input.retain(|name, _| !OF_THE_SEQUENCE.contains(&name.as_str()));
            let answered: Result<_, Refusal> = match &sequence_id {
                Some(_) => service.predict(request, &call).await,
                None => Err(refusal::required("sequenceId")),
            };
            let reply = match answered {
                Ok(prediction) => PredictionResponse { prediction, sequence_id, status: None },
                Err(refusal) => PredictionResponse {
                    sequence_id,
                    status: Some(refusal.in_band()),
                    ..PredictionResponse::default()
                },
            };
            share.shrink(reply.encoded_len());
            Answer { reply, _share: share }
        })))
    }
}
