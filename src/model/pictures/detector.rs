//! From the outputs of a detector to what was found where.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::output;
use super::overlap::{Candidate, best};
use crate::error::Error;
use crate::frame::Detection;
use crate::tensor::image::Geometry;
use crate::tensor::values::values_f32;
use crate::tensor::{MODEL, Shape, Tensor};

/// How the outputs of a model become detections.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    /// Where boxes, scores and classes stand.
    pub form: Form,
    /// What the four numbers of a box are.
    pub corners: Corners,
    /// What they count.
    pub unit: Unit,
    /// The least score.
    pub threshold: f32,
    /// How much boxes of one class may overlap, as a part of what they cover together.
    pub iou: f32,
    /// The most detections of one picture.
    pub max: usize,
    /// Names of the classes.
    pub labels: Arc<[String]>,
}

/// Where boxes, scores and classes stand; the numbers are those of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each in an output of its own.
    Torchvision(Lists),
    /// `[N, 5 + C]`: a box, how sure it is that there is something, and a share of that for each class.
    Yolo5(usize),
    /// `[4 + C, N]`: boxes, and a score for each class.
    Yolo8(usize),
}

/// Outputs with something of each of N boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// `[N, 4]`
    pub boxes: usize,
    /// `[N]`
    pub scores: usize,
    /// `[N]`; without them all are of class 0.
    pub classes: Option<usize>,
    /// `[N, K, 2]`, `[N, K, 3]` of which the third is left out, or `[N, 2 K]`.
    pub points: Option<usize>,
}

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corners {
    /// Left, upper, right and lower edge.
    Xyxy,
    /// Left and upper edge, width, height.
    Xywh,
    /// Centre, width, height.
    Cxcywh,
}

/// What the numbers of a box count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Pixels of the prepared picture.
    Pixels,
    /// Its width and height.
    Fraction,
}

/// What a model says of one picture, in whichever form it came: `boxes[i]`, and its score and class.
struct Found<'a> {
    /// Number `c` of box `i` stands at `i * each + c * next`.
    boxes: &'a [f32],
    each: usize,
    next: usize,
    scores: Cow<'a, [f32]>,
    classes: Classes<'a>,
    points: Points<'a>,
}

enum Classes<'a> {
    Numbers(Vec<u32>),
    Values(&'a [f32]),
    None,
}

/// The points of one picture's boxes.
#[derive(Clone, Copy)]
struct Points<'a> {
    values: &'a [f32],
    /// Numbers of one box.
    each: usize,
    /// Numbers of one point: 2, or 3 of which the third is none of a place.
    numbers: usize,
}

/// One box at a time is decoded and held against the threshold.
struct Reader<'a> {
    detector: &'a Detector,
    geometry: &'a Geometry,
}

impl Detector {
    /// The same with another threshold, if one is given.
    pub fn with_threshold(&self, threshold: Option<f32>) -> Cow<'_, Self> {
        match threshold {
            Some(threshold) => Cow::Owned(Detector { threshold, ..self.clone() }),
            None => Cow::Borrowed(self),
        }
    }

    /// What was found in each picture, the surest first, in pixels of the picture as it was sent.
    pub fn detections(
        &self,
        outputs: &[Tensor],
        geometry: &[Geometry],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        match self.form {
            Form::Torchvision(lists) => self.read_lists(lists, outputs, geometry),
            Form::Yolo5(index) | Form::Yolo8(index) => self.read_grid(output(outputs, index)?, geometry),
        }
    }

    fn read_lists(
        &self,
        lists: Lists,
        outputs: &[Tensor],
        geometry: &[Geometry],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        let Lists { boxes, scores, classes, points } = lists;
        let tensor = output(outputs, boxes)?;
        let [count, four] = matrix(tensor, geometry.len(), "boxes")?;
        if four != 4 {
            return Err(Error::Model(format!(
                "boxes have 4 numbers, and the output's are {}",
                tensor.shape()
            )));
        }
        let all = count * geometry.len();
        let boxes = values_f32(tensor)?;
        let scores = list(output(outputs, scores)?, all, "scores")?;
        let classes = classes.map(|index| list(output(outputs, index)?, all, "classes")).transpose()?;
        let (points, each, numbers) = match points {
            Some(index) => read_points(output(outputs, index)?, all)?,
            None => (Cow::default(), 0, 2),
        };
        let one = |(index, geometry): (usize, &Geometry)| {
            let range = index * count..(index + 1) * count;
            let found = Found {
                boxes: &boxes[range.start * 4..range.end * 4],
                each: 4,
                next: 1,
                scores: Cow::Borrowed(&scores[range.clone()]),
                classes: classes.as_ref().map_or(Classes::None, |all| Classes::Values(&all[range.clone()])),
                points: Points { values: &points[range.start * each..range.end * each], each, numbers },
            };
            Reader { detector: self, geometry }.read(&found)
        };
        Ok(geometry.iter().enumerate().map(one).collect())
    }

    fn read_grid(&self, tensor: &Tensor, geometry: &[Geometry]) -> Result<Vec<Vec<Detection>>, Error> {
        let dims = matrix(tensor, geometry.len(), "detections")?;
        let (wide, least) = match self.form {
            Form::Yolo8(_) => (dims[0], "4 + C, with C at least 1"),
            _ => (dims[1], "5 + C"),
        };
        if wide < 5 {
            let shape = tensor.shape();
            return Err(Error::Model(format!(
                "{wide} numbers a box are not {least}, in an output of {shape}"
            )));
        }
        let values = values_f32(tensor)?;
        let picture = dims[0] * dims[1];
        let one = |(index, geometry): (usize, &Geometry)| {
            let values = &values[index * picture..(index + 1) * picture];
            let found = match self.form {
                Form::Yolo8(_) => in_columns(values, dims[1]),
                _ => in_rows(values, wide, self.threshold),
            };
            Reader { detector: self, geometry }.read(&found)
        };
        Ok(geometry.iter().enumerate().map(one).collect())
    }
}

impl Reader<'_> {
    fn read(&self, found: &Found<'_>) -> Vec<Detection> {
        let Detector { threshold, iou, max, .. } = *self.detector;
        let sure = found.scores.iter().enumerate().filter(|(_, score)| **score >= threshold);
        let candidates = sure.filter_map(|(index, score)| self.candidate(found, index, *score)).collect();
        let kept = best(candidates, iou, max);
        kept.into_iter().filter_map(|candidate| self.detection(&candidate, found.points)).collect()
    }

    /// A box, if it is one, and something of it lies in the picture.
    fn candidate(&self, found: &Found<'_>, index: usize, score: f32) -> Option<Candidate> {
        let class = match &found.classes {
            Classes::Numbers(classes) => classes[index],
            // A number below zero is how some models fill up what they did not find.
            Classes::Values(values) => Some(values[index]).filter(|class| *class >= 0.0)? as u32,
            Classes::None => 0,
        };
        let at = |number: usize| found.boxes[index * found.each + number * found.next];
        let [a, b, c, d] = [at(0), at(1), at(2), at(3)];
        let edges = match self.detector.corners {
            Corners::Xyxy => [a, b, c, d],
            Corners::Xywh => [a, b, a + c, b + d],
            Corners::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        };
        let [wide, high] = self.unit();
        let edges = [edges[0] * wide, edges[1] * high, edges[2] * wide, edges[3] * high];
        let candidate = Candidate { edges, score, class, index };
        let fine = edges.iter().all(|edge| edge.is_finite()) && self.clipped(&edges).is_some();
        fine.then_some(candidate)
    }

    /// Pixels of the prepared picture that one of the unit is.
    fn unit(&self) -> [f32; 2] {
        match self.detector.unit {
            Unit::Pixels => [1.0; 2],
            Unit::Fraction => {
                let size = self.geometry.prepared();
                [size.width as f32, size.height as f32]
            }
        }
    }

    /// The edges in the picture as it was sent; `None` if nothing of the box lies in it.
    fn clipped(&self, edges: &[f32; 4]) -> Option<[f32; 4]> {
        let size = self.geometry.picture();
        let (wide, high) = (size.width as f32, size.height as f32);
        let [left, top] = self.geometry.to_picture([edges[0], edges[1]]);
        let [right, bottom] = self.geometry.to_picture([edges[2], edges[3]]);
        let clipped =
            [left.clamp(0.0, wide), top.clamp(0.0, high), right.clamp(0.0, wide), bottom.clamp(0.0, high)];
        (clipped[2] > clipped[0] && clipped[3] > clipped[1]).then_some(clipped)
    }

    fn detection(&self, candidate: &Candidate, points: Points<'_>) -> Option<Detection> {
        let [x, y, right, bottom] = self.clipped(&candidate.edges)?;
        let name = self.detector.labels.get(candidate.class as usize);
        Some(Detection {
            x,
            y,
            width: right - x,
            height: bottom - y,
            score: candidate.score,
            label: name.cloned().unwrap_or_else(|| candidate.class.to_string()),
            class_id: Some(candidate.class),
            points: self.points(points, candidate.index),
            source: MODEL,
            ..Detection::default()
        })
    }

    /// The points of one box, wherever they lie; none at all if one of them is no place.
    fn points(&self, points: Points<'_>, index: usize) -> Vec<f32> {
        let values = &points.values[index * points.each..(index + 1) * points.each];
        let [wide, high] = self.unit();
        let places: Vec<f32> = values
            .chunks_exact(points.numbers)
            .flat_map(|point| self.geometry.to_picture([point[0] * wide, point[1] * high]))
            .collect();
        if places.iter().all(|number| number.is_finite()) { places } else { Vec::new() }
    }
}

/// Detections as a BYTES tensor, one element a picture: a JSON list of
/// `{"label":"face","class":0,"score":0.99,"box":[x,y,width,height],"points":[x0,y0,…]}`, as far as there are
/// classes and points.
pub fn json(pictures: &[Vec<Detection>]) -> Result<Tensor, Error> {
    let text = |found: &Vec<Detection>| {
        let text = serde_json::to_vec(found).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Bytes::from(text))
    };
    let elements = pictures.iter().map(text).collect::<Result<Vec<_>, Error>>()?;
    Tensor::elements(Shape::new(vec![elements.len()]), elements)
}

/// The two dimensions of each picture's part of an output, which the number of pictures may stand before.
fn matrix(tensor: &Tensor, pictures: usize, what: &str) -> Result<[usize; 2], Error> {
    match *tensor.shape().dims() {
        [rows, a, b] if rows == pictures => Ok([a, b]),
        [a, b] if pictures == 1 => Ok([a, b]),
        _ => Err(Error::Model(format!(
            "an output of shape {} holds no {what} of {pictures} pictures",
            tensor.shape()
        ))),
    }
}

/// One number for each box of every picture.
fn list<'a>(tensor: &'a Tensor, boxes: usize, what: &str) -> Result<Cow<'a, [f32]>, Error> {
    if tensor.shape().elements() != Some(boxes) {
        let shape = tensor.shape();
        return Err(Error::Model(format!("an output of shape {shape} holds no {what} for {boxes} boxes")));
    }
    values_f32(tensor)
}

/// The points of every box, how many numbers each box has, and how many each point.
fn read_points(tensor: &Tensor, boxes: usize) -> Result<(Cow<'_, [f32]>, usize, usize), Error> {
    let values = values_f32(tensor)?;
    let each = values.len().checked_div(boxes).unwrap_or(0);
    // [N, K, 3] or the same for several pictures, but not [N, 3].
    let numbers = match tensor.shape().dims() {
        [.., points, 3] if points * 3 == each => 3,
        _ => 2,
    };
    if each * boxes != values.len() || each % numbers != 0 {
        let shape = tensor.shape();
        return Err(Error::Model(format!("an output of shape {shape} holds no points of {boxes} boxes")));
    }
    Ok((values, each, numbers))
}

/// Boxes of `4 + C` rows, of which each has a number for every box.
fn in_columns(values: &[f32], boxes: usize) -> Found<'_> {
    let mut scores = vec![f32::NEG_INFINITY; boxes];
    let mut classes = vec![0; boxes];
    // Row by row, as they lie in memory. A value that is no number is passed over.
    for (class, row) in (0..).zip(values.chunks_exact(boxes.max(1)).skip(4)) {
        for ((score, best), value) in scores.iter_mut().zip(&mut classes).zip(row) {
            if *value > *score {
                (*score, *best) = (*value, class);
            }
        }
    }
    Found {
        boxes: values,
        each: 1,
        next: boxes,
        scores: Cow::Owned(scores),
        classes: Classes::Numbers(classes),
        points: Points::NONE,
    }
}

/// Boxes of `5 + C` numbers each.
fn in_rows(values: &[f32], wide: usize, threshold: f32) -> Found<'_> {
    let (mut scores, mut classes) = (Vec::new(), Vec::new());
    for row in values.chunks_exact(wide) {
        let (sure, shares) = (row[4], &row[5..]);
        let mut best = (if shares.is_empty() { sure } else { f32::NEG_INFINITY }, 0);
        // Shares are at most 1, and most boxes hold nothing.
        if sure >= threshold {
            for (class, share) in (0..).zip(shares) {
                if share * sure > best.0 {
                    best = (share * sure, class);
                }
            }
        }
        scores.push(best.0);
        classes.push(best.1);
    }
    Found {
        boxes: values,
        each: wide,
        next: 1,
        scores: Cow::Owned(scores),
        classes: Classes::Numbers(classes),
        points: Points::NONE,
    }
}

impl Points<'_> {
    const NONE: Self = Points { values: &[], each: 0, numbers: 2 };
}
