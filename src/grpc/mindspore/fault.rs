//! What goes wrong with a request or an instance, in the codes and words that clients of this protocol know.

use std::fmt;

use crate::error::{Error, Kind};
use crate::grpc::status;
use crate::proto::mindspore::{ErrorMsg, ServableSpec};

/// Something else than what has a code of its own.
const FAILED: i64 = 1;
/// The inputs are not what the method takes, or there is no such method.
const INVALID_INPUTS: i64 = 2;
/// A fault of the server's.
const SYSTEM_ERROR: i64 = 3;
/// The servable is not ready.
const SERVABLE_UNAVAILABLE: i64 = 5;

/// Why a request or an instance has no result.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    code: i64,
    text: String,
}

/// Whom a request is for, as texts name it.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a>(&'a ServableSpec);

impl Fault {
    /// Inputs that are not what the method takes.
    pub fn invalid(text: impl Into<String>) -> Self {
        Fault { code: INVALID_INPUTS, text: text.into() }
    }

    /// The same, of an input.
    pub fn of_input(self, input: &str) -> Self {
        Fault { text: format!("Instances input {input} check failed, detail: {}", self.text), ..self }
    }
}

impl From<Fault> for ErrorMsg {
    fn from(fault: Fault) -> Self {
        ErrorMsg { error_code: fault.code, error_msg: fault.text.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (_, text) = status::describe(&error);
        match error.kind() {
            Kind::Invalid | Kind::Unknown | Kind::TooLarge | Kind::Unsupported => Fault::invalid(text),
            Kind::NotReady if matches!(error, Error::QueueFull { .. }) => too_many(text),
            Kind::Overloaded => too_many(text),
            Kind::NotReady | Kind::State => Fault { code: SERVABLE_UNAVAILABLE, text },
            Kind::Timeout | Kind::Cancelled | Kind::Failed => Fault { code: FAILED, text },
            Kind::Internal => Fault { code: SYSTEM_ERROR, text },
        }
    }
}

/// The words that clients look for before they try again.
fn too_many(why: String) -> Fault {
    Fault { code: FAILED, text: format!("Serving Error: enqueued requests count exceeds the limit: {why}") }
}

impl<'a> Of<'a> {
    pub fn new(spec: &'a ServableSpec) -> Self {
        Of(spec)
    }

    pub fn no_servable(self) -> Fault {
        Fault::invalid(format!("Request {self}, servable is not available"))
    }

    pub fn no_method(self) -> Fault {
        Fault::invalid(format!("Request {self}, method is not available"))
    }

    pub fn no_instances(self) -> Fault {
        let ServableSpec { name, method_name, .. } = self.0;
        Fault::invalid(format!(
            "Instances count of request cannot be 0, servable: {name}, method: {method_name}"
        ))
    }

    pub fn no_input(self, input: &str) -> Fault {
        let ServableSpec { name, method_name, .. } = self.0;
        let text =
            format!("Cannot find input {input} in instance input , servable {name}, method {method_name}");
        Fault::invalid(text)
    }
}

/// The spaces are those of the original, whose texts programs compare.
impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServableSpec { name, method_name, version_number } = self.0;
        write!(f, "servable({name}) method({method_name}) ")?;
        if *version_number > 0 {
            write!(f, " version({version_number}) ")?;
        }
        Ok(())
    }
}
