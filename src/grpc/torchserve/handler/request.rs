//! From the inputs of a request to a request of ours.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::Answer;
use super::numbers;
use crate::engine::{Asked, InferRequest, Served};
use crate::error::{Error, RequestError};
use crate::frame::{Codec, Encoded, Encoding};
use crate::model::check::Given;
use crate::model::pictures::DETECTIONS;
use crate::model::signature::Port;
use crate::tensor::{DataType, Kept, Shape, Tensor};

/// The keys under which handlers look for what is sent, in this order.
const KEYS: [&str; 2] = ["data", "body"];

/// What a request in TorchServe's form asks of a model: a picture under `data` or `body`, or tensors.
///
/// A picture may be its file, that in base64, or, as JSON, the values of the tensor that would be made of it. Tensors
/// are nested lists in JSON, or their bytes: under the same keys for a model with one input, or as a dict of the
/// inputs' names, or each under its name.
pub fn request(served: &Served, mut inputs: HashMap<String, Bytes>) -> Result<InferRequest, Error> {
    // What is empty counts as not there.
    inputs.retain(|_, bytes| !bytes.is_empty());
    let ports = &served.signature().inputs;
    let picture = (0..ports.len()).find(|index| served.takes_pictures(*index));
    let sent = KEYS.into_iter().find_map(|key| inputs.remove(key));
    let mut codec = Codec::Png;
    let given = match (sent, picture) {
        (Some(bytes), Some(index)) => {
            let (tensor, came) = self::picture(served, &ports[index], bytes)?;
            codec = came.unwrap_or(codec);
            vec![Given { name: ports[index].name.clone(), tensor: Kept::Here(tensor) }]
        }
        (Some(bytes), None) => tensors(served, bytes)?,
        (None, _) => Vec::new(),
    };
    let named = inputs.into_iter().map(|(name, bytes)| {
        let port = ports.iter().find(|port| port.name == name);
        let port = port.ok_or_else(|| unknown(served, name))?;
        tensor(served, port, bytes)
            .map(|tensor| Given { name: port.name.clone(), tensor: Kept::Here(tensor) })
    });
    let named = named.collect::<Result<Vec<_>, Error>>()?;
    let inputs: Vec<Given> = given.into_iter().chain(named).collect();
    if inputs.is_empty() {
        let reason = "the request has no input: what is sent has to stand under the key `data` or `body`";
        return Err(Error::Incomplete(reason));
    }
    Ok(InferRequest { inputs, outputs: outputs(served, codec), ..InferRequest::default() })
}

/// What is needed of the model's outputs.
fn outputs(served: &Served, codec: Codec) -> Vec<Asked> {
    let ports = &served.signature().outputs;
    let asked = |name: &str| Asked { name: name.into(), classification: 0, codec: None, place: None };
    match Answer::of(served) {
        Answer::Classes(classifier) => vec![asked(&ports[classifier.output].name)],
        Answer::Boxes(lists, _) => {
            let all = [Some(lists.boxes), Some(lists.scores), lists.classes];
            all.into_iter().flatten().map(|index| asked(&ports[index].name)).collect()
        }
        Answer::Found => vec![asked(DETECTIONS)],
        Answer::Pixels(segmenter) => vec![asked(&ports[segmenter.output].name)],
        Answer::Picture(name) => vec![Asked { codec: Some(Encoding::new(codec)), ..asked(name) }],
        Answer::Tensors => Vec::new(),
    }
}

/// A picture for this input, and the codec that it came in, if it is encoded.
fn picture(served: &Served, port: &Port, bytes: Bytes) -> Result<(Tensor, Option<Codec>), Error> {
    if let Ok(encoded) = Encoded::sniffed(bytes.clone()) {
        return Ok((element(bytes)?, Some(encoded.codec)));
    }
    if let Some(decoded) = from_base64(&bytes) {
        let encoded = Encoded::sniffed(decoded.clone())?;
        return Ok((element(decoded)?, Some(encoded.codec)));
    }
    if begins_with(&bytes, b"[") && port.datatype != DataType::Bytes {
        let values = json(&bytes)?;
        return Ok((numbers::tensor(served.signature(), port, &values)?, None));
    }
    // It is told what it is not.
    Encoded::sniffed(bytes).map(|encoded| Ok((element(encoded.bytes)?, Some(encoded.codec))))?
}

/// Tensors for a model that sees no pictures.
fn tensors(served: &Served, bytes: Bytes) -> Result<Vec<Given>, Error> {
    let signature = served.signature();
    if begins_with(&bytes, b"{") {
        let Value::Object(values) = json(&bytes)? else { return Err(not_json("it is no dict".into())) };
        let given = values.into_iter().map(|(name, values)| {
            let port = signature.inputs.iter().find(|port| port.name == name);
            let port = port.ok_or_else(|| unknown(served, name))?;
            let tensor = numbers::tensor(signature, port, &values)?;
            Ok(Given { name: port.name.clone(), tensor: Kept::Here(tensor) })
        });
        return given.collect();
    }
    let [port] = &signature.inputs[..] else {
        let names: Vec<&str> = signature.inputs.iter().map(|port| port.name.as_str()).collect();
        let reason = format!("the model has {} inputs, and `data` holds one of them", names.len());
        return Err(not_json(format!(
            "{reason}: send each under its name, or a JSON dict of {}",
            names.join(", ")
        )));
    };
    let tensor = tensor(served, port, bytes)?;
    Ok(vec![Given { name: port.name.clone(), tensor: Kept::Here(tensor) }])
}

/// One tensor: nested lists in JSON, or as many bytes as it has.
fn tensor(served: &Served, port: &Port, bytes: Bytes) -> Result<Tensor, Error> {
    let signature = served.signature();
    if port.datatype == DataType::Bytes {
        // One string, whatever is in it.
        let shape = numbers::with_batch(signature, port, vec![1]);
        return Tensor::elements(Shape::new(shape), vec![bytes]);
    }
    if begins_with(&bytes, b"[") {
        return numbers::tensor(signature, port, &json(&bytes)?);
    }
    let fixed = port
        .dims
        .fixed()
        .and_then(|shape| Some((shape.elements()?.checked_mul(port.datatype.size()?)?, shape)));
    match fixed {
        Some((length, shape)) if length == bytes.len() => {
            let shape = numbers::with_batch(signature, port, shape.dims().to_vec());
            Tensor::raw(port.datatype, Shape::new(shape), bytes)
        }
        _ => Err(not_json(format!(
            "input `{}` is a {} tensor of shape {}, which {} bytes are not, nor nested lists in JSON",
            port.name,
            port.datatype,
            port.dims,
            bytes.len()
        ))),
    }
}

fn element(bytes: Bytes) -> Result<Tensor, Error> {
    Tensor::elements(Shape::new(vec![1]), vec![bytes])
}

fn begins_with(bytes: &[u8], begin: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(begin)
}

/// A text in base64, with quotes around it or without.
fn from_base64(bytes: &[u8]) -> Option<Bytes> {
    let text = bytes.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    STANDARD.decode(text).ok().map(Bytes::from)
}

fn json(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| not_json(format!("what is sent is no readable JSON: {error}")))
}

fn not_json(reason: String) -> Error {
    RequestError::Malformed(reason).into()
}

fn unknown(served: &Served, input: String) -> Error {
    RequestError::UnknownInput { input, model: served.name().into() }.into()
}
