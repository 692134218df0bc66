//! TorchScript models in the server's program: what they give is what Python's torch gives, and sample clients work.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use frameserve::proto::inference::RepositoryIndexRequest;
use frameserve::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use serde_json::Value;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::program::{Program, Venv, root, succeeds, there};

/// Models are loaded after the server's first line, in a debug build and beside other tests.
const LOADED: Duration = Duration::from_secs(120);

/// A server whose models are loaded, or failed to load.
pub async fn start(flags: &[&str]) -> Program {
    let server = Program::start(flags);
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let healthy = async {
        let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
        let mut states = watch.unwrap().into_inner();
        while states.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    };
    tokio::time::timeout(LOADED, healthy).await.expect("its models are loaded");
    server
}

/// A server with one of the sample models.
async fn sample(model: &str) -> Program {
    let models = there("samples/models");
    let flags = ["--model-repository", models.to_str().unwrap(), "--model-control", "explicit"];
    there(&format!("samples/models/{model}/1/model.pt"));
    start(&[&flags[..], &["--load-model", model]].concat()).await
}

fn picture(name: &str) -> String {
    there(&format!(".deps/pictures/{name}")).to_str().unwrap().into()
}

/// One of the clients of `samples/clients` in Python.
fn client(server: &Program, script: &str, arguments: &[&str], modules: &Path) -> String {
    let mut command = Venv::Clients.command(&there("samples/clients").join(script));
    succeeds(command.args(arguments).args(["--server", &server.address]).env("PYTHONPATH", modules))
}

#[tokio::test]
async fn outputs_are_those_of_torch_in_python() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let pictures = there(".deps/pictures");
    let mut make = Venv::Models.command(&root().join("tests/python/torch_models.py"));
    succeeds(make.arg(path).arg("--pictures").arg(pictures));
    let models = format!("{path}/models,{}", there("samples/models").to_str().unwrap());
    let flags = ["--model-repository", &models, "--model-control", "explicit", "--load-model", "*"];
    let server = start(&flags).await;
    server.python(Venv::Clients, "torch_outputs.py", &[path]);
}

#[tokio::test]
async fn tritons_client_brings_the_files_of_a_model() {
    let server = start(&["--model-control", "explicit"]).await;
    let model = root().join("tests/models/add.pt");
    server.python(Venv::Clients, "triton_files.py", &["--model", model.to_str().unwrap()]);
}

#[tokio::test]
async fn a_server_that_still_loads_ends_well() {
    let mut server = Program::start(&["--model-repository", there("samples/models").to_str().unwrap()]);
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", server.address)).await.unwrap();
    let begun = async {
        loop {
            let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap();
            if index.get_ref().models.iter().any(|model| model.name == "things" && !model.state.is_empty()) {
                return;
            }
        }
    };
    tokio::time::timeout(LOADED, begun).await.expect("it begins to load its models");
    server.signal(libc::SIGTERM);
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_cat_is_called_a_cat() {
    let server = sample("classifier").await;
    let cat = picture("chelsea.png");
    let mut ours = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
    let said =
        ours.args(["infer", "classifier", &cat, "--json", "--server", &server.address]).output().unwrap();
    let found: Value = serde_json::from_slice(&said.stdout).unwrap();
    let best = &found["results"][0]["classes"][0]["label"];
    assert!(best.as_str().unwrap().contains("cat"), "{found:#}");
    let said = client(&server, "classify.py", &[&cat], Path::new(""));
    let ways: Vec<&str> = said.split("sent as ").skip(1).collect();
    assert_eq!(ways.len(), 2, "as a file and as a tensor: {said}");
    for way in ways {
        assert!(way.lines().nth(1).unwrap().contains("cat"), "{said}");
    }
}

#[tokio::test]
async fn the_doctor_tells_how_models_run() {
    let server = sample("classifier").await;
    let mut ours = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
    let said = succeeds(ours.args(["doctor", "--server", &server.address]));
    let of = |what: &str| {
        said.lines().find(|line| line.trim_start().starts_with(what)).unwrap_or_else(|| panic!("{said}"))
    };
    assert!(
        of("models run on").ends_with("if they do not say, with fp32 and 1 thread an instance"),
        "{said}"
    );
    let classifier = of("classifier");
    assert!(classifier.contains("; 1 thread, fp32, ") && classifier.ends_with(", warmed up"), "{said}");
}

#[tokio::test]
async fn a_face_is_found_where_there_is_one() {
    let server = sample("faces").await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let mut protoc = Venv::Clients.command(Path::new("-m"));
    succeeds(protoc.arg("grpc_tools.protoc").arg(format!("-I{}", root().join("protos").display())).args([
        format!("--python_out={out}").as_str(),
        &format!("--grpc_python_out={out}"),
        "grpc_service.proto",
        "model_config.proto",
    ]));
    let said = client(
        &server,
        "detect.py",
        &[&picture("astronaut.png"), &picture("chelsea.png"), "--model", "faces"],
        folder.path(),
    );
    let mut counts = said.split(".png:").skip(1).map(|found| found.matches("face  ").count());
    assert_eq!((counts.next(), counts.next()), (Some(1), Some(0)), "{said}");
}

#[tokio::test]
async fn what_is_behind_a_person_is_blurred_from_node() {
    let server = sample("background").await;
    let folder = tempfile::tempdir().unwrap();
    // Node looks for packages beside the script, and the script for the protocol.
    let place = folder.path().join("samples/clients");
    fs::create_dir_all(&place).unwrap();
    fs::copy(there("samples/clients/blur.mjs"), place.join("blur.mjs")).unwrap();
    std::os::unix::fs::symlink(root().join("protos"), folder.path().join("protos")).unwrap();
    std::os::unix::fs::symlink(there(".deps/node/node_modules"), place.join("node_modules")).unwrap();
    let blurred = folder.path().join("blurred.jpg");
    let mut node = Command::new(there(".deps/models/bin/node"));
    node.arg(place.join("blur.mjs")).args([
        &picture("astronaut.png"),
        blurred.to_str().unwrap(),
        &server.address,
    ]);
    succeeds(&mut node);
    let (before, after) = (png(&picture("astronaut.png")), jpeg(&blurred));
    let (face, flag) = (Part { x: 180, y: 80, side: 90 }, Part { x: 0, y: 0, side: 128 });
    let kept = |part: &Part| part.sharpness(&after) / part.sharpness(&before);
    assert!(
        kept(&face) > 0.8 && kept(&flag) < 0.5,
        "{} of the face, {} of the flag",
        kept(&face),
        kept(&flag)
    );
}

#[tokio::test]
async fn a_mask_and_points_lie_on_the_person() {
    let models = there("samples/models");
    let flags = ["--model-repository", models.to_str().unwrap(), "--model-control", "explicit"];
    let server = start(&[&flags[..], &["--load-model", "person", "--load-model", "pose"]].concat()).await;
    let folder = tempfile::tempdir().unwrap();
    let mask = folder.path().join("mask.png");
    let ours = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
        succeeds(command.arg("infer").args(words).args(["--server", &server.address]))
    };
    let astronaut = picture("astronaut.png");
    ours(&["person", &astronaut, "-o", mask.to_str().unwrap()]);
    let mask = png(mask.to_str().unwrap());
    assert_eq!(mask.len(), 512 * 512);
    let at = |x: usize, y: usize| mask[y * 512 + x];
    assert!(at(225, 130) > 250 && at(200, 350) > 250, "the face {}, the suit {}", at(225, 130), at(200, 350));
    assert!(at(60, 60) < 5 && at(470, 60) < 5, "the flag {}, the shuttle {}", at(60, 60), at(470, 60));

    let found: Value = serde_json::from_str(&ours(&["pose", &astronaut, "--json"])).unwrap();
    let found = &found["results"][0]["detections"];
    let nose = [0, 1].map(|at| found[0]["points"][at].as_f64().unwrap());
    assert!((nose[0] - 222.0).abs() < 15.0 && (nose[1] - 118.0).abs() < 15.0, "{found:#}");
    assert_eq!((found.as_array().unwrap().len(), found[0]["label"].as_str()), (1, Some("person")));
    let found: Value = serde_json::from_str(&ours(&["pose", &picture("chelsea.png"), "--json"])).unwrap();
    assert_eq!(found["results"][0]["detections"], Value::Array(Vec::new()), "a cat is no person");
}

/// A part of a picture of 512x512.
struct Part {
    x: usize,
    y: usize,
    side: usize,
}

impl Part {
    /// How different neighbours are.
    fn sharpness(&self, rgb: &[u8]) -> f64 {
        assert_eq!(rgb.len(), 512 * 512 * 3);
        let rows = rgb.chunks(512 * 3).skip(self.y).take(self.side);
        let pixels = rows.flat_map(|row| row[3 * self.x..3 * (self.x + self.side)].windows(4));
        pixels.map(|near| f64::from(near[0].abs_diff(near[3]))).sum()
    }
}

fn png(path: &str) -> Vec<u8> {
    let file = BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut rgb).unwrap();
    rgb
}

fn jpeg(path: &Path) -> Vec<u8> {
    turbojpeg::decompress(&fs::read(path).unwrap(), turbojpeg::PixelFormat::RGB).unwrap().pixels
}
