//! What an archive may hold, counted while it is unpacked, since what it says of itself may be a lie.

use std::io::{self, Read};

use super::See;
use crate::error::Error;
use crate::model::repository::inside;

/// Files and folders of one archive.
const MOST_ENTRIES: usize = 10_000;

/// Bytes of the longest path.
const LONGEST_PATH: usize = 1024;

/// Bytes of all files together.
const MOST_BYTES: u64 = 16 << 30;

/// How many times its own length an archive may become, once that is more than `FREE_BYTES`. Weights of models
/// become a little more than once that, and texts ten times.
const MOST_TIMES: u64 = 100;
const FREE_BYTES: u64 = 64 << 20;

/// What is left of the bounds.
#[derive(Debug)]
pub struct Bounds {
    entries: usize,
    bytes: u64,
    /// What there was of it at first.
    most: u64,
}

/// Bytes that count.
pub struct Counted<'a, R> {
    from: R,
    bounds: &'a mut Bounds,
}

impl Bounds {
    /// Those of a file of this length.
    pub fn of(length: u64) -> Self {
        let most = length.saturating_mul(MOST_TIMES).clamp(FREE_BYTES, MOST_BYTES);
        Bounds { entries: MOST_ENTRIES, bytes: most, most }
    }

    /// Those of what is not packed.
    pub fn unpacked() -> Self {
        Bounds { entries: MOST_ENTRIES, bytes: MOST_BYTES, most: MOST_BYTES }
    }

    /// One more file or folder, whose path must be one that leads nowhere else.
    pub fn enter(&mut self, name: &str) -> Result<(), Error> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| {
            Error::Load(format!("it has more than {MOST_ENTRIES} files and folders, which is the limit"))
        })?;
        if name.len() > LONGEST_PATH {
            let length = name.len();
            return Err(Error::Load(format!("a path of {length} bytes, and the limit is {LONGEST_PATH}")));
        }
        let shown = name.escape_debug();
        if inside(name).is_none() || name.contains('\\') {
            return Err(Error::Load(format!("the path `{shown}` leads out of the archive")));
        }
        Ok(())
    }

    /// A file's bytes, which are counted as they are read.
    pub fn counted<R: Read>(&mut self, from: R) -> Counted<'_, R> {
        Counted { from, bounds: self }
    }

    /// One more file.
    pub fn file(&mut self, name: &str, bytes: impl Read, see: See<'_>) -> Result<(), Error> {
        self.enter(name)?;
        see(name, &mut self.counted(bytes))
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // One byte more than what is left tells the end from what goes on.
        let room = usize::try_from(self.bounds.bytes + 1).unwrap_or(usize::MAX).min(to.len());
        let count = self.from.read(&mut to[..room])?;
        let most = self.bounds.most;
        let over = || io::Error::other(format!("it unpacks to more than {most} bytes, which is the limit"));
        self.bounds.bytes = self.bounds.bytes.checked_sub(count as u64).ok_or_else(over)?;
        Ok(count)
    }
}
