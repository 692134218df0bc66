//! The files of a tar archive in gzip.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::{Bounds, See, read};
use crate::error::Error;

/// Bytes of the longest header that holds a path, or other things of a file.
const LONGEST_HEADER: u64 = 1 << 16;

/// Shows every file. Headers that hold long paths are read here: the library would take them however long they are.
pub fn each(path: &Path, see: See<'_>) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Load(format!("it is no readable tar archive: {error}"));
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    // All that is unpacked is counted, also what is passed over.
    let mut unpacked = Bounds::of(length);
    let mut bounds = Bounds::of(length);
    let mut archive = Archive::new(unpacked.counted(MultiGzDecoder::new(BufReader::new(file))));
    let mut long = None;
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XGlobalHeader => {}
            EntryType::XHeader => long = extended(&mut entry)?.or(long),
            EntryType::GNULongName => long = Some(long_name(&mut entry)?),
            _ => {
                let name = match long.take() {
                    Some(name) => name,
                    None => text(&entry.path_bytes())?,
                };
                let name = name.strip_prefix("./").unwrap_or(&name);
                file_or_folder(kind, name, &mut entry, &mut bounds, &mut *see)?;
            }
        }
    }
    Ok(())
}

fn file_or_folder(
    kind: EntryType,
    name: &str,
    bytes: &mut impl Read,
    bounds: &mut Bounds,
    see: See<'_>,
) -> Result<(), Error> {
    match kind {
        EntryType::Regular | EntryType::Continuous => bounds.file(name, bytes, see),
        EntryType::Directory => match name.trim_end_matches('/') {
            "" | "." => Ok(()),
            folder => bounds.enter(folder),
        },
        EntryType::Symlink | EntryType::Link => {
            Err(Error::Load(format!("`{}` is a link", name.escape_debug())))
        }
        other => {
            let (name, byte) = (name.escape_debug(), char::from(other.as_byte()));
            Err(Error::Load(format!("`{name}` is neither a file nor a folder, but of type `{byte}`")))
        }
    }
}

/// The path that an extended header gives the file behind it, if it does.
fn extended(entry: &mut Entry<'_, impl Read>) -> Result<Option<String>, Error> {
    let bytes = read("a header", entry, LONGEST_HEADER)?;
    let mut path = None;
    for record in PaxExtensions::new(&bytes) {
        let record = record.map_err(|error| Error::Load(format!("a header can't be read: {error}")))?;
        match record.key_bytes() {
            b"path" => path = Some(text(record.value_bytes())?),
            b"size" => {
                let reason = "a file gives its size in an extended header, which is for 8 GiB and more";
                return Err(Error::Load(reason.into()));
            }
            key if key.starts_with(b"GNU.sparse") => {
                return Err(Error::Load("a file is stored as a sparse one".into()));
            }
            _ => {}
        }
    }
    Ok(path)
}

fn long_name(entry: &mut Entry<'_, impl Read>) -> Result<String, Error> {
    let bytes = read("a header", entry, LONGEST_HEADER)?;
    text(bytes.strip_suffix(b"\0").unwrap_or(&bytes))
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    let wrong = |_| Error::Load(format!("the path `{}` is not UTF-8", bytes.escape_ascii()));
    std::str::from_utf8(bytes).map(str::to_owned).map_err(wrong)
}
