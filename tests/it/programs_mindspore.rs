//! The server's program and a client that is, on the wire, that of MindSpore Serving.

use std::fs;
use std::os::unix::fs::symlink;

use frameserve::config::{Config, Models, TlsFiles};
use frameserve::model::Control;
use frameserve::server::{Listener, Tls};

use crate::certificates::Certificates;
use crate::harness::TestServer;
use crate::program::{Venv, root, succeeds, there};
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

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_come_out_through_a_socket_and_tls_too() {
    let (folder, made) = (repository(), Certificates::new());
    made.sign("client", "extendedKeyUsage=clientAuth");
    let [certificate, key, authority] = ["server.crt", "server.key", "ca.crt"].map(|file| made.path(file));
    let files = TlsFiles { certificate, key, client_authority: None };
    let mutual = TlsFiles { client_authority: Some(authority), ..files.clone() };
    let (tls, mutual) = (Tls::read(&files).unwrap(), Tls::read(&mutual).unwrap());
    let socket = format!("unix:{}", made.file("mindspore.sock"));
    let mut listeners = Vec::new();
    for (address, tls) in
        [(socket.as_str(), None), ("127.0.0.1:0", Some(&tls)), ("127.0.0.1:0", Some(&mutual))]
    {
        listeners.push(Listener::bind(&address.parse().unwrap(), tls).await.unwrap());
    }
    let addresses: Vec<_> =
        listeners.iter().map(|listener| listener.address().unwrap().to_string()).collect();
    let control = Control::Explicit(vec!["add".into(), "classifier".into()]);
    let models = Models { repositories: vec![folder.path().into()], control, ..Models::default() };
    let server = TestServer::start_on(Config { models, ..Config::default() }, listeners).await;
    server.loaded().await;
    let [ca, cert, key] = ["ca.crt", "client.crt", "client.key"].map(|file| made.file(file));
    let shown: [&[&str]; 3] = [&[], &["--ca", &ca], &["--ca", &ca, "--cert", &cert, "--key", &key]];
    for (address, shown) in addresses.iter().zip(shown) {
        let mut client = Venv::Clients.command(&root().join("tests/python/mindspore_client.py"));
        client.args(["--server", address, "--pictures"]).arg(there(".deps/pictures")).args(shown);
        for check in
            ["three_sums_are_added", "a_wrong_type_fails_for_itself", "a_folder_of_pictures_is_classified"]
        {
            client.args(["--check", check]);
        }
        let said = tokio::task::block_in_place(|| succeeds(&mut client));
        assert_eq!(said.matches("ok: ").count(), 3, "{address}: {said}");
    }
}
