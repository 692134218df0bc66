//! Why a call is refused, in the words that TorchServe's clients know.
//!
//! A description has two lines there: the text, and the name of a class of TorchServe's. Where more is known a third
//! line says it.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::error::{Error, Kind, ModelUnknown};
use crate::grpc::status;
use crate::model::store::StoreError;
use crate::proto::google::rpc;

const BAD_REQUEST: &str = "org.pytorch.serve.http.BadRequestException";
const CONFLICT: &str = "org.pytorch.serve.http.ConflictStatusException";
const DOWNLOAD: &str = "org.pytorch.serve.archive.DownloadArchiveException";
const INTERNAL: &str = "org.pytorch.serve.http.InternalServerException";
const INVALID_MODEL: &str = "org.pytorch.serve.archive.model.InvalidModelException";
const INVALID_VERSION: &str = "org.pytorch.serve.http.InvalidModelVersionException";
const MODEL: &str = "org.pytorch.serve.archive.model.ModelException";
const MODEL_NOT_FOUND: &str = "org.pytorch.serve.archive.model.ModelNotFoundException";
const VERSION_NOT_FOUND: &str = "org.pytorch.serve.archive.model.ModelVersionNotFoundException";

/// What errors of a model begin with that took its thread along.
const PANICKED: &str = "the model panicked";

/// What a client is told instead of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    code: Code,
    text: String,
    class: &'static str,
    /// What TorchServe would not have said.
    cause: Option<String>,
}

impl Refusal {
    fn new(code: Code, text: impl Into<String>, class: &'static str) -> Self {
        Refusal { code, text: text.into(), class, cause: None }
    }

    fn because(self, cause: impl Into<String>) -> Self {
        Refusal { cause: Some(cause.into()), ..self }
    }

    /// The same with another code.
    pub fn with_code(self, code: Code) -> Self {
        Refusal { code, ..self }
    }

    /// What it comes down to, for the log.
    pub fn text(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.text.clone(), |cause| format!("{}: {cause}", self.text))
    }

    /// What became of a request for a prediction, of this model and version as the client wrote them.
    pub fn of_prediction(error: Error, model: &str, version: &str) -> Self {
        let internal = |text| Refusal::new(Code::Internal, text, INTERNAL);
        match &error {
            Error::ModelUnknown(ModelUnknown::Model(_)) => no_model(model).with_code(Code::Internal),
            Error::ModelUnknown(ModelUnknown::Version { .. }) => {
                no_version(model, version).with_code(Code::Internal)
            }
            Error::ModelUnknown(_) | Error::ModelNotReady { .. } => no_worker(model, version),
            Error::QueueFull { .. } => no_worker(model, version).because(error.to_string()),
            Error::Model(text) if text.starts_with(PANICKED) => internal("Worker died.").because(text),
            _ => {
                let (code, text) = status::describe(&error);
                match error.kind() {
                    Kind::Overloaded => internal("Out of resources").because(text),
                    Kind::NotReady | Kind::Timeout | Kind::Cancelled | Kind::Internal => {
                        Refusal::new(code, text, INTERNAL)
                    }
                    _ => Refusal::new(Code::Unavailable, "Prediction failed", INTERNAL).because(text),
                }
            }
        }
    }

    /// Why a version can't be registered.
    pub fn of_registration(error: Error) -> Self {
        match error {
            Error::AlreadyRegistered { .. } => Refusal::new(Code::Unknown, error.to_string(), CONFLICT),
            error => {
                let (code, text) = status::describe(&error);
                match error.kind() {
                    Kind::Failed | Kind::Invalid | Kind::Unsupported => {
                        Refusal::new(Code::InvalidArgument, text, INVALID_MODEL)
                    }
                    _ => Refusal::new(code, text, INTERNAL),
                }
            }
        }
    }

    /// Why a version can't be changed or go.
    pub fn of_change(error: Error, model: &str, version: &str) -> Self {
        match error {
            Error::ModelUnknown(ModelUnknown::Version { .. }) => no_version(model, version),
            Error::ModelUnknown(_) => no_model(model),
            Error::DefaultVersion(_) => Refusal::new(Code::Unknown, error.to_string(), INVALID_VERSION),
            Error::Range { .. } => bad_request(error.to_string()),
            error => {
                let (code, text) = status::describe(&error);
                Refusal::new(code, text, INTERNAL)
            }
        }
    }

    /// The status of a message on a stream that goes on.
    pub fn in_band(self) -> rpc::Status {
        let Refusal { code, text, class, cause } = self;
        let info = rpc::ErrorInfo {
            reason: class.into(),
            metadata: cause.map(|cause| ("cause".into(), cause)).into_iter().collect(),
            ..rpc::ErrorInfo::default()
        };
        let info =
            Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(), value: info.encode_to_vec() };
        rpc::Status { code: code.into(), message: text, details: vec![info] }
    }
}

impl From<Refusal> for Status {
    fn from(Refusal { code, text, class, cause }: Refusal) -> Self {
        let lines = [Some(text), Some(class.into()), cause];
        status::of(code, lines.into_iter().flatten().collect::<Vec<String>>().join("\n"))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::NoStore
            | StoreError::Relative(_)
            | StoreError::NotAllowed(_)
            | StoreError::Absent(_) => Refusal::new(Code::NotFound, text, MODEL_NOT_FOUND),
            StoreError::Exists(_) => Refusal::new(Code::Internal, text, INTERNAL),
            StoreError::Fetch { why, .. } => Refusal::new(Code::InvalidArgument, text, DOWNLOAD).because(why),
        }
    }
}

/// Something that a prediction can't do without.
pub fn required(parameter: &str) -> Refusal {
    let text = format!("Parameter {parameter} is required.");
    Refusal::new(Code::Internal, text, "BadRequestException.()")
}

/// A request that is wrong in itself.
pub fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgument, text, BAD_REQUEST)
}

/// Something that there is no model of.
pub fn no_model(model: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("Model not found: {model}"), MODEL_NOT_FOUND)
}

/// A version that there is none of.
pub fn no_version(model: &str, version: &str) -> Refusal {
    let text = format!("Model version: {version} does not exist for model: {model}");
    Refusal::new(Code::NotFound, text, VERSION_NOT_FOUND)
}

/// A version that there is none of, and that was to become the default.
pub fn no_default(model: &str, version: &str) -> Refusal {
    let text = format!("Model version {version} does not exist for model {model}");
    Refusal::new(Code::NotFound, text, VERSION_NOT_FOUND)
}

/// Registering and unregistering that is not up to clients.
pub fn model_api_disabled() -> Refusal {
    Refusal::new(Code::PermissionDenied, "Model API disabled", MODEL)
}

/// A version that answers nothing.
pub fn no_worker(model: &str, version: &str) -> Refusal {
    // The quotes are where TorchServe has them.
    let version = if version.is_empty() { String::new() } else { format!("\" Version {version}") };
    let text = format!(
        "Model \"{model}{version}\" has no worker to serve inference request. Please use scale workers API to add \
         workers. If this is a sequence inference, please check if it is closed, or expired; or exceeds \
         maxSequenceJobQueueSize"
    );
    Refusal::new(Code::Internal, text, "InternalServerException.()")
}

/// A version that can't be asked what it says of itself.
pub fn no_worker_to_describe(model: &str) -> Refusal {
    let text = format!(
        "Model \"{model}\" has no worker to serve describe request. Please use scale workers API to add workers."
    );
    Refusal::new(Code::Internal, text, "InternalServerException.()")
}

/// Instances that could not be made.
pub fn no_workers_started(model: &str, version: &str, cause: &str) -> Refusal {
    let text = format!("Failed to start workers for model {model} version: {version}");
    Refusal::new(Code::Internal, text, INTERNAL).because(cause)
}

/// A model that took longer than it may.
pub fn too_late(limit: Duration) -> Refusal {
    let cause =
        format!("the answer took more than {} seconds, the model's response timeout", limit.as_secs_f64());
    Refusal::new(Code::Internal, "Worker died.", INTERNAL).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(refusal: Refusal) -> (Code, Vec<String>) {
        let status = Status::from(refusal);
        (status.code(), status.message().lines().map(String::from).collect())
    }

    #[test]
    fn predictions_fail_in_torchserves_words() {
        let of = |error| lines(Refusal::of_prediction(error, "m", "2.0"));
        let (code, said) = of(ModelUnknown::Model("m".into()).into());
        assert_eq!(
            (code, &said[..]),
            (Code::Internal, &["Model not found: m".to_string(), MODEL_NOT_FOUND.into()][..])
        );
        let (code, said) = of(ModelUnknown::Version { model: "m".into(), version: 2 }.into());
        assert_eq!(
            (code, said[0].as_str()),
            (Code::Internal, "Model version: 2.0 does not exist for model: m")
        );
        assert_eq!(said[1], VERSION_NOT_FOUND);
        for error in [
            Error::ModelNotReady { model: "m".into(), version: 2 },
            Error::QueueFull { count: 9, max: 9 },
            ModelUnknown::NoneReady("m".into()).into(),
        ] {
            let (code, said) = of(error);
            assert_eq!(code, Code::Internal);
            assert!(
                said[0].starts_with("Model \"m\" Version 2.0\" has no worker to serve inference"),
                "{said:?}"
            );
            assert_eq!(said[1], "InternalServerException.()");
        }
        for (error, code, text) in [
            (Error::Model("the model panicked: x".into()), Code::Internal, "Worker died."),
            (Error::Model("a shape".into()), Code::Unavailable, "Prediction failed"),
            (Error::Picture("a picture".into()), Code::Unavailable, "Prediction failed"),
            (
                Error::Overloaded { what: "jobs", count: 1, max: 1, flag: "--max-jobs" },
                Code::Internal,
                "Out of resources",
            ),
        ] {
            let cause = status::describe(&error).1;
            assert_eq!(of(error), (code, vec![text.into(), INTERNAL.into(), cause]));
        }
        let (code, said) = of(Error::Draining("".into()));
        assert_eq!((code, said[0].as_str()), (Code::Unavailable, "the server is shutting down"));
    }

    #[test]
    fn what_is_said_in_a_stream_carries_the_same() {
        let status = required("sequenceId").in_band();
        assert_eq!((status.code, status.message.as_str()), (13, "Parameter sequenceId is required."));
        assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
        let info = rpc::ErrorInfo::decode(&status.details[0].value[..]).unwrap();
        assert_eq!(info.reason, "BadRequestException.()");
    }
}
