//! Whether the program of an archive is one in TorchScript, and the configuration that it may hold.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Map, Value};
use zip::ZipArchive;

use crate::error::Error;
use crate::model::config;

/// What every program in TorchScript has, in a folder that may have any name, and saved weights have not.
const CONSTANTS: &str = "/constants.pkl";

/// Makes sure of it. `name` is what the archive calls the file.
pub fn check(path: &Path, name: &str) -> Result<Option<Map<String, Value>>, Error> {
    let file = File::open(path).map_err(|error| Error::Load(format!("`{name}` can't be read: {error}")))?;
    let archive = ZipArchive::new(BufReader::new(file));
    let is_program = |archive: ZipArchive<_>| archive.file_names().any(|file| file.ends_with(CONSTANTS));
    if !archive.is_ok_and(is_program) {
        let kind = match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("onnx") => "a model in ONNX",
            Some("so") => "a library that was compiled for one machine",
            _ => "weights, for a model that is written in Python",
        };
        return Err(Error::Load(format!(
            "its serializedFile `{name}` is no program in TorchScript, perhaps {kind}: make one of the model (torch.jit.trace \
             or torch.jit.script, then torch.jit.save)"
        )));
    }
    let brought = config::archived(path).map_err(|error| Error::Load(format!("`{name}` {error}")))?;
    let parsed = brought.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|error| Error::Load(format!("frameserve.json in `{name}`: {error}")))
}
