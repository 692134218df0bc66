//! The methods of a servable: what a client can have done with its inputs.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;

use super::fault::Fault;
use super::instance::Input;
use super::tensor;
use crate::engine::{Asked, InferReply, InferRequest, Served};
use crate::error::Error;
use crate::frame::{Codec, Encoding};
use crate::model::check::Given;
use crate::model::pictures::{DETECTIONS, Task};
use crate::model::signature::{Port, Signature};
use crate::model::version::Treatment;
use crate::proto::mindspore::{Instance, Tensor as Message};
use crate::tensor::{Data, DataType, Kept, Shape, Tensor, values};

/// What an instance consists of.
type Items = HashMap<String, Message>;

/// The input of methods that take a picture.
const IMAGE: &str = "image";

/// What is done with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Tensors in, tensors out.
    Predict,
    /// The same, where numbers of another type become those that the model takes.
    PredictCast,
    /// A picture in, so many labels out, the best first.
    Classify(usize),
    /// A picture in, boxes out.
    Detect,
    /// A picture in, a picture out.
    Transform,
}

/// A detection as the engine writes it.
#[derive(Deserialize)]
struct Found {
    #[serde(rename = "box")]
    edges: [f32; 4],
    score: f32,
    label: String,
}

impl Method {
    /// The method of this name, if the servable has it.
    pub fn find(served: &Served, name: &str) -> Option<Self> {
        let aliases = match served {
            Served::Model(version) => version.settings().methods.get(name).map(String::as_str),
            Served::Pipeline(_) => None,
        };
        let method = match aliases.unwrap_or(name) {
            "predict" => Method::Predict,
            "predict_cast" => Method::PredictCast,
            "classify_top1" => Method::Classify(1),
            "classify_top5" => Method::Classify(5),
            "detect" => Method::Detect,
            "transform" => Method::Transform,
            _ => return None,
        };
        let fits = match (method, task(served)) {
            (Method::Predict | Method::PredictCast, _) => true,
            (Method::Classify(_), Some(Task::Classification(_))) => true,
            (Method::Detect, Some(Task::Detection(_))) => true,
            (Method::Transform, Some(Task::Image(_) | Task::Segmentation(_))) => true,
            (Method::Transform, None) => matches!(served, Served::Pipeline(_)),
            _ => false,
        };
        fits.then_some(method)
    }

    /// What it takes.
    pub fn inputs(self, served: &Served) -> Vec<Input> {
        match self {
            Method::Predict | Method::PredictCast => {
                let input = |port: &Port| Input { name: port.name.clone(), optional: port.optional };
                served.signature().inputs.iter().map(input).collect()
            }
            Method::Classify(_) | Method::Detect | Method::Transform => {
                vec![Input { name: IMAGE.into(), optional: false }]
            }
        }
    }

    /// What the engine is asked for an instance, whose items are those of [`inputs`](Self::inputs).
    pub fn request(
        self,
        served: &Served,
        inputs: &[Input],
        items: Vec<Option<Tensor>>,
        treatment: Treatment,
    ) -> Result<InferRequest, Fault> {
        let signature = served.signature();
        let outputs = match self {
            Method::Predict | Method::PredictCast => Vec::new(),
            Method::Classify(best) => {
                vec![Asked { classification: best, ..Asked::whole(self.output(served)?) }]
            }
            Method::Detect => vec![Asked::whole(DETECTIONS)],
            // A pipeline gives its picture back as it came; a model gives pixels, of which nothing is to be lost.
            Method::Transform => {
                let codec = match served {
                    Served::Model(_) => Some(Encoding::new(Codec::Png)),
                    Served::Pipeline(_) => None,
                };
                vec![Asked { codec, ..Asked::whole(self.output(served)?) }]
            }
        };
        let picture = picture_input(served);
        let given = items.into_iter().enumerate().filter_map(|(at, tensor)| Some((at, tensor?)));
        let given = given.map(|(at, tensor)| {
            let at = match self {
                Method::Predict | Method::PredictCast => at,
                _ => picture.ok_or_else(|| Fault::invalid("the servable takes no pictures"))?,
            };
            let port = &signature.inputs[at];
            let pictured = served.takes_pictures(at) && tensor.datatype() == DataType::Bytes;
            let tensor = match self {
                _ if pictured => tensor,
                Method::PredictCast => fitted(at, port, cast(tensor, port.datatype)?, signature)?,
                Method::Predict => fitted(at, port, tensor, signature)?,
                _ => {
                    let name = inputs.first().map_or(IMAGE, |input| &input.name);
                    return Err(Fault::invalid(format!(
                        "Given model input {name} data type {} not match the data type kMSI_Bytes: it is to be an \
                         encoded picture",
                        tensor::kind(tensor.datatype())
                    )));
                }
            };
            Ok(Given { name: port.name.clone(), tensor: Kept::Here(tensor) })
        });
        Ok(InferRequest { inputs: given.collect::<Result<_, Fault>>()?, outputs, treatment, codec: None })
    }

    /// The engine's reply as an instance.
    pub fn reply(self, served: &Served, reply: InferReply) -> Result<Instance, Fault> {
        let signature = served.signature();
        let items = match self {
            Method::Predict | Method::PredictCast => {
                let item = |(name, tensor): (String, Kept)| {
                    let tensor = tensor.fetch()?;
                    let batched = signature.max_batch > 0;
                    Ok((name, tensor::message(if batched { without_batch(tensor)? } else { tensor })?))
                };
                reply.outputs.into_iter().map(item).collect::<Result<_, Error>>()?
            }
            Method::Classify(best) => labels(&first(reply)?, best),
            Method::Detect => detections(&first(reply)?)?,
            Method::Transform => {
                let picture = Tensor::elements(
                    Shape::new(vec![1]),
                    vec![
                        first(reply)?
                            .into_iter()
                            .next()
                            .ok_or_else(|| Error::Model("it gave no picture".into()))?,
                    ],
                )?;
                [(IMAGE.to_owned(), tensor::message(picture)?)].into()
            }
        };
        Ok(Instance { items, ..Instance::default() })
    }

    /// Name of the output that it is about.
    fn output(self, served: &Served) -> Result<&str, Fault> {
        let index = match task(served) {
            Some(Task::Classification(classifier)) => classifier.output,
            Some(Task::Image(picture)) => picture.output,
            Some(Task::Segmentation(segmenter)) => segmenter.output,
            _ => 0,
        };
        let output = served.signature().outputs.get(index);
        Ok(&output.ok_or_else(|| Error::Internal("a task without its output".into()))?.name)
    }
}

fn task(served: &Served) -> Option<&Task> {
    match served {
        Served::Model(version) => version.settings().pictures.as_ref()?.task.as_ref(),
        Served::Pipeline(_) => None,
    }
}

fn picture_input(served: &Served) -> Option<usize> {
    (0..served.signature().inputs.len()).find(|input| served.takes_pictures(*input))
}

/// An instance's tensor as the model takes it: its elements are what counts, as in the original, so that another
/// shape of as many is none of its faults; and it is one row of a batch where there are batches.
fn fitted(at: usize, port: &Port, tensor: Tensor, signature: &Signature) -> Result<Tensor, Fault> {
    let fixed = port.dims.fixed();
    let bytes = fixed.as_ref().and_then(|shape| shape.elements()?.checked_mul(port.datatype.size()?));
    let found = tensor.byte_size();
    if let Some(expected) = bytes.filter(|expected| *expected != found) {
        return Err(Fault::invalid(format!(
            "Given model input {at} size {found} not match the size {expected} defined in model"
        )));
    }
    if tensor.datatype() != port.datatype {
        return Err(Fault::invalid(format!(
            "Given model input {at} data type {} not match the data type {} defined in model",
            tensor::kind(tensor.datatype()),
            tensor::kind(port.datatype)
        )));
    }
    let shape = match fixed {
        Some(fixed) if fixed.elements() == tensor.shape().elements() => fixed,
        // One number has no dimensions, and is the one element of as many as there are.
        None if tensor.shape().dims().is_empty() => Shape::new(vec![1; port.dims.dims().len()]),
        _ => tensor.shape().clone(),
    };
    let batch: &[usize] = if signature.max_batch > 0 { &[1] } else { &[] };
    Ok(tensor.reshape(Shape::new([batch, shape.dims()].concat()))?)
}

/// Takes off the dimension that counts rows, of which there is one.
fn without_batch(tensor: Tensor) -> Result<Tensor, Error> {
    let shape = match tensor.shape().dims() {
        [1, rest @ ..] => Shape::new(rest.to_vec()),
        _ => tensor.shape().clone(),
    };
    tensor.reshape(shape)
}

fn cast(tensor: Tensor, datatype: DataType) -> Result<Tensor, Fault> {
    if [tensor.datatype(), datatype].contains(&DataType::Bytes) {
        return Ok(tensor);
    }
    Ok(values::cast(&tensor, datatype)?)
}

/// The byte strings of the one output that was asked for.
fn first(reply: InferReply) -> Result<Vec<Bytes>, Error> {
    let tensor = reply.outputs.into_iter().next().map(|(_, tensor)| tensor.fetch()).transpose()?;
    match tensor.map(Tensor::into_data) {
        Some(Data::Elements(elements)) => Ok(elements),
        _ => Err(Error::Internal("an output that is none of byte strings".into())),
    }
}

/// Of `score:index:name`, or `score:index` where a class has no name.
fn labels(best: &[Bytes], count: usize) -> Items {
    let (mut names, mut scores) = (Vec::new(), Vec::new());
    for text in best {
        let text = String::from_utf8_lossy(text);
        let mut parts = text.splitn(3, ':');
        scores.push(parts.next().and_then(|score| score.parse().ok()).unwrap_or(f32::NAN));
        let index = parts.next().unwrap_or_default().to_owned();
        names.push(parts.next().map_or(index, String::from));
    }
    let mut items = Items::from([("label".to_owned(), tensor::text(names.join(";")))]);
    if count > 1 {
        items.insert("score".into(), tensor::floats(&[scores.len()], &scores));
    }
    items
}

/// Boxes as left and upper edge, width and height in pixels of the picture that came, with their scores and labels.
fn detections(json: &[Bytes]) -> Result<Items, Error> {
    let json = json.first().map_or(&b"[]"[..], |json| json);
    let found: Vec<Found> =
        serde_json::from_slice(json).map_err(|error| Error::Internal(format!("detections: {error}")))?;
    let boxes: Vec<f32> = found.iter().flat_map(|found| found.edges).collect();
    let scores: Vec<f32> = found.iter().map(|found| found.score).collect();
    let labels: Vec<&str> = found.iter().map(|found| found.label.as_str()).collect();
    Ok([
        ("boxes".to_owned(), tensor::floats(&[found.len(), 4], &boxes)),
        ("scores".to_owned(), tensor::floats(&[found.len()], &scores)),
        ("labels".to_owned(), tensor::text(labels.join(";"))),
    ]
    .into())
}
