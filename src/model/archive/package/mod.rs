//! The files of an archive, whichever of the four forms it has, and nothing that it could do harm with.

mod bounds;
mod folder;
mod tarred;
mod zipped;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use bounds::Bounds;

use crate::error::Error;

/// Where the manifest lies.
pub const MANIFEST: &str = "MAR-INF/MANIFEST.json";

/// Bytes of the longest manifest.
const LONGEST_MANIFEST: u64 = 1 << 20;

/// What is done with a file: its path in the archive, and its bytes as they are unpacked.
pub type See<'a> = &'a mut dyn FnMut(&str, &mut dyn Read) -> Result<(), Error>;

/// An archive whose paths were all looked at.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    form: Form,
    /// The folder in which everything lies, with its `/`; empty where there is none.
    top: String,
    /// Paths of the files, below that folder.
    files: BTreeSet<String>,
    manifest: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// A zip archive, compressed or not.
    Zip,
    /// A tar archive in gzip.
    Tarred,
    /// A plain folder.
    Folder,
}

impl Package {
    /// Reads the paths and the manifest of an archive.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut package = Package {
            path: path.into(),
            form: form(path)?,
            top: String::new(),
            files: BTreeSet::new(),
            manifest: None,
        };
        let mut files = BTreeSet::new();
        let mut manifests = Vec::new();
        package.each(&mut |name, bytes| {
            if !files.insert(name.to_owned()) {
                return Err(Error::Load(format!("there are two files `{name}`")));
            }
            // In a folder of its own, where the archive has one.
            if name.ends_with(MANIFEST) && name.matches('/').count() <= 2 {
                manifests.push((name.to_owned(), read(name, bytes, LONGEST_MANIFEST)?));
            }
            Ok(())
        })?;
        package.top = top(&files);
        let below = |name: &str| name.strip_prefix(package.top.as_str()).map(str::to_owned);
        let manifest = manifests.into_iter().find(|(name, _)| below(name).as_deref() == Some(MANIFEST));
        package.manifest = manifest.map(|(_, bytes)| bytes);
        package.files = files.iter().filter_map(|name| below(name)).collect();
        Ok(package)
    }

    /// The text of the manifest; `None` if there is none.
    pub fn manifest(&self) -> Option<&[u8]> {
        self.manifest.as_deref()
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    /// Paths of all files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Reads those of these files that there are, in any order.
    pub fn read(&self, names: &[&str], see: See<'_>) -> Result<(), Error> {
        self.each(&mut |name, bytes| match name.strip_prefix(self.top.as_str()) {
            Some(name) if names.contains(&name) => see(name, bytes),
            _ => Ok(()),
        })
    }

    fn each(&self, see: See<'_>) -> Result<(), Error> {
        match self.form {
            Form::Zip => zipped::each(&self.path, see),
            Form::Tarred => tarred::each(&self.path, see),
            Form::Folder => folder::each(&self.path, see),
        }
    }
}

/// A file of the archive as a whole, if it has no more bytes than these.
pub fn read(name: &str, bytes: &mut dyn Read, most: u64) -> Result<Vec<u8>, Error> {
    let mut read = Vec::new();
    bytes.take(most + 1).read_to_end(&mut read).map_err(|error| unreadable(name, &error))?;
    if read.len() as u64 > most {
        return Err(Error::Load(format!("`{name}` has more than {most} bytes, which is the limit")));
    }
    Ok(read)
}

/// The error for a file whose bytes can't be had.
pub fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::Load(format!("`{name}` can't be read: {error}"))
}

/// Tells the forms apart by their first bytes, since names say nothing for sure.
fn form(path: &Path) -> Result<Form, Error> {
    let failed = |error: std::io::Error| Error::Load(format!("the archive can't be read: {error}"));
    if path.is_dir() {
        return Ok(Form::Folder);
    }
    let mut begin = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut begin)) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(failed(error)),
        _ => {}
    }
    match begin {
        [b'P', b'K', 3, 4] => Ok(Form::Zip),
        [0x1f, 0x8b, ..] => Ok(Form::Tarred),
        _ => Err(Error::Load("it is no model archive: neither zip, nor tar in gzip, nor a folder".into())),
    }
}

/// The one folder in which everything lies, if the manifest does not lie outside.
fn top(files: &BTreeSet<String>) -> String {
    let Some((top, _)) = files.first().and_then(|first| first.split_once('/')) else { return String::new() };
    let top = format!("{top}/");
    if files.contains(MANIFEST) || !files.iter().all(|name| name.starts_with(&top)) {
        return String::new();
    }
    top
}

#[cfg(test)]
pub mod tests;
