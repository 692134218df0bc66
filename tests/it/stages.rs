//! Every stage against OpenCV's own Python module.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use frameserve::Error;
use frameserve::frame::{Detection, Frame, Identity, Image, Measure};
use frameserve::limits::Limits;
use frameserve::pipeline::names::Names;
use frameserve::pipeline::spec;
use frameserve::pipeline::stage::Group;
use frameserve::pipeline::stages::KINDS;
use frameserve::pipeline::{Passage, Pipeline};
use opencv::core::{self, CV_8UC1, CV_8UC3, Mat, Scalar};
use opencv::prelude::*;
use serde::Deserialize;

/// What the script `tests/python/reference_stages.py` writes.
#[derive(Deserialize)]
struct Index {
    inputs: BTreeMap<String, Vec<Picture>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Picture {
    file: String,
    width: i32,
    height: i32,
    channels: i32,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input: String,
    bound: f64,
    share: f64,
    slack: f64,
    expected: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    image: Picture,
    detections: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    measures: Option<Vec<ExpectedMeasure>>,
}

#[derive(Deserialize)]
struct ExpectedMeasure {
    name: String,
    value: f64,
}

#[test]
fn geometry_is_as_in_python() {
    compare("geometry", Group::Geometry);
}

#[test]
fn color_is_as_in_python() {
    compare("color", Group::Color);
}

#[test]
fn filter_is_as_in_python() {
    compare("filter", Group::Filter);
}

#[test]
fn edges_are_as_in_python() {
    compare("edges", Group::Edges);
}

#[test]
fn draw_is_as_in_python() {
    compare("draw", Group::Draw);
}

#[test]
fn find_is_as_in_python() {
    compare("find", Group::Find);
}

#[test]
fn time_is_as_in_python() {
    compare("time", Group::Time);
}

/// Runs all cases of a group, and the pipelines of their texts on the same pictures.
fn compare(name: &str, group: Group) {
    let folder = tempfile::tempdir().expect("a folder for the pictures");
    let index = reference(name, folder.path());
    for kind in KINDS.iter().filter(|kind| kind.group == group) {
        let has_case = index.cases.iter().any(|case| {
            let stages = spec::parse(&case.text, &Names::default()).unwrap_or_default();
            stages.iter().any(|stage| stage.kind.name == kind.name)
        });
        assert!(has_case, "tests/python/reference/{name}.py has no case for `{}`", kind.name);
    }
    let mut table = String::new();
    for case in &index.cases {
        if let Err(fault) = check(case, &index.inputs[&case.input], folder.path()) {
            writeln!(table, "{:<44} {:<12} {fault}", case.text, case.input).expect("a String takes all");
        }
    }
    assert!(table.is_empty(), "not as OpenCV in Python:\n{table}");
}

fn reference(group: &str, out: &Path) -> Index {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("/usr/bin/python3")
        .arg(root.join("tests/python/reference_stages.py"))
        .arg("--frames")
        .arg(root.join(".deps/videos"))
        .arg("--out")
        .arg(out)
        .args(["--group", group])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("/usr/bin/python3 is missing: run `make setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = std::fs::read(out.join("index.json")).expect("the script wrote its index");
    serde_json::from_slice(&index).expect("the index is as declared here")
}

fn check(case: &Case, inputs: &[Picture], folder: &Path) -> Result<(), String> {
    let mut stream = Stream::new(&case.text).map_err(|error| error.to_string())?;
    for (index, (input, expected)) in inputs.iter().zip(&case.expected).enumerate() {
        let frame = stream.run(read(input, folder)).map_err(|error| format!("frame {index}: {error}"))?;
        same_picture(case, frame.image.mat(), &read(&expected.image, folder))
            .and_then(|()| same_findings(case, &frame, expected))
            .map_err(|fault| format!("frame {index}: {fault}"))?;
    }
    Ok(())
}

fn same_picture(case: &Case, found: &Mat, expected: &Mat) -> Result<(), String> {
    let shape = |mat: &Mat| format!("{}x{}x{}", mat.cols(), mat.rows(), mat.channels());
    if shape(found) != shape(expected) {
        return Err(format!("{}, not {}", shape(found), shape(expected)));
    }
    if found.data_bytes().ok() == expected.data_bytes().ok() {
        return Ok(());
    }
    let mut difference = Mat::default();
    core::absdiff(found, expected, &mut difference).expect("two pictures of one shape");
    let samples = difference.reshape(1, 0).expect("continuous");
    let count = core::count_non_zero(&samples).expect("one channel");
    let worst = core::norm(&samples, core::NORM_INF, &core::no_array()).unwrap_or(f64::MAX);
    let share = f64::from(count) / samples.total() as f64;
    if worst > case.bound || share > case.share {
        return Err(format!(
            "samples differ by up to {worst} (at most {}), {:.3} % of them (at most {:.3} %)",
            case.bound,
            share * 100.0,
            case.share * 100.0
        ));
    }
    Ok(())
}

fn same_findings(case: &Case, frame: &Frame, expected: &Expected) -> Result<(), String> {
    if let Some(expected) = &expected.detections {
        let found = &frame.findings.detections;
        if found.len() != expected.len() {
            return Err(format!("{} detections, not {}", found.len(), expected.len()));
        }
        for (found, expected) in found.iter().zip(expected) {
            for (field, value) in expected {
                same_field(found, field, value, case.slack)?;
            }
        }
    }
    if let Some(expected) = &expected.measures {
        let found = &frame.findings.measures;
        let same = |(found, expected): (&Measure, &ExpectedMeasure)| {
            found.name == expected.name && (found.value - expected.value).abs() <= case.slack
        };
        if found.len() != expected.len() || !found.iter().zip(expected).all(same) {
            let expected: Vec<_> = expected.iter().map(|m| format!("{}={}", m.name, m.value)).collect();
            return Err(format!("measures {found:?}, not {}", expected.join(" ")));
        }
    }
    Ok(())
}

fn same_field(
    found: &Detection,
    field: &str,
    expected: &serde_json::Value,
    slack: f64,
) -> Result<(), String> {
    let number = |value: f64| serde_json::json!(value);
    let value = match field {
        "x" => number(found.x.into()),
        "y" => number(found.y.into()),
        "width" => number(found.width.into()),
        "height" => number(found.height.into()),
        "score" => number(found.score.into()),
        "label" => serde_json::json!(found.label),
        "text" => serde_json::json!(found.text),
        "class_id" => serde_json::json!(found.class_id),
        "track_id" => serde_json::json!(found.track_id),
        "points" => serde_json::json!(found.points),
        "source" => serde_json::json!(found.source),
        other => return Err(format!("a detection has no field {other}")),
    };
    let near = |a: &serde_json::Value, b: &serde_json::Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= slack,
        _ => a == b,
    };
    let same = match (value.as_array(), expected.as_array()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
        _ => near(&value, expected),
    };
    if same { Ok(()) } else { Err(format!("{field} is {value}, not {expected}")) }
}

fn read(picture: &Picture, folder: &Path) -> Mat {
    let bytes = std::fs::read(folder.join(&picture.file)).expect("the index names files that are there");
    let mut mat = blank(picture.width, picture.height, picture.channels == 1);
    mat.data_bytes_mut().expect("continuous").copy_from_slice(&bytes);
    mat
}

pub(crate) fn blank(width: i32, height: i32, gray: bool) -> Mat {
    let kind = if gray { CV_8UC1 } else { CV_8UC3 };
    Mat::new_rows_cols_with_default(height, width, kind, Scalar::all(0.0)).expect("memory")
}

/// A pipeline with the workers of one stream.
pub(crate) struct Stream {
    pipeline: Pipeline,
    workers: Vec<frameserve::pipeline::Workers>,
    scratch: Mat,
    /// Number of the next frame.
    pub(crate) index: u64,
}

impl Stream {
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        Self::within(&Limits::default(), text)
    }

    pub(crate) fn within(limits: &Limits, text: &str) -> Result<Self, Error> {
        let pipeline = Pipeline::parse(text, &Names::default(), limits)?;
        let workers = (0..pipeline.segments()).map(|segment| pipeline.workers(segment));
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Stream { pipeline, workers, scratch: Mat::default(), index: 0 })
    }

    /// Takes the next frame of the stream, at 25 frames a second, through the pipeline.
    pub(crate) fn run(&mut self, picture: Mat) -> Result<Frame, Error> {
        let timestamp_us = Some(self.index as i64 * 40_000);
        let identity = Identity { sequence: self.index, timestamp_us, index: self.index };
        self.index += 1;
        let mut frame = Frame::new(identity, Image::new(picture)?);
        let mut times = Vec::new();
        for (segment, workers) in self.workers.iter_mut().enumerate() {
            let (scratch, wanted) = (&mut self.scratch, &|| true);
            let passage =
                Passage { frame: &mut frame, scratch, times: &mut times, wanted, before: Duration::ZERO };
            self.pipeline.run(segment, workers, passage)?;
        }
        Ok(frame)
    }
}
