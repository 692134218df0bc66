//! A frame on its way through the server.

pub mod answer;
pub mod codec;
pub mod findings;
pub mod format;
pub mod image;
pub mod mask;

pub use answer::Answer;
pub use codec::{Codec, Encoded, Encoding, Need, Workbench};
pub use findings::{Detection, Findings, Label, Measure, Sighting, When};
pub use format::{PixelFormat, Size};
pub use image::Image;
pub use mask::Mask;

use std::sync::Arc;

/// Which frame of its stream this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// The sender's number, or the number of frames that came before.
    pub sequence: u64,
    /// Presentation time in microseconds, from a start of the sender's choosing.
    pub timestamp_us: Option<i64>,
    /// How many frames of the stream came before this one.
    pub index: u64,
}

/// A decoded picture, what it is, and what was found in it.
#[derive(Debug)]
pub struct Frame {
    /// Which one.
    pub identity: Identity,
    /// Its pixels.
    pub image: Image,
    /// The picture as it came to the pipeline, if a stage shows it.
    pub original: Option<Image>,
    /// What the stages found in it so far.
    pub findings: Findings,
    /// What a model said of it, for the next stage.
    pub answer: Option<Arc<Answer>>,
}

impl Frame {
    /// A frame in which nothing was found yet.
    pub fn new(identity: Identity, image: Image) -> Self {
        Frame { identity, image, original: None, findings: Findings::default(), answer: None }
    }
}
