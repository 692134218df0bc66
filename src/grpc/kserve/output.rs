//! A model's outputs as a reply, in the form of the request.

use bytes::Bytes;
use prost::Message;

use super::raw;
use super::refusal::Refusal;
use super::typed;
use crate::engine::InferReply;
use crate::proto::inference::ModelInferResponse;
use crate::proto::inference::model_infer_response::InferOutputTensor;
use crate::tensor::Kept;

/// No gRPC message is longer.
const MOST_BYTES: usize = i32::MAX as usize;

/// How tensors travel in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As plain bytes, beside the outputs.
    Raw,
    /// In a field for their type.
    Typed,
}

/// Which model answers.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its name.
    pub model: String,
    /// Its version.
    pub version: u64,
}

/// Makes a reply of what a model gave. Of what was put elsewhere it has only name, type and shape.
pub fn reply(head: Head, outputs: InferReply, form: Form) -> Result<ModelInferResponse, Refusal> {
    let mut reply = ModelInferResponse {
        model_name: head.model,
        model_version: head.version.to_string(),
        ..ModelInferResponse::default()
    };
    // Some types have no field; and a reply has one form.
    let typed =
        form == Form::Typed && outputs.outputs.iter().all(|(_, tensor)| typed::has_field(tensor.datatype()));
    for (name, tensor) in outputs.outputs {
        let mut output = InferOutputTensor {
            name,
            datatype: tensor.datatype().name().into(),
            shape: tensor.shape().dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            ..InferOutputTensor::default()
        };
        let bytes = match tensor {
            // Its place among the others is kept.
            Kept::Elsewhere(_) => Bytes::new(),
            Kept::Here(tensor) if typed => {
                output.contents = Some(typed::contents(tensor));
                Bytes::new()
            }
            Kept::Here(tensor) => raw::bytes(tensor)?,
        };
        if !typed {
            reply.raw_output_contents.push(bytes);
        }
        reply.outputs.push(output);
    }
    let bytes = reply.encoded_len();
    if bytes > MOST_BYTES {
        return Err(Refusal::invalid(format!(
            "Response has byte size {bytes} which exceeds gRPC's byte size limit {MOST_BYTES}."
        )));
    }
    Ok(reply)
}
