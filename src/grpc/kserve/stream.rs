//! `ModelStreamInfer`: requests of one stream, answered in their order.
//!
//! Several are in flight at a time, so that they can be part of one batch. A stream whose replies are not read is
//! not read either. A request that fails is answered with its error, and the stream goes on.

use std::sync::Arc;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};
use tracing::Instrument;

use super::infer::{self, Caller};
use super::refusal::Refusal;
use super::shared_memory::Regions;
use crate::engine::{Engine, StreamPermit};
use crate::grpc::status;
use crate::limits::{Budget, Share};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use crate::session::{self, Admission, End, Input, Options, Outcome, Pressure, Processor, Work};

/// How a stream was opened.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who asks.
    pub caller: Caller,
    /// Whether the first error ends the stream with a status, in place of a reply that says it.
    pub errors_end: bool,
}

/// A request of the stream.
struct Message {
    request: ModelInferRequest,
}

/// What is done with requests.
struct Requests {
    engine: Arc<Engine>,
    regions: Arc<Regions>,
    caller: Caller,
    /// What the stream may hold in requests and in replies that were not read.
    held: Budget,
}

/// What became of a request.
struct Answer {
    result: Result<ModelInferResponse, Status>,
    /// What the reply to a request that failed says of it.
    request: ModelInferResponse,
    /// Is held until the reply has left.
    _share: Share,
}

/// The replies to a stream of requests.
pub fn replies(
    engine: Arc<Engine>,
    regions: Arc<Regions>,
    messages: Streaming<ModelInferRequest>,
    terms: Terms,
    permit: StreamPermit,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> + Send {
    stream! {
        let _permit = permit;
        let limits = engine.limits();
        let options = Options {
            window: limits.max_window,
            waiting_bytes: limits.max_stream_bytes,
            pressure: Pressure::Lossless,
            max_fps: None,
        };
        let held = Budget::new(limits.max_stream_bytes);
        let drain = engine.drain().clone();
        let requests = Requests { engine: Arc::clone(&engine), regions, caller: terms.caller, held };
        let mut first = None;
        let messages = messages.map(move |request| Ok(Message::of(request?, &mut first)));
        for await outcome in session::run(messages, requests, options, drain) {
            match outcome {
                Ok(Outcome::Done(Answer { result: Err(status), .. })) if terms.errors_end => {
                    yield Err(status);
                    return;
                }
                Ok(Outcome::Done(answer)) => yield Ok(answer.into_reply()),
                // Nothing is dropped under this pressure.
                Ok(Outcome::Dropped(_)) => {}
                Err(End::Source(error)) => yield Err(status::of_stream(error)),
                Err(End::Drained) => yield Err(infer::going_down().into()),
            }
        }
    }
}

impl Message {
    /// A request that names no model means that of the stream's first one, as some clients have it.
    fn of(mut request: ModelInferRequest, first: &mut Option<(String, String)>) -> Self {
        let ModelInferRequest { model_name, model_version, .. } = &mut request;
        let (name, version) = first.get_or_insert_with(|| (model_name.clone(), model_version.clone()));
        if model_name.is_empty() {
            model_name.clone_from(name);
            model_version.clone_from(version);
        }
        Message { request }
    }
}

impl Input for Message {
    fn sequence(&self) -> Option<u64> {
        None
    }

    fn bytes(&self) -> usize {
        infer::bytes(&self.request)
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

    fn process(&mut self, Message { request }: Message, mut share: Share) -> Work<Answer> {
        let (engine, regions, caller) =
            (Arc::clone(&self.engine), Arc::clone(&self.regions), self.caller.clone());
        let work = async move {
            let of = ModelInferResponse {
                model_name: request.model_name.clone(),
                model_version: request.model_version.clone(),
                id: request.id.clone(),
                ..ModelInferResponse::default()
            };
            let result = infer::infer(&engine, &regions, request, &caller).await;
            share.shrink(result.as_ref().map_or(0, prost::Message::encoded_len));
            let result = result.map_err(|refusal: Refusal| refusal.status(&of.id));
            Answer { result, request: of, _share: share }
        };
        Work::Running(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())))
    }
}

impl Answer {
    fn into_reply(self) -> ModelStreamInferResponse {
        let (error_message, mut reply) = match self.result {
            Ok(reply) => (String::new(), reply),
            Err(status) => (said(&status), self.request),
        };
        let is_final = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
        reply.parameters.insert("triton_final_response".into(), is_final);
        ModelStreamInferResponse { error_message, infer_response: Some(reply) }
    }
}

/// An error is told by its text alone, which must not be empty then.
fn said(status: &Status) -> String {
    match (status.message(), status.code()) {
        ("", Code::Ok) => "unknown".into(),
        ("", code) => code.description().into(),
        (text, _) => text.into(),
    }
}
