//! What can be wrong with a request for a model. The texts are those that Triton's users know.

/// A request that does not fit its model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Inputs are missing.
    #[error(
        "expected {expected} inputs but got {got} inputs for model '{model}'. Got input(s) [{given}], but missing \
         required input(s) [{missing}]. Please provide all required input(s)."
    )]
    MissingInputs {
        /// How many the model takes.
        expected: usize,
        /// How many came.
        got: usize,
        /// The model.
        model: String,
        /// Their names, quoted.
        given: String,
        /// Names of those that did not come, quoted.
        missing: String,
    },
    /// An input that the model does not have.
    #[error("unexpected inference input '{input}' for model '{model}'")]
    UnknownInput {
        /// Its name.
        input: String,
        /// The model.
        model: String,
    },
    /// The same input or output twice.
    #[error("{what} '{name}' already exists in request")]
    Duplicate {
        /// "input" or "output".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An output that the model does not have.
    #[error("unexpected inference output '{output}' for model '{model}'")]
    UnknownOutput {
        /// Its name.
        output: String,
        /// The model.
        model: String,
    },
    /// An input of another type.
    #[error("inference input '{input}' data-type is '{found}', but model '{model}' expects '{expected}'")]
    DataType {
        /// Its name.
        input: String,
        /// What came.
        found: String,
        /// The model.
        model: String,
        /// What it takes.
        expected: String,
    },
    /// An input of another shape.
    #[error(
        "unexpected shape for input '{input}' for model '{model}'. Expected {expected}, got {got}. {note}"
    )]
    Shape {
        /// Its name.
        input: String,
        /// The model.
        model: String,
        /// What it takes; -1 stands for any.
        expected: String,
        /// What came.
        got: String,
        /// How that may have come about.
        note: &'static str,
    },
    /// More rows than a batch may have, or none.
    #[error("inference request batch-size must be <= {max} for '{model}'")]
    BatchTooLarge {
        /// The most.
        max: usize,
        /// The model.
        model: String,
    },
    /// A batch without a row.
    #[error("inference request batch-size must be >= 1 for '{model}'")]
    EmptyBatch {
        /// The model.
        model: String,
    },
    /// Inputs with different numbers of rows.
    #[error("input '{input}' batch size does not match other inputs for '{model}': {rows} and {others}")]
    BatchMismatch {
        /// One of them.
        input: String,
        /// The model.
        model: String,
        /// Its rows.
        rows: usize,
        /// Those of the inputs before it.
        others: usize,
    },
    /// What is asked of an output can't be had of it.
    #[error("output '{output}' of model '{model}': {reason}")]
    Output {
        /// Its name.
        output: String,
        /// The model.
        model: String,
        /// Why, with the value that was asked for.
        reason: String,
    },
    /// Something else, which the text names with its value.
    #[error("{0}")]
    Malformed(String),
}

/// A model or a version of it that is not there, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelUnknown {
    /// No model of this name.
    #[error("Request for unknown model: '{0}' is not found")]
    Model(String),
    /// No such version.
    #[error("Request for unknown model: '{model}' version {version} is not found")]
    Version {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// None of its versions is ready.
    #[error("Request for unknown model: '{0}' has no available versions")]
    NoneReady(String),
}

/// An application that is not there, or that does not have what a call wants of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationUnknown {
    /// A call that names neither an application nor a model.
    #[error("Application metadata not set. Ping {LIST} for available applications.")]
    NotSet,
    /// No application of this name.
    #[error("Application '{0}' not found. Ping {LIST} for available applications.")]
    Name(String),
    /// Something that is no part of the application.
    #[error("Application '{application}' has no {what} '{name}': it has {has}")]
    Part {
        /// The application.
        application: String,
        /// "model" or "pipeline".
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What it has.
        has: String,
    },
    /// A call that does not say which of an application's parts is to answer.
    #[error("Application '{application}' has {has}, and the call names no {what}")]
    Several {
        /// The application.
        application: String,
        /// "model" or "pipeline".
        what: &'static str,
        /// What it has.
        has: String,
    },
}

/// The call that lists the applications.
const LIST: &str = "/ray.serve.RayServeAPIService/ListApplications";
