//! The only table from errors to gRPC statuses.

use tonic::{Code, Status};

use crate::error::{Error, Kind};

/// The gRPC code for a kind of error.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unknown => Code::NotFound,
        Kind::State => Code::FailedPrecondition,
        Kind::Overloaded | Kind::TooLarge => Code::ResourceExhausted,
        Kind::NotReady => Code::Unavailable,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Cancelled => Code::Cancelled,
        Kind::Internal => Code::Internal,
    }
}

/// Code and text for a client. What a client can't act on goes to the log instead.
pub fn describe(error: &Error) -> (Code, String) {
    let code = code(error.kind());
    if code == Code::Internal {
        tracing::error!(%error, "a request failed");
        return (code, "internal error; the server's log has the cause".into());
    }
    (code, error.to_string())
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, text) = describe(&error);
        Status::new(code, text)
    }
}

/// What ended a stream of requests, with the code that other gRPC implementations give for a message that is
/// too large, and the flag that allows it.
pub fn of_stream(status: Status) -> Status {
    if status.code() == Code::OutOfRange && status.message().contains("message length too large") {
        let text = format!("{} (the server's --max-message-bytes raises it)", status.message());
        return Status::resource_exhausted(text);
    }
    status
}
