//! Clients of Ray Serve against the programs: the server, and the example of services of one's own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::program::{Program, SERVER, Venv, example, root};
use crate::puppet::{InferClient, Shelf, rows};

/// Settings as `tests/python/ray_client.py` wants them.
const SETTINGS: &str = "
model-control = \"explicit\"
max-multiplexed = 2
[pipelines]
edges = \"canny\"
mirror = \"flip=horizontal\"
[applications]
shop = { models = [\"identity\", \"scores\"] }
lines = { pipelines = [\"edges\"] }
";

#[test]
fn a_client_of_ray_serve_gets_what_its_server_gives() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frameserve.toml");
    fs::write(&file, SETTINGS).unwrap();
    let models = root().join("tests/python/models");
    let (file, models) = (file.to_str().unwrap(), models.to_str().unwrap());
    let server = Program::start(&["--config", file, "--model-repository", models]);
    server.python(Venv::Ours, "ray_client.py", &[]);
    let printed = Command::new(SERVER).args(["--config", file, "--print-config"]).output().unwrap();
    let printed: toml::Table = toml::from_str(&String::from_utf8(printed.stdout).unwrap()).unwrap();
    assert_eq!(printed["max-multiplexed"].as_integer(), Some(2));
    assert_eq!(printed["applications"]["shop"]["models"][1].as_str(), Some("scores"));
}

/// A model is loaded after the first line, in a debug build and beside other tests.
const LOADED: Duration = Duration::from_secs(120);

/// Gives a picture to whoever asks for `/picture.png`.
async fn web(picture: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let picture = Arc::new(picture);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let picture = Arc::clone(&picture);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let found = request.starts_with(b"GET /picture.png HTTP/1.1\r\n");
                let (status, body) =
                    if found { ("200 OK", &picture[..]) } else { ("404 Not Found", &b""[..]) };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body).await.unwrap();
            });
        }
    });
    address
}

/// Runs the example with this model, and has it classify a picture in which it must see `class`.
async fn classify(repository: &Path, model: &str, picture: &Path, class: &str) {
    let address = web(fs::read(picture).unwrap()).await;
    let mut program = example("user_defined_service");
    program.arg("--model-repository").arg(repository).args(["--model", model]).stderr(Stdio::null());
    program.arg("--allow-folder").arg(picture.parent().unwrap());
    program.args(["--allow-host", &address.to_string()]);
    let server = Program::of(program.args(["--listen", "127.0.0.1:0"]));
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
    let mut states = watch.unwrap().into_inner();
    let serving =
        async { while states.message().await.unwrap().unwrap().status() != ServingStatus::Serving {} };
    tokio::time::timeout(LOADED, serving).await.expect("its model is loaded");
    let url = format!("http://{address}/picture.png");
    // The web server goes on, on another thread.
    tokio::task::block_in_place(|| {
        let picture = picture.to_str().unwrap();
        server.python(Venv::Ours, "ray_client.py", &["--example", picture, &url, class]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_answers_what_the_guide_says() {
    // The class of a picture of four pixels is the brightest of them.
    let shelf = Shelf::new();
    let text = "backend: \"identity\" max_batch_size: 8
        input { name: \"x\" data_type: TYPE_FP32 dims: [1, 1, 4] }
        output { name: \"scores\" data_type: TYPE_FP32 dims: [1, 1, 4] label_filename: \"labels.txt\" }
        parameters { key: \"frameserve.resize\" value { string_value: \"4x1\" } }
        parameters { key: \"frameserve.task\" value { string_value: \"classification\" } }";
    shelf.config("brightest", text);
    shelf.version("brightest", 1, "");
    fs::write(shelf.0.path().join("brightest/labels.txt"), "north\neast\nsouth\nwest\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    let mut encoder = png::Encoder::new(fs::File::create(&picture).unwrap(), 4, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[10, 20, 200, 30]).unwrap();
    classify(shelf.0.path(), "brightest", &picture, "south").await;
}

#[cfg(feature = "torch")]
#[tokio::test(flavor = "multi_thread")]
async fn the_example_calls_a_cat_a_cat() {
    use crate::program::there;
    let models = there("samples/models");
    there("samples/models/classifier/1/model.pt");
    classify(&models, "classifier", &there(".deps/pictures/chelsea.png"), "cat").await;
}

/// A server that logs to a file in this format; what it logs while it loads a model for a call.
async fn logged(format: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let mut command = Command::new(SERVER);
    command.arg("--model-repository").arg(root().join("tests/python/models"));
    command.args(["--listen", "127.0.0.1:0", "--model-control", "explicit", "--log-format", format]);
    let mut server = Program::of(command.stderr(fs::File::create(&file).unwrap()));
    let channel =
        Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut request = tonic::Request::new(rows("x", &[1.0], 1));
    request.metadata_mut().insert("request_id", "an-id".parse().unwrap());
    request.metadata_mut().insert("multiplexed_model_id", "identity".parse().unwrap());
    // It takes other inputs, and is loaded before that is known.
    InferClient::new(channel).model_infer(request).await.unwrap_err();
    server.signal(libc::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    fs::read_to_string(&file).unwrap().lines().map(String::from).collect()
}

#[tokio::test]
async fn what_is_logged_for_a_call_has_its_id() {
    let ready = |lines: &[String]| {
        lines
            .iter()
            .find(|line| line.contains("a model is ready"))
            .unwrap_or_else(|| panic!("{lines:#?}"))
            .clone()
    };
    let line = ready(&logged("json").await);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["span"]["request_id"], "an-id", "{line}");
    let line = ready(&logged("text").await);
    assert!(line.contains("an-id") && line.contains("request_id"), "{line}");
}
