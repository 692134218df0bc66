//! The files of a zip archive.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;

use super::{Bounds, See};
use crate::error::Error;

/// What an entry of the central directory begins with, and how long it is without its texts.
const SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const HEADER: usize = 46;
/// Where the lengths of its three texts stand.
const LENGTHS: [usize; 3] = [28, 30, 32];

/// Shows every file.
pub fn each(path: &Path, see: See<'_>) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Load(format!("it is no readable zip archive: {error}"));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bounds = Bounds::of(file.metadata().map_err(|error| failed(&error))?.len());
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| failed(&error))?;
    let start = archive.central_directory_start();
    let listed = File::open(path).and_then(|file| listed(file, start)).map_err(|error| failed(&error))?;
    // The archive is read by name, and of two of a name the first is lost.
    if listed != archive.len() {
        let reason = format!("it lists {listed} files, and only {} have a name of their own", archive.len());
        return Err(Error::Load(reason));
    }
    if archive.has_overlapping_files().map_err(|error| failed(&error))? {
        return Err(Error::Load("files of it lie on top of each other".into()));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| failed(&error))?;
        let name = entry.name().to_owned();
        if entry.is_symlink() {
            return Err(Error::Load(format!("`{}` is a link", name.escape_debug())));
        }
        match name.strip_suffix('/') {
            Some(folder) => bounds.enter(folder)?,
            None => bounds.file(&name, &mut entry, &mut *see)?,
        }
    }
    Ok(())
}

/// How many files the central directory lists.
fn listed(file: File, start: u64) -> std::io::Result<usize> {
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(start))?;
    let mut count = 0;
    loop {
        let mut header = Vec::with_capacity(HEADER);
        file.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
        if header.len() < HEADER || !header.starts_with(&SIGNATURE) {
            return Ok(count);
        }
        let length = |at: usize| i64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        file.seek_relative(LENGTHS.into_iter().map(length).sum())?;
        count += 1;
    }
}
