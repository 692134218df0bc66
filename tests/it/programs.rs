//! The server's program: its first line, its flags and its file, its end by SIGTERM, and clients in Python.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Talk, gray};

const SERVER: &str = env!("CARGO_BIN_EXE_frameserve-server");

/// A server in a process of its own.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(SERVER);
        command.args(["--listen", "127.0.0.1:0"]).args(flags).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said `{line}`"));
        Program { address: address.into(), child }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is ours and was not waited for, so that its number is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// Runs one of the clients in `tests/python` against it.
    fn python(&self, script: &str, arguments: &[&str]) {
        let output = python(script, &[&["--server", &self.address], arguments].concat());
        let said = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{script}: {said}");
        assert!(said.contains("ok"), "{script} says nothing of what it has checked: {said}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn python(script: &str, arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join(".deps/venv/bin/python");
    assert!(interpreter.exists(), "{} is missing: run `make setup-test`", interpreter.display());
    Command::new(interpreter).arg(root.join("tests/python").join(script)).args(arguments).output().unwrap()
}

fn video(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/videos").join(name);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path.to_str().unwrap().into()
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(SERVER).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_original_client_works_unchanged() {
    let video = video("bigbuckbunny.mp4");
    let told = Program::start(&["--raw-size", "1280x720", "--default-pipeline", "canny"]);
    told.python("original_client.py", &[&video]);
    let untold = Program::start(&[]);
    untold.python("original_client.py", &[&video, "--metadata"]);
}

#[test]
fn a_python_client_gets_what_the_protocol_promises() {
    Program::start(&[]).python("stream_client.py", &[&video("carphone_pristine.mp4")]);
}

#[test]
fn every_stage_is_opencvs_over_the_wire_too() {
    // Frames of a stream come to several threads there, and stateful stages must not be able to tell.
    Program::start(&["--threads", "3"]).python("stages.py", &["--videos", &video("")]);
}

#[tokio::test]
async fn sigterm_drains() {
    let mut server = Program::start(&[]);
    let mut talk = Talk::new(&mut server.client().await).await;
    talk.send(gray(1)).await;
    talk.reply().await;
    server.signal(libc::SIGTERM);
    assert_eq!(talk.replies.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    assert!(server.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_client_that_falls_silent_is_let_go() {
    let server = Program::start(&["--keepalive", "0.2", "--keepalive-timeout", "1"]);
    let mut witness = server.client().await;
    // A connection that opens a stream and then answers nothing, not even pings: bytes without a client.
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await;
    closed.expect("it is still connected after twenty seconds").unwrap();
    let about = witness.describe(frameserve::proto::DescribeRequest {}).await.unwrap();
    assert_eq!(about.into_inner().open_streams, 0, "and who answers stays");
}

#[test]
fn settings_come_from_flags_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frameserve.toml");
    let path = file.to_str().unwrap();
    let text = "window = 4\nmax-pixels = 1000000\n[pipelines]\nedges = \"small | canny\"\n\
                small = { pipeline = \"resize=64x64\", doc = \"Small.\" }\n";
    std::fs::write(&file, text).unwrap();
    let (done, printed) = run(&["--config", path, "--window", "5", "--print-config"]);
    assert!(done, "{printed}");
    for line in ["window = 5", "max-pixels = 1000000", "max-window = 64", "edges = \"small | canny\""] {
        assert!(printed.lines().any(|printed| printed == line), "`{line}` is not in\n{printed}");
    }
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(run(&["--config", path, "--print-config"]), (true, printed));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frameserve.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "windows = 4\n").unwrap();
    for (arguments, says) in [
        (&["--config", path] as &[&str], "windows"),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["--window", "65"], "1 to 64"),
        (&["--raw-size", "0x3"], "`0x3`"),
        (&["--raw-format", "yuyv"], "i420"),
        (&["--default-pipeline", "gray | cany"], "character 8"),
        (&["--keepalive=-1"], "0 to 86400"),
        (&["--listen", "localhost"], "localhost"),
        (&["--listen", "203.0.113.1:1"], "203.0.113.1:1"),
    ] {
        let (done, said) = run(arguments);
        assert!(!done && said.contains(says), "{arguments:?}: `{says}` is not in\n{said}");
    }
}

#[test]
fn help_names_every_flag_with_its_variable() {
    let (done, help) = run(&["--help"]);
    assert!(done);
    let words = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    let flags: BTreeSet<_> = words.map(|word| word.trim_end_matches([',', '.'])).collect();
    let mut count = 0;
    for flag in flags.iter().filter(|flag| !["--help", "--version", "--print-config"].contains(flag)) {
        let name = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
        assert!(help.contains(&format!("[env: FRAMESERVE_{name}=")), "{flag}");
        count += 1;
    }
    assert!(count > 20, "only {flags:?} were found");
}
