//! Why a call is refused, in the words that clients of this protocol know.

use tonic::{Code, Status};

use crate::error::{ApplicationUnknown, Error, ModelUnknown};
use crate::grpc::status;

/// What a client is told instead of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// A request that its model does not take. The text is preceded by the request's id.
    Request(String),
    /// A request that waited for too long. The text is preceded in the same way.
    Late(String),
    /// Anything else.
    Other(Code, String),
}

impl Refusal {
    /// A message that can't be what its sender meant.
    pub fn invalid(text: impl Into<String>) -> Self {
        Refusal::Other(Code::InvalidArgument, text.into())
    }

    /// Something that this server does not do.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Refusal::Other(Code::Unimplemented, text.into())
    }

    /// Something that is not there.
    pub fn unknown(text: impl Into<String>) -> Self {
        Refusal::Other(Code::NotFound, text.into())
    }

    /// What became of a request that its model was asked to answer.
    pub fn of_request(error: Error) -> Self {
        match error {
            Error::Request(error) => Refusal::Request(error.to_string()),
            Error::QueueTimeout => Refusal::Late(error.to_string()),
            error => error.into(),
        }
    }

    /// The status for the request of this id.
    pub fn status(self, id: &str) -> Status {
        match self {
            Refusal::Request(text) => status::of(Code::InvalidArgument, marked(id, &text)),
            Refusal::Late(text) => status::of(Code::DeadlineExceeded, marked(id, &text)),
            Refusal::Other(code, text) => status::of(code, text),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let error = match error {
            // A request without a model's name, for whose clients that is a name like any other.
            Error::ApplicationUnknown(unknown) if *unknown == ApplicationUnknown::NotSet => {
                ModelUnknown::Model(String::new()).into()
            }
            error => error,
        };
        let (code, text) = status::describe(&error);
        Refusal::Other(code, text)
    }
}

fn marked(id: &str, text: &str) -> String {
    let id = if id.is_empty() { "<id_unknown>" } else { id };
    format!("[request id: {id}] {text}")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status("")
    }
}
