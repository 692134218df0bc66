//! The program `frameserve-client` against a server in this process: its files, its exit codes, its JSON.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use frameserve::config::Config;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::TestServer;

/// A server, and a directory to write in.
struct Place {
    server: TestServer,
    directory: TempDir,
}

impl Place {
    async fn new() -> Place {
        Place { server: TestServer::start(Config::default()).await, directory: TempDir::new().unwrap() }
    }

    /// Runs the program, with its words parted by spaces.
    fn client(&self, words: &str) -> Output {
        run(&mut self.command(words))
    }

    fn command(&self, words: &str) -> Command {
        command(words, &self.server.address.to_string(), self.directory.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }

    fn files(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn command(words: &str, server: &str, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
    command.args(words.split(' ')).env("FRAMESERVE_SERVER", server).current_dir(directory);
    command
}

fn run(command: &mut Command) -> Output {
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_keeps_its_length_and_its_first_size() {
    let place = Place::new().await;
    let words =
        "stream test:64x48@10 --frames 20 -o out.y4m --change 10:resize=32x96 --contact-sheet sheet.png";
    let output = place.client(words);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let header = b"YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg\n";
    let video = place.file("out.y4m");
    assert!(video.starts_with(header));
    assert_eq!(video.len(), header.len() + 20 * (6 + 64 * 48 * 3 / 2));
    assert!(said(&output).contains("frame 10 is 32x96"), "{}", said(&output));
    assert!(place.file("sheet.png").starts_with(b"\x89PNG"));
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_all_that_standard_output_holds() {
    let place = Place::new().await;
    let output = place.client("stream test:64x48 --frames 30 --streams 2 --reply none --json -p canny");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["total"]["frames_out"], 60);
    assert_eq!(report["streams"][1]["source"], "test-2");
    assert_eq!(report["streams"][0]["time_ms"]["server_stages"][0]["stage"], "canny");
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_happened() {
    let place = Place::new().await;
    for (words, expected, words_said) in [
        ("stream test:64x48 --frames 2", 0, "2 in, 2 out"),
        ("stream nowhere.mp4", 1, "nowhere.mp4"),
        ("stream test:64x48 --wire gif", 1, "gif"),
        ("stream test:64x48 --server 127.0.0.1:1", 2, "frameserve-server --listen 127.0.0.1:1"),
        ("pipelines --server 127.0.0.1:1", 2, "frameserve-server"),
        ("doctor --server 127.0.0.1:1", 2, "frameserve-server"),
        ("stream test:64x48 -p nonsense", 3, "nonsense"),
        ("stream test:64x48 --frames 9 --change 4:nonsense", 4, "frame 4 failed"),
        ("stream test:64x48 --frames 9 --change 4:nonsense --bad-frames end", 3, "ended the stream"),
        (
            "stream test:64x48 --frames 9 --max-fps 0.01 --change 4:gray",
            0,
            "9 in, 1 out, 8 dropped, 0 failed",
        ),
        ("stream test:64x48 --frames 9 --max-fps 0.01 --change 4:nonsense", 4, "a change was refused"),
    ] {
        let output = place.client(words);
        assert_eq!(code(&output), expected, "{words}: {}", said(&output));
        assert!(said(&output).contains(words_said), "{words}: {}", said(&output));
    }
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_closed_pipe_takes_no_output_without_an_error() {
    let place = Place::new().await;
    for words in ["stream test:64x48 --frames 2 --json", "stream nowhere.mp4 --json", "pipelines", "doctor"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(place.command(words).stdout(full));
        assert_eq!(code(&output), 1, "{words}: {}", said(&output));
        assert!(said(&output).contains("cannot write to standard output"), "{words}: {}", said(&output));
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let output = run(place.command(words).stdout(closed));
        assert!(!said(&output).contains("standard output"), "{words}: {}", said(&output));
    }
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_lie_where_they_are_meant_to_or_nowhere() {
    let place = Place::new().await;
    symlink("target.mp4", place.path("link.mp4")).unwrap();
    symlink("/dev/full", place.path("full.mp4")).unwrap();
    for (words, expected, words_said) in [
        ("-o link.mp4", 0, "link.mp4: 2 frames"),
        ("-o full.mp4", 1, "'/dev/full': it is no regular file"),
        ("-o /dev/full", 1, "neither a directory nor a regular file"),
        ("-o none/deep/x.mp4", 1, "there is no directory 'none/deep'"),
        ("-o none/x.y4m", 1, "there is no directory 'none'"),
        ("--contact-sheet none/x.png", 1, "there is no directory 'none'"),
        ("--detections none/x.jsonl", 1, "there is no directory 'none'"),
        ("-o target.mp4/", 1, "is a file"),
        ("-o some/deep/", 0, "some/deep/: 2 pictures"),
        ("--streams 2 -o videos/", 0, "videos/test-2.mp4: 2 frames"),
    ] {
        let output = place.client(&format!("stream test:64x48 --frames 2 {words}"));
        assert_eq!(code(&output), expected, "{words}: {}", said(&output));
        assert!(said(&output).contains(words_said), "{words}: {}", said(&output));
    }
    assert_eq!(place.files("."), ["full.mp4", "link.mp4", "some", "target.mp4", "videos"]);
    assert!(place.path("link.mp4").is_symlink() && !place.file("target.mp4").is_empty());
    assert_eq!(fs::read_link(place.path("full.mp4")).unwrap(), Path::new("/dev/full"));
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_picture_there_is_no_file() {
    let place = Place::new().await;
    for name in ["q.y4m", "q.mp4", "q.png"] {
        let output = place.client(&format!("stream test:64x48 --frames 1 --change 0:nonsense -o {name}"));
        assert_eq!(code(&output), 4, "{name}: {}", said(&output));
        assert!(said(&output).contains(&format!("{name} was not written")), "{}", said(&output));
        assert!(!place.path(name).exists(), "{name}");
    }
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_are_listed_with_and_without_a_server() {
    let place = Place::new().await;
    for words in ["pipelines canny", "pipelines canny --offline"] {
        let output = place.client(words);
        let listed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(code(&output), 0, "{words}: {}", said(&output));
        assert!(listed.contains("0 to 10000; 150 if not given"), "{words}: {listed}");
    }
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_keep_their_names_and_bad_ones_are_counted() {
    let place = Place::new().await;
    let made = place.client("stream test:64x48 --frames 3 -o pictures/ --reply jpeg");
    assert_eq!(code(&made), 0, "{}", said(&made));
    assert_eq!(place.files("pictures"), ["000000.jpg", "000001.jpg", "000002.jpg"]);
    fs::write(place.directory.path().join("pictures/000001.jpg"), b"\xff\xd8\xff no picture").unwrap();
    let output = place.client("stream pictures -o results/ --detections found.jsonl -p gray");
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert_eq!(place.files("results"), ["000000_000000.jpg", "000002_000002.jpg"]);
    let found = String::from_utf8(place.file("found.jsonl")).unwrap();
    let lines: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[2]["name"]), (3, &Value::from("000002")));
    assert!(lines[1]["error"].is_string());
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_used_is_listed() {
    let place = Place::new().await;
    let pipelines = place.client("pipelines resize");
    let text = String::from_utf8(pipelines.stdout).unwrap();
    assert!(text.contains("resize") && text.contains("must be given"), "{text}");
    let doctor = place.client("doctor");
    let text = String::from_utf8(doctor.stdout).unwrap();
    let devices: Vec<_> =
        place.server.engine.models().means().devices.iter().map(ToString::to_string).collect();
    let runs_on = format!("{}; if they do not say, with fp32 and 1 thread an instance", devices.join(", "));
    assert!(text.lines().any(|line| line.contains("models run on") && line.ends_with(&runs_on)), "{text}");
    assert!(
        text.contains("This program") && text.contains("CPU threads") && text.contains("serving"),
        "{text}"
    );
    place.server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_finishes_the_file() {
    let place = Place::new().await;
    let words = "stream test:64x48@30 --frames 100000 --pace -v -o out.y4m --json";
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
    command.args(words.split(' ')).env("FRAMESERVE_SERVER", place.server.address.to_string());
    command.current_dir(place.directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut granted = String::new();
    tokio::task::block_in_place(|| said.read_line(&mut granted).unwrap());
    assert!(granted.contains("frames in flight"), "{granted}");
    // SAFETY: the process is a child that has not been waited for, so its number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    let output = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!(code(&output), 130);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["total"]["frames_in"], report["total"]["frames_out"]);
    place.server.ended().await;
}
