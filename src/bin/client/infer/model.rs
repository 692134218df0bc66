//! What a server says of a model: its inputs and outputs, and what they mean.

use std::fmt;

use bytes::Bytes;
use frameserve::client::{ClientError, Code, InferenceClient};
use frameserve::proto::inference::{ModelConfig, ModelMetadataResponse};
use frameserve::tensor::{Shape, Tensor};

use crate::failure::Failure;
use crate::tensors::Named;

/// Platform of a named pipeline, which is served like a model.
const PIPELINE: &str = "opencv_pipeline";

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub name: String,
    /// As it was asked for: empty leaves the choice to the server.
    pub version: String,
    /// Empty where the server doesn't tell.
    pub metadata: ModelMetadataResponse,
    /// Not every server tells it.
    pub config: Option<ModelConfig>,
}

/// What a model is for, and with it what becomes of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// These outputs hold a score for each class.
    Classification {
        outputs: Vec<String>,
        top: u32,
    },
    Detection,
    /// This output is a picture.
    Image {
        output: String,
    },
    /// A pipeline of the server: a picture, and what was found in it.
    Pipeline,
    /// Outputs of which nothing more is known.
    Tensors,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Classification { outputs, top } => {
                write!(f, "the {top} best classes of {}", outputs.join(", "))
            }
            Task::Detection => f.write_str("detections"),
            Task::Image { output } => write!(f, "the picture {output}"),
            Task::Pipeline => f.write_str("a picture and what was found in it"),
            Task::Tensors => f.write_str("tensors"),
        }
    }
}

/// An input that takes encoded pictures, and the shape in which it takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureInput {
    pub name: String,
    pub shape: Shape,
}

impl PictureInput {
    /// The input with that picture: one element of BYTES.
    pub fn with(&self, picture: &Bytes) -> Named {
        let tensor = Tensor::elements(self.shape.clone(), vec![picture.clone()]);
        Named { name: self.name.clone(), tensor: tensor.expect("its shape is that of one element") }
    }
}

impl Model {
    /// Asks the server.
    pub async fn look_up(client: &InferenceClient, name: &str, version: &str) -> Result<Model, Failure> {
        let metadata = match client.metadata(name, version).await {
            // A server need not describe its models to run them.
            Err(error) if error.code() == Some(Code::Unimplemented) => ModelMetadataResponse::default(),
            other => other.map_err(|error| Failure::of_call(error, "ModelMetadata"))?,
        };
        let config = match client.config(name, version).await {
            Ok(config) => Some(config),
            Err(ClientError::Refused { .. }) => None,
            Err(broken) => return Err(broken.into()),
        };
        Ok(Model { name: name.into(), version: version.into(), metadata, config })
    }

    /// The parameter `frameserve.KEY` of its configuration.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        let parameters = &self.config.as_ref()?.parameters;
        parameters.get(&format!("frameserve.{key}")).map(|parameter| parameter.string_value.as_str())
    }

    pub fn is_pipeline(&self) -> bool {
        self.metadata.platform == PIPELINE
    }

    /// Whether the server is known to make this model's inputs from pictures.
    pub fn takes_pictures(&self) -> bool {
        let named = |config: &ModelConfig| config.parameters.keys().any(|key| key.starts_with("frameserve."));
        self.is_pipeline() || self.config.as_ref().is_some_and(named)
    }

    /// Whether the configuration calls the input optional.
    pub fn may_leave_out(&self, input: &str) -> bool {
        let config = self.config.as_ref();
        config.is_some_and(|config| config.input.iter().any(|known| known.name == input && known.optional))
    }

    /// Where pictures go, of the inputs that are not given otherwise.
    pub fn picture_input(&self, given: &[&str]) -> Result<PictureInput, Failure> {
        let name = self.picture_name(given)?;
        let shape = self.picture_shape(&name);
        Ok(PictureInput { name, shape })
    }

    fn picture_name(&self, given: &[&str]) -> Result<String, Failure> {
        if let Some(name) = self.parameter("input") {
            return Ok(name.into());
        }
        let inputs = &self.metadata.inputs;
        let open: Vec<_> = inputs.iter().filter(|input| !given.contains(&input.name.as_str())).collect();
        let names: Vec<&str> = open.iter().map(|input| input.name.as_str()).collect();
        match names.as_slice() {
            [only] => Ok((*only).into()),
            _ if self.is_pipeline() => Ok("image".into()),
            [] if inputs.is_empty() => Err(Failure::usage(format!(
                "the server doesn't tell which inputs '{}' has: give them with --input NAME=FILE.npy",
                self.name
            ))),
            [] => Err(Failure::usage(format!(
                "--input fills every input of '{}' already, and none is left for pictures",
                self.name
            ))),
            several => Err(Failure::usage(format!(
                "'{}' has inputs {}, and its configuration doesn't say which takes pictures (frameserve.input): \
                 give the others with --input NAME=FILE.npy",
                self.name,
                several.join(", ")
            ))),
        }
    }

    fn picture_shape(&self, input: &str) -> Shape {
        let described = self.metadata.inputs.iter().find(|known| known.name == input);
        match described.filter(|input| input.datatype == "BYTES" && !input.shape.is_empty()) {
            // Whatever varies is one: a batch, and the element of a row.
            Some(input) => Shape::new(vec![1; input.shape.len()]),
            None => Shape::new(vec![1]),
        }
    }

    /// What it is for, as its configuration says; `top` makes it a classifier.
    pub fn task(&self, top: Option<u32>) -> Result<Task, Failure> {
        let said = self.parameter("task");
        let classes = || self.classification(top.unwrap_or(5));
        match said {
            Some("classification") => classes(),
            _ if top.is_some() => classes(),
            Some("detection") => Ok(Task::Detection),
            Some("image") => self.one_output("image").map(|output| Task::Image { output }),
            Some("segmentation") => self.one_output("mask").map(|output| Task::Image { output }),
            _ if self.is_pipeline() => Ok(Task::Pipeline),
            _ => Ok(Task::Tensors),
        }
    }

    fn classification(&self, top: u32) -> Result<Task, Failure> {
        let outputs = match self.parameter("scores") {
            Some(scores) => vec![scores.to_string()],
            None => self.metadata.outputs.iter().map(|output| output.name.clone()).collect(),
        };
        if outputs.is_empty() {
            return Err(Failure::usage(format!(
                "--top: the server doesn't tell which outputs '{}' has, and so can't be asked for classes",
                self.name
            )));
        }
        Ok(Task::Classification { outputs, top })
    }

    /// The output that the parameter names, or the only one.
    fn one_output(&self, key: &str) -> Result<String, Failure> {
        match (self.parameter(key), self.metadata.outputs.as_slice()) {
            (Some(named), _) => Ok(named.into()),
            (None, [only]) => Ok(only.name.clone()),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|output| output.name.as_str()).collect();
                Err(Failure::bad_reply(format!(
                    "'{}' has outputs {}, and its configuration doesn't say which is the picture (frameserve.{key}); \
                     --raw DIRECTORY writes them all",
                    self.name,
                    names.join(", ")
                )))
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use frameserve::proto::inference::ModelParameter;
    use frameserve::proto::inference::model_metadata_response::TensorMetadata;

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata { name: name.into(), datatype: datatype.into(), shape: shape.into() }
    }

    pub fn model(parameters: &[(&str, &str)]) -> Model {
        let parameters = parameters.iter().map(|(key, value)| {
            (format!("frameserve.{key}"), ModelParameter { string_value: (*value).into() })
        });
        Model {
            name: "m".into(),
            metadata: ModelMetadataResponse {
                inputs: vec![tensor("x", "FP32", &[-1, 3, 8, 8]), tensor("text", "BYTES", &[-1, 1])],
                outputs: vec![tensor("a", "FP32", &[-1, 10]), tensor("b", "FP32", &[-1, 2])],
                ..ModelMetadataResponse::default()
            },
            config: Some(ModelConfig { parameters: parameters.collect(), ..ModelConfig::default() }),
            ..Model::default()
        }
    }

    #[test]
    fn the_configuration_says_what_a_model_is_for() {
        let task = |parameters: &[(&str, &str)], top| model(parameters).task(top);
        let classes = |outputs: &[&str], top| Task::Classification {
            outputs: outputs.iter().map(|name| (*name).to_string()).collect(),
            top,
        };
        assert_eq!(task(&[], None).unwrap(), Task::Tensors);
        assert_eq!(task(&[("task", "embedding")], None).unwrap(), Task::Tensors);
        assert_eq!(task(&[], Some(3)).unwrap(), classes(&["a", "b"], 3));
        let said = [("task", "classification"), ("scores", "b")];
        assert_eq!(task(&said, None).unwrap(), classes(&["b"], 5));
        assert_eq!(task(&[("task", "detection")], None).unwrap(), Task::Detection);
        assert!(task(&[("task", "image")], None).unwrap_err().message.contains("a, b"));
        let mask = task(&[("task", "segmentation"), ("mask", "b")], None).unwrap();
        assert_eq!(mask, Task::Image { output: "b".into() });
    }

    #[test]
    fn pictures_go_to_one_input() {
        let unsaid = model(&[]);
        assert!(unsaid.picture_input(&[]).unwrap_err().message.contains("x, text"));
        let input = |name: &str, dims| PictureInput { name: name.into(), shape: Shape::new(dims) };
        assert_eq!(unsaid.picture_input(&["text"]).unwrap(), input("x", vec![1]));
        assert_eq!(unsaid.picture_input(&["x"]).unwrap(), input("text", vec![1, 1]));
        assert_eq!(model(&[("input", "x")]).picture_input(&[]).unwrap().name, "x");
        assert!(!unsaid.takes_pictures() && model(&[("task", "detection")]).takes_pictures());
    }
}
