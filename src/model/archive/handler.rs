//! The handlers that TorchServe brings along, as far as they are done here.

use std::fmt;

/// What is done to requests before a model sees them, and to its outputs before clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// A picture, to the five likeliest classes.
    ImageClassifier,
    /// A picture, to boxes with classes and scores.
    ObjectDetector,
    /// A picture, to the likeliest class of each pixel.
    ImageSegmenter,
    /// Tensors, to tensors.
    Base,
}

impl Handler {
    /// All of them.
    pub const ALL: [Handler; 4] =
        [Handler::ImageClassifier, Handler::ObjectDetector, Handler::ImageSegmenter, Handler::Base];

    /// As manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Handler::ImageClassifier => "image_classifier",
            Handler::ObjectDetector => "object_detector",
            Handler::ImageSegmenter => "image_segmenter",
            Handler::Base => "base_handler",
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|handler| handler.name() == name)
    }

    /// Their names, for people.
    pub fn list() -> String {
        Self::ALL.map(Handler::name).join(", ")
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
