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
/// be kept; and what is not used again goes back to the kernel within a minute, where it would be ten seconds: slow
/// networks need their memory again only after some.
#[unsafe(export_name = "malloc_conf")]
pub static OPTIONS: Options = Options(c"oversize_threshold:0,dirty_decay_ms:60000".as_ptr());
