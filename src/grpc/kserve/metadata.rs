//! What the server and its models say of themselves.

use std::sync::Arc;

use crate::engine::{Engine, Served};
use crate::model::registry::State;
use crate::model::{Port, Signature};
use crate::proto::inference::model_metadata_response::TensorMetadata;
use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{ModelMetadataResponse, RepositoryIndexResponse, ServerMetadataResponse};

/// What of the protocol this server does beyond its core, by the names that Triton has for it.
const EXTENSIONS: [&str; 11] = [
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
];

/// The reply to `ServerMetadata`.
pub fn server(name: &str) -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: EXTENSIONS.map(String::from).to_vec(),
    }
}

/// The reply to `ModelMetadata`.
pub fn model(engine: &Engine, served: &Served) -> ModelMetadataResponse {
    let signature = served.signature();
    let versions = match served {
        Served::Model(_) => engine.models().ready_versions(served.name()),
        Served::Pipeline(_) => vec![served.version()],
    };
    ModelMetadataResponse {
        name: served.name().into(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: served.platform().into(),
        inputs: tensors(signature, &signature.inputs),
        outputs: tensors(signature, &signature.outputs),
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

/// The reply to `RepositoryIndex`.
pub async fn index(engine: &Arc<Engine>, only_ready: bool) -> RepositoryIndexResponse {
    let entries = engine.index(only_ready).await.into_iter().map(|entry| ModelIndex {
        name: entry.name,
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: entry.state.map(|state| name(state).into()).unwrap_or_default(),
        reason: entry.reason,
    });
    RepositoryIndexResponse { models: entries.collect() }
}

fn name(state: State) -> &'static str {
    match state {
        State::Loading => "LOADING",
        State::Ready => "READY",
        State::Unloading => "UNLOADING",
        State::Unavailable => "UNAVAILABLE",
    }
}
