//! From the parameters of a task to what a model's outputs mean.

use std::sync::Arc;

use super::detector::{Corners, Detector, Form, Lists, Unit};
use super::keys::conflict;
use super::parameters::{COLORS, LAYOUTS, Reading};
use super::picture_output::PictureOutput;
use super::shape::{PictureDims, Wanted};
use super::{Classifier, DETECTIONS, Task};
use crate::error::Error;
use crate::tensor::DataType;
use crate::tensor::classification::Activation;
use crate::tensor::image::{Color, Layout};

/// The least score of a detection where nothing else is said.
const USUAL_THRESHOLD: f64 = 0.25;
/// How much boxes may overlap where nothing else is said, of models that leave that to others.
const USUAL_IOU: f64 = 0.45;
/// The most detections where nothing else is said, and the most that can be asked for.
const USUAL_MAX: u32 = 300;
const MOST_DETECTIONS: u32 = 100_000;

pub(super) const ACTIVATIONS: &[(&str, Activation)] =
    &[("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];

#[derive(Clone, Copy)]
enum TaskName {
    Classification,
    Detection,
    Segmentation,
    Image,
    Embedding,
}

#[derive(Clone, Copy, PartialEq)]
enum FormName {
    Torchvision,
    Yolo5,
    Yolo8,
}

impl Reading<'_> {
    pub fn task(&mut self, color: Color, layout: Layout) -> Result<Option<Task>, Error> {
        let task = self.keys.choice(
            "task",
            &[
                ("classification", TaskName::Classification),
                ("detection", TaskName::Detection),
                ("segmentation", TaskName::Segmentation),
                ("image", TaskName::Image),
                ("embedding", TaskName::Embedding),
            ],
        )?;
        Ok(match task {
            None => None,
            Some(TaskName::Embedding) => Some(Task::Embedding),
            Some(TaskName::Classification) => Some(Task::Classification(self.classifier()?)),
            Some(TaskName::Detection) => Some(Task::Detection(self.detector()?)),
            Some(TaskName::Segmentation) => Some(Task::Segmentation(self.segmenter(layout)?)),
            Some(TaskName::Image) => Some(Task::Image(self.picture_output(color, layout)?)),
        })
    }

    fn classifier(&mut self) -> Result<Classifier, Error> {
        let output = self.only_output("scores")?;
        let activation = self.keys.choice("activation", ACTIVATIONS)?.unwrap_or_default();
        Ok(Classifier { output, activation, labels: self.labels(&[Some(output)])? })
    }

    fn detector(&mut self) -> Result<Detector, Error> {
        if self.signature.output(DETECTIONS).is_some() {
            let reason =
                format!("`detection` adds an output `{DETECTIONS}`, and the model has one of that name");
            return Err(conflict("task", &reason));
        }
        let names = [
            ("torchvision", FormName::Torchvision),
            ("yolov5", FormName::Yolo5),
            ("yolov8", FormName::Yolo8),
        ];
        let name = self.keys.choice("form", &names)?.unwrap_or(FormName::Torchvision);
        let (form, labels) = match name {
            FormName::Torchvision => self.lists()?,
            FormName::Yolo5 | FormName::Yolo8 => {
                let output = self.only_output("boxes")?;
                let form = if name == FormName::Yolo5 { Form::Yolo5(output) } else { Form::Yolo8(output) };
                (form, [Some(output), None, None])
            }
        };
        let yolo = name != FormName::Torchvision;
        let corners = [("xyxy", Corners::Xyxy), ("xywh", Corners::Xywh), ("cxcywh", Corners::Cxcywh)];
        let units = [("pixels", Unit::Pixels), ("fraction", Unit::Fraction)];
        let usual_corners = if yolo { Corners::Cxcywh } else { Corners::Xyxy };
        let usual_iou = if yolo { USUAL_IOU } else { 1.0 };
        Ok(Detector {
            form,
            corners: self.keys.choice("box", &corners)?.unwrap_or(usual_corners),
            unit: self.keys.choice("unit", &units)?.unwrap_or(Unit::Pixels),
            threshold: self.keys.number("threshold", f64::MIN, f64::MAX)?.unwrap_or(USUAL_THRESHOLD) as f32,
            iou: self.keys.number("iou", 0.0, 1.0)?.unwrap_or(usual_iou) as f32,
            max: self.keys.whole("max", 1, MOST_DETECTIONS)?.unwrap_or(USUAL_MAX) as usize,
            labels: self.labels(&labels)?,
        })
    }

    /// The outputs of the form `torchvision`, and those that may have labels, the likeliest first.
    fn lists(&mut self) -> Result<(Form, [Option<usize>; 3]), Error> {
        let boxes = self.named_output("boxes", &["boxes"])?;
        let scores = self.named_output("scores", &["scores"])?;
        let missing = |key: &str| {
            let names = self.output_names();
            conflict(key, &format!("is needed, since no output has that name: {names}"))
        };
        let boxes = boxes.ok_or_else(|| missing("boxes"))?;
        let scores = scores.ok_or_else(|| missing("scores"))?;
        let dims = &self.signature.outputs[boxes].dims;
        if !matches!(dims.dims(), [_, .., None | Some(4)]) {
            return Err(conflict(
                "boxes",
                &format!("boxes have 4 numbers, and the output's dims are {dims}"),
            ));
        }
        let classes = self.named_output("classes", &["labels", "classes"])?;
        let points = self.named_output("points", &["points"])?;
        Ok((
            Form::Torchvision(Lists { boxes, scores, classes, points }),
            [classes, Some(scores), Some(boxes)],
        ))
    }

    fn picture_output(&mut self, color: Color, layout: Layout) -> Result<PictureOutput, Error> {
        let output = self.only_output("image")?;
        let port = &self.signature.outputs[output];
        let wanted = Wanted {
            layout: self.keys.choice("output_layout", LAYOUTS)?,
            color: self.keys.choice("output_color", COLORS)?,
            usual: (layout, color),
        };
        let (dims, color) = PictureDims::of(&port.dims, self.signature.max_batch, wanted)
            .map_err(|reason| conflict("image", &format!("`{}` is no picture: {reason}", port.name)))?;
        let usual = if port.datatype.is_float() { 255.0 } else { 1.0 };
        let most = f64::from(f32::MAX);
        let scale = self.keys.number("output_scale", 0.0, most)?.unwrap_or(usual) as f32;
        Ok(PictureOutput { output, scale, color, dims })
    }

    /// The output that a key names, or the only one that there is.
    pub(super) fn only_output(&mut self, key: &str) -> Result<usize, Error> {
        if let Some(output) = self.named_output(key, &[])? {
            return Ok(output);
        }
        match self.signature.outputs.len() {
            1 => self.of_numbers(key, 0),
            count => {
                let names = self.output_names();
                Err(conflict(key, &format!("is needed, since the model has {count} outputs: {names}")))
            }
        }
    }

    /// The output that a key names, or the first that has one of these names.
    pub(super) fn named_output(&mut self, key: &str, usual: &[&str]) -> Result<Option<usize>, Error> {
        let names = self.signature.outputs.iter().map(|port| port.name.as_str());
        let named = self.keys.port(key, "output", names)?;
        let output = named.or_else(|| usual.iter().find_map(|name| self.signature.output(name)));
        output.map(|output| self.of_numbers(key, output)).transpose()
    }

    fn of_numbers(&self, key: &str, output: usize) -> Result<usize, Error> {
        let port = &self.signature.outputs[output];
        if port.datatype == DataType::Bytes {
            return Err(conflict(key, &format!("`{}` is of BYTES, and must be one of numbers", port.name)));
        }
        Ok(output)
    }

    fn output_names(&self) -> String {
        let names: Vec<&str> = self.signature.outputs.iter().map(|port| port.name.as_str()).collect();
        names.join(", ")
    }

    /// Those of the file that is named, or those that one of these outputs has.
    pub(super) fn labels(&mut self, outputs: &[Option<usize>]) -> Result<Arc<[String]>, Error> {
        if let Some(file) = self.keys.take("labels") {
            return (self.labels)(file);
        }
        let of_port = |output: &usize| self.signature.outputs[*output].labels.clone();
        Ok(outputs.iter().flatten().find_map(of_port).unwrap_or_default())
    }
}
