//! Silence for libraries that write to standard error whatever they are told.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by who has closed standard error for a while.
static CLOSED: Mutex<()> = Mutex::new(());
/// Where standard error went before, as long as it is closed.
static SAVED: Mutex<Option<File>> = Mutex::new(None);

/// While it lives, what is written to file descriptor 2 is lost.
pub struct Hush {
    _closed: MutexGuard<'static, ()>,
}

impl Hush {
    /// `None` where the descriptor can't be exchanged: then there is noise, and nothing worse.
    pub fn new() -> Option<Hush> {
        let closed = locked(&CLOSED);
        let nowhere = File::options().write(true).open("/dev/null").ok()?;
        let mut before = locked(&SAVED);
        // SAFETY: duplicates a descriptor; a negative result is checked before it is owned.
        let saved = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3) };
        if saved < 0 {
            return None;
        }
        // SAFETY: `saved` was just made and belongs to nobody else.
        *before = Some(unsafe { File::from_raw_fd(saved) });
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(nowhere.as_raw_fd(), 2) };
        Some(Hush { _closed: closed })
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        if let Some(saved) = locked(&SAVED).take() {
            // SAFETY: both descriptors are open.
            unsafe { libc::dup2(saved.as_raw_fd(), 2) };
        }
    }
}

/// Writes a line to standard error, even while that is closed. All that the program says there goes this way, which
/// clippy sees to, so that nothing of it is lost.
#[allow(clippy::print_stderr, reason = "this is the one place")]
pub fn say(line: &str) {
    match &mut *locked(&SAVED) {
        Some(saved) => {
            // There is nobody to tell that it can't be written.
            let _ = writeln!(saved, "{line}");
        }
        None => eprintln!("{line}"),
    }
}

fn locked<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a library would do.
    fn noise(text: &str) {
        // SAFETY: the bytes are there, and so many of them.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }

    /// Run by the test below, in a process of its own, whose standard error nobody else writes to.
    #[test]
    #[ignore = "it is a part of the next one"]
    fn two_threads() {
        noise("heard\n");
        let hush = Hush::new().unwrap();
        noise("unheard\n");
        std::thread::spawn(|| say("said meanwhile")).join().unwrap();
        drop(hush);
        say("said after");
        noise("heard again\n");
    }

    #[test]
    fn what_the_program_says_while_libraries_are_silent_is_not_lost() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", "hush::tests::two_threads"]);
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "heard\nsaid meanwhile\nsaid after\nheard again\n");
    }
}
