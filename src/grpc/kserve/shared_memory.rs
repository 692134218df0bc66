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
use super::raw;
use super::refusal::Refusal;
use crate::error::Error;
use crate::proto::inference::SystemSharedMemoryRegisterRequest;
use crate::proto::inference::system_shared_memory_status_response::RegionStatus;
use crate::tensor::{Place, Tensor};

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

/// A part of a region in which one tensor lies, or is to be put. It stays usable when the region is unregistered.
#[derive(Debug)]
pub struct Slot {
    /// Name of the tensor.
    tensor: String,
    region: Arc<Region>,
    window: Window,
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

    /// The place of a tensor that lies in its region completely.
    pub fn slot(&self, tensor: &str, window: Window) -> Result<Slot, Refusal> {
        let Window { region: name, offset, bytes } = &window;
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
        Ok(Slot { tensor: tensor.into(), region: Arc::clone(region), window })
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

    fn shrunk(&self) -> Error {
        let RegionStatus { name, key, .. } = &self.status;
        Error::Shrunk(format!("shared memory region '{name}' can't be used: '{key}' is shorter than it was"))
    }
}

impl Slot {
    /// Copies a tensor out of it, on a thread on which others want their turn too.
    pub async fn read_in_turns(&self) -> Result<Bytes, Error> {
        let mut bytes = self.room()?;
        while self.append(&mut bytes, CHUNK)? {
            tokio::task::yield_now().await;
        }
        Ok(bytes.into())
    }

    /// Memory for what lies there.
    fn room(&self) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(self.window.bytes).map_err(|_| self.region.shrunk())?;
        Ok(Vec::with_capacity(length))
    }

    /// Reads more into memory that was taken before, and was not filled with zeros for it; whether there is more.
    fn append(&self, bytes: &mut Vec<u8>, most: usize) -> Result<bool, Error> {
        let shrunk = || self.region.shrunk();
        let (have, length) = (bytes.len() as u64, self.window.bytes);
        let left = usize::try_from(length - have).map_err(|_| shrunk())?;
        if left == 0 {
            return Ok(false);
        }
        let at = libc::off_t::try_from(self.begin() + have).map_err(|_| shrunk())?;
        let free = bytes.spare_capacity_mut();
        let most = most.min(left).min(free.len());
        // SAFETY: the kernel writes at most so many bytes, for which there is room, and nobody else has the vector.
        let read = unsafe { libc::pread(self.region.file.as_raw_fd(), free.as_mut_ptr().cast(), most, at) };
        // Nothing that could be read says that the end was reached.
        let read = usize::try_from(read).ok().filter(|read| *read > 0).ok_or_else(shrunk)?;
        // SAFETY: so many bytes behind those that were there have just been written.
        unsafe { bytes.set_len(bytes.len() + read) };
        Ok(read < left)
    }

    fn begin(&self) -> u64 {
        self.region.status.offset + self.window.offset
    }

    /// What is to be put there fits into it, and it is still there.
    fn check_room(&self, bytes: u64) -> Result<(), Error> {
        let Slot { tensor, region, window } = self;
        if bytes > window.bytes {
            return Err(Error::NotPut(format!(
                "shared memory size specified with the request for output '{tensor}' ({} bytes) should be at least \
                 {bytes} bytes to hold the results",
                window.bytes
            )));
        }
        // Writing beyond the end would let the object grow again.
        let size = region.file.metadata().map_or(0, |metadata| metadata.len());
        if self.begin().saturating_add(bytes) > size { Err(region.shrunk()) } else { Ok(()) }
    }
}

impl Place for Slot {
    fn read(&self) -> Result<Bytes, Error> {
        let mut bytes = self.room()?;
        while self.append(&mut bytes, usize::MAX)? {}
        Ok(bytes.into())
    }

    fn write(&self, tensor: Tensor) -> Result<(), Error> {
        let bytes = raw::bytes(tensor)?;
        self.check_room(bytes.len() as u64)?;
        let name = &self.region.status.name;
        let failed =
            |error| Error::NotPut(format!("shared memory region '{name}' can't be written: {error}"));
        self.region.file.write_all_at(&bytes, self.begin()).map_err(failed)
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
