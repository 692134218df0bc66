//! The server's program in a process of its own, and other programs that are run against it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::Client;

/// The server's program.
pub const SERVER: &str = env!("CARGO_BIN_EXE_frameserve-server");

/// A server in a process of its own.
pub struct Program {
    pub child: Child,
    pub address: String,
    /// Where else it listens, in the order in which it says so.
    #[cfg_attr(not(feature = "torch"), expect(dead_code, reason = "only models that are real need them"))]
    pub others: Vec<String>,
}

/// A Python with its packages, in `.deps`.
#[derive(Clone, Copy)]
pub enum Venv {
    /// Our own clients, with the OpenCV that the server is linked with.
    Ours,
    /// Other people's clients.
    Clients,
    /// Python's torch.
    #[cfg(feature = "torch")]
    Models,
}

impl Program {
    pub fn start(flags: &[&str]) -> Self {
        Program::start_in(&root(), &[&["--listen", "127.0.0.1:0"], flags].concat())
    }

    /// One whose models are loaded by its clients.
    pub fn start_with_models(flags: &[&str]) -> Self {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/models");
        let with_models = ["--model-repository", models, "--model-control", "explicit"];
        Program::start_in(&root(), &[&with_models, flags].concat())
    }

    /// One that is started in a folder and told where to listen.
    pub fn start_in(folder: &Path, flags: &[&str]) -> Self {
        Program::of(Program::server().args(flags).current_dir(folder).stderr(Stdio::null()))
    }

    /// One that is told where to listen, and logs to a file.
    pub fn start_with_log(log: &Path, flags: &[&str]) -> Self {
        Program::of(Program::server().args(flags).stderr(std::fs::File::create(log).unwrap()))
    }

    /// What it answers is held against what Python computes on a processor, so that it uses one, too.
    fn server() -> Command {
        let mut command = Command::new(SERVER);
        command.env("FRAMESERVE_DEVICE", "cpu");
        command
    }

    /// A program that listens as the server's does, and was told where.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut address = || {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            let listening =
                line.strip_prefix("listening on ").and_then(|rest| rest.split_whitespace().next());
            listening.unwrap_or_else(|| panic!("it said `{line}`")).to_owned()
        };
        let listens = command.get_args().filter(|flag| *flag == "--listen").count();
        let torchserve = command.get_args().any(|flag| flag == "--torchserve");
        let others = listens.saturating_sub(1) + if torchserve { 2 } else { 0 };
        let (first, others) = (address(), (0..others).map(|_| address()).collect());
        Program { address: first, others, child }
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is ours and was not waited for, so that its number is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits until it has ended, which must be well.
    pub fn wait(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// Runs one of the clients in `tests/python` against it, and gives what it says.
    pub fn python(&self, venv: Venv, script: &str, arguments: &[&str]) -> String {
        let script = root().join("tests/python").join(script);
        let said = succeeds(venv.command(&script).args(["--server", &self.address]).args(arguments));
        assert!(said.contains("ok"), "{} says nothing of what it has checked: {said}", script.display());
        said
    }
}

/// An example's program, which `cargo test` builds.
pub fn example(name: &str) -> Command {
    let program = Path::new(SERVER).with_file_name("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --examples`", program.display());
    Command::new(program)
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Venv {
    /// A script to be run by it.
    pub fn command(self, script: &Path) -> Command {
        let interpreter = there(match self {
            Venv::Ours => ".deps/venv/bin/python",
            Venv::Clients => ".deps/clients/bin/python",
            #[cfg(feature = "torch")]
            Venv::Models => ".deps/models/bin/python",
        });
        let mut command = Command::new(interpreter);
        // What a user has installed for himself is none of ours, and what is imported leaves no files.
        command.args(["-s", "-B"]).arg(script);
        command
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder that the set-up brings.
pub fn there(path: &str) -> PathBuf {
    let path = root().join(path);
    assert!(path.exists(), "{} is missing: run `make setup-test`", path.display());
    path
}

pub fn video(name: &str) -> String {
    there(&format!(".deps/videos/{name}")).to_str().unwrap().into()
}

/// Runs a command, which must end well, and gives all that it said: errors come first.
pub fn succeeds(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}
