//! A folder of model archives, and the places that more of them may be fetched from.

mod fetch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::error::Error;
use crate::exec::pool::Pool;

/// Archives by the names of their files, and by URLs of places that are allowed.
pub struct ModelStore {
    folder: Option<PathBuf>,
    allowed: Arc<[Regex]>,
    /// Fetches archives, which takes as long as it takes.
    fetching: Pool<()>,
}

/// Why an archive can't be had. The texts are those that TorchServe's users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error("Model store has not been configured.")]
    NoStore,
    /// A URL that could lead out of the store.
    #[error("Relative path is not allowed in url: {0}")]
    Relative(String),
    /// A place that nothing may be fetched from.
    #[error("Given URL {0} does not match any allowed URL(s)")]
    NotAllowed(String),
    /// There is nothing there.
    #[error("Model not found at: {0}")]
    Absent(String),
    /// An archive of the same name lies in the store already.
    #[error("Model file already exists {0}")]
    Exists(String),
    /// It could not be fetched.
    #[error("Failed to download archive from: {url}")]
    Fetch {
        /// From where.
        url: String,
        /// What happened.
        why: String,
    },
}

/// Archives that are fetched at a time.
const FETCHED_AT_ONCE: usize = 2;

/// Those that wait to be.
const MOST_WAITING: usize = 64;

impl ModelStore {
    /// The archives of this folder, and of URLs that match one of these expressions as a whole.
    pub fn new(folder: Option<PathBuf>, allowed: &[String]) -> Result<Self, Error> {
        if let Some(folder) = &folder
            && !folder.is_dir()
        {
            let (value, range) = (folder.display().to_string(), "it must be a folder that is there".into());
            return Err(Error::Range { what: "--torchserve-model-store", value, range });
        }
        let allowed = allowed.iter().map(|text| expression(text)).collect::<Result<_, _>>()?;
        let fetching = Pool::new("fetches", FETCHED_AT_ONCE, MOST_WAITING, || Ok(()))
            .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))?;
        Ok(ModelStore { folder, allowed, fetching })
    }

    /// The archive of this name or at this URL, which is fetched into the store first.
    pub async fn archive(&self, url: &str) -> Result<PathBuf, StoreError> {
        let folder = self.folder.as_ref().ok_or(StoreError::NoStore)?;
        if url.contains("..") {
            return Err(StoreError::Relative(url.into()));
        }
        let name = file_name(url).ok_or_else(|| StoreError::Absent(url.into()))?;
        let path = folder.join(name);
        if !is_url(url) {
            return if path.exists() { Ok(path) } else { Err(StoreError::Absent(url.into())) };
        }
        if !is_allowed(url, &self.allowed) {
            return Err(StoreError::NotAllowed(url.into()));
        }
        if path.exists() {
            return Err(StoreError::Exists(name.into()));
        }
        let (from, to, allowed) = (url.to_owned(), path.clone(), Arc::clone(&self.allowed));
        let failed = |why: String| StoreError::Fetch { url: url.into(), why };
        let fetched =
            self.fetching.submit(move |(), wanted| fetch::fetch(&from, &to, &allowed, wanted)).await;
        match fetched.map_err(|error| failed(error.to_string()))? {
            Ok(()) => Ok(path),
            Err(fetch::Failure::Exists) => Err(StoreError::Exists(name.into())),
            Err(fetch::Failure::Failed(why)) => Err(failed(why)),
        }
    }

    /// Removes what was fetched from a URL. What came by its name stays.
    pub fn discard(&self, url: &str) {
        let Some(path) = self.folder.as_ref().zip(file_name(url)).map(|(folder, name)| folder.join(name))
        else {
            return;
        };
        if is_url(url)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, "{} can't be removed", path.display());
        }
    }

    /// Names of all archives in the store: files and folders that are not hidden, in the order of their names.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let folder = self.folder.as_ref().ok_or_else(|| Error::Load(StoreError::NoStore.to_string()))?;
        let unreadable =
            |error: std::io::Error| Error::Load(format!("{} can't be read: {error}", folder.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let archive = [".mar", ".zip", ".tgz", ".tar.gz"].iter().any(|end| name.ends_with(end));
            if !name.starts_with('.') && (archive || entry.path().is_dir()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl std::fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelStore({:?})", self.folder)
    }
}

/// Reads an expression that whole URLs are to match, whatever the case of their letters.
pub fn expression(text: &str) -> Result<Regex, Error> {
    let whole = RegexBuilder::new(&format!("^(?:{text})$")).case_insensitive(true).build();
    whole.map_err(|error| {
        let (value, range) = (format!("`{text}`"), format!("it is no regular expression: {error}"));
        Error::Range { what: "--torchserve-allowed-urls", value, range }
    })
}

fn is_allowed(url: &str, allowed: &[Regex]) -> bool {
    allowed.iter().any(|expression| expression.is_match(url))
}

/// Whether it is one of the URLs that can be fetched, and not the name of a file.
fn is_url(url: &str) -> bool {
    scheme(url).is_some()
}

/// The scheme of a URL, and what follows on it.
fn scheme(url: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => Some((Scheme::File, rest)),
        "http" | "https" => Some((Scheme::Http, rest)),
        _ => None,
    }
}

/// What is fetched how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// By copying it.
    File,
    /// Over HTTP, perhaps with TLS.
    Http,
}

/// The name that an archive has in the store: the last part of the path.
fn file_name(url: &str) -> Option<&str> {
    let path = match scheme(url) {
        Some((Scheme::Http, rest)) => rest.split(['?', '#']).next()?.split_once('/')?.1,
        Some((Scheme::File, rest)) => rest,
        None => url,
    };
    let name = path.rsplit('/').next()?;
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0']);
    (plain && Path::new(name).file_name().is_some()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_part() {
        for (url, name) in [
            ("m.mar", Some("m.mar")),
            ("/anywhere/m.mar", Some("m.mar")),
            ("https://host/a/m.mar?x=/y", Some("m.mar")),
            ("file:///a/m.mar", Some("m.mar")),
            ("https://host", None),
            ("https://host/", None),
            ("", None),
            ("a/", None),
            (".hidden", None),
            ("a\\b", None),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn the_whole_url_has_to_match() {
        let allowed = [expression("https://good/.*").unwrap(), expression("file://.*|x").unwrap()];
        for (url, expected) in [
            ("https://good/m.mar", true),
            ("HTTPS://GOOD/m.mar", true),
            ("https://bad/?https://good/m.mar", false),
            ("file:///m.mar", true),
            ("http://good/m.mar", false),
        ] {
            assert_eq!(is_allowed(url, &allowed), expected, "{url}");
        }
        assert!(expression("(").unwrap_err().to_string().contains("no regular expression"));
    }

    #[tokio::test]
    async fn archives_come_by_name_or_are_fetched_from_where_it_is_allowed() {
        let (store, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(store.path().join("here.mar"), "here").unwrap();
        fs::write(other.path().join("a b.mar"), "there").unwrap();
        let allowed = format!("file://{}/.*", regex::escape(other.path().to_str().unwrap()));
        let models = ModelStore::new(Some(store.path().into()), &[allowed]).unwrap();
        assert_eq!(models.archive("here.mar").await, Ok(store.path().join("here.mar")));
        let there = format!("file://{}/a%20b.mar", other.path().display());
        let path = models.archive(&there).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "there");
        assert_eq!(models.archive(&there).await, Err(StoreError::Exists("a%20b.mar".into())));
        assert_eq!(models.names().unwrap(), ["a%20b.mar", "here.mar"]);
        models.discard(&there);
        models.discard("here.mar");
        assert_eq!(models.names().unwrap(), ["here.mar"]);
        let gone = format!("file://{}/gone.mar", other.path().display());
        for (url, error) in [
            ("nothing.mar", "Model not found at: nothing.mar"),
            ("../x.mar", "Relative path is not allowed in url: ../x.mar"),
            ("https://host/x.mar", "Given URL https://host/x.mar does not match any allowed URL(s)"),
            ("file:///etc/passwd", "Given URL file:///etc/passwd does not match any allowed URL(s)"),
            (&gone, &format!("Failed to download archive from: {gone}")),
        ] {
            assert_eq!(models.archive(url).await.unwrap_err().to_string(), error);
        }
        assert_eq!(models.names().unwrap(), ["here.mar"], "what fails leaves nothing");
        let none = ModelStore::new(None, &[]).unwrap();
        assert_eq!(none.archive("here.mar").await, Err(StoreError::NoStore));
    }
}
