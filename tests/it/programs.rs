//! The server's program: its first line, its flags and its file, its end by SIGTERM, and clients in Python.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Talk, gray};
use crate::program::{Program, SERVER, Venv, video};

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(SERVER).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_original_client_works_unchanged() {
    let video = video("bigbuckbunny.mp4");
    let told = Program::start(&["--raw-size", "1280x720", "--default-pipeline", "canny"]);
    told.python(Venv::Ours, "original_client.py", &[&video]);
    let untold = Program::start(&[]);
    untold.python(Venv::Ours, "original_client.py", &[&video, "--metadata"]);
}

#[test]
fn a_python_client_gets_what_the_protocol_promises() {
    Program::start(&[]).python(Venv::Ours, "stream_client.py", &[&video("carphone_pristine.mp4")]);
}

#[test]
fn every_stage_is_opencvs_over_the_wire_too() {
    // Frames of a stream come to several threads there, and stateful stages must not be able to tell.
    Program::start(&["--threads", "3"]).python(Venv::Ours, "stages.py", &["--videos", &video("")]);
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
fn a_device_that_is_not_there_is_no_reason_to_compute_elsewhere() {
    let found = &frameserve::model::torch().cuda_devices;
    if !found.is_empty() {
        println!("skipped: there are CUDA devices here: {}", found.join(", "));
        return;
    }
    for device in ["cuda", "cuda:0"] {
        let (done, said) = run(&["--device", device, "--listen", "127.0.0.1:0"]);
        assert!(!done && !said.contains("listening on"), "{said}");
        let says = format!("--device {device}: there is no CUDA device that it could use");
        assert!(said.contains(&says) || said.contains("built without"), "`{says}` is not in\n{said}");
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
