//! The server's program and a client that is, on the wire, that of MindSpore Serving.

use std::fs;
use std::os::unix::fs::symlink;

use crate::program::{Venv, root, there};
use crate::programs_torch::start;

/// Models of the samples and of the tests, in one repository.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (place, names) in [
        ("samples/models", &["add", "classifier", "faces", "wave"][..]),
        ("tests/python/models", &["fields", "pair"]),
    ] {
        for name in names {
            symlink(there(place).join(name), folder.path().join(name)).unwrap();
        }
    }
    folder
}

#[tokio::test]
async fn the_examples_of_mindspore_serving_come_out_as_they_should() {
    let folder = repository();
    let config = folder.path().join(".frameserve.toml");
    fs::write(&config, "[pipelines]\nedges = \"resize=160x120 | gray | canny\"\n").unwrap();
    let paths = [folder.path().to_str().unwrap(), config.to_str().unwrap()];
    let server = start(&["--model-repository", paths[0], "--config", paths[1]]).await;
    let pictures = root().join(".deps/pictures");
    server.python(Venv::Clients, "mindspore_client.py", &["--pictures", pictures.to_str().unwrap()]);
}
