//! What TorchServe's own handlers do: from the inputs of a request to a request of ours, and from the outputs to the
//! answer that its clients know.
//!
//! Which handler it is follows from what a model's configuration says of its outputs (`frameserve.task`), so that
//! models of the repository and pipelines answer these clients too.

mod answer;
mod json;
mod numbers;
mod request;

pub use answer::prediction;
pub use request::request;

use crate::engine::Served;
use crate::model::pictures::{Classifier, Corners, Detector, Form, Lists, Pictures, Segmenter, Task, Unit};
use crate::tensor::image::{Recipe, Resize};

/// What is made of a model's outputs.
enum Answer<'a> {
    /// The likeliest classes, with their scores.
    Classes(&'a Classifier),
    /// Boxes as the model gives them.
    Boxes(Lists, &'a Detector),
    /// Boxes that have to be found first, or brought back to the picture.
    Found,
    /// The likeliest class of each pixel of the model's own grid, with its score.
    Pixels(&'a Segmenter),
    /// An encoded picture: the output of this name.
    Picture(&'a str),
    /// All outputs, as nested lists.
    Tensors,
}

impl<'a> Answer<'a> {
    fn of(served: &'a Served) -> Self {
        let pictures = match served {
            Served::Pipeline(_) => return Answer::Picture(&served.signature().outputs[0].name),
            Served::Model(version) => version.settings().pictures.as_ref(),
        };
        match pictures.and_then(|pictures| Some((pictures, pictures.task.as_ref()?))) {
            Some((_, Task::Classification(classifier))) => Answer::Classes(classifier),
            Some((pictures, Task::Detection(detector))) => match as_given(pictures, detector) {
                Some(lists) => Answer::Boxes(lists, detector),
                None => Answer::Found,
            },
            Some((_, Task::Segmentation(segmenter))) => Answer::Pixels(segmenter),
            Some((_, Task::Image(picture))) => {
                Answer::Picture(&served.signature().outputs[picture.output].name)
            }
            Some((_, Task::Embedding)) | None => Answer::Tensors,
        }
    }
}

/// Where boxes stand that need nothing done to them: the model saw the picture as it was sent.
fn as_given(pictures: &Pictures, detector: &Detector) -> Option<Lists> {
    let Form::Torchvision(lists) = detector.form else { return None };
    let Recipe { resize, crop, .. } = pictures.preparation().recipe();
    let seen_as_sent = *resize == Resize::Keep && crop.is_none();
    let plain = detector.corners == Corners::Xyxy && detector.unit == Unit::Pixels && detector.iou >= 1.0;
    (seen_as_sent && plain).then_some(lists)
}

/// The name of a class, or its number.
fn name(labels: &[String], class: usize) -> String {
    labels.get(class).cloned().unwrap_or_else(|| class.to_string())
}
