//! Where output may lie: found out before the first frame is sent, since a typing error should not cost a run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Makes a directory that was named as one, with those that it lies in.
pub fn make_directory(path: &Path) -> Result<(), Failure> {
    check_no_file_in_the_way(path)?;
    fs::create_dir_all(path)
        .map_err(|error| Failure::usage(format!("cannot make directory '{}': {error}", path.display())))
}

/// Fails where there is something else of that name.
pub fn check_no_file_in_the_way(path: &Path) -> Result<(), Failure> {
    // Without a slash at its end, which would hide a file.
    let path: PathBuf = path.components().collect();
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => Err(Failure::usage(format!(
            "'{}' is a file and not a directory; a file to write ends with .mp4, .y4m, .png and so on",
            path.display()
        ))),
        Ok(found) if !found.is_dir() => Err(Failure::usage(format!(
            "'{}' is neither a directory nor a regular file, and can't be written to",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Fails where the directory that a file is to lie in isn't there. It is not made: it may be a typing error.
pub fn check_parent(file: &Path) -> Result<(), Failure> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => return Ok(()),
    };
    if parent.is_dir() {
        return Ok(());
    }
    let (file, parent) = (file.display(), parent.display());
    Err(Failure::usage(format!("cannot write '{file}': there is no directory '{parent}'")))
}

/// The file that a video is written to, behind any links. It must be a regular one or not be there yet:
/// containers go back to their beginning, and OpenCV removes what it could not begin.
pub fn video_file(path: &Path) -> Result<PathBuf, Failure> {
    let file = behind_links(path);
    if fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
        let leads =
            if file == path { String::new() } else { format!(", which leads to '{}'", file.display()) };
        let path = path.display();
        return Err(Failure::usage(format!(
            "cannot write a video to '{path}'{leads}: it is no regular file"
        )));
    }
    check_parent(&file)?;
    Ok(file)
}

/// What symbolic links lead to, whether it is there or not.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_to_files_that_need_not_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink("second.mp4", at("first.mp4")).unwrap();
        symlink(at("third.mp4"), at("second.mp4")).unwrap();
        assert_eq!(video_file(&at("first.mp4")).unwrap(), at("third.mp4"));
        symlink("/dev/full", at("full.mp4")).unwrap();
        assert!(video_file(&at("full.mp4")).unwrap_err().message.contains("leads to '/dev/full'"));
        symlink("loop.mp4", at("loop.mp4")).unwrap();
        assert_eq!(video_file(&at("loop.mp4")).unwrap(), at("loop.mp4"));
    }

    #[test]
    fn directories_are_made_and_what_is_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert!(check_parent(&at("new/a.mp4")).unwrap_err().message.contains("there is no directory"));
        make_directory(&at("new/deep/")).unwrap();
        check_parent(&at("new/deep/a.mp4")).unwrap();
        check_parent(Path::new("a.mp4")).unwrap();
        fs::write(at("file"), b"").unwrap();
        assert!(make_directory(&at("file/")).unwrap_err().message.contains("is a file"));
        assert!(make_directory(Path::new("/dev/full")).unwrap_err().message.contains("neither"));
    }
}
