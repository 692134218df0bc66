//! The files of an archive that is a plain folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Bounds, See, unreadable};
use crate::error::Error;

/// Folders within folders.
const DEEPEST: usize = 32;

/// Shows every file.
pub fn each(path: &Path, see: See<'_>) -> Result<(), Error> {
    let mut bounds = Bounds::unpacked();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let shown = folder.display().to_string();
        let failed = |error: std::io::Error| unreadable(&shown, &error);
        for entry in fs::read_dir(path.join(&folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = folder.join(entry.file_name());
            let Some(text) = name.to_str() else {
                return Err(Error::Load(format!("the path `{}` is not UTF-8", name.display())));
            };
            // That of the entry itself: a link is not followed.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                bounds.enter(text)?;
                if depth == DEEPEST {
                    return Err(Error::Load(format!("`{text}` is deeper than {DEEPEST} folders")));
                }
                open.push((name, depth + 1));
            } else if kind.is_file() {
                let mut file = File::open(path.join(&name)).map_err(|error| unreadable(text, &error))?;
                bounds.file(text, &mut file, &mut *see)?;
            } else {
                let what = if kind.is_symlink() { "a link" } else { "neither a file nor a folder" };
                return Err(Error::Load(format!("`{text}` is {what}")));
            }
        }
    }
    Ok(())
}
