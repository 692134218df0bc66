//! Regions of POSIX shared memory that clients on this machine registered, to put tensors into and take them out.
//!
//! They are read and written as files and never mapped: who shrinks a region under our hands gets an error then,
//! and does not end the server.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tonic::Code;

use super::parameters::Window;
use super::refusal::Refusal;
use crate::proto::inference::SystemSharedMemoryRegisterRequest;
use crate::proto::inference::system_shared_memory_status_response::RegionStatus;

/// Regions at a time; each is an open file.
const MOST_REGIONS: usize = 256;
/// Linux's own bound on the name of a file.
const LONGEST_NAME: usize = 255;
/// What is copied before others have their turn on the thread.
const CHUNK: usize = 1 << 20;

/// The regions of one server, by name.
#[derive(Debug, Default)]
pub struct Regions(Mutex<BTreeMap<String, Arc<Region>>>);

/// A part of a shared memory object.
#[derive(Debug)]
pub struct Region {
    file: File,
    status: RegionStatus,
}

impl Regions {
    /// Opens a region and remembers it.
    pub fn register(&self, asked: SystemSharedMemoryRegisterRequest) -> Result<(), Refusal> {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let SystemSharedMemoryRegisterRequest { name, key, .. } = &asked;
        if name.is_empty() || name.len() > LONGEST_NAME {
            let length = name.len();
            let text =
                format!("the name of a shared memory region has 1 to {LONGEST_NAME} bytes, not {length}");
            return Err(Refusal::invalid(text));
        }
        if regions.contains_key(name) {
            let text = format!("shared memory region '{name}' already in manager");
            return Err(Refusal::Other(Code::AlreadyExists, text));
        }
        if regions.len() >= MOST_REGIONS {
            let text =
                format!("{MOST_REGIONS} shared memory regions are registered, and there can't be more");
            return Err(Refusal::Other(Code::ResourceExhausted, text));
        }
        let file = open(name, key)?;
        let region = Region::new(file, asked)?;
        regions.insert(region.status.name.clone(), Arc::new(region));
        Ok(())
    }

    /// Forgets a region, or all of them if the name is empty. Requests that use one go on with it. A name that
    /// is not there is fine.
    pub fn unregister(&self, name: &str) {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if name.is_empty() {
            regions.clear();
        } else {
            regions.remove(name);
        }
    }

    /// The region of this name, or all of them if it is empty.
    pub fn status(&self, name: &str) -> Result<Vec<RegionStatus>, Refusal> {
        let regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if name.is_empty() {
            return Ok(regions.values().map(|region| region.status.clone()).collect());
        }
        let unknown = || Refusal::unknown(format!("Unable to find system shared memory region: '{name}'"));
        regions.get(name).map(|region| vec![region.status.clone()]).ok_or_else(unknown)
    }

    /// The region of a tensor that lies in it completely.
    pub fn find(&self, window: &Window) -> Result<Arc<Region>, Refusal> {
        let Window { region: name, offset, bytes } = window;
        let unknown = || Refusal::unknown(format!("Unable to find shared memory region: '{name}'"));
        let regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let region = regions.get(name).ok_or_else(unknown)?;
        if *offset >= region.status.byte_size {
            return Err(Refusal::invalid(format!("Invalid offset for shared memory region: '{name}'")));
        }
        if offset.checked_add(*bytes).is_none_or(|end| end > region.status.byte_size) {
            let text = format!("Invalid offset + byte size for shared memory region: '{name}'");
            return Err(Refusal::invalid(text));
        }
        Ok(Arc::clone(region))
    }
}

impl Region {
    fn new(file: File, asked: SystemSharedMemoryRegisterRequest) -> Result<Self, Refusal> {
        let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = asked;
        let metadata = file.metadata().map_err(|_| invalid(&key))?;
        if !metadata.is_file() {
            return Err(invalid(&key));
        }
        let size = metadata.len();
        if byte_size == 0 || offset.checked_add(byte_size).is_none_or(|end| end > size) {
            return Err(Refusal::invalid(format!(
                "failed to register shared memory region '{name}': invalid args: '{key}' has {size} bytes, and \
                 {byte_size} from {offset} on were asked for"
            )));
        }
        Ok(Region { file, status: RegionStatus { name, key, offset, byte_size } })
    }

    /// Copies a tensor out of it.
    pub async fn read(&self, window: &Window) -> Result<Bytes, Refusal> {
        let length = usize::try_from(window.bytes).map_err(|_| self.shrunk())?;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            if !bytes.is_empty() {
                tokio::task::yield_now().await;
            }
            let at = self.place(window) + bytes.len() as u64;
            let chunk = CHUNK.min(length - bytes.len());
            self.append(&mut bytes, chunk, at)?;
        }
        Ok(bytes.into())
    }

    /// Reads more into memory that was taken before, and was not filled with zeros for it.
    fn append(&self, bytes: &mut Vec<u8>, most: usize, at: u64) -> Result<(), Refusal> {
        let free = bytes.spare_capacity_mut();
        let most = most.min(free.len());
        let at = libc::off_t::try_from(at).map_err(|_| self.shrunk())?;
        // SAFETY: the kernel writes at most so many bytes, for which there is room, and nobody else has the vector.
        let read = unsafe { libc::pread(self.file.as_raw_fd(), free.as_mut_ptr().cast(), most, at) };
        // Nothing that could be read says that the end was reached.
        let read = usize::try_from(read).ok().filter(|read| *read > 0).ok_or_else(|| self.shrunk())?;
        // SAFETY: so many bytes behind those that were there have just been written.
        unsafe { bytes.set_len(bytes.len() + read) };
        Ok(())
    }

    /// Copies a tensor into it.
    pub async fn write(&self, window: &Window, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = self.place(window);
        // Writing beyond the end would let the object grow again.
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        if at.saturating_add(bytes.len() as u64) > size {
            return Err(self.shrunk());
        }
        for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            let failed = |error| {
                let text = format!("shared memory region '{}' can't be written: {error}", self.status.name);
                Refusal::Other(Code::Internal, text)
            };
            self.file.write_all_at(chunk, at).map_err(failed)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn place(&self, window: &Window) -> u64 {
        self.status.offset + window.offset
    }

    fn shrunk(&self) -> Refusal {
        let RegionStatus { name, key, .. } = &self.status;
        let text = format!("shared memory region '{name}' can't be used: '{key}' is shorter than it was");
        Refusal::invalid(text)
    }
}

fn invalid(key: &str) -> Refusal {
    Refusal::Other(Code::Internal, format!("Invalid shared memory region: '{key}'"))
}

/// Opens a shared memory object: a file of this name, and nothing that a path could lead to.
fn open(name: &str, key: &str) -> Result<File, Refusal> {
    let wrong = || {
        Refusal::invalid(format!("cannot register shared memory region '{name}' - invalid shm key '{key}'"))
    };
    let bare = key.strip_prefix('/').unwrap_or(key);
    if bare.is_empty() || bare.len() > LONGEST_NAME || bare.contains('/') || bare == "." || bare == ".." {
        return Err(wrong());
    }
    let path = CString::new(format!("/{bare}")).map_err(|_| wrong())?;
    // SAFETY: the name is a C string that lives until the call returns.
    let opened = unsafe { libc::shm_open(path.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK, 0) };
    if opened < 0 {
        let text = format!("Unable to open shared memory region: '{key}'");
        return Err(Refusal::Other(Code::Internal, text));
    }
    // SAFETY: it was just opened, and nothing else knows of it.
    Ok(unsafe { File::from_raw_fd(opened) })
}
