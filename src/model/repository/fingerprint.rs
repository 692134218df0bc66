//! What a model's folder looked like, to see that something in it has changed, or is still being written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entries;
use crate::error::Error;

/// Files and folders of one model; a model has a few.
const MAX_ENTRIES: usize = 10_000;

/// Names, sizes and times of everything in a folder that is not hidden.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File { size: u64, modified: SystemTime },
}

impl Fingerprint {
    /// What lies in this folder now. Symbolic links are followed, and each folder is entered once.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let mut found = Fingerprint::default();
        let mut entered = BTreeSet::new();
        let mut open = vec![PathBuf::new()];
        while let Some(inner) = open.pop() {
            let path = folder.join(&inner);
            let real = path.canonicalize().map_err(|error| unreadable(&path, &error))?;
            if !entered.insert(real) {
                continue;
            }
            for path in entries(&path)? {
                let Some(name) = path.file_name() else { continue };
                let inner = inner.join(name);
                let entry = Entry::of(&path)?;
                if entry == Some(Entry::Folder) {
                    open.push(inner.clone());
                }
                found.0.extend(entry.map(|entry| (inner, entry)));
                if found.0.len() > MAX_ENTRIES {
                    let path = folder.display();
                    return Err(Error::Load(format!(
                        "{path} holds more than {MAX_ENTRIES} files and folders"
                    )));
                }
            }
        }
        Ok(found)
    }

    /// Whether nobody seems to be writing: it was the same at the look before, and its newest file is at least
    /// so old. Times in the future, as a wrong clock makes them, are taken for old.
    pub fn settled(&self, before: Option<&Fingerprint>, age: Duration, now: SystemTime) -> bool {
        let old = |entry: &Entry| match entry {
            Entry::Folder => true,
            Entry::File { modified, .. } => now.duration_since(*modified).map_or(true, |been| been >= age),
        };
        before == Some(self) && self.0.values().all(old)
    }
}

impl Entry {
    /// `None` for what is gone again, for links that lead nowhere, and for what is neither file nor folder.
    fn of(path: &Path) -> Result<Option<Self>, Error> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
            metadata => metadata.map_err(|error| unreadable(path, &error))?,
        };
        if metadata.is_dir() {
            return Ok(Some(Entry::Folder));
        }
        let modified = metadata.modified().map_err(|error| unreadable(path, &error))?;
        Ok(metadata.is_file().then_some(Entry::File { size: metadata.len(), modified }))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Load(format!("{} can't be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn look(folder: &Path) -> Fingerprint {
        Fingerprint::of(folder).unwrap()
    }

    #[test]
    fn every_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut looks = vec![look(path)];
        let mut changed = |what: &str| {
            let now = look(path);
            assert_ne!(looks.last(), Some(&now), "{what}");
            looks.push(now);
        };
        fs::create_dir(path.join("1")).unwrap();
        changed("a folder");
        fs::write(path.join("1/model.pt"), "abc").unwrap();
        changed("a file");
        fs::write(path.join("1/model.pt"), "abcd").unwrap();
        changed("its size");
        let file = fs::File::options().write(true).open(path.join("1/model.pt")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        changed("its time");
        fs::rename(path.join("1/model.pt"), path.join("1/other.pt")).unwrap();
        changed("its name");
        fs::remove_file(path.join("1/other.pt")).unwrap();
        changed("its end");
        fs::write(path.join("1/.model.pt.part"), "x").unwrap();
        assert_eq!(looks.last(), Some(&look(path)));
    }

    #[test]
    fn it_settles_when_nothing_is_written_any_more() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.pt"), "abc").unwrap();
        let first = look(folder.path());
        let Some(Entry::File { modified, .. }) = first.0.values().next() else { panic!("{first:?}") };
        let age = Duration::from_millis(500);
        let later = *modified + age;
        assert!(first.settled(Some(&first), age, later));
        assert!(first.settled(Some(&first), age, *modified - age));
        assert!(!first.settled(Some(&first), age, later - Duration::from_millis(1)));
        assert!(!first.settled(None, age, later));
        assert!(!first.settled(Some(&Fingerprint::default()), age, later));
    }

    #[test]
    fn links_that_lead_in_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("1")).unwrap();
        symlink(path, path.join("1/up")).unwrap();
        symlink(path.join("self"), path.join("self")).unwrap();
        symlink("/nowhere/at/all", path.join("lost")).unwrap();
        fs::write(path.join("1/model.pt"), "x").unwrap();
        symlink(path.join("1/model.pt"), path.join("linked.pt")).unwrap();
        let found = look(path);
        let names: Vec<_> = found.0.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["1", "1/model.pt", "1/up", "linked.pt"]);
    }
}
