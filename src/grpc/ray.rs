//! `ray.serve.RayServeAPIService`: what clients of Ray Serve ask of any server, and the codes that they know.

use std::sync::Arc;

use tonic::{Code, Request, Response, Status};

use super::layer::CallContext;
use super::status;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::proto::ray::ray_serve_api_service_server::RayServeApiService;
use crate::proto::ray::{HealthzRequest, HealthzResponse, ListApplicationsRequest, ListApplicationsResponse};

/// The service, on an engine that it may share with others.
#[derive(Clone)]
pub struct RayService {
    engine: Arc<Engine>,
}

impl RayService {
    /// Tells of this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        RayService { engine }
    }

    /// Both calls ask for it first.
    fn healthy(&self) -> Result<(), Status> {
        if self.engine.drain().is_cancelled() {
            return Err(Status::unavailable("This node is being drained."));
        }
        if !self.engine.is_ready() {
            return Err(Status::unavailable(
                "This node is not ready: models that are to be there from the start are still being loaded.",
            ));
        }
        Ok(())
    }
}

/// What a client of Ray Serve is told in place of a reply: as other clients, but that a server which has too much to do
/// is UNAVAILABLE, and that it is told what went wrong within.
pub fn refusal(call: &CallContext, error: Error) -> Status {
    match error.kind() {
        Kind::Overloaded => status::of(Code::Unavailable, error.to_string()),
        Kind::Timeout => {
            timed_out(call).unwrap_or_else(|| status::of(Code::DeadlineExceeded, error.to_string()))
        }
        Kind::Cancelled => {
            status::of(Code::Cancelled, format!("Client for request {} disconnected.", call.request_id()))
        }
        Kind::Internal => {
            tracing::error!(%error, "a request failed");
            status::of(Code::Internal, error.to_string())
        }
        _ => error.into(),
    }
}

fn timed_out(call: &CallContext) -> Option<Status> {
    Some(super::layer::timed_out(call.patience()?))
}

#[tonic::async_trait]
impl RayServeApiService for RayService {
    async fn healthz(&self, _: Request<HealthzRequest>) -> Result<Response<HealthzResponse>, Status> {
        self.healthy()?;
        Ok(Response::new(HealthzResponse { message: "success".into() }))
    }

    async fn list_applications(
        &self,
        _: Request<ListApplicationsRequest>,
    ) -> Result<Response<ListApplicationsResponse>, Status> {
        self.healthy()?;
        Ok(Response::new(ListApplicationsResponse { application_names: self.engine.applications() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApplicationUnknown;

    #[test]
    fn errors_have_the_codes_of_ray() {
        let call = CallContext::default();
        let told = |error: Error| {
            let status = refusal(&call, error);
            (status.code(), status.message().to_owned())
        };
        let full = Error::Overloaded { what: "jobs", count: 1, max: 1, flag: "--max-jobs" };
        assert_eq!(told(full).0, Code::Unavailable);
        let gone = format!("Client for request {} disconnected.", call.request_id());
        assert_eq!(told(Error::Cancelled), (Code::Cancelled, gone));
        assert_eq!(told(Error::QueueTimeout).0, Code::DeadlineExceeded);
        assert_eq!(told(Error::Internal("why".into())), (Code::Internal, "internal error: why".into()));
        let list = "Ping /ray.serve.RayServeAPIService/ListApplications for available applications.";
        for (error, text) in [
            (ApplicationUnknown::NotSet, format!("Application metadata not set. {list}")),
            (ApplicationUnknown::Name("x".into()), format!("Application 'x' not found. {list}")),
        ] {
            assert_eq!(told(error.into()), (Code::NotFound, text));
        }
    }
}
