//! The open inference protocol under TorchServe's package: the messages are an early form of those of
//! `inference.GRPCInferenceService`, and are answered like them. Unknown models are told of in TorchServe's words.

use std::collections::HashMap;

use tonic::{Request, Response, Status};

use super::TorchServe;
use super::refusal::{self, Refusal};
use crate::engine::Served;
use crate::error::Error;
use crate::grpc::kserve;
use crate::grpc::layer::CallContext;
use crate::model::{Port, Signature};
use crate::proto::inference as own;
use crate::proto::inference::infer_parameter::ParameterChoice as OwnChoice;
use crate::proto::torchserve::openinference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::torchserve::openinference::infer_parameter::ParameterChoice;
use crate::proto::torchserve::openinference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use crate::proto::torchserve::openinference::model_infer_response::InferOutputTensor;
use crate::proto::torchserve::openinference::model_metadata_response::TensorMetadata;
use crate::proto::torchserve::openinference::*;

#[tonic::async_trait]
impl GrpcInferenceService for TorchServe {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.engine().is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        if name.is_empty() {
            return Err(refusal::required("name").into());
        }
        let ready = match self.held(&name, &version)? {
            Some(held) => held.version.condition().is_ok(),
            None => {
                let served = self.pipeline(&name, &version)?;
                self.engine().is_answering(&served).await
            }
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: self.engine().config().name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        if name.is_empty() {
            return Err(refusal::required("model_name").into());
        }
        let served = match self.held(&name, &version)? {
            Some(held) => Served::Model(held.version),
            None => self.pipeline(&name, &version)?,
        };
        let all = self.engine().models().held(&name);
        let versions = match &served {
            Served::Model(_) => all.iter().map(|held| held.text()).collect(),
            Served::Pipeline(_) => vec!["1.0".into()],
        };
        let signature = served.signature();
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions,
            platform: served.platform().into(),
            inputs: tensors(signature, &signature.inputs),
            outputs: tensors(signature, &signature.outputs),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let call = CallContext::of(request.extensions());
        let message = request.into_inner();
        let (name, version) = (message.model_name.clone(), message.model_version.clone());
        if name.is_empty() {
            return Err(refusal::required("model_name").into());
        }
        let served = self.served(&call, &name, &version).await?;
        let called = match &served {
            Served::Model(asked) => {
                let held = self.engine().models().held(&name);
                held.iter().find(|held| held.version.number() == asked.number()).map(|held| held.text())
            }
            Served::Pipeline(_) => None,
        };
        let message = of_theirs(message, served.version());
        let reply = kserve::answer_tensors(self.engine(), message, call).await?;
        let mut reply = of_ours(reply);
        reply.model_version = called.unwrap_or_else(|| "1.0".into());
        Ok(Response::new(reply))
    }
}

impl TorchServe {
    /// A pipeline of this name, or that there is no such model.
    fn pipeline(&self, name: &str, version: &str) -> Result<Served, Refusal> {
        let served = self.engine().served(name, version.strip_suffix(".0").unwrap_or(version));
        served.map_err(|error| match error {
            Error::ModelUnknown(_) => Refusal::of_change(error, name, version),
            error => Refusal::of_prediction(error, name, version),
        })
    }
}

fn tensors(signature: &Signature, ports: &[Port]) -> Vec<TensorMetadata> {
    let tensor = |port: &Port| TensorMetadata {
        name: port.name.clone(),
        datatype: port.datatype.name().into(),
        shape: signature.client_dims(port).to_i64(),
    };
    ports.iter().map(tensor).collect()
}

/// The same request in the messages of the newer protocol, for a version by its number.
fn of_theirs(message: ModelInferRequest, version: u64) -> own::ModelInferRequest {
    let ModelInferRequest { model_name, id, parameters, inputs, outputs, raw_input_contents, .. } = message;
    let input = |input: InferInputTensor| own::model_infer_request::InferInputTensor {
        name: input.name,
        datatype: input.datatype,
        shape: input.shape,
        parameters: parameters_of_theirs(input.parameters),
        contents: input.contents.map(contents_of_theirs),
    };
    let output = |output: InferRequestedOutputTensor| own::model_infer_request::InferRequestedOutputTensor {
        name: output.name,
        parameters: parameters_of_theirs(output.parameters),
    };
    own::ModelInferRequest {
        model_name,
        model_version: version.to_string(),
        id,
        parameters: parameters_of_theirs(parameters),
        inputs: inputs.into_iter().map(input).collect(),
        outputs: outputs.into_iter().map(output).collect(),
        raw_input_contents,
    }
}

fn of_ours(reply: own::ModelInferResponse) -> ModelInferResponse {
    let own::ModelInferResponse { model_name, model_version, id, outputs, raw_output_contents, .. } = reply;
    let output = |output: own::model_infer_response::InferOutputTensor| InferOutputTensor {
        name: output.name,
        datatype: output.datatype,
        shape: output.shape,
        // Replies here have none.
        parameters: HashMap::new(),
        contents: output.contents.map(contents_of_ours),
    };
    let outputs = outputs.into_iter().map(output).collect();
    ModelInferResponse {
        model_name,
        model_version,
        id,
        parameters: HashMap::new(),
        outputs,
        raw_output_contents,
    }
}

fn parameters_of_theirs(parameters: HashMap<String, InferParameter>) -> HashMap<String, own::InferParameter> {
    let choice = |choice| match choice {
        ParameterChoice::BoolParam(value) => OwnChoice::BoolParam(value),
        ParameterChoice::Int64Param(value) => OwnChoice::Int64Param(value),
        ParameterChoice::StringParam(value) => OwnChoice::StringParam(value),
    };
    let parameter = |(key, InferParameter { parameter_choice })| {
        (key, own::InferParameter { parameter_choice: Option::map(parameter_choice, choice) })
    };
    parameters.into_iter().map(parameter).collect()
}

/// Tensors' contents have the same fields in both.
macro_rules! contents {
    ($name:ident, $from:ty, $to:path) => {
        fn $name(contents: $from) -> $to {
            $to {
                bool_contents: contents.bool_contents,
                int_contents: contents.int_contents,
                int64_contents: contents.int64_contents,
                uint_contents: contents.uint_contents,
                uint64_contents: contents.uint64_contents,
                fp32_contents: contents.fp32_contents,
                fp64_contents: contents.fp64_contents,
                bytes_contents: contents.bytes_contents,
            }
        }
    };
}

contents!(contents_of_theirs, InferTensorContents, own::InferTensorContents);
contents!(contents_of_ours, own::InferTensorContents, InferTensorContents);
