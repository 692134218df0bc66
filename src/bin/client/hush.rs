//! Silence for libraries that write to standard error whatever they are told.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by whoever writes to standard error, or has closed it for a while.
static STANDARD_ERROR: Mutex<()> = Mutex::new(());

/// While it lives, what is written to file descriptor 2 is lost.
pub struct Hush {
    saved: OwnedFd,
    _exclusive: MutexGuard<'static, ()>,
}

impl Hush {
    /// `None` where the descriptor can't be exchanged: then there is noise, and nothing worse.
    pub fn new() -> Option<Hush> {
        let exclusive = exclusive();
        let nowhere = File::options().write(true).open("/dev/null").ok()?;
        // SAFETY: duplicates a descriptor; a negative result is checked before it is owned.
        let saved = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3) };
        if saved < 0 {
            return None;
        }
        // SAFETY: `saved` was just made and belongs to nobody else.
        let saved = unsafe { OwnedFd::from_raw_fd(saved) };
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(nowhere.as_raw_fd(), 2) };
        Some(Hush { saved, _exclusive: exclusive })
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(self.saved.as_raw_fd(), 2) };
    }
}

/// For writing to standard error, so that nothing of ours is lost.
pub fn exclusive() -> MutexGuard<'static, ()> {
    STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner)
}
