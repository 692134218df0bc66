//! A model that came with the request to load it, in a folder of its own for as long as it is served.

use std::fs;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::{inside, version};
use crate::error::Error;

/// Files of one request.
const MAX_FILES: usize = 1000;

/// A model's folder that is removed when it is dropped.
#[derive(Debug)]
pub struct Upload(TempDir);

impl Upload {
    /// Writes files under the keys by which the request names them: `file:VERSION/NAME`.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a Bytes)>) -> Result<Self, Error> {
        let Upload(folder) = Upload::empty()?;
        for (index, (key, bytes)) in files.into_iter().enumerate() {
            if index >= MAX_FILES {
                return Err(Error::Load(format!("there are more than {MAX_FILES} files")));
            }
            let path = folder.path().join(place(key)?);
            let write = |path: &Path| {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                // A new file, so that no two keys can name the same.
                fs::File::create_new(path)?.write_all(bytes)
            };
            write(&path).map_err(|error| Error::Load(format!("`{key}` can't be written: {error}")))?;
        }
        Ok(Upload(folder))
    }

    /// A folder with nothing in it yet.
    pub fn empty() -> Result<Self, Error> {
        let failed =
            |error: std::io::Error| Error::Load(format!("the model's files can't be written: {error}"));
        Ok(Upload(tempfile::Builder::new().prefix("frameserve-").tempdir().map_err(failed)?))
    }

    /// The model's folder, in which the version folders lie.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

fn place(key: &str) -> Result<&Path, Error> {
    let path = key.strip_prefix("file:").and_then(inside);
    let in_version = |path: &&Path| {
        let mut parts = path.iter();
        let number = parts.next().and_then(|part| part.to_str()).and_then(version);
        number.is_some() && parts.next().is_some()
    };
    path.filter(in_version).ok_or_else(|| {
        Error::Load(format!(
            "`{key}` is no key of a file: it must be `file:VERSION/NAME`, as in `file:1/model.pt`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(keys: &[&str]) -> Result<Upload, Error> {
        let bytes = Bytes::from_static(b"abc");
        Upload::new(keys.iter().map(|key| (*key, &bytes)))
    }

    #[test]
    fn files_are_there_until_it_is_dropped() {
        let upload = upload(&["file:1/model.pt", "file:1/more/x.bin", "file:20/model.pt"]).unwrap();
        let folder = upload.folder().to_path_buf();
        assert_eq!(super::super::versions(&folder).unwrap(), [1, 20]);
        assert_eq!(fs::read(folder.join("1/more/x.bin")).unwrap(), b"abc");
        drop(upload);
        assert!(!folder.exists());
    }

    #[test]
    fn keys_lead_nowhere_else() {
        for key in [
            "",
            "file:",
            "file:1",
            "file:1/",
            "1/model.pt",
            "file:0/m",
            "file:01/m",
            "file:-1/m",
            "file:a/m",
            "file:config.pbtxt",
            "file:/1/m",
            "file:1//m",
            "file:../1/m",
            "file:1/../../m",
            "file:1/./m",
            "file:1/\0",
        ] {
            let error = upload(&[key]).unwrap_err().to_string();
            assert!(error.contains("it must be `file:VERSION/NAME`"), "{error}");
        }
        assert!(
            upload(&["file:1/m", "file:1/m"])
                .unwrap_err()
                .to_string()
                .contains("`file:1/m` can't be written")
        );
        assert!(upload(&["file:1/m", "file:1/m/x"]).is_err());
        assert!(upload(&[&format!("file:1/{}", "x".repeat(300))]).is_err());
        let many: Vec<_> = (1..=1001).map(|version| format!("file:{version}/m")).collect();
        assert!(upload(&many.iter().map(String::as_str).collect::<Vec<_>>()).is_err());
    }
}
