//! `frameserve-client models`: what a server's models are and do, and loading and unloading them.

mod list;
pub mod overview;
mod signature;
mod stats;

use std::fs;
use std::path::Path;

use frameserve::client::{ClientError, InferenceClient, config_as_json, config_as_text};
use frameserve::proto::inference::repository_index_response::ModelIndex;
use serde_json::{Value, json};

use crate::args::{ModelsAction, ModelsArgs, OneModel};
use crate::failure::Failure;
use crate::infer::model::Model;
use crate::standard_output::print;

/// What is printed, as text and as JSON.
pub struct Said {
    pub text: String,
    pub json: Value,
}

/// Runs the subcommand.
pub async fn models(args: &ModelsArgs) -> Result<(), Failure> {
    let client = args.server.connect_for_models().await?;
    let said = match args.action.as_ref().unwrap_or(&ModelsAction::List) {
        ModelsAction::List => {
            let index = client.index().await.map_err(of_call("RepositoryIndex"))?;
            Said { text: list::text(&index), json: index.iter().map(list::json).collect() }
        }
        ModelsAction::Show(OneModel { name, model_version }) => {
            signature::said(&Model::look_up(&client, name, model_version).await?)
        }
        ModelsAction::Load { name, config } => load(&client, name, config.as_deref()).await?,
        ModelsAction::Unload { name } => {
            client.unload(name).await.map_err(of_call("RepositoryModelUnload"))?;
            after(&client, name, "was unloaded").await?
        }
        ModelsAction::Stats { name } => {
            let name = name.as_deref().unwrap_or_default();
            stats::said(&client.statistics(name, "").await.map_err(of_call("ModelStatistics"))?)
        }
        ModelsAction::Config(OneModel { name, model_version }) => {
            let config = client.config(name, model_version).await.map_err(of_call("ModelConfig"))?;
            Said { text: format!("{}\n", config_as_text(&config).trim_end()), json: config_as_json(&config) }
        }
    };
    match args.json {
        true => print(&format!("{:#}\n", said.json)),
        false => print(&said.text),
    }
}

async fn load(client: &InferenceClient, name: &str, config: Option<&Path>) -> Result<Said, Failure> {
    let config = config.map(read_config).transpose()?;
    client.load(name, config.as_deref()).await.map_err(of_call("RepositoryModelLoad"))?;
    after(client, name, "was loaded").await
}

/// The file's text, if it is JSON: the server would say less of what is wrong with it.
fn read_config(path: &Path) -> Result<String, Failure> {
    let fail = |reason: String| Failure::usage(format!("--config {}: {reason}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(_)) => Ok(text),
        Ok(_) => Err(fail("a configuration is a JSON object, with { at its beginning".into())),
        Err(error) => {
            Err(fail(format!("it is no JSON ({error}); `models config NAME --json` shows how it looks")))
        }
    }
}

/// What was done, and the state that the model is in now.
async fn after(client: &InferenceClient, name: &str, done: &str) -> Result<Said, Failure> {
    let of_model = |index: Vec<ModelIndex>| {
        let states = index.into_iter().filter(|model| model.name == name);
        states.collect::<Vec<_>>()
    };
    // A server that can load need not be able to list.
    let index = client.index().await.map(of_model).unwrap_or_default();
    let text = match index.as_slice() {
        [] => format!("{name} {done}\n"),
        index => format!("{name} {done}\n{}", list::text(index)),
    };
    let models: Vec<Value> = index.iter().map(list::json).collect();
    Ok(Said { text, json: json!({ "name": name, "models": models }) })
}

fn of_call(call: &'static str) -> impl FnOnce(ClientError) -> Failure {
    move |error| Failure::of_call(error, call)
}
