//! The server's program, a real model archive, and a client that is, on the wire, TorchServe's own script.

use crate::program::{Program, Venv, there};

fn walk(more: &[&str], keys: Option<&str>) {
    let store = tempfile::tempdir().unwrap();
    let store = store.path().to_str().unwrap();
    let any = "127.0.0.1:0";
    let addresses = ["--torchserve-inference-address", any, "--torchserve-management-address", any];
    let flags = ["--torchserve", "--enable-model-api", "--torchserve-model-store", store];
    let server = Program::start(&[&flags[..], &addresses, more].concat());
    let [inference, management] = &server.others[..] else { panic!("{:?}", server.others) };
    let (classifier, cat) = (there("samples/models/classifier"), there(".deps/pictures/chelsea.png"));
    there("samples/models/classifier/1/model.pt");
    let mut arguments = vec![
        "--inference",
        inference,
        "--management",
        management,
        "--store",
        store,
        "--classifier",
        classifier.to_str().unwrap(),
        "--cat",
        cat.to_str().unwrap(),
    ];
    arguments.extend(keys.iter().flat_map(|file| ["--key-file", file]));
    server.python(Venv::Clients, "torchserve_client.py", &arguments);
}

#[test]
fn the_walk_of_torchserves_script_comes_out_as_it_should() {
    walk(&["--disable-token-auth"], None);
}

#[test]
fn the_walk_is_the_same_with_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key_file.json");
    let file = file.to_str().unwrap();
    walk(&["--torchserve-key-file", file], Some(file));
}
