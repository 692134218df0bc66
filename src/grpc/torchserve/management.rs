//! `ManagementAPIsService`: models come, grow, shrink and go.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::refusal::{self, Refusal};
use super::{TorchServe, describe};
use crate::model::Version;
use crate::model::registry::Held;
use crate::proto::torchserve::management::management_ap_is_service_server::ManagementApIsService;
use crate::proto::torchserve::management::*;

/// What is said of work that goes on behind the reply.
pub const IN_PROGRESS: &str = "Processing worker updates...";

#[tonic::async_trait]
impl ManagementApIsService for TorchServe {
    async fn describe_model(
        &self,
        request: Request<DescribeModelRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        message(self.describe(&request.into_inner()))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        let ListModelsRequest { limit, next_page_token } = request.into_inner();
        message(Ok(describe::list(self.engine(), limit, next_page_token)))
    }

    async fn register_model(
        &self,
        request: Request<RegisterModelRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        message(self.register(request.into_inner()).await)
    }

    async fn scale_worker(
        &self,
        request: Request<ScaleWorkerRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        message(self.scale(request.into_inner()).await)
    }

    async fn set_default(
        &self,
        request: Request<SetDefaultRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        message(self.choose_default(&request.into_inner()))
    }

    async fn unregister_model(
        &self,
        request: Request<UnregisterModelRequest>,
    ) -> Result<Response<ManagementResponse>, Status> {
        message(self.unregister(&request.into_inner()).await)
    }
}

impl TorchServe {
    async fn scale(&self, request: ScaleWorkerRequest) -> Result<String, Refusal> {
        let ScaleWorkerRequest { model_name, model_version, max_worker, min_worker, synchronous, .. } =
            request;
        // Neither is given where it is not above 0.
        let min = positive(min_worker).unwrap_or(1);
        let max = positive(max_worker).unwrap_or(min);
        if max < min {
            return Err(refusal::bad_request("max_worker cannot be less than min_worker."));
        }
        let held = self.held_or_refused(&model_name, &model_version)?;
        if max > crate::model::staff::MOST {
            let text = format!("max_worker {max} is out of range: 1 to {}", crate::model::staff::MOST);
            return Err(refusal::bad_request(text));
        }
        let scaling = Arc::clone(self.engine().models()).scale(Arc::clone(&held.version), min..=max);
        if !synchronous {
            behind(held.version, scaling);
            return Ok(IN_PROGRESS.into());
        }
        let failed =
            |error: crate::Error| refusal::no_workers_started(&model_name, &held.text(), &error.to_string());
        scaling.await.map_err(failed)?;
        let version =
            if model_version.is_empty() { String::new() } else { format!(", version: {model_version}") };
        Ok(format!("Workers scaled to {min} for model: {model_name}{version}"))
    }

    fn choose_default(&self, request: &SetDefaultRequest) -> Result<String, Refusal> {
        let SetDefaultRequest { model_name: name, model_version: version } = request;
        let held = self.engine().models().held(name);
        if held.is_empty() {
            return Err(refusal::no_model(name));
        }
        let held = held.into_iter().find(|held| held.is_called(version));
        let number = held.ok_or_else(|| refusal::no_default(name, version))?.version.number();
        let chosen = self.engine().models().set_default(name, number);
        chosen.map_err(|error| Refusal::of_change(error, name, version))?;
        Ok(format!("Default version successfully updated for model \"{name}\" to \"{version}\""))
    }

    async fn unregister(&self, request: &UnregisterModelRequest) -> Result<String, Refusal> {
        let UnregisterModelRequest { model_name: name, model_version: version } = request;
        self.check_model_api()?;
        if name.is_empty() {
            // It names another parameter than the one that is missing, and so does TorchServe.
            return Err(refusal::bad_request("Parameter url is required."));
        }
        let held = self.held_or_refused(name, version)?;
        let gone = self.engine().models().unregister(name, held.version.number()).await;
        gone.map_err(|error| Refusal::of_change(error, name, version))?;
        if let Some(registered) = held.version.registered() {
            self.discard(&registered.url);
        }
        Ok(format!("Model \"{name}\" unregistered"))
    }

    /// A version of a model, or that there is none.
    pub(super) fn held_or_refused(&self, name: &str, version: &str) -> Result<Held, Refusal> {
        if let Some(held) = self.held(name, version)? {
            return Ok(held);
        }
        if self.engine().piped().any(|piped| piped.name() == name) {
            return Err(refusal::bad_request(format!(
                "{name} is a pipeline of the server's configuration: it runs on the threads for frames, and has no \
                 workers of its own"
            )));
        }
        Err(refusal::no_model(name))
    }

    pub(super) fn check_model_api(&self) -> Result<(), Refusal> {
        if self.0.terms.model_api { Ok(()) } else { Err(refusal::model_api_disabled()) }
    }
}

/// Lets work go on that nobody waits for.
pub fn behind(version: Arc<Version>, work: impl Future<Output = Result<(), crate::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = work.await {
            let (model, version) = (&version.settings().name, version.number());
            tracing::error!(model, version, %error, "instances could not be made");
        }
    });
}

/// A number that counts as given.
pub fn positive(number: i32) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number > 0)
}

fn message(result: Result<String, Refusal>) -> Result<Response<ManagementResponse>, Status> {
    Ok(Response::new(ManagementResponse { msg: result? }))
}
