//! TorchServe's model archives: from a .mar to a folder in our layout and a configuration of ours.
//!
//! An archive holds a program in TorchScript and names one of TorchServe's own handlers. What the handler does is said
//! in our configuration, so that every protocol serves such a model like any other. What needs Python is refused.

mod config;
mod handler;
mod labels;
mod manifest;
mod options;
mod package;
mod program;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

pub use handler::Handler;
pub use options::{DeviceType, Options};

use self::config::Parts;
use self::manifest::{Described, Manifest};
use self::package::{Package, read, unreadable};
use super::config::TORCHSCRIPT;
use super::repository::Upload;
use crate::error::Error;

/// The file of names in the model's folder, beside the program.
const LABELS: &str = "1/labels.txt";

/// The version's folder. How the archive's owner counts is another matter.
const VERSION: &str = "1";

/// How long a request waits for others where nothing else is said; TorchServe's.
const USUAL_DELAY: Duration = Duration::from_millis(100);

/// Bytes of the longest name.
const LONGEST_NAME: usize = 255;

/// What is to hold in place of what the archive says.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The model's name.
    pub name: Option<String>,
    /// One of TorchServe's own handlers.
    pub handler: Option<String>,
    /// Requests that are run together.
    pub batch_size: Option<u32>,
    /// How long a request waits for others to join it.
    pub max_batch_delay: Option<Duration>,
}

/// A model that came as an archive, unpacked.
#[derive(Debug)]
pub struct ModelArchive {
    /// The model's name.
    pub name: String,
    /// Its version, as its owner counts.
    pub version: String,
    /// The handler, as the archive or the request named it.
    pub handler: String,
    /// What would run it in TorchServe.
    pub runtime: String,
    /// Requests that are run together.
    pub batch_size: u32,
    /// How long a request waits for others to join it.
    pub max_batch_delay: Duration,
    /// What its file of options says.
    pub options: Options,
    /// The model's configuration, as JSON.
    pub config: String,
    /// The model's folder in our layout, which is removed when it is dropped.
    pub folder: Upload,
}

/// How requests are put together.
#[derive(Debug, Clone, Copy)]
struct Together {
    rows: u32,
    delay: Duration,
}

/// What is unpacked besides the program.
#[derive(Default)]
struct Texts {
    labels: Option<Vec<u8>>,
    options: Option<Vec<u8>>,
}

impl ModelArchive {
    /// Opens an archive: a file in zip or in tar and gzip, or a folder. Only what is needed is unpacked. Where a
    /// program is looked into this loads it, so that it belongs on a thread that may take its time.
    pub fn open(path: &Path, wanted: &Wanted) -> Result<Self, Error> {
        let package = Package::open(path)?;
        let described = Manifest::of(&package)?.described(&package, wanted.handler.as_deref())?;
        let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = wanted.name.clone().or_else(|| described.name.clone()).or_else(stem).unwrap_or_default();
        check_name(&name)?;
        let folder = Upload::empty()?;
        let texts = unpack(&package, &described, folder.folder())?;
        let options = texts.options(&described, &name)?;
        let together = Together {
            rows: wanted.batch_size.or(options.batch_size).unwrap_or(1),
            delay: wanted.max_batch_delay.or(options.max_batch_delay).unwrap_or(USUAL_DELAY),
        };
        let labelled = texts.write_labels(folder.folder())?;
        let program = folder.folder().join(VERSION).join(TORCHSCRIPT);
        let brought = program::check(&program, &described.file)?;
        let handler = described.handler;
        let parts = Parts { handler, options: &options, together, program: &program, labelled, brought };
        Ok(ModelArchive {
            config: parts.config()?,
            name,
            version: described.version,
            handler: handler.to_string(),
            runtime: described.runtime,
            batch_size: together.rows,
            max_batch_delay: together.delay,
            options,
            folder,
        })
    }
}

impl Texts {
    fn options(&self, described: &Described, model: &str) -> Result<Options, Error> {
        let (Some(file), Some(bytes)) = (&described.options, &self.options) else {
            return Ok(Options::default());
        };
        let in_file = |reason: &dyn std::fmt::Display| Error::Load(format!("{file}: {reason}"));
        let text = std::str::from_utf8(bytes).map_err(|error| in_file(&error))?;
        Options::parse(text, model).map_err(|error| in_file(&error))
    }

    /// Whether there are any.
    fn write_labels(&self, folder: &Path) -> Result<bool, Error> {
        let Some(json) = &self.labels else { return Ok(false) };
        let failed = |error: io::Error| Error::Load(format!("{LABELS} can't be written: {error}"));
        fs::write(folder.join(LABELS), labels::lines(json)?).map_err(failed)?;
        Ok(true)
    }
}

/// Takes out what is needed of an archive: the program goes into the folder, and texts are kept.
fn unpack(package: &Package, described: &Described, folder: &Path) -> Result<Texts, Error> {
    let failed = |error: io::Error| Error::Load(format!("its program can't be written: {error}"));
    let version = folder.join(VERSION);
    fs::create_dir(&version).map_err(failed)?;
    let mut texts = Texts::default();
    let options = described.options.as_deref().unwrap_or_default();
    package.read(&[&described.file, labels::FILE, options], &mut |name, bytes: &mut dyn Read| {
        if name == described.file {
            let mut file = File::create_new(version.join(TORCHSCRIPT)).map_err(failed)?;
            io::copy(bytes, &mut file).map_err(|error| unreadable(name, &error))?;
        } else if name == labels::FILE {
            texts.labels = Some(read(name, bytes, labels::LONGEST)?);
        } else {
            texts.options = Some(read(name, bytes, options::LONGEST)?);
        }
        Ok(())
    })?;
    Ok(texts)
}

/// Names are those that TorchServe allows.
fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let fine = name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || b"_-.".contains(&byte))
        && name.len() <= LONGEST_NAME;
    if fine {
        return Ok(());
    }
    let shown: String = name.escape_debug().take(100).collect();
    Err(Error::Load(format!(
        "a model can't be named `{shown}`: names have letters, digits, `_`, `-` and `.`, begin with a letter or a digit, \
         and have up to {LONGEST_NAME} of them"
    )))
}

#[cfg(test)]
mod tests;
