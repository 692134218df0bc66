//! Processes: servers that are started and ended, and this program again as something else.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::Result;
use crate::args::{CHILD, Task};

/// Where processes that are not to be in each other's way run; `None` for wherever there is room.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub server: Option<usize>,
    pub client: Option<usize>,
}

/// A server that listens, and ends when this is dropped.
pub struct Server {
    child: Child,
    address: String,
    ending: Ending,
    /// Kept, since a server whose output nobody takes may end.
    _output: BufReader<ChildStdout>,
}

/// How a server is ended.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Killed,
    /// It is asked, and then waited for: it has processes of its own to end, for which it takes its time, and files
    /// to remove.
    Asked,
}

impl Cores {
    /// Two of those that this process may use.
    pub fn find() -> Self {
        let mut allowed = no_cores();
        // SAFETY: the kernel writes into a set of this very size, which outlives the call.
        let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) };
        // SAFETY: the number is below the set's size.
        let usable = |core: &usize| unsafe { libc::CPU_ISSET(*core, &allowed) };
        let mut cores = (0..libc::CPU_SETSIZE as usize).filter(usable);
        match (failed, cores.next(), cores.next()) {
            (0, Some(server), Some(client)) => Cores { server: Some(server), client: Some(client) },
            _ => Cores { server: None, client: None },
        }
    }
}

impl Server {
    /// Starts it, and waits until it says where it listens.
    pub fn start(mut command: Command, core: Option<usize>) -> Result<Self> {
        let shown = format!("{command:?}");
        confine(&mut command, core);
        let mut child =
            command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{shown}: {error}"))?;
        let mut output = BufReader::new(child.stdout.take().ok_or("a pipe was asked for")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if let Some(address) = line.trim().strip_prefix("listening on ") {
                let (address, ending) = (address.into(), Ending::Killed);
                return Ok(Server { child, address, ending, _output: output });
            }
            line.clear();
        }
        Err(format!("{shown} ended without listening: {}", child.wait()?).into())
    }

    /// The same for one that ends by itself when it is told to.
    pub fn start_polite(command: Command) -> Result<Self> {
        let mut server = Server::start(command, None)?;
        server.ending = Ending::Asked;
        Ok(server)
    }

    /// The server that all of this is about.
    pub fn frameserve(core: Option<usize>) -> Result<Self> {
        Server::frameserve_with(&[], core)
    }

    /// The same, with further arguments.
    pub fn frameserve_with(arguments: &[OsString], core: Option<usize>) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-server"));
        command.args(["--listen", "127.0.0.1:0", "--log", "warn"]).args(arguments);
        Server::start(command, core)
    }

    /// Where it listens, as a client wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same as the client program wants it.
    pub fn kserve(&self) -> String {
        format!("kserve://{}", self.address)
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it has had so far.
    pub fn most_resident(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)).ok_or("it has no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// The processor time that it took since it was started, with the processes that it has started.
    pub fn busy(&self) -> Result<Duration> {
        let processes: Vec<Process> = std::fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Process::read)
            .collect();
        let mut family = vec![self.child.id()];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            family.extend(
                processes.iter().filter(|process| process.parent == parent).map(|process| process.id),
            );
            at += 1;
        }
        let of_family = processes.iter().filter(|process| family.contains(&process.id));
        let ticks: u64 = of_family.map(|process| process.ticks).sum();
        // SAFETY: it only reads a number.
        let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
    }
}

/// What the kernel tells of a process.
struct Process {
    id: u32,
    parent: u32,
    /// Of processor time.
    ticks: u64,
}

impl Process {
    /// `None` for one that is gone.
    fn read(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The second field is the program's name, which may have spaces; the others follow its bracket.
        let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Process { id, parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match (self.ending, i32::try_from(self.child.id())) {
            // SAFETY: it takes plain numbers, and the child was not waited for, so the number is still its own.
            (Ending::Asked, Ok(id)) => unsafe {
                libc::kill(id, libc::SIGTERM);
            },
            // It may have ended by itself.
            _ => {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

/// This program, as what `task` asks for.
pub fn myself(task: &Task) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CHILD).arg(serde_json::to_string(task)?);
    Ok(command)
}

/// What another process of this program answers.
pub fn ask<R: DeserializeOwned>(task: &Task, core: Option<usize>) -> Result<R> {
    let mut command = myself(task)?;
    confine(&mut command, core);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("a process for this measurement failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Makes a process run on one core, and end with this one.
pub fn confine(command: &mut Command, core: Option<usize>) {
    let cores = core.map(|core| {
        let mut set = no_cores();
        // SAFETY: the number came out of such a set, so it is below its size.
        unsafe { libc::CPU_SET(core, &mut set) };
        set
    });
    // SAFETY: what runs between fork and exec makes two system calls and allocates nothing.
    unsafe { command.pre_exec(move || settle(cores.as_ref())) };
}

fn settle(cores: Option<&libc::cpu_set_t>) -> io::Result<()> {
    // SAFETY: it takes plain numbers.
    let mut failed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if let (0, Some(cores)) = (failed, cores) {
        // SAFETY: the kernel reads a set of this very size, which outlives the call.
        failed = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores) };
    }
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn no_cores() -> libc::cpu_set_t {
    // SAFETY: it is an array of integers, for which zeros are valid.
    unsafe { std::mem::zeroed() }
}
