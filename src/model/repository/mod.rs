//! A model repository: which models lie on disk, and in which versions.

mod fingerprint;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use fingerprint::Fingerprint;
pub use upload::Upload;

use super::config;
use super::settings::VersionPolicy;
use crate::error::Error;

/// Bytes of the longest name of a folder.
const LONGEST_NAME: usize = 255;

/// Folders of models: `FOLDER/NAME/VERSION/model.pt`, and `FOLDER/NAME/config.pbtxt`.
#[derive(Debug, Default)]
pub struct Repository {
    folders: Vec<PathBuf>,
    /// What was logged already, so that a look every few seconds does not fill the log.
    told: Mutex<BTreeSet<PathBuf>>,
}

impl Repository {
    /// One of these folders, all of which must be there.
    pub fn new(folders: Vec<PathBuf>) -> Result<Self, Error> {
        for folder in &folders {
            entries(folder)?;
        }
        Ok(Repository { folders, told: Mutex::default() })
    }

    /// Its folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Every model's folder by its name, or why the model can't be served. A folder is a model if it has a
    /// configuration or a version; others are logged once, hidden ones are left alone.
    pub fn models(&self) -> Result<BTreeMap<String, Result<PathBuf, Error>>, Error> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for folder in &self.folders {
            for path in folders_in(folder)? {
                match name_of(&path) {
                    Some(name) if is_model(&path) => found.entry(name.into()).or_default().push(path),
                    Some(_) => self.tell(path, "has neither a config.pbtxt nor a version folder"),
                    None => self.tell(path, "has a name that is not UTF-8"),
                }
            }
        }
        Ok(found.into_iter().map(|(name, places)| (name.clone(), only(&name, places))).collect())
    }

    /// The folder of one model; `None` if there is no such model. The name may come from a stranger.
    pub fn find(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        if !is_name(name) {
            return Ok(None);
        }
        let places = self.folders.iter().map(|folder| folder.join(name));
        let places: Vec<_> = places.filter(|path| path.is_dir() && is_model(path)).collect();
        if places.is_empty() { Ok(None) } else { only(name, places).map(Some) }
    }

    fn tell(&self, path: PathBuf, reason: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&path) {
            tracing::warn!("{} is no model: it {reason}", path.display());
            told.insert(path);
        }
    }
}

/// A model's versions that lie on disk, the lowest first: folders whose names are numbers from 1, without
/// leading zeros.
pub fn versions(folder: &Path) -> Result<Vec<u64>, Error> {
    let folders = folders_in(folder)?;
    let mut found: Vec<_> = folders.iter().filter_map(|path| version(name_of(path)?)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The versions of a model that are served, the lowest first; at least one. Folders that look like a version and
/// are none are logged.
pub fn chosen(folder: &Path, policy: &VersionPolicy) -> Result<Vec<u64>, Error> {
    let there = versions(folder)?;
    for path in folders_in(folder)? {
        let digit = |name: &str| name.starts_with(|c: char| c.is_ascii_digit()) && version(name).is_none();
        if name_of(&path).is_some_and(digit) {
            tracing::warn!(
                "{} is no version: versions are numbers from 1, without leading zeros",
                path.display()
            );
        }
    }
    if there.is_empty() {
        return Err(Error::Load(format!(
            "there is no version in {}: a model lies in a folder whose name is a number from 1, as in {}",
            folder.display(),
            folder.join("1").join(config::TORCHSCRIPT).display()
        )));
    }
    match policy {
        VersionPolicy::All => Ok(there),
        VersionPolicy::Latest(count) => Ok(there[there.len().saturating_sub(*count)..].to_vec()),
        VersionPolicy::Specific(wanted) => specific(folder, wanted, &there),
    }
}

fn specific(folder: &Path, wanted: &[u64], there: &[u64]) -> Result<Vec<u64>, Error> {
    let (found, missing): (Vec<u64>, Vec<u64>) = wanted.iter().partition(|version| there.contains(version));
    if found.is_empty() {
        let reason = format!("version_policy names the versions {missing:?}, and there are {there:?}");
        return Err(Error::Load(reason));
    }
    if !missing.is_empty() {
        tracing::warn!("{} has no versions {missing:?}, which its version_policy names", folder.display());
    }
    Ok(found)
}

/// Whether a model can be called so: its folder would be.
pub fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && !name.contains('/') && !name.starts_with('.') && inside(name).is_some()
}

/// A path below a folder, from text that may come from a stranger; `None` if it could lead anywhere else.
pub fn inside(path: &str) -> Option<&Path> {
    // `Path` leaves out what is empty or `.`, and two texts for one file are one too many.
    let plain = |part: &str| matches!(Path::new(part).components().next(), Some(Component::Normal(_)));
    (path.split('/').all(plain) && !path.contains('\0')).then(|| Path::new(path))
}

/// What the name of a version's folder stands for.
fn version(name: &str) -> Option<u64> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0');
    // Requests and configurations hold versions as signed numbers.
    name.parse().ok().filter(|version| plain && i64::try_from(*version).is_ok())
}

fn is_model(folder: &Path) -> bool {
    let has_version = || {
        let folders = folders_in(folder).unwrap_or_default();
        folders.iter().any(|path| name_of(path).and_then(version).is_some())
    };
    folder.join(config::FILE).is_file() || has_version()
}

fn only(name: &str, mut places: Vec<PathBuf>) -> Result<PathBuf, Error> {
    match places.len() {
        1 => Ok(places.remove(0)),
        _ => {
            let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
            Err(Error::Load(format!("there are several models named `{name}`: {}", places.join(", "))))
        }
    }
}

/// What lies in a folder and is not hidden, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable =
        |error: std::io::Error| Error::Load(format!("{} can't be read: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn repository(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    #[test]
    fn models_are_folders_with_a_configuration_or_a_version() {
        let files = [
            "a/1/model.pt",
            "b/config.pbtxt",
            "c/model.pt",
            ".hidden/1/model.pt",
            "file.txt",
            "d/01/model.pt",
            "e/2",
            "d/.1/model.pt",
        ];
        let folder = repository(&files);
        let repository = Repository::new(vec![folder.path().into()]).unwrap();
        let models = repository.models().unwrap();
        assert_eq!(models.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(models["a"], Ok(folder.path().join("a")));
        assert_eq!(repository.told.lock().unwrap().len(), 3);
        repository.models().unwrap();
        assert_eq!(repository.told.lock().unwrap().len(), 3);
        assert_eq!(repository.find("a").unwrap(), Some(folder.path().join("a")));
        for name in ["c", "x", "", ".", "..", ".hidden", "a/1", "../a", "/", "a\0", "file.txt"] {
            assert_eq!(repository.find(name).unwrap(), None, "{name:?}");
        }
        assert!(Repository::new(vec![folder.path().join("nowhere")]).is_err());
    }

    #[test]
    fn a_name_in_two_folders_is_no_model() {
        let (one, two) = (repository(&["a/1/model.pt", "b/1/x"]), repository(&["a/2/model.pt"]));
        let repository = Repository::new(vec![one.path().into(), two.path().into()]).unwrap();
        let models = repository.models().unwrap();
        assert!(models["a"].as_ref().unwrap_err().to_string().contains("several models named `a`"));
        assert!(models["b"].is_ok() && repository.find("a").is_err());
    }

    #[test]
    fn versions_are_numbers_from_one() {
        let folder =
            repository(&["m/1/x", "m/10/x", "m/9/x", "m/0/x", "m/02/x", "m/+3/x", "m/-1/x", "m/4", "m/v5/x"]);
        let model = folder.path().join("m");
        fs::create_dir(model.join("99999999999999999999")).unwrap();
        fs::create_dir(model.join("9223372036854775808")).unwrap();
        symlink(model.join("1"), model.join("7")).unwrap();
        assert_eq!(versions(&model).unwrap(), [1, 7, 9, 10]);
        let chosen = |policy| super::chosen(&model, &policy);
        assert_eq!(chosen(VersionPolicy::All).unwrap(), [1, 7, 9, 10]);
        assert_eq!(chosen(VersionPolicy::Latest(1)).unwrap(), [10]);
        assert_eq!(chosen(VersionPolicy::Latest(3)).unwrap(), [7, 9, 10]);
        assert_eq!(chosen(VersionPolicy::Latest(9)).unwrap(), [1, 7, 9, 10]);
        assert_eq!(chosen(VersionPolicy::Specific(vec![1, 2, 9])).unwrap(), [1, 9]);
        let error = chosen(VersionPolicy::Specific(vec![2])).unwrap_err().to_string();
        assert!(error.contains("[2]") && error.contains("[1, 7, 9, 10]"), "{error}");
        let error = super::chosen(&model.join("1"), &VersionPolicy::All).unwrap_err().to_string();
        assert!(error.contains("there is no version in"), "{error}");
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for good in ["a", "a/b.txt", "..a", "a b"] {
            assert_eq!(inside(good), Some(Path::new(good)));
        }
        for bad in ["", "/", "/a", "..", "../a", "a/..", "a/../b", "a//b", "./a", "a/.", "a/", "a\0b"] {
            assert_eq!(inside(bad), None, "{bad:?}");
        }
    }
}
