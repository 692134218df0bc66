//! Picture files, one frame each.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::{fs, mem};

use opencv::core::Mat;
use opencv::imgcodecs::{self, IMREAD_COLOR};
use opencv::prelude::*;

use super::exif;
use super::probe::Sound;
use super::{Arrival, Facts, Source, SourceFrame};
use crate::codec::sniff;
use crate::failure::Failure;
use crate::picture::Picture;

const EXTENSIONS: [&str; 12] =
    ["jpg", "jpeg", "jpe", "png", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "jp2"];

pub struct Pictures {
    files: std::vec::IntoIter<PathBuf>,
    facts: Facts,
    sent: u64,
}

impl Pictures {
    pub fn new(files: Vec<PathBuf>, fps: f64) -> Pictures {
        let title = match files.as_slice() {
            [one] => one.display().to_string(),
            [first, ..] => format!("{} pictures from {}", files.len(), directory(first).display()),
            [] => "no pictures".into(),
        };
        let frames = Some(files.len() as u64);
        let facts = Facts { title, frames, fps, arrival: Arrival::OnDemand, sound: Sound::Absent };
        Pictures { files: files.into_iter(), facts, sent: 0 }
    }
}

impl Source for Pictures {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        let Some(file) = self.files.next() else { return Ok(None) };
        let picture = read(&file)?;
        let timestamp_us = (self.sent as f64 / self.facts.fps * 1e6).round() as i64;
        self.sent += 1;
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into());
        Ok(Some(SourceFrame { picture, timestamp_us, name }))
    }
}

/// Whether the name is one of a picture file.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The pictures in a directory, in the order of their names.
pub fn in_directory(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    list(path, is_picture).and_then(|files| {
        let none = || format!("'{}' holds no pictures ({})", path.display(), EXTENSIONS.join(", "));
        if files.is_empty() { Err(Failure::usage(none())) } else { Ok(files) }
    })
}

/// The files that match a pattern with `*` and `?` in its last part.
pub fn matching(pattern: &str) -> Result<Vec<PathBuf>, Failure> {
    let path = Path::new(pattern);
    let directory = directory(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if directory.to_string_lossy().contains(['*', '?']) {
        return Err(Failure::usage(format!("'{pattern}': * and ? can stand in the file's name only")));
    }
    let files = match directory.is_dir() {
        true => list(directory, |file| {
            file.file_name().is_some_and(|file| wildcard(name.as_bytes(), file.to_string_lossy().as_bytes()))
        })?,
        false => Vec::new(),
    };
    if files.is_empty() {
        return Err(Failure::usage(format!("'{pattern}' matches no file")));
    }
    Ok(files)
}

fn list(directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let unreadable =
        |error| Failure::usage(format!("cannot read directory '{}': {error}", directory.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && wanted(&path) {
            files.push(path);
        }
    }
    files.sort_by(|left, right| natural_order(&left.to_string_lossy(), &right.to_string_lossy()));
    Ok(files)
}

/// A picture as it lies in its file, or upright pixels where the file holds it otherwise.
pub fn read(file: &Path) -> Result<Picture, Failure> {
    let fail = |reason: &str| Failure::usage(format!("cannot read '{}': {reason}", file.display()));
    let bytes = fs::read(file).map_err(|error| fail(&error.to_string()))?;
    match sniff(&bytes) {
        // What the camera held sideways is turned upright, which only decoding it can do.
        Some(encoding) if exif::is_upright(&bytes) => return Ok(Picture::Encoded(encoding, bytes.into())),
        _ => {}
    }
    if bytes.is_empty() {
        return Err(fail("it is empty"));
    }
    let pixels = imgcodecs::imdecode(&Mat::from_slice(&bytes)?, IMREAD_COLOR)?;
    if pixels.empty() {
        Err(fail("it is no picture that this OpenCV knows"))
    } else {
        Ok(Picture::Pixels(pixels))
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((star, matched)) = last_star else { return false };
                last_star = Some((star, matched + 1));
                (p, t) = (star + 1, matched + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// As a person sorts: 2 before 10.
fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut left_rest, mut right_rest) = (left, right);
    loop {
        let (a, b) = (take_run(&mut left_rest), take_run(&mut right_rest));
        let order = match (a.parse::<u128>(), b.parse::<u128>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
        if a.is_empty() && b.is_empty() {
            return left.cmp(right);
        }
    }
}

fn take_run<'a>(text: &mut &'a str) -> &'a str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (run, rest) = mem::take(text).split_at(end);
    *text = rest;
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, matches) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", ".jpg", true),
            ("*.jpg", "a.jpgx", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(wildcard(pattern.as_bytes(), text.as_bytes()), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = ["f10.png", "f2.png", "a.png", "f02.png", "f2a.png"];
        names.sort_by(|left, right| natural_order(left, right));
        assert_eq!(names, ["a.png", "f02.png", "f2.png", "f2a.png", "f10.png"]);
    }
}
