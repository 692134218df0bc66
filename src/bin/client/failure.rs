//! Why the program stops, and the exit code that says so.

use std::fmt::Display;

use frameserve::client::{ClientError, Code};

/// Exit codes. `args.rs` documents them in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    AllCameBack = 0,
    UsageOrFile = 1,
    Unreachable = 2,
    Refused = 3,
    FramesFailed = 4,
    BadReply = 5,
    Interrupted = 130,
}

/// What went wrong, in words for a person.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    /// Bad usage, or a file or device that could not be read or written.
    pub fn usage(message: impl Display) -> Failure {
        Failure { exit: Exit::UsageOrFile, message: message.to_string() }
    }

    /// A reply that does not keep to the protocol.
    pub fn bad_reply(message: impl Display) -> Failure {
        Failure { exit: Exit::BadReply, message: message.to_string() }
    }
}

impl Failure {
    /// What went wrong with a call of the KServe V2 protocol, and what can be done where that is plain.
    pub fn of_call(error: ClientError, call: &str) -> Failure {
        let advice = match error.code() {
            Some(Code::Unimplemented) => {
                format!("This server does not offer {call} over the KServe V2 protocol")
            }
            Some(Code::NotFound) => "`frameserve-client models` lists the models that there are".into(),
            _ => String::new(),
        };
        let failure = Failure::from(error);
        if advice.is_empty() { failure } else { failure.with_advice(&advice) }
    }

    /// The same with another sentence behind it.
    pub fn with_advice(self, advice: &str) -> Failure {
        let stop = if self.message.ends_with(['.', '!', '?']) { "" } else { "." };
        Failure { message: format!("{}{stop} {advice}", self.message), ..self }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let exit = match error {
            ClientError::Url { .. } => Exit::UsageOrFile,
            ClientError::Connect { .. } | ClientError::Tls { .. } => Exit::Unreachable,
            ClientError::NotFrameserve { .. } => Exit::BadReply,
            _ => Exit::Refused,
        };
        Failure { exit, message: error.to_string() }
    }
}

impl From<opencv::Error> for Failure {
    fn from(error: opencv::Error) -> Failure {
        Failure::usage(format!("OpenCV: {}", error.message))
    }
}

impl From<turbojpeg::Error> for Failure {
    fn from(error: turbojpeg::Error) -> Failure {
        Failure::usage(format!("JPEG: {error}"))
    }
}
