//! Archives made by torch-model-archiver, and their answers against those of TorchServe's handlers in Python.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use frameserve::config::{Config, Models};
use frameserve::engine::Engine;
use frameserve::grpc::torchserve::handler;
use frameserve::model::Control;
use frameserve::model::archive::{DeviceType, ModelArchive, Wanted};
use serde::Deserialize;
use serde_json::Value;

use crate::harness::TestServer;
use crate::program::{Venv, root, succeeds, there};

/// A model that the script `tests/python/torchserve_models.py` wrote.
#[derive(Deserialize)]
struct Case {
    name: String,
    handler: String,
    /// As torch-model-archiver calls it.
    form: String,
    labels: bool,
    options: bool,
    /// What the handler answers to each picture.
    answers: BTreeMap<String, String>,
}

/// How far numbers may be from those of Python: scores, and places in pixels. What models see is the same to the last
/// bit, and sums come out a little differently.
const NEAR: f64 = 1e-4;
const NEAR_PIXELS: f64 = 1e-2;

#[tokio::test]
async fn answers_are_those_of_torchserve() {
    let folder = tempfile::tempdir().unwrap();
    let mut make = Venv::Models.command(&root().join("tests/python/torchserve_models.py"));
    let pictures = there(".deps/pictures");
    succeeds(make.arg(folder.path()).arg("--pictures").arg(pictures));
    let index = std::fs::read(folder.path().join("index.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&index).unwrap();
    let repository = tempfile::tempdir().unwrap();
    let models = Models {
        repositories: vec![repository.path().to_owned()],
        control: Control::Explicit(Vec::new()),
        ..Models::default()
    };
    let server = TestServer::start(Config { models, ..Config::default() }).await;
    server.loaded().await;
    for case in &cases {
        let opened = ModelArchive::open(&archive(case, folder.path()), &Wanted::default()).unwrap();
        check(case, &opened);
        copy(opened.folder.folder(), &repository.path().join(&case.name));
        let config = Some(opened.config.clone());
        Arc::clone(server.engine.models()).load(&case.name, config, Vec::new()).await.unwrap();
        for (picture, expected) in &case.answers {
            let sent = std::fs::read(folder.path().join("pictures").join(picture)).unwrap();
            let answer = ask(&server.engine, &case.name, sent.into()).await;
            let what = format!("{} of {picture}", case.name);
            assert_eq!(without_numbers(&answer), without_numbers(expected), "{what}");
            let most = if case.handler == "object_detector" { NEAR_PIXELS } else { NEAR };
            let found = serde_json::from_str(&answer).unwrap();
            let difference = difference(&found, &serde_json::from_str(expected).unwrap());
            println!("{what}: {difference:.1e}");
            assert!(
                difference <= most,
                "{what} is {difference} away:\n{answer:.2000}\nand not\n{expected:.2000}"
            );
        }
    }
    let _ended = server.ended().await;
}

/// Has the archiver make an archive of what the script wrote.
fn archive(case: &Case, folder: &Path) -> PathBuf {
    let name = &case.name;
    let mut archiver = Command::new(there(".deps/clients/bin/torch-model-archiver"));
    archiver.current_dir(folder).args(["--model-name", name, "--handler", &case.handler]);
    archiver.args(["--version", "1.5", "--archive-format", &case.form, "--export-path", "."]);
    archiver.args(["--serialized-file", &format!("{name}.pt")]);
    if case.labels {
        archiver.args(["--extra-files", &format!("{name}-labels/index_to_name.json")]);
    }
    if case.options {
        archiver.args(["--config-file", &format!("{name}.yaml")]);
    }
    // It gathers files in a folder of the model's name.
    succeeds(archiver.env("TMPDIR", folder.join("pictures")));
    folder.join(match case.form.as_str() {
        "tgz" => format!("{name}.tar.gz"),
        "no-archive" => name.clone(),
        _ => format!("{name}.mar"),
    })
}

fn check(case: &Case, opened: &ModelArchive) {
    assert_eq!((&opened.name, &opened.handler), (&case.name, &case.handler));
    assert_eq!((opened.version.as_str(), opened.runtime.as_str()), ("1.5", "python"));
    if case.options {
        assert_eq!((opened.batch_size, opened.options.max_workers), (4, Some(2)));
        assert_eq!(opened.options.device, Some(DeviceType::Cpu));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            std::fs::copy(entry, to).unwrap();
        }
    }
}

async fn ask(engine: &Arc<Engine>, model: &str, picture: Bytes) -> String {
    let served = engine.served(model, "").unwrap();
    let request = handler::request(&served, HashMap::from([("data".to_owned(), picture)])).unwrap();
    let reply = engine.infer(&served, request).await.unwrap();
    String::from_utf8(handler::prediction(&served, reply).unwrap().to_vec()).unwrap()
}

/// The text line by line, but for the numbers at the ends.
fn without_numbers(text: &str) -> Vec<&str> {
    let digit = |c: char| c.is_ascii_digit() || ",.-+e".contains(c);
    text.lines().map(|line| line.trim_end_matches(digit)).collect()
}

/// The largest difference of two numbers at the same place.
fn difference(one: &Value, other: &Value) -> f64 {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => (one.as_f64().unwrap() - other.as_f64().unwrap()).abs(),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).map(|(one, other)| difference(one, other)).fold(0.0, f64::max)
        }
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.values().zip(other.values()).map(|(one, other)| difference(one, other)).fold(0.0, f64::max)
        }
        _ => f64::INFINITY,
    }
}
