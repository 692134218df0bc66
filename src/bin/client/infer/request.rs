//! One request for each picture, all after one pattern.

use std::collections::HashMap;

use bytes::Bytes;
use frameserve::proto::Encoding;
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::InferRequestedOutputTensor;
use frameserve::proto::inference::{InferParameter, ModelInferRequest};

use super::model::{PictureInput, Task};
use crate::tensors::Named;

/// What all requests have in common.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub model: String,
    pub version: String,
    pub task: Task,
    /// Where pictures go.
    pub picture: Option<PictureInput>,
    /// The other inputs.
    pub fixed: Vec<Named>,
    /// Somebody wants the picture of a pipeline, and not only what it found.
    pub picture_wanted: bool,
}

impl Pattern {
    /// The request for one picture; what comes back as a picture is to have that encoding.
    pub fn request(&self, picture: Option<&Bytes>, codec: Encoding) -> ModelInferRequest {
        let mut request = ModelInferRequest {
            model_name: self.model.clone(),
            model_version: self.version.clone(),
            outputs: self.outputs(codec),
            ..ModelInferRequest::default()
        };
        if let (Some(input), Some(picture)) = (&self.picture, picture) {
            input.with(picture).put(&mut request);
        }
        self.fixed.iter().for_each(|input| input.put(&mut request));
        if self.task == Task::Pipeline && self.picture_wanted {
            request.parameters.insert("codec".into(), text(&codec.as_str_name().to_lowercase()));
        }
        request
    }

    fn outputs(&self, codec: Encoding) -> Vec<InferRequestedOutputTensor> {
        match &self.task {
            Task::Classification { outputs, top } => {
                let top = ParameterChoice::Int64Param((*top).into());
                let classes = || ("classification", InferParameter { parameter_choice: Some(top.clone()) });
                outputs.iter().map(|name| wanted(name, Some(classes()))).collect()
            }
            Task::Detection => vec![wanted("detections", None)],
            Task::Image { output } => {
                vec![wanted(output, Some(("codec", text(&codec.as_str_name().to_lowercase()))))]
            }
            Task::Pipeline if self.picture_wanted => vec![wanted("image", None), wanted("findings", None)],
            Task::Pipeline => vec![wanted("findings", None)],
            // All that there are.
            Task::Tensors => Vec::new(),
        }
    }
}

fn wanted(name: &str, parameter: Option<(&str, InferParameter)>) -> InferRequestedOutputTensor {
    let parameters: HashMap<String, InferParameter> =
        parameter.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    InferRequestedOutputTensor { name: name.into(), parameters }
}

fn text(value: &str) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.into())) }
}
