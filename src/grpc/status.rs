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
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Failed | Kind::Internal => Code::Internal,
    }
}

/// Code and text for a client. What a client can't act on goes to the log instead.
pub fn describe(error: &Error) -> (Code, String) {
    let code = code(error.kind());
    if error.kind() == Kind::Internal {
        tracing::error!(%error, "a request failed");
        return (code, "internal error; the server's log has the cause".into());
    }
    (code, cut(error.to_string()))
}

/// Statuses travel in headers, of which clients take 8 KB by default, and there a byte that is not printable
/// ASCII takes three. A text that is too long for that, since it quotes what the client sent, loses its middle.
fn cut(text: String) -> String {
    const MOST: usize = 4000;
    let cost = |c: char| if c.is_ascii_graphic() || c == ' ' { 1 } else { 3 * c.len_utf8() };
    if text.chars().map(cost).sum::<usize>() <= MOST {
        return text;
    }
    let half = |chars: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut room = MOST / 2;
        let fits = |c: &char| {
            room = room.saturating_sub(cost(*c));
            room > 0
        };
        chars.take_while(fits).collect()
    };
    let (begin, end) = (half(&mut text.chars()), half(&mut text.chars().rev()));
    begin.into_iter().chain(" ... ".chars()).chain(end.into_iter().rev()).collect()
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, text) = describe(&error);
        Status::new(code, text)
    }
}

/// A status with the text of a protocol's own.
pub fn of(code: Code, text: String) -> Status {
    Status::new(code, cut(text))
}

/// What ended a stream of requests, with the code that other gRPC implementations give for a message that is
/// too large, and the flag that allows it.
pub fn of_stream(status: Status) -> Status {
    if status.code() == Code::OutOfRange && status.message().contains("message length too large") {
        let text = format!("{} (the server's --max-message-bytes raises it)", status.message());
        return Status::resource_exhausted(text);
    }
    if status.code() == Code::Internal && status.message().contains("failed to decode Protobuf message") {
        return Status::invalid_argument(status.message());
    }
    status
}
