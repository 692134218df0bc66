//! What an archive says of itself in MAR-INF/MANIFEST.json, and whether that can be served.

use serde::Deserialize;
use serde_json::Value;

use super::handler::Handler;
use super::package::{MANIFEST, Package};
use crate::error::Error;

/// The runtimes of Python, none of which is run here: programs in TorchScript do not need it.
const RUNTIMES: [&str; 2] = ["python", "python3"];

/// What a program in Python has to be made into.
const EXPORT: &str = "make the model a TorchScript program (torch.jit.trace or torch.jit.script, then torch.jit.save), \
                      and archive that with --serialized-file and one of the handlers";

/// The manifest as it is written. What is left out has the value that TorchServe takes in its place.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    runtime: Option<String>,
    model: Option<Model>,
    /// What archives of workflows have in place of a model.
    workflow: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Model {
    model_name: Option<String>,
    model_version: Option<String>,
    handler: Option<String>,
    serialized_file: Option<String>,
    model_file: Option<String>,
    requirements_file: Option<String>,
    config_file: Option<String>,
    envelope: Option<String>,
}

/// A manifest of which everything can be had.
#[derive(Debug)]
pub struct Described {
    /// `None` where it does not say.
    pub name: Option<String>,
    /// As its owner counts.
    pub version: String,
    /// How it would be run.
    pub runtime: String,
    /// What is done before and after the model.
    pub handler: Handler,
    /// The file of the program.
    pub file: String,
    /// The file of options, if there is one.
    pub options: Option<String>,
}

impl Manifest {
    /// That of an archive; one that says nothing where there is none.
    pub fn of(package: &Package) -> Result<Self, Error> {
        let Some(bytes) = package.manifest() else {
            // TorchServe takes such an archive as well, and leaves to the request what is missing.
            return Ok(Manifest { model: Some(Model::default()), ..Manifest::default() });
        };
        serde_json::from_slice(bytes).map_err(|error| Error::Load(format!("{MANIFEST}: {error}")))
    }

    /// What it describes, with another handler where one is wanted.
    pub fn described(self, package: &Package, wanted: Option<&str>) -> Result<Described, Error> {
        if self.workflow.is_some() {
            let reason = "it is the archive of a workflow, which is run by Python: a pipeline of this server (one of \
                          its configuration) can put the models of one together";
            return Err(Error::Load(reason.into()));
        }
        let runtime = runtime(self.runtime)?;
        let model = self.model.ok_or_else(|| Error::Load(format!("{MANIFEST} has no `model`")))?;
        model.needs_no_python()?;
        let file = model.file(package)?;
        let options = model.config_file.map(|name| of_archive(package, "configFile", name)).transpose()?;
        let handler = handler(package, wanted.or(model.handler.as_deref()))?;
        Ok(Described {
            name: model.model_name,
            version: model.model_version.unwrap_or_else(|| "1.0".into()),
            runtime,
            handler,
            file,
            options,
        })
    }
}

impl Model {
    fn needs_no_python(&self) -> Result<(), Error> {
        if let Some(file) = &self.model_file {
            return Err(Error::Load(format!(
                "its model is written in Python (modelFile `{file}`), which is not run here: {EXPORT}: {}",
                Handler::list()
            )));
        }
        if let Some(file) = &self.requirements_file {
            return Err(Error::Load(format!(
                "it wants packages for Python (requirementsFile `{file}`), which is not run here: archive it without \
                 --requirements-file"
            )));
        }
        match &self.envelope {
            Some(envelope) => {
                Err(Error::Load(format!("its requests come in an envelope (`{envelope}`), and here in none")))
            }
            None => Ok(()),
        }
    }

    /// The file of the program: the one that is named, or the only one that can be it.
    fn file(&self, package: &Package) -> Result<String, Error> {
        if let Some(name) = &self.serialized_file {
            return of_archive(package, "serializedFile", name.clone());
        }
        let programs: Vec<&str> = package.files().filter(|name| name.ends_with(".pt")).collect();
        match programs[..] {
            [name] => Ok(name.into()),
            _ => Err(Error::Load(format!(
                "it names no serializedFile, and has {} files that end with .pt: {EXPORT}: {}",
                programs.len(),
                Handler::list()
            ))),
        }
    }
}

fn runtime(runtime: Option<String>) -> Result<String, Error> {
    let runtime = runtime.unwrap_or_else(|| RUNTIMES[0].into());
    if RUNTIMES.contains(&runtime.as_str()) {
        return Ok(runtime);
    }
    Err(Error::Load(format!(
        "its runtime is `{}`, whose handlers are libraries of their own, and those here are {}: archive it with \
         --runtime python and one of the handlers {}",
        runtime.escape_debug(),
        RUNTIMES.join(" and "),
        Handler::list()
    )))
}

fn handler(package: &Package, name: Option<&str>) -> Result<Handler, Error> {
    let known = Handler::list();
    let Some(name) = name else {
        return Err(Error::Load(format!("neither the archive nor the request names a handler: {known}")));
    };
    // TorchServe looks for a file of this name first.
    let own = package.has(&format!("{name}.py"));
    Handler::of(name).filter(|_| !own).ok_or_else(|| {
        Error::Load(format!(
            "its handler `{}` is written in Python, which is not run here; the handlers here are {known}. Put what it \
             does into the model, {EXPORT}",
            name.escape_debug()
        ))
    })
}

/// The name of a file that has to be there.
fn of_archive(package: &Package, field: &str, name: String) -> Result<String, Error> {
    if package.has(&name) {
        return Ok(name);
    }
    let shown = name.escape_debug();
    Err(Error::Load(format!("{MANIFEST} names the {field} `{shown}`, and the archive has no such file")))
}
