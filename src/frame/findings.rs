//! What stages find in a frame: boxes, labels, measures.

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

/// A thing found at a place: an upright box, in pixels of the picture that the stage saw.
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
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}
