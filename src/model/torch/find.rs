//! libtorch: its version, and the CUDA devices that it can use.

use std::ffi::CStr;

use super::{module, text};
use crate::model::Torch;

/// The linker drops libraries of which nothing is called by name, and that is well: one program serves with
/// and without CUDA. Where libtorch comes with CUDA, this library registers it once it is loaded.
const CUDA_LIBRARY: &CStr = c"libtorch_cuda.so";

/// Looks for libtorch's CUDA libraries, and for devices that it can use with them.
pub fn find() -> Torch {
    let version = env!("LIBTORCH_VERSION");
    match devices() {
        Ok(cuda_devices) => Torch { version, cuda_devices, cuda_reason: String::new() },
        Err(cuda_reason) => Torch { version, cuda_devices: Vec::new(), cuda_reason },
    }
}

/// At least one, or who says why not: the loader of libraries, or CUDA.
fn devices() -> Result<Vec<String>, String> {
    load().map_err(|reason| {
        format!("this libtorch is for CPUs only, or some of its CUDA libraries are missing ({reason})")
    })?;
    module::start_cuda().map_err(|reason| text::essence(&reason))?;
    match tch::Cuda::device_count() {
        1.. if !tch::Cuda::is_available() => Err("CUDA says that its devices are not available".into()),
        count @ 1.. => Ok((0..count).map(|device| format!("cuda:{device}")).collect()),
        _ => Err("CUDA finds no device".into()),
    }
}

fn load() -> Result<(), String> {
    // SAFETY: the name is a C string; what the library does when it is loaded is what libtorch is made for.
    let loaded = unsafe { libc::dlopen(CUDA_LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !loaded.is_null() {
        return Ok(());
    }
    // SAFETY: it takes nothing, and speaks of this thread's last failure.
    let reason = unsafe { libc::dlerror() };
    if reason.is_null() {
        return Err("the loader does not say why".into());
    }
    // SAFETY: what is not null is a C string that stays until this thread's next use of the loader.
    Err(unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned())
}
