//! Tensors in memory that the server shares: a region for each request under way, as each client has its own.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use frameserve::client::InferenceClient;
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use frameserve::proto::inference::{InferParameter, ModelInferRequest};

use super::expected::Expected;
use super::load::Load;
use crate::failure::Failure;
use crate::tensors::{Named, raw};

/// Where tensors begin: at a cache line's beginning.
const ALIGNMENT: usize = 64;

/// Memory under a name that other programs can open. It is gone when this is dropped.
#[derive(Debug)]
struct Region {
    start: NonNull<libc::c_void>,
    bytes: usize,
    path: CString,
}

/// One request's message for each region.
#[derive(Debug)]
pub struct SharedLoad {
    regions: Vec<Region>,
    messages: Vec<Bytes>,
    pub expected: Arc<Expected>,
}

/// Where a tensor lies in its region.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    offset: usize,
    bytes: usize,
}

impl SharedLoad {
    /// Makes so many regions, fills their inputs, makes them known to the server, and tries the first one.
    pub async fn prepare(load: &Load, client: &InferenceClient, regions: u32) -> Result<SharedLoad, Failure> {
        let data: Vec<Bytes> = load.inputs.iter().map(|input| raw(&input.tensor)).collect();
        let results = load.outputs.iter().map(|output| raw(&output.tensor).len());
        let (slots, bytes) = layout(data.iter().map(Bytes::len).chain(results));
        let mut shared =
            SharedLoad { regions: Vec::new(), messages: Vec::new(), expected: Arc::clone(&load.expected) };
        let made = async {
            for at in 0..regions {
                let mut region = Region::create(at, bytes).map_err(|error| {
                    Failure::usage(format!("--shared-memory: cannot make a region of {bytes} bytes: {error}"))
                })?;
                data.iter().zip(&slots).for_each(|(bytes, slot)| region.write(slot.offset, bytes));
                shared.messages.push(InferenceClient::encode(&request(load, &region.name(), &slots)));
                let registered = client.register_memory(&region.name(), &region.key(), bytes as u64).await;
                shared.regions.push(region);
                registered.map_err(|error| Failure::of_call(error, "SystemSharedMemoryRegister"))?;
            }
            let expected = try_out(load, client, &shared.messages[0]).await?;
            let results = slots.iter().skip(data.len());
            let found: Vec<_> = results.map(|slot| shared.regions[0].read(slot)).collect();
            check(load, &found).map(|()| expected)
        };
        match made.await {
            Ok(expected) => shared.expected = Arc::new(expected),
            Err(failure) => {
                // What went wrong first is what to tell.
                let _ = shared.unregister(client).await;
                return Err(failure);
            }
        }
        Ok(shared)
    }

    /// The message for one region.
    pub fn message(&self, at: usize) -> Bytes {
        self.messages[at].clone()
    }

    /// Makes the server forget the regions, and gives their memory back.
    pub async fn unregister(self, client: &InferenceClient) -> Result<(), Failure> {
        for region in self.regions {
            let forgotten = client.unregister_memory(&region.name()).await;
            forgotten.map_err(|error| Failure::of_call(error, "SystemSharedMemoryUnregister"))?;
        }
        Ok(())
    }
}

impl Region {
    /// One of those that this process makes.
    fn create(number: u32, bytes: usize) -> io::Result<Region> {
        let path = CString::new(format!("/frameserve-bench-{}-{number}", std::process::id()))?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        // SAFETY: the name ends with a zero and lives longer than the call.
        let file = unsafe { libc::shm_open(path.as_ptr(), flags, 0o600) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        let mapped = map(file, bytes);
        // SAFETY: it is open, and nobody else has its number. A mapping outlives it.
        unsafe { libc::close(file) };
        match mapped {
            Ok(start) => Ok(Region { start, bytes, path }),
            Err(error) => {
                // SAFETY: as above for the name.
                unsafe { libc::shm_unlink(path.as_ptr()) };
                Err(error)
            }
        }
    }

    /// What others open it by.
    fn key(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// What the server is to call it.
    fn name(&self) -> String {
        self.key().trim_start_matches('/').to_owned()
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(
            offset.checked_add(data.len()).is_some_and(|end| end <= self.bytes),
            "a slot lies in its region"
        );
        // SAFETY: the region is that long, as was just checked.
        let to = unsafe { self.start.cast::<u8>().add(offset) };
        // SAFETY: `data` is memory of this program's own, which the region doesn't overlap.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to.as_ptr(), data.len()) };
    }

    fn read(&self, slot: &Slot) -> Bytes {
        assert!(
            slot.offset.checked_add(slot.bytes).is_some_and(|end| end <= self.bytes),
            "a slot lies in its region"
        );
        let mut copy = vec![0; slot.bytes];
        // SAFETY: the region is that long, as was just checked.
        let from = unsafe { self.start.cast::<u8>().add(slot.offset) };
        // SAFETY: the server has answered, and so has written; the copy is this program's own.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), copy.as_mut_ptr(), slot.bytes) };
        copy.into()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
        // SAFETY: the name ends with a zero and lives longer than the call.
        unsafe { libc::shm_unlink(self.path.as_ptr()) };
    }
}

/// Takes the memory at once: where there isn't as much, that is an error here and not a signal later.
fn map(file: libc::c_int, bytes: usize) -> io::Result<NonNull<libc::c_void>> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: it is an open file of this program's own.
    let error = unsafe { libc::posix_fallocate(file, 0, length) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: no address is asked for, and so nothing that is mapped already is touched.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, file, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Puts tensors of these lengths one after the other, and tells the length of all.
fn layout(lengths: impl Iterator<Item = usize>) -> (Vec<Slot>, usize) {
    let mut end: usize = 0;
    let slots = lengths.map(|bytes| {
        let offset = end;
        end = (offset + bytes).next_multiple_of(ALIGNMENT);
        Slot { offset, bytes }
    });
    let slots = slots.collect();
    (slots, end.max(ALIGNMENT))
}

fn request(load: &Load, region: &str, slots: &[Slot]) -> ModelInferRequest {
    let (inputs, outputs) = slots.split_at(load.inputs.len());
    let inputs = load.inputs.iter().zip(inputs).map(|(Named { name, tensor }, slot)| InferInputTensor {
        name: name.clone(),
        datatype: tensor.datatype().name().into(),
        shape: tensor.shape().dims().iter().map(|dim| *dim as i64).collect(),
        parameters: place(region, slot),
        contents: None,
    });
    let outputs = load.outputs.iter().zip(outputs).map(|(output, slot)| InferRequestedOutputTensor {
        name: output.name.clone(),
        parameters: place(region, slot),
    });
    ModelInferRequest {
        model_name: load.model.clone(),
        model_version: load.asked_version.clone(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        ..ModelInferRequest::default()
    }
}

fn place(region: &str, slot: &Slot) -> HashMap<String, InferParameter> {
    let number = |number: usize| ParameterChoice::Int64Param(number as i64);
    [
        ("shared_memory_region", ParameterChoice::StringParam(region.into())),
        ("shared_memory_byte_size", number(slot.bytes)),
        ("shared_memory_offset", number(slot.offset)),
    ]
    .map(|(key, choice)| (key.to_string(), InferParameter { parameter_choice: Some(choice) }))
    .into()
}

async fn try_out(load: &Load, client: &InferenceClient, message: &Bytes) -> Result<Expected, Failure> {
    let reply = client.infer_encoded(message.clone()).await;
    let reply = reply.map_err(|error| Failure::of_call(error, "ModelInfer"))?;
    let bad = |reason| Failure::bad_reply(format!("the first reply through shared memory: {reason}"));
    let decoded = InferenceClient::decode(reply.clone()).map_err(bad)?;
    if decoded.raw_output_contents.iter().any(|raw| !raw.is_empty()) {
        return Err(bad("the outputs came in the reply, and not through shared memory".into()));
    }
    if decoded.outputs.len() != load.outputs.len() {
        return Err(bad(format!("{} outputs, not {}", decoded.outputs.len(), load.outputs.len())));
    }
    Expected::of(&reply).map_err(bad)
}

/// What lies in the region is held against what came in the first reply of all, where the model is one that
/// gives the same again.
fn check(load: &Load, found: &[Bytes]) -> Result<(), Failure> {
    for (output, found) in load.outputs.iter().zip(found) {
        let came = raw(&output.tensor);
        if load.check_identity && came != *found {
            return Err(Failure::bad_reply(format!(
                "--check-identity: output '{}' in shared memory is not what came without it",
                output.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_do_not_overlap() {
        let (slots, part) = layout([100, 0, 64, 1].into_iter());
        let offsets: Vec<usize> = slots.iter().map(|slot| slot.offset).collect();
        assert_eq!((offsets, part), (vec![0, 128, 128, 192], 256));
    }

    #[test]
    fn a_region_can_be_opened_by_name_until_it_is_dropped() {
        let number = u32::MAX;
        let mut region = Region::create(number, 4096).unwrap();
        region.write(64, b"tensor");
        assert_eq!(region.read(&Slot { offset: 64, bytes: 6 }), "tensor");
        let file = format!("/dev/shm/{}", region.name());
        assert_eq!(&std::fs::read(&file).unwrap()[64..70], b"tensor");
        assert!(Region::create(number, 4096).is_err());
        drop(region);
        assert!(!std::path::Path::new(&file).exists());
    }
}
