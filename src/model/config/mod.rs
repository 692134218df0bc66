//! A model's configuration: config.pbtxt, or JSON in its place, to checked [`Settings`].
//!
//! A configuration is `inference.ModelConfig`, the message that Triton reads. Each of its fields is used, refused
//! with a reason, or logged as not used (`decisions.rs`); none is ignored in silence.

mod archive;
mod batching;
mod decisions;
mod draft;
mod instances;
mod parameters;
mod ports;
mod text;
mod warmup;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

pub use archive::read as archived;
pub use draft::{draft, undescribed};

use self::parameters::Parameters;
use self::text::Parsed;
use super::backend::Backends;
use super::pictures::{DETECTIONS, Pictures};
use super::repository;
use super::settings::Settings;
use super::signature::Signature;
use crate::error::Error;
use crate::proto::inference::ModelConfig;

/// The configuration's file in a model's folder.
pub const FILE: &str = "config.pbtxt";

/// What the file of a TorchScript model is called where nothing else is said.
pub const TORCHSCRIPT: &str = "model.pt";

/// The backend of TorchScript models.
pub const PYTORCH: &str = "pytorch";

/// What Triton calls that backend's models, now and before.
const PLATFORMS: [&str; 2] = ["pytorch_libtorch", "pytorch_torchscript"];

/// Where a model's settings are looked for, first in `given`, then in config.pbtxt, then in an archive.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The model's name.
    pub name: &'a str,
    /// Its folder, in which the version folders lie.
    pub folder: &'a Path,
    /// The version whose archive is opened where only an archive says what the model takes; without one, it is
    /// that with the highest number.
    pub version: Option<u64>,
    /// A configuration as JSON that holds in place of what lies in the folder.
    pub given: Option<&'a str>,
    /// What can run models.
    pub backends: &'a Backends,
}

impl Settings {
    /// Reads and checks a model's configuration, and logs what it sets that is not used. `None` if there is none
    /// at all: what is to be told then, [`undescribed`] makes of the names that the graph knows.
    pub fn read(source: &Source) -> Result<Option<Settings>, Error> {
        let Some((origin, text)) = find(source)? else { return Ok(None) };
        let settings = parse(&origin, &text).and_then(|parsed| check(source, parsed));
        settings.map(Some).map_err(|error| Error::Load(format!("{origin}: {error}")))
    }
}

/// Where a configuration was found, as errors begin.
#[derive(Debug)]
enum Origin {
    Given,
    File,
    Archive(u64),
}

impl Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Given => f.write_str("the configuration of the request"),
            Origin::File => f.write_str(FILE),
            Origin::Archive(version) => write!(f, "{version}/{TORCHSCRIPT}"),
        }
    }
}

fn find(source: &Source) -> Result<Option<(Origin, String)>, Error> {
    if let Some(given) = source.given {
        return Ok(Some((Origin::Given, given.into())));
    }
    let in_file = |error| Error::Load(format!("{FILE}: {error}"));
    if let Some(text) = text::read_file(&source.folder.join(FILE), text::MAX_BYTES).map_err(in_file)? {
        return Ok(Some((Origin::File, text)));
    }
    let newest = || repository::versions(source.folder).map(|versions| versions.last().copied());
    let Some(version) = source.version.map_or_else(newest, |version| Ok(Some(version)))? else {
        return Ok(None);
    };
    let path = source.folder.join(version.to_string()).join(TORCHSCRIPT);
    let in_archive = |error| Error::Load(format!("{version}/{TORCHSCRIPT} {error}"));
    let text = archive::read(&path).map_err(in_archive)?;
    Ok(text.map(|text| (Origin::Archive(version), text)))
}

fn parse(origin: &Origin, text: &str) -> Result<Parsed, Error> {
    match origin {
        Origin::File => Parsed::from_text(text),
        Origin::Given | Origin::Archive(_) => Parsed::from_json(text),
    }
}

fn check(source: &Source, parsed: Parsed) -> Result<Settings, Error> {
    let mut unused = decisions::check(&parsed.tree)?;
    let mut config = complete(source, parsed.message)?;
    let sorted = Parameters::sort(&config, &mut unused)?;
    let (signature, pictures) = ports_and_pictures(&mut config, &sorted.pictures, source.folder)?;
    let settings = Settings {
        name: source.name.into(),
        backend: config.backend.clone(),
        file: config.default_model_filename.clone(),
        versions: instances::versions(config.version_policy.as_ref())?,
        instances: instances::instances(&config.instance_group)?,
        batching: batching::policy(&config, &mut unused)?,
        warmup: warmup::requests(&config, &signature, source.folder)?,
        pictures,
        parameters: sorted.backend,
        methods: sorted.methods,
        cpu_batch: sorted.cpu_batch,
        signature,
        config,
    };
    for unused in unused {
        tracing::warn!(model = source.name, "not used: {unused}");
    }
    Ok(settings)
}

/// What the model takes and gives, and what the `frameserve.` parameters say of that.
///
/// Clients change a configuration that they got from here, and send it back: with the output that was added to it,
/// and is no output of the model's own. It is taken out again.
fn ports_and_pictures(
    config: &mut ModelConfig,
    parameters: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<(Signature, Option<Pictures>), Error> {
    let mut signature = ports::signature(config, folder)?;
    let added = signature.outputs.pop_if(|last| last.name == DETECTIONS);
    if let Some(added) = added {
        if let Ok(Some(pictures)) = pictures(parameters, &signature, folder)
            && pictures.added_output().as_ref() == Some(&added)
        {
            config.output.pop();
            return Ok((signature, Some(pictures)));
        }
        signature.outputs.push(added);
    }
    let pictures = pictures(parameters, &signature, folder)?;
    Ok((signature, pictures))
}

/// What the `frameserve.` parameters say of pictures.
fn pictures(
    parameters: &BTreeMap<String, String>,
    signature: &Signature,
    folder: &Path,
) -> Result<Option<Pictures>, Error> {
    Pictures::of(parameters, signature, &|file| ports::labels(folder, "frameserve.labels", file))
}

/// Fills in what a configuration may leave out, and checks what names the model and its backend.
fn complete(source: &Source, mut config: ModelConfig) -> Result<ModelConfig, Error> {
    if !config.name.is_empty() && config.name != source.name {
        return Err(refused(
            "name",
            quoted(&config.name),
            format!("the model's folder is `{}`", source.name),
        ));
    }
    config.name = source.name.into();
    config.backend = backend(source, &config)?;
    if config.backend == PYTORCH {
        config.platform = PLATFORMS[0].into();
        if config.default_model_filename.is_empty() {
            config.default_model_filename = TORCHSCRIPT.into();
        }
    }
    if !config.default_model_filename.is_empty() {
        inside("default_model_filename", &config.default_model_filename)?;
    }
    instances::complete(&mut config);
    Ok(config)
}

fn backend(source: &Source, config: &ModelConfig) -> Result<String, Error> {
    let torchscript = PLATFORMS.contains(&config.platform.as_str());
    let platforms = || format!("platforms here are {}", PLATFORMS.join(" and "));
    let name = match (config.backend.as_str(), config.platform.as_str()) {
        ("", "") if is_torchscript(source, config)? => PYTORCH,
        ("", "") => {
            let reason =
                format!("there is no `{TORCHSCRIPT}` to tell by: the configuration has to name a backend");
            return Err(refused("backend", quoted(""), reason));
        }
        ("", platform) if !torchscript => return Err(refused("platform", quoted(platform), platforms())),
        ("", _) => PYTORCH,
        (PYTORCH, platform) if !platform.is_empty() && !torchscript => {
            return Err(refused("platform", quoted(platform), platforms()));
        }
        (backend, platform) if backend != PYTORCH && !platform.is_empty() => {
            let reason = format!("backend `{backend}` has no platforms");
            return Err(refused("platform", quoted(platform), reason));
        }
        (backend, _) => backend,
    };
    if source.backends.find(name).is_some() {
        return Ok(name.into());
    }
    if name == PYTORCH {
        let reason = "this program was built without libtorch, which runs TorchScript models";
        return Err(refused("backend", quoted(name), reason));
    }
    let known = source.backends.names().collect::<Vec<_>>().join(", ");
    Err(refused("backend", quoted(name), format!("this server has {known}")))
}

/// Whether a configuration that does not say so is one of a TorchScript model.
fn is_torchscript(source: &Source, config: &ModelConfig) -> Result<bool, Error> {
    if !config.default_model_filename.is_empty() {
        return Ok(config.default_model_filename == TORCHSCRIPT);
    }
    let versions = repository::versions(source.folder)?;
    let file = |version: &u64| source.folder.join(version.to_string()).join(TORCHSCRIPT);
    // Without any version, a reason of its own follows.
    Ok(versions.is_empty() || versions.iter().any(|version| file(version).exists()))
}

/// A value that can't be had: its field, the value, and what should be.
fn refused(field: &str, value: impl Display, rule: impl Display) -> Error {
    Error::Load(format!("{field} {value}: {rule}"))
}

/// A value of a file for an error or the log, cut where it is long.
pub(super) fn shown(value: &dyn Display) -> String {
    const MAX: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MAX {
        return format!("`{text}`");
    }
    format!("`{}...`", text.chars().take(MAX).collect::<String>())
}

fn quoted(value: &str) -> String {
    format!("`{value}`")
}

/// A path that a configuration gives, which may not lead out of the model's folder.
fn inside<'a>(field: &str, path: &'a str) -> Result<&'a Path, Error> {
    repository::inside(path)
        .ok_or_else(|| refused(field, quoted(path), "it must be a path below the model's folder"))
}

#[cfg(test)]
mod tests;
