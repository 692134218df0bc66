//! `mindspore.serving.proto.MSService`: models and pipelines for the clients of MindSpore Serving.
//!
//! A request has several instances, which run and fail each by itself. What goes wrong stands in the reply, in the
//! codes and texts that these clients know; the call itself succeeds.

mod fault;
mod instance;
mod method;
mod reply;
mod tensor;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tonic::{Request, Response, Status};

use super::layer::CallContext;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::model::version::Treatment;
use crate::proto::mindspore::ms_service_server::MsService;
use crate::proto::mindspore::{Instance, PredictReply, PredictRequest, ServableSpec};
use fault::{Fault, Of};
use method::Method;

/// The service, on an engine that it may share with others.
#[derive(Clone)]
pub struct MindSporeService {
    engine: Arc<Engine>,
}

impl MindSporeService {
    /// Serves this engine's models and pipelines.
    pub fn new(engine: Arc<Engine>) -> Self {
        MindSporeService { engine }
    }

    /// Runs all instances of a request, so many at a time that they find each other in a batch.
    async fn run(
        &self,
        spec: &ServableSpec,
        instances: Vec<Instance>,
        call: &CallContext,
    ) -> Result<Vec<Result<Instance, Fault>>, Fault> {
        let of = Of::new(spec);
        let version = if spec.version_number == 0 { String::new() } else { spec.version_number.to_string() };
        let served = self.engine.routed(call.route(), &spec.name, &version).await;
        let served = served.map_err(|error| unavailable(of, error))?;
        let deadline = call.deadline();
        let method = Method::find(&served, &spec.method_name).ok_or_else(|| of.no_method())?;
        if instances.is_empty() {
            return Err(of.no_instances());
        }
        let inputs = method.inputs(&served);
        // Before the first of them runs: who sends nonsense is told so, and gets nothing.
        let read = instances.into_iter().map(|instance| instance::read(of, &inputs, instance));
        let instances: Vec<_> = read.collect::<Result<_, _>>()?;
        let runs = instances.into_iter().map(|items| {
            let (served, method, inputs) = (&served, &method, &inputs);
            async move {
                let treatment = Treatment { deadline, ..Treatment::default() };
                let request = method.request(served, inputs, items, treatment)?;
                let reply = self.engine.infer(served, request).await?;
                method.reply(served, reply)
            }
        });
        Ok(stream::iter(runs).buffered(self.engine.limits().max_window).collect().await)
    }
}

/// Why a servable does not answer.
fn unavailable(of: Of<'_>, error: Error) -> Fault {
    match error.kind() {
        Kind::Unknown => of.no_servable(),
        _ => error.into(),
    }
}

#[tonic::async_trait]
impl MsService for MindSporeService {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictReply>, Status> {
        if self.engine.drain().is_cancelled() {
            return Err(Error::Draining(": it takes no new requests".into()).into());
        }
        let call = CallContext::of(request.extensions());
        let PredictRequest { servable_spec, instances } = request.into_inner();
        let spec = servable_spec.clone().unwrap_or_default();
        let ran = self.run(&spec, instances, &call).await;
        Ok(Response::new(reply::message(servable_spec, ran)))
    }
}
