//! What a model says of a frame.

use super::{Detection, Image, Label, Mask};

/// What a model was asked for.
#[derive(Debug)]
pub enum Answer {
    /// Another picture.
    Picture(Image),
    /// Where things are, the surest first.
    Detections(Vec<Detection>),
    /// What the picture shows, the best first.
    Labels(Vec<Label>),
    /// What each pixel belongs to.
    Mask(Mask),
}
