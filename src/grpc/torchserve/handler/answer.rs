//! From what a model gave to the bytes that TorchServe's clients get.

use bytes::Bytes;
use serde::Deserialize;

use super::json::Json;
use super::{Answer, name, numbers};
use crate::engine::{InferReply, Served};
use crate::error::Error;
use crate::model::pictures::{Classifier, Detector, Lists, MaskDims, MaskForm, Segmenter};
use crate::tensor::classification::Activation;
use crate::tensor::image::Layout;
use crate::tensor::values::{values_f32, values_i128};
use crate::tensor::{Data, Tensor};

/// The classes that an answer names.
const BEST: usize = 5;

/// A detection as the engine writes it.
#[derive(Deserialize)]
struct Found {
    label: String,
    score: f32,
    #[serde(rename = "box")]
    place: [f64; 4],
}

/// The key of a detection's score, which stands beside its label.
const SCORE: &str = "score";

/// The answer to a request that [`request`](super::request()) made: JSON as TorchServe's handlers write it, or an
/// encoded picture.
pub fn prediction(served: &Served, reply: InferReply) -> Result<Bytes, Error> {
    let here = reply.outputs.into_iter().map(|(name, tensor)| Ok((name, tensor.fetch()?)));
    let named = here.collect::<Result<Vec<(String, Tensor)>, Error>>()?;
    let outputs: Vec<Tensor> = match Answer::of(served) {
        Answer::Tensors => return tensors(served, &named),
        _ => named.into_iter().map(|(_, tensor)| tensor).collect(),
    };
    let first = outputs.first().ok_or_else(|| Error::Internal("the model gave no output".into()))?;
    let batched = served.signature().max_batch > 0;
    match Answer::of(served) {
        Answer::Classes(classifier) => classes(classifier, first, batched),
        Answer::Boxes(lists, detector) => boxes(lists, detector, &outputs),
        Answer::Found => found(first),
        Answer::Pixels(segmenter) => pixels(segmenter, first, batched),
        Answer::Picture(_) | Answer::Tensors => picture(first),
    }
}

/// The likeliest classes, the very likeliest first. Of two that have one name the later score counts, in the place
/// of the first, as in a dict of Python's.
fn classes(classifier: &Classifier, scores: &Tensor, batched: bool) -> Result<Bytes, Error> {
    // What is asked for is one output, which is number 0 here.
    let classifier = Classifier { output: 0, ..classifier.clone() };
    let rows = batched.then(|| scores.shape().dims().first().copied().unwrap_or(1));
    let best = classifier.best(std::slice::from_ref(scores), BEST, rows)?;
    let labels = best.labels.into_iter().next().unwrap_or_default();
    let mut unique: Vec<(String, f32)> = Vec::with_capacity(labels.len());
    for label in labels {
        match unique.iter_mut().find(|(name, _)| *name == label.name) {
            Some((_, score)) => *score = label.score,
            None => unique.push((label.name, label.score)),
        }
    }
    Ok(text(|json| {
        json.dict(|json| {
            for (name, score) in unique {
                json.key(&name);
                json.number(score.into());
            }
        });
    }))
}

/// Boxes as they are, in the model's own order.
fn boxes(lists: Lists, detector: &Detector, outputs: &[Tensor]) -> Result<Bytes, Error> {
    let missing = || Error::Internal("the model gave not all of its outputs".into());
    let boxes = values_f32(outputs.first().ok_or_else(missing)?)?;
    let scores = values_f32(outputs.get(1).ok_or_else(missing)?)?;
    let classes = lists.classes.map(|_| outputs.get(2).ok_or_else(missing)).transpose()?;
    let classes = match classes {
        Some(tensor) => match values_i128(tensor)? {
            Some(numbers) => numbers,
            None => values_f32(tensor)?.iter().map(|number| *number as i128).collect(),
        },
        None => vec![0; scores.len()],
    };
    let boxes = boxes.as_chunks::<4>().0;
    if boxes.len() != scores.len() || classes.len() != scores.len() {
        let counts = format!("{} boxes, {} scores and {} classes", boxes.len(), scores.len(), classes.len());
        return Err(Error::Model(format!("the model gave {counts}")));
    }
    Ok(text(|json| {
        json.list(|json| {
            let all = boxes.iter().zip(&*scores).zip(&classes);
            for ((place, score), class) in all.filter(|((_, score), _)| **score >= detector.threshold) {
                let label =
                    usize::try_from(*class).map_or(class.to_string(), |class| name(&detector.labels, class));
                detection(json, &label, place.map(f64::from), *score);
            }
        });
    }))
}

/// What the engine found, in pixels of the picture that was sent.
fn found(detections: &Tensor) -> Result<Bytes, Error> {
    let Data::Elements(elements) = detections.data() else {
        return Err(Error::Internal("detections that are no text".into()));
    };
    let first = elements.first().map_or(&b"[]"[..], |element| element);
    let found: Vec<Found> =
        serde_json::from_slice(first).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(text(|json| {
        json.list(|json| {
            for Found { label, score, place: [x, y, width, height] } in found {
                let corners = [x, y, x + width, y + height];
                // They were numbers of 32 bits, and are to look like these.
                detection(json, &label, corners.map(|edge| f64::from(edge as f32)), score);
            }
        });
    }))
}

fn detection(json: &mut Json, label: &str, corners: [f64; 4], score: f32) {
    json.item();
    json.dict(|json| {
        // In a dict, the score would take the place of a box whose label is the same word.
        if label != SCORE {
            json.key(label);
            json.list(|json| {
                for edge in corners {
                    json.item();
                    json.number(edge);
                }
            });
        }
        json.key(SCORE);
        json.number(score.into());
    });
}

/// The likeliest class of each pixel with its score, in rows: `[height, width, 2]`.
fn pixels(segmenter: &Segmenter, output: &Tensor, batched: bool) -> Result<Bytes, Error> {
    let dims = output.shape().dims();
    let wrong = || Error::Model(format!("an output of shape {} holds no mask", output.shape()));
    let leading = usize::from(batched || dims.len() > if segmenter.dims == MaskDims::Two { 2 } else { 3 });
    let (classes, height, width) =
        match (segmenter.dims, segmenter.layout, dims.get(leading..).ok_or_else(wrong)?) {
            (MaskDims::Two, _, [height, width]) => (1, *height, *width),
            (MaskDims::Three, Layout::Chw, [classes, height, width])
            | (MaskDims::Three, Layout::Hwc, [height, width, classes]) => (*classes, *height, *width),
            _ => return Err(wrong()),
        };
    let values = values_f32(output)?;
    let plane = height * width;
    let strides = match segmenter.layout {
        Layout::Chw => [1, plane],
        Layout::Hwc => [classes, 1],
    };
    let scores = |pixel: usize| (0..classes).map(move |class| pixel * strides[0] + class * strides[1]);
    if values.len() < plane * classes || classes == 0 {
        return Err(wrong());
    }
    let likeliest = |pixel: usize| match segmenter.form {
        MaskForm::Classes => (values[pixel], 1.0),
        MaskForm::Scores(activation) => best(scores(pixel).map(|at| values[at]), activation),
    };
    Ok(text(|json| {
        json.list(|json| {
            for row in 0..height {
                json.item();
                json.list(|json| {
                    for column in 0..width {
                        let (class, score) = likeliest(row * width + column);
                        json.item();
                        json.list(|json| {
                            for number in [class, score] {
                                json.item();
                                json.number(number.into());
                            }
                        });
                    }
                });
            }
        });
    }))
}

/// The class with the highest score, and what its score becomes.
fn best(scores: impl Iterator<Item = f32> + Clone, activation: Activation) -> (f32, f32) {
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    let (class, score) = scores.clone().enumerate().fold((0, f32::NEG_INFINITY), better);
    let score = match activation {
        Activation::None => score,
        Activation::Sigmoid => 1.0 / (1.0 + (-score).exp()),
        Activation::Softmax => {
            let sum: f64 = scores.map(|other| f64::from(other - score).exp()).sum();
            (1.0 / sum) as f32
        }
    };
    (class as f32, score)
}

fn picture(output: &Tensor) -> Result<Bytes, Error> {
    match output.data() {
        Data::Elements(elements) if elements.len() == 1 => Ok(elements[0].clone()),
        _ => Err(Error::Internal("an answer that is not one picture".into())),
    }
}

/// All outputs as nested lists: alone if there is one, else in a dict. A batch of one row is that row. A string alone
/// is what it is.
fn tensors(served: &Served, outputs: &[(String, Tensor)]) -> Result<Bytes, Error> {
    let batched = served.signature().max_batch > 0;
    let dims = |tensor: &Tensor| match tensor.shape().dims() {
        [1, rest @ ..] if batched => rest.to_vec(),
        dims => dims.to_vec(),
    };
    let mut json = Json::default();
    match outputs {
        [(_, output)] => match output.data() {
            Data::Elements(elements) if elements.len() == 1 => return Ok(elements[0].clone()),
            _ => numbers::write(&mut json, output, &dims(output))?,
        },
        outputs => {
            let mut wrong = None;
            json.dict(|json| {
                for (name, output) in outputs {
                    json.key(name);
                    if let Err(error) = numbers::write(json, output, &dims(output)) {
                        wrong.get_or_insert(error);
                    }
                }
            });
            wrong.map_or(Ok(()), Err)?;
        }
    }
    Ok(Bytes::from(json.into_text()))
}

fn text(write: impl FnOnce(&mut Json)) -> Bytes {
    let mut json = Json::default();
    write(&mut json);
    Bytes::from(json.into_text())
}
