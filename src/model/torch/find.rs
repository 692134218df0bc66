//! libtorch: its version, and the CUDA devices that it can use.

use std::ffi::CStr;

use crate::model::Torch;

/// The linker drops libraries of which nothing is called by name, and that is well: one program serves with
/// and without CUDA. Where libtorch comes with CUDA, this library registers it once it is loaded.
const CUDA_LIBRARY: &CStr = c"libtorch_cuda.so";

/// Looks for libtorch's CUDA libraries, and for devices that it can use with them.
pub fn find() -> Torch {
    let version = env!("LIBTORCH_VERSION");
    // SAFETY: the name is a C string; what the library does when it is loaded is what libtorch is made for.
    let loaded =
        unsafe { !libc::dlopen(CUDA_LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() };
    let reason = |reason: &str| Torch { version, cuda_devices: Vec::new(), cuda_reason: reason.into() };
    if !loaded {
        return reason("this libtorch is built for CPUs only, or its CUDA libraries are missing");
    }
    match tch::Cuda::device_count() {
        count if count > 0 && tch::Cuda::is_available() => {
            let cuda_devices = (0..count).map(|device| format!("cuda:{device}")).collect();
            Torch { version, cuda_devices, cuda_reason: String::new() }
        }
        _ => reason("no CUDA device, or no driver for it"),
    }
}
