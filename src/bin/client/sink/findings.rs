//! What was found in each frame, as JSON Lines: one line for each frame, also for those without a finding.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use frameserve::proto::{Detection, Label, MsgReply};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::download::Arrived;
use crate::failure::Failure;

/// The file, which several streams may share.
#[derive(Clone)]
pub struct FindingsFile {
    output: Arc<Mutex<Box<dyn Write + Send>>>,
    title: Arc<str>,
}

/// One stream's way into the file.
pub struct Findings {
    file: FindingsFile,
    /// Where several streams share it.
    source: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    frame: u64,
    /// Seconds from the source's beginning.
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    detections: Vec<Found<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    measures: Map<String, Value>,
}

#[derive(Serialize)]
struct MissingLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Pixels, from the upper left corner.
#[derive(Serialize)]
struct Found<'a> {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
    score: f32,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_id: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    points: &'a [f32],
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    found_by: &'a str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_id: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    found_by: &'a str,
}

impl FindingsFile {
    /// A file, or standard output for `-`.
    pub fn create(path: &Path) -> Result<FindingsFile, Failure> {
        let output: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            super::check_parent(path)?;
            let file = File::create(path)
                .map_err(|error| Failure::usage(format!("cannot write '{}': {error}", path.display())))?;
            Box::new(BufWriter::new(file))
        };
        Ok(FindingsFile { output: Arc::new(Mutex::new(output)), title: path.to_string_lossy().into() })
    }

    /// `source` is named in every line, where several streams share the file.
    pub fn for_stream(&self, source: Option<String>) -> Findings {
        Findings { file: self.clone(), source }
    }

    fn with(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut *output).map_err(|error| Failure::usage(format!("cannot write '{}': {error}", self.title)))
    }
}

impl Findings {
    pub fn write(&mut self, frame: &Arrived<'_>) -> Result<(), Failure> {
        let reply = frame.reply;
        let measures =
            reply.measures.iter().map(|measure| (measure.name.clone(), measure.value.into())).collect();
        self.line(&Line {
            source: self.source.as_deref(),
            frame: reply.sequence,
            time: frame.sent.timestamp_us as f64 / 1e6,
            name: frame.sent.name.as_deref(),
            detections: reply.detections.iter().map(found).collect(),
            labels: reply.labels.iter().map(named).collect(),
            measures,
        })
    }

    /// A frame that failed, or a run that was dropped.
    pub fn missing(&mut self, reply: &MsgReply) -> Result<(), Failure> {
        let dropped = reply.dropped.as_ref();
        self.line(&MissingLine {
            source: self.source.as_deref(),
            frame: dropped.map_or(reply.sequence, |dropped| dropped.first),
            dropped: dropped.map(|dropped| dropped.count),
            error: reply.error.as_ref().map(|error| error.message.as_str()),
        })
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.file.with(|output| output.flush())
    }

    fn line(&self, line: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(line).map_err(Failure::usage)?;
        text.push(b'\n');
        self.file.with(|output| output.write_all(&text))
    }
}

fn found(detection: &Detection) -> Found<'_> {
    Found {
        x: detection.x,
        y: detection.y,
        width: detection.width,
        height: detection.height,
        score: detection.score,
        label: &detection.label,
        class_id: detection.class_id,
        track_id: detection.track_id,
        points: &detection.points,
        text: &detection.text,
        found_by: &detection.source,
    }
}

fn named(label: &Label) -> Named<'_> {
    Named { name: &label.name, score: label.score, class_id: label.class_id, found_by: &label.source }
}
