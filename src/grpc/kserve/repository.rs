//! Loading and unloading models on a client's word.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::refusal::Refusal;
use crate::engine::Engine;
use crate::proto::inference::model_repository_parameter::ParameterChoice;
use crate::proto::inference::{
    ModelRepositoryParameter, RepositoryModelLoadRequest, RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
};

/// Files that take the place of a model's own, by the parameters that they come in: `file:VERSION/NAME`.
type Files = Vec<(String, Bytes)>;

/// A request to load that brings no files takes no room from those for models.
const SMALL_BYTES: usize = 4 << 10;

/// There is one repository, which has no name.
pub fn only_one(repository_name: &str) -> Result<(), Refusal> {
    if repository_name.is_empty() {
        return Ok(());
    }
    Err(Refusal::unsupported("'repository_name' specification is not supported"))
}

/// Loads a model, or loads it anew.
pub async fn load(
    engine: &Engine,
    request: RepositoryModelLoadRequest,
) -> Result<RepositoryModelLoadResponse, Refusal> {
    // A load can wait long for others, and a message that came packed is larger than what was counted as it came.
    let bytes = request.encoded_len();
    let _credit = (bytes > SMALL_BYTES).then(|| engine.credits().try_acquire(bytes)).transpose()?;
    let model_name = model(request.repository_name, request.model_name)?;
    let (config, files) = overrides(request.parameters)?;
    Arc::clone(engine.models()).load(&model_name, config, files).await?;
    Ok(RepositoryModelLoadResponse { model_name, is_loaded: true })
}

/// Unloads a model. One that is not there is fine.
pub async fn unload(
    engine: &Engine,
    request: RepositoryModelUnloadRequest,
) -> Result<RepositoryModelUnloadResponse, Refusal> {
    let model_name = model(request.repository_name, request.model_name)?;
    // No model here has others that depend on it.
    if let Some(parameter) = request.parameters.get("unload_dependents")
        && !matches!(parameter.parameter_choice, Some(ParameterChoice::BoolParam(_)))
    {
        let text = "invalid value type for 'unload_dependents' parameter, expected bool_param.";
        return Err(Refusal::invalid(text));
    }
    if let Some(key) = request.parameters.keys().find(|key| *key != "unload_dependents") {
        return Err(Refusal::invalid(format!("unrecognized unload parameter '{key}'.")));
    }
    engine.models().unload(&model_name).await?;
    Ok(RepositoryModelUnloadResponse { model_name, is_unloaded: true })
}

/// KServe's clients have the model's name where others have that of a repository, and nothing in the other field.
fn model(repository_name: String, model_name: String) -> Result<String, Refusal> {
    if model_name.is_empty() {
        return Ok(repository_name);
    }
    only_one(&repository_name)?;
    Ok(model_name)
}

fn overrides(
    parameters: HashMap<String, ModelRepositoryParameter>,
) -> Result<(Option<String>, Files), Refusal> {
    let mut config = None;
    let mut files = Files::new();
    for (key, parameter) in parameters {
        let wrong = |expected: &str| {
            Refusal::invalid(format!("invalid value type for load parameter '{key}', expected {expected}."))
        };
        let is_file = key.starts_with("file:");
        match parameter.parameter_choice {
            Some(ParameterChoice::BytesParam(bytes)) if is_file => files.push((key, bytes)),
            _ if is_file => return Err(wrong("bytes_param")),
            Some(ParameterChoice::StringParam(text)) if key == "config" => config = Some(text),
            _ if key == "config" => return Err(wrong("string_param")),
            _ => return Err(Refusal::invalid(format!("unrecognized load parameter '{key}'."))),
        }
    }
    files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok((config, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_name_their_model() {
        assert_eq!(model(String::new(), "m".into()).unwrap(), "m");
        assert_eq!(model("m".into(), String::new()).unwrap(), "m");
        assert!(model("r".into(), "m".into()).is_err());
    }

    #[test]
    fn overrides_have_their_types() {
        let read = |key: &str, value| {
            let parameter = ModelRepositoryParameter { parameter_choice: Some(value) };
            overrides(HashMap::from([(key.to_string(), parameter)]))
        };
        let file = read("file:1/model.pt", ParameterChoice::BytesParam(Bytes::from_static(b"x")));
        assert_eq!(file.unwrap().1, [("file:1/model.pt".to_string(), Bytes::from_static(b"x"))]);
        let config = read("config", ParameterChoice::StringParam("{}".into())).unwrap();
        assert_eq!(config.0.as_deref(), Some("{}"));
        for (key, value) in [
            ("config", ParameterChoice::BoolParam(true)),
            ("file:x", ParameterChoice::StringParam(String::new())),
            ("colour", ParameterChoice::Int64Param(1)),
        ] {
            assert!(read(key, value).is_err(), "{key}");
        }
    }
}
