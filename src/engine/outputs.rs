//! What is asked of a model's outputs, and what is made of them.

use super::infer::{Asked, InferRequest, Served};
use crate::error::{Error, RequestError};
use crate::frame::{Encoding, Workbench};
use crate::model::pictures::{self, Pictures};
use crate::model::settings::Settings;
use crate::tensor::classification::{self, Ranking};
use crate::tensor::image::Geometry;
use crate::tensor::{DataType, Tensor};

/// What a model gave for a request.
pub struct Gave {
    /// Its outputs, in the order of its signature.
    pub outputs: Vec<Tensor>,
    /// How the pictures lie in the tensors that were made of them.
    pub geometry: Vec<Geometry>,
    /// Whether the output that is a picture came as pixels.
    pub as_pixels: bool,
}

/// Everything that is asked for is there, and can be had in that form.
pub fn check(served: &Served, request: &InferRequest) -> Result<(), Error> {
    let model = || served.name().to_owned();
    let asked = &request.outputs;
    if let Some(codec) =
        request.codec.filter(|_| !(0..served.signature().outputs.len()).any(|at| served.gives_picture(at)))
    {
        let (codec, model) = (codec.codec.name(), model());
        let text = format!("no output of model '{model}' is a picture that could be encoded as {codec}");
        return Err(RequestError::Malformed(text).into());
    }
    for (at, Asked { name, classification, codec, .. }) in asked.iter().enumerate() {
        let Some(index) = served.signature().output(name) else {
            return Err(RequestError::UnknownOutput { output: name.clone(), model: model() }.into());
        };
        if asked[..at].iter().any(|before| before.name == *name) {
            return Err(RequestError::Duplicate { what: "output", name: name.clone() }.into());
        }
        let refuse = |reason: String| {
            Err(RequestError::Output { output: name.clone(), model: model(), reason }.into())
        };
        if *classification > 0 && served.signature().outputs[index].datatype == DataType::Bytes {
            return refuse(format!("classification {classification} wants scores, and it has BYTES"));
        }
        if let (1.., Some(codec)) = (*classification, codec) {
            return refuse(format!(
                "it can't be both classes and a picture encoded as {}",
                codec.codec.name()
            ));
        }
        if let Some(codec) = codec.filter(|_| !served.gives_picture(index)) {
            return refuse(format!("it is no picture that could be encoded as {}", codec.codec.name()));
        }
    }
    Ok(())
}

/// The outputs that are asked for: all where none is named. Pictures are encoded as the request says where they do not
/// say it themselves.
pub fn asked(served: &Served, named: Vec<Asked>, codec: Option<Encoding>) -> Vec<Asked> {
    let signature = served.signature();
    let all = || signature.outputs.iter().map(|port| Asked::whole(&port.name)).collect();
    let mut asked: Vec<Asked> = if named.is_empty() { all() } else { named };
    for asked in asked.iter_mut().filter(|asked| asked.codec.is_none() && asked.classification == 0) {
        let is_picture = signature.output(&asked.name).is_some_and(|index| served.gives_picture(index));
        asked.codec = codec.filter(|_| is_picture);
    }
    asked
}

/// One output as it was asked for, where it is more than the tensor that the model gave.
pub fn made(settings: &Settings, gave: &Gave, asked: &Asked, bench: &mut Workbench) -> Result<Tensor, Error> {
    let Settings { signature, pictures, .. } = settings;
    let Gave { outputs, geometry, as_pixels } = gave;
    let Some(index) = signature.output(&asked.name) else {
        let pictures =
            pictures.as_ref().ok_or_else(|| Error::Internal(format!("no output {}", asked.name)))?;
        return pictures::json(&pictures.detections(outputs, geometry)?);
    };
    let output = &outputs[index];
    let picture = pictures.as_ref().and_then(Pictures::picture_output).filter(|_| *as_pixels);
    match (asked.codec, picture, pictures) {
        (Some(encoding), Some(picture), _) => picture.of_pixels().encode(outputs, encoding, bench),
        (Some(encoding), None, Some(pictures)) => pictures.encode(outputs, geometry, encoding, bench),
        _ if asked.classification > 0 => {
            let named = signature.outputs[index].labels.as_deref();
            let labels = named.or_else(|| Some(pictures.as_ref()?.labels(index)));
            let first = output.shape().dims().first().copied();
            // Without a batch a row is what there is for each picture, where any number of them may come.
            let any_number = pictures.as_ref().is_some_and(|pictures| pictures.count().is_none());
            let counted = any_number && first == Some(geometry.len());
            let ranking = Ranking {
                best: asked.classification,
                rows: (signature.max_batch > 0 || counted).then(|| first.unwrap_or(1)),
                activation: pictures.as_ref().map(|pictures| pictures.activation(index)).unwrap_or_default(),
                labels: labels.unwrap_or_default(),
            };
            Ok(classification::classify(output, &ranking)?.tensor)
        }
        _ => Ok(output.clone()),
    }
}
