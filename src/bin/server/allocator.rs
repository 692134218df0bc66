//! What the server takes memory from, and libtorch, OpenCV and every other library in its process with it.
//!
//! Networks take and free tensors of tens of megabytes, many times for each frame. glibc gives such pieces back to the
//! kernel at once, and takes each of their pages anew; jemalloc keeps what is freed for a while.

use std::ffi::c_char;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Options, as jemalloc's manual has them.
#[repr(transparent)]
pub struct Options(*const c_char);

// SAFETY: it points at a constant, which nobody writes to.
unsafe impl Sync for Options {}

/// jemalloc reads a variable of this name when it begins. Pieces of 8 MiB and more would else be an exception, and not
/// be kept; 64 MiB is more than the layers of networks take that are fast enough for video. A thread of its own gives
/// back what was not used again for ten seconds, also where nothing else happens.
#[unsafe(export_name = "malloc_conf")]
pub static OPTIONS: Options = Options(c"oversize_threshold:67108864,background_thread:true".as_ptr());
