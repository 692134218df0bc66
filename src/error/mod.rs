//! Everything that can go wrong inside, and the closed set of kinds that it falls into.

mod request;

use std::fmt;

pub use request::{ApplicationUnknown, ModelUnknown, RequestError};

/// What went wrong, with the value that was wrong and the bound that it broke.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message without a picture, where there should have been one.
    #[error("the frame is empty: `img` has no bytes")]
    EmptyFrame,
    /// Bytes that no codec recognises, with no dimensions to read them as raw pixels.
    #[error(
        "the frame's {bytes} bytes are no JPEG, PNG or WebP (they begin with {begin}), and raw pixels need dimensions: \
         set `width` and `height` in the message, or send the metadata `frame-width` and `frame-height`, \
         or start the server with --raw-size WIDTHxHEIGHT"
    )]
    NoDimensions {
        /// How many there were.
        bytes: usize,
        /// The first of them, in hexadecimal.
        begin: String,
    },
    /// Bytes that no codec recognises, where only an encoded picture can stand.
    #[error("these {bytes} bytes are no JPEG, PNG or WebP (they begin with {begin})")]
    NotAPicture {
        /// How many there were.
        bytes: usize,
        /// The first of them, in hexadecimal.
        begin: String,
    },
    /// A number of an enumeration that has no such value.
    #[error("{what} {value} is unknown: {allowed}")]
    UnknownValue {
        /// The enumeration.
        what: &'static str,
        /// The number that came.
        value: i32,
        /// Those that there are.
        allowed: &'static str,
    },
    /// A picture that its codec can't read.
    #[error("this is no readable {codec} picture ({bytes} bytes): {reason}")]
    Undecodable {
        /// The codec's name.
        codec: &'static str,
        /// Length of the picture.
        bytes: usize,
        /// What the codec says.
        reason: String,
    },
    /// A raw frame with the wrong number of bytes.
    #[error("a raw {format} frame of {width}x{height} has {expected} bytes, not {found}")]
    RawLength {
        /// Pixel format.
        format: &'static str,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that came.
        found: usize,
    },
    /// Raw bytes that fit neither gray8 nor bgr24.
    #[error(
        "{found} bytes are no raw {width}x{height} frame: gray8 has {gray}, bgr24 {color}; for another set `pixel_format`"
    )]
    RawLengthUnknownFormat {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes of a gray8 frame.
        gray: u64,
        /// Bytes of a bgr24 frame.
        color: u64,
        /// Bytes that came.
        found: usize,
    },
    /// Zero, or odd where the format halves.
    #[error("{format} can't have {width}x{height} pixels: {rule}")]
    Dimensions {
        /// Codec or pixel format.
        format: &'static str,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// What must hold.
        rule: &'static str,
    },
    /// The message says one size, the picture's header another.
    #[error("the message says {said_width}x{said_height}, the picture's header {width}x{height}")]
    HeaderMismatch {
        /// By the message, in pixels.
        said_width: u32,
        /// By the message, in pixels.
        said_height: u32,
        /// By the header, in pixels.
        width: u32,
        /// By the header, in pixels.
        height: u32,
    },
    /// A picture over the limit, as it comes or as a stage would make it.
    #[error(
        "{what} of {width}x{height} has {pixels} pixels, and the limit is {max} (the server's --max-pixels raises it)",
        pixels = u64::from(*width) * u64::from(*height)
    )]
    TooManyPixels {
        /// What would be so large.
        what: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The limit.
        max: u64,
    },
    /// A pipeline's text that does not parse.
    #[error("{0}")]
    PipelineText(Box<TextError>),
    /// A pipeline longer than the limit.
    #[error("the pipeline has {stages} stages, and the limit is {max} (the server's --max-stages raises it)")]
    TooManyStages {
        /// How many it has.
        stages: usize,
        /// The limit.
        max: usize,
    },
    /// Parameters that are each in range and do not go together, or do not fit this picture.
    #[error("{stage}: {reason}")]
    Stage {
        /// The stage.
        stage: &'static str,
        /// What does not fit, with the values.
        reason: String,
    },
    /// Stateful stages that would keep more than one stream may hold.
    #[error(
        "the pipeline would keep {bytes} bytes from frame to frame, and the limit of a stream is {max} \
         (the server's --max-stream-bytes raises it)"
    )]
    TooMuchState {
        /// What they would keep.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// Pictures that a model can't take, or that do not go together in one batch.
    #[error("{0}")]
    Picture(String),
    /// A model that can't do what a stage of a pipeline wants of it.
    #[error("model `{model}` can't be used so: {reason}")]
    ModelUnfit {
        /// Its name.
        model: String,
        /// What does not fit.
        reason: String,
    },
    /// Values that go together, of which some are there.
    #[error("{0}")]
    Incomplete(&'static str),
    /// A name that can't be given.
    #[error("a pipeline can't be named `{name}`: {rule}")]
    Name {
        /// The name.
        name: String,
        /// What must hold.
        rule: &'static str,
    },
    /// A named thing that is not there.
    #[error("there is no {what} named `{name}`{hint}")]
    Unknown {
        /// "pipeline", "model".
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// Empty, or how to find the right one.
        hint: String,
    },
    /// A value in the configuration or in a request that is out of its range.
    #[error("{what} {value} is out of range: {range}")]
    Range {
        /// Its name.
        what: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        range: String,
    },
    /// Something that can't be done now, though it could at another time.
    #[error("{0}")]
    State(String),
    /// More than the server was told to take at a time.
    #[error("{what}: {count} are in use, and the limit is {max} (the server's {flag} raises it)")]
    Overloaded {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
        /// The flag that raises it.
        flag: &'static str,
    },
    /// The server is going down.
    #[error("the server is shutting down{0}")]
    Draining(String),
    /// Something that this build or machine can't do.
    #[error("{0}")]
    Unsupported(String),
    /// A request that does not fit the model that it is for.
    #[error(transparent)]
    Request(#[from] Box<RequestError>),
    /// A model or a version of it that is not there.
    #[error(transparent)]
    ModelUnknown(#[from] ModelUnknown),
    /// An application that is not there, or that is not for what is asked of it.
    #[error(transparent)]
    ApplicationUnknown(#[from] Box<ApplicationUnknown>),
    /// Models that are to be there from the start are still being loaded, and this may be one of them.
    #[error("Server not ready")]
    Starting,
    /// A version that is loading or unloading, or could not be loaded.
    #[error("Request for unknown model: '{model}' version {version} is not at ready state")]
    ModelNotReady {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// A version that is there already.
    #[error("Model version {version} is already registered for model {model}")]
    AlreadyRegistered {
        /// The model.
        model: String,
        /// The version, as its archive has it.
        version: String,
    },
    /// The version that answers where none is asked for can't go while there are others.
    #[error("Cannot remove default version for model {0}")]
    DefaultVersion(String),
    /// A client wants to load or unload a model where that is not up to clients.
    #[error(
        "explicit model load / unload is not allowed if polling is enabled; it is with --model-control explicit"
    )]
    NotExplicit,
    /// More requests wait for a model than its configuration allows.
    #[error("Exceeds maximum queue size: {count} requests wait, and the model's max_queue_size is {max}")]
    QueueFull {
        /// How many wait.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A request waited for its model longer than it, its client or the model's configuration allows.
    #[error("Request timeout expired")]
    QueueTimeout,
    /// A model that can't be loaded as it is.
    #[error("{0}")]
    Load(String),
    /// A model that failed at its work, with what it says.
    #[error("{0}")]
    Model(String),
    /// A device that can't be used any more, with what was said when it failed.
    #[error("the model's device failed: {0}")]
    Device(String),
    /// A client's memory that has become shorter than what lies or is to be put in it.
    #[error("{0}")]
    Shrunk(String),
    /// An output that can't be put where its client wants it.
    #[error("{0}")]
    NotPut(String),
    /// Something did not come in time.
    #[error("{what} did not come within {seconds} seconds")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The work was given up because nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
    /// A fault of ours, or of a library. The text is for the log, not for clients.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What an [`Error`] comes down to for who has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong.
    Invalid,
    /// A model, version or pipeline that is not there.
    Unknown,
    /// Not possible in this state.
    State,
    /// For the moment there is too much to do.
    Overloaded,
    /// Over a limit on size.
    TooLarge,
    /// Loading, unloading or draining: to be tried again.
    NotReady,
    /// This build or machine can't do it.
    Unsupported,
    /// It took too long.
    Timeout,
    /// Nobody waits for it any more.
    Cancelled,
    /// A model failed; unlike a fault of ours, its text is for clients too.
    Failed,
    /// A fault of ours.
    Internal,
}

impl Error {
    /// The kind of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Error::EmptyFrame
            | Error::NoDimensions { .. }
            | Error::NotAPicture { .. }
            | Error::UnknownValue { .. }
            | Error::Undecodable { .. }
            | Error::RawLength { .. }
            | Error::RawLengthUnknownFormat { .. }
            | Error::Dimensions { .. }
            | Error::HeaderMismatch { .. }
            | Error::PipelineText(_)
            | Error::Stage { .. }
            | Error::Picture(_)
            | Error::ModelUnfit { .. }
            | Error::Incomplete(_)
            | Error::Name { .. }
            | Error::Range { .. }
            | Error::Shrunk(_)
            | Error::Request(_) => Kind::Invalid,
            Error::TooManyPixels { .. } | Error::TooManyStages { .. } | Error::TooMuchState { .. } => {
                Kind::TooLarge
            }
            Error::Unknown { .. } | Error::ModelUnknown(_) | Error::ApplicationUnknown(_) => Kind::Unknown,
            Error::State(_) | Error::AlreadyRegistered { .. } | Error::DefaultVersion(_) => Kind::State,
            Error::Load(_) | Error::Model(_) | Error::Device(_) | Error::NotPut(_) => Kind::Failed,
            Error::Overloaded { .. } => Kind::Overloaded,
            Error::Draining(_)
            | Error::NotExplicit
            | Error::Starting
            | Error::QueueFull { .. }
            | Error::ModelNotReady { .. } => Kind::NotReady,
            Error::Unsupported(_) => Kind::Unsupported,
            Error::Timeout { .. } | Error::QueueTimeout => Kind::Timeout,
            Error::Cancelled => Kind::Cancelled,
            Error::Internal(_) => Kind::Internal,
        }
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Error::Request(Box::new(error))
    }
}

impl From<ApplicationUnknown> for Error {
    fn from(error: ApplicationUnknown) -> Self {
        Error::ApplicationUnknown(Box::new(error))
    }
}

impl From<opencv::Error> for Error {
    fn from(error: opencv::Error) -> Self {
        Error::Internal(format!("OpenCV: {}", error.message))
    }
}

/// Where a pipeline's text goes wrong, and what should have stood there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// The whole text.
    pub text: String,
    /// Index of the character, from 0; the text's length for its end.
    pub at: usize,
    /// What was expected there.
    pub expected: String,
    /// What was found there instead.
    pub found: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextError { text, at, expected, found } = self;
        writeln!(f, "pipeline, character {}: expected {expected}, found {found}", at + 1)?;
        // A long text is shown around the fault, so that the caret still stands below it.
        let from = at.saturating_sub(60);
        let shown: String =
            text.chars().skip(from).take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(f, "  {shown}")?;
        write!(f, "  {:>width$}", "^", width = at - from + 1)
    }
}

impl From<TextError> for Error {
    fn from(error: TextError) -> Self {
        Error::PipelineText(Box::new(error))
    }
}
