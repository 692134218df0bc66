//! What stages find in a frame: boxes, labels, measures.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Everything found in one frame, in the order in which the stages found it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Things with a place.
    pub detections: Vec<Detection>,
    /// Names for the whole picture.
    pub labels: Vec<Label>,
    /// Numbers for the whole picture.
    pub measures: Vec<Measure>,
}

/// All of it as one JSON object: `detections`, `labels`, and `measures` by name.
impl Serialize for Findings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Findings", 3)?;
        object.serialize_field("detections", &self.detections)?;
        object.serialize_field("labels", &self.labels)?;
        let measures: BTreeMap<_, _> =
            self.measures.iter().map(|measure| (&*measure.name, measure.value)).collect();
        object.serialize_field("measures", &measures)?;
        object.end()
    }
}

/// A JSON object: `label`, `score` and `box` (x, y, width and height in pixels), and as far as there are any
/// `class`, `track`, `points` (x, y, x, y, …) and `text`.
impl Serialize for Detection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Detection", 7)?;
        object.serialize_field("label", &self.label)?;
        if let Some(class) = self.class_id {
            object.serialize_field("class", &class)?;
        }
        object.serialize_field("score", &self.score)?;
        object.serialize_field("box", &[self.x, self.y, self.width, self.height])?;
        if let Some(track) = self.track_id {
            object.serialize_field("track", &track)?;
        }
        if !self.points.is_empty() {
            object.serialize_field("points", &self.points)?;
        }
        if !self.text.is_empty() {
            object.serialize_field("text", &self.text)?;
        }
        object.end()
    }
}

/// A JSON object: `label`, `score` and, if there is one, `class`.
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Label", 3)?;
        object.serialize_field("label", &self.name)?;
        object.serialize_field("score", &self.score)?;
        if let Some(class) = self.class_id {
            object.serialize_field("class", &class)?;
        }
        object.end()
    }
}

/// A thing found at a place: an upright box, in pixels of the frame's picture as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detection {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
    /// 0 to 1; 1 where the detector gives none.
    pub score: f32,
    /// What it is: "face".
    pub label: String,
    /// Number of the class among those of the detector.
    pub class_id: Option<u32>,
    /// The same for the same thing in every frame.
    pub track_id: Option<u64>,
    /// Corners or landmarks: x0, y0, x1, y1, …
    pub points: Vec<f32>,
    /// What was read there.
    pub text: String,
    /// Name of the stage that found it.
    pub source: &'static str,
    /// Where its model does not look at every frame.
    pub sighting: Option<Sighting>,
}

/// What a model saw in a frame, and said of those after it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// By what it is known again, until its model looks again.
    pub key: Key,
    /// Whether the model saw it in this very frame.
    pub when: When,
}

/// One of the things that a model saw in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The place of the model's stage in its pipeline.
    pub stage: usize,
    /// The how manieth it is of what that stage found, from 0.
    pub number: usize,
}

/// When something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In this frame.
    Now,
    /// In an earlier one, and it is taken to be there still.
    Earlier,
}

/// A name for the whole picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// What it is.
    pub name: String,
    /// 0 to 1.
    pub score: f32,
    /// Number of the class among those of the classifier.
    pub class_id: Option<u32>,
    /// Name of the stage that says so.
    pub source: &'static str,
}

/// A number that a stage measured on the whole picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// `stage.quantity`: "motion.ratio".
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: f64,
}
