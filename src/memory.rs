//! What a process with glibc's allocator does with memory that was given back: it keeps some, for the next frame or
//! tensor. The server's program has another one.

/// Largest piece that is taken from what was kept; the most that glibc takes here. Larger ones come from the kernel.
const LARGEST: libc::c_int = 32 << 20;
/// Kept at most, in each of the allocator's arenas: what glibc itself comes to once it has seen pieces of that size.
const KEPT: libc::c_int = 64 << 20;

/// Keeps what is freed. It is for a program to decide, at its start.
///
/// Left alone, glibc returns all above a bound to the kernel, and begins with a bound so low that a few requests of
/// half a megabyte at a time cross it back and forth: each of their pages is then taken from the kernel anew, which
/// costs more than all the copying.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, LARGEST), (libc::M_TRIM_THRESHOLD, KEPT)] {
        // SAFETY: it takes plain numbers, and the allocator locks what it changes. A value that it refuses changes
        // nothing.
        let _refused = unsafe { libc::mallopt(parameter, value) };
    }
}
