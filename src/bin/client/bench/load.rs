//! The message that is sent over and over, and what its first reply was.

use std::sync::Arc;

use bytes::Bytes;
use frameserve::client::InferenceClient;
use frameserve::proto::inference::ModelInferRequest;
use frameserve::tensor::DataType;

use super::expected::Expected;
use crate::args::BenchArgs;
use crate::args::values::Wire;
use crate::failure::Failure;
use crate::infer::model::Model;
use crate::inputs::{Filling, Inputs};
use crate::source::read_picture;
use crate::tensors::{self, Named};
use crate::wire::Encoder;

/// The same for every worker.
#[derive(Debug)]
pub struct Load {
    pub model: String,
    /// Empty where the server chose.
    pub asked_version: String,
    /// That answered.
    pub version: String,
    pub inputs: Vec<Named>,
    /// Of the first reply.
    pub outputs: Vec<Named>,
    /// The encoded request.
    pub message: Bytes,
    pub reply_bytes: usize,
    pub expected: Arc<Expected>,
    /// The outputs are to be what the inputs are.
    pub check_identity: bool,
}

impl Load {
    /// Makes the message and sends it once.
    pub async fn prepare(args: &BenchArgs, model: &Model, client: &InferenceClient) -> Result<Load, Failure> {
        let inputs = inputs(args, model)?;
        let mut request = request_for(model);
        inputs.iter().for_each(|input| input.put(&mut request));
        let message = InferenceClient::encode(&request);
        let reply = client.infer_encoded(message.clone()).await;
        let reply = reply.map_err(|error| Failure::of_call(error, "ModelInfer"))?;
        let bad = |reason| Failure::bad_reply(format!("the first reply: {reason}"));
        let expected = Expected::of(&reply).map_err(bad)?;
        let decoded = InferenceClient::decode(reply.clone()).map_err(bad)?;
        let version = decoded.model_version.clone();
        let outputs = tensors::outputs(decoded)?;
        if args.check_identity {
            check_identity(&inputs, &outputs)?;
        }
        Ok(Load {
            model: model.name.clone(),
            asked_version: model.version.clone(),
            version,
            inputs,
            outputs,
            message,
            reply_bytes: reply.len(),
            expected: Arc::new(expected),
            check_identity: args.check_identity,
        })
    }
}

/// A request for the model, with nothing in it yet.
fn request_for(model: &Model) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.name.clone(),
        model_version: model.version.clone(),
        ..ModelInferRequest::default()
    }
}

fn inputs(args: &BenchArgs, model: &Model) -> Result<Vec<Named>, Failure> {
    let inputs =
        Inputs { described: &model.metadata.inputs, given: &args.fill.input, shapes: &args.fill.shape };
    inputs.check()?;
    let given: Vec<&str> = args.fill.input.iter().map(|input| input.name.as_str()).collect();
    let picture = match &args.picture {
        None => None,
        Some(file) => {
            let mut encoder = Encoder::new(Wire::Png, 100).map_err(Failure::usage)?;
            let (_, bytes) = encoder.file(read_picture(file)?).map_err(Failure::usage)?;
            Some(model.picture_input(&given)?.with(&bytes))
        }
    };
    let in_picture = |name: &str| picture.as_ref().is_some_and(|picture| picture.name == name);
    let mut filled = Vec::new();
    for name in inputs.names().into_iter().filter(|name| !in_picture(name)) {
        match inputs.filled(name) {
            Some(input) => filled.push(input?),
            None if model.may_leave_out(name) => {}
            None => filled.push(inputs.fill(name, &Filling::Random)?),
        }
    }
    filled.extend(picture);
    if filled.is_empty() {
        return Err(Failure::usage(format!(
            "the server doesn't tell which inputs '{}' has: give them, as in --shape NAME=FP32:1,3,224,224",
            model.name
        )));
    }
    Ok(filled)
}

/// Each output must hold what the input in its place held.
pub fn check_identity(inputs: &[Named], outputs: &[Named]) -> Result<(), Failure> {
    if inputs.len() != outputs.len() {
        let (sent, came) = (inputs.len(), outputs.len());
        return Err(Failure::bad_reply(format!(
            "--check-identity: {sent} inputs were sent, {came} outputs came back"
        )));
    }
    // A server may order its outputs as it likes, and name them as the inputs or with OUTPUT for INPUT.
    for Named { name, tensor } in inputs {
        let names = [name.clone(), name.replace("INPUT", "OUTPUT"), name.replace("input", "output")];
        let same_name = outputs.iter().find(|output| names.contains(&output.name));
        let output = match (same_name, outputs) {
            (Some(output), _) => output,
            (None, [only]) => only,
            (None, _) => {
                return Err(Failure::bad_reply(format!("--check-identity: no output is named as '{name}'")));
            }
        };
        if output.tensor != *tensor {
            return Err(Failure::bad_reply(format!(
                "--check-identity: output '{}' ({} {}) is not what input '{name}' ({} {}) held",
                output.name,
                output.tensor.datatype(),
                output.tensor.shape(),
                tensor.datatype(),
                tensor.shape()
            )));
        }
    }
    Ok(())
}

/// Type and shape, for reports.
pub fn describe(tensor: &Named) -> String {
    let Named { name, tensor } = tensor;
    let bytes = if tensor.datatype() == DataType::Bytes {
        format!(", {} bytes", tensor.byte_size())
    } else {
        String::new()
    };
    format!("{name} {} {}{bytes}", tensor.datatype(), tensor.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameserve::tensor::{Shape, Tensor};

    fn named(name: &str, value: u8) -> Named {
        let tensor = Tensor::raw(DataType::Uint8, Shape::new(vec![1]), Bytes::from(vec![value])).unwrap();
        Named { name: name.into(), tensor }
    }

    #[test]
    fn identity_is_checked_by_name() {
        let inputs = [named("INPUT0", 1), named("INPUT1", 2)];
        check_identity(&inputs, &[named("OUTPUT1", 2), named("OUTPUT0", 1)]).unwrap();
        check_identity(&inputs[..1], &[named("y", 1)]).unwrap();
        for wrong in [vec![named("OUTPUT0", 1), named("OUTPUT1", 3)], vec![named("OUTPUT0", 1)]] {
            assert!(check_identity(&inputs, &wrong).is_err());
        }
    }
}
