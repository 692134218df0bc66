//! A server's models in a few lines, for `doctor`: which there are, whether they are ready, and where they run.

use frameserve::client::{Code, InferenceClient};
use frameserve::proto::LoadedModel;
use frameserve::proto::inference::repository_index_response::ModelIndex;

use super::list;
use super::signature::device;
use crate::failure::Failure;
use crate::table::Align::Left;
use crate::table::Table;

/// Empty where the server serves no models. `loaded` is what it says of those that are ready, if it is one of ours.
pub async fn text(client: &InferenceClient, loaded: &[LoadedModel]) -> Result<String, Failure> {
    let index = match client.index().await {
        Err(error) if error.code() == Some(Code::Unimplemented) => return Ok(String::new()),
        index => index?,
    };
    let mut table = Table::new(&[("name", Left), ("version", Left), ("state", Left), ("runs on", Left)]);
    for model in &index {
        let ModelIndex { name, version, state, reason } = model;
        let same = |loaded: &&LoadedModel| loaded.name == *name && loaded.version.to_string() == *version;
        let mut place = if state == "READY" { place(client, model).await } else { list::one_line(reason) };
        if let Some(loaded) = loaded.iter().find(same) {
            place = format!("{place}; {}", habits(loaded));
        }
        table.row([name.clone(), version.clone(), state.clone(), place]);
    }
    let table = if index.is_empty() { "  none\n".to_string() } else { table.to_string() };
    Ok(format!("\nModels\n{table}"))
}

/// Of a server that is another one: its name, and what it can do.
pub async fn server(client: &InferenceClient) -> Result<String, Failure> {
    let metadata =
        client.server_metadata().await.map_err(|error| Failure::of_call(error, "ServerMetadata"))?;
    let extensions = metadata.extensions.join(", ");
    let (name, version) = (metadata.name, metadata.version);
    Ok(format!("\nServer at {}\n  {name} {version}\n  extensions: {extensions}\n", client.url()))
}

/// How a model runs, as far as its server knows.
fn habits(loaded: &LoadedModel) -> String {
    let LoadedModel { threads, precision, form, warmed, .. } = loaded;
    let threads = (*threads > 0).then(|| counted(*threads, "thread"));
    let said = [precision, form].map(|word| Some(word.clone()).filter(|word| !word.is_empty()));
    let warmed = Some(if *warmed { "warmed up" } else { "not warmed up" }.to_string());
    threads.into_iter().chain(said.into_iter().flatten()).chain(warmed).collect::<Vec<_>>().join(", ")
}

/// So many of something.
pub fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Not every model has a configuration that tells.
async fn place(client: &InferenceClient, model: &ModelIndex) -> String {
    let config = client.config(&model.name, &model.version).await;
    config.map(|config| device(&config)).unwrap_or_default()
}
