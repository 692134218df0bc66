//! `ModelStreamInfer`: requests of one stream, answered in their order. A request that fails is answered with its error.

use std::sync::Arc;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use prost::Message as _;
use tonic::{Code, Status, Streaming};

use super::infer::{self, Caller};
use super::refusal::Refusal;
use super::shared_memory::Regions;
use crate::engine::{Engine, StreamPermit};
use crate::grpc::exchange::{self, Exchange};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};

/// How a stream was opened.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who asks.
    pub caller: Caller,
    /// Whether the first error ends the stream with a status, in place of a reply that says it.
    pub errors_end: bool,
}

/// What is done with requests.
#[derive(Clone)]
struct Requests {
    engine: Arc<Engine>,
    regions: Arc<Regions>,
    caller: Caller,
}

/// What became of a request.
struct Answer {
    result: Result<ModelInferResponse, Status>,
    /// What the reply to a request that failed says of it.
    request: ModelInferResponse,
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
        let requests = Requests { engine: Arc::clone(&engine), regions, caller: terms.caller };
        let mut first = None;
        let messages = messages.map(move |request| Ok(named(request?, &mut first)));
        for await answer in exchange::replies(&engine, requests, messages) {
            match answer {
                Ok(Answer { result: Err(status), .. }) if terms.errors_end => {
                    yield Err(status);
                    return;
                }
                answer => yield answer.map(Answer::into_reply),
            }
        }
    }
}

/// A request that names no model means that of the stream's first one, as some clients have it.
fn named(mut request: ModelInferRequest, first: &mut Option<(String, String)>) -> ModelInferRequest {
    let ModelInferRequest { model_name, model_version, .. } = &mut request;
    let (name, version) = first.get_or_insert_with(|| (model_name.clone(), model_version.clone()));
    if model_name.is_empty() {
        model_name.clone_from(name);
        model_version.clone_from(version);
    }
    request
}

impl Exchange for Requests {
    type Request = ModelInferRequest;
    type Reply = Answer;

    fn request_bytes(request: &ModelInferRequest) -> usize {
        infer::bytes(request)
    }

    fn reply_bytes(Answer { result, .. }: &Answer) -> usize {
        result.as_ref().map_or(0, ModelInferResponse::encoded_len)
    }

    fn reply(&self, request: ModelInferRequest) -> impl Future<Output = Answer> + Send + 'static {
        let Requests { engine, regions, caller } = self.clone();
        async move {
            let of = ModelInferResponse {
                model_name: request.model_name.clone(),
                model_version: request.model_version.clone(),
                id: request.id.clone(),
                ..ModelInferResponse::default()
            };
            let result = infer::infer(&engine, &regions, request, &caller).await;
            let result = result.map_err(|refusal: Refusal| refusal.status(&of.id));
            Answer { result, request: of }
        }
    }

    fn going_down(&self) -> Status {
        infer::going_down().into()
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
