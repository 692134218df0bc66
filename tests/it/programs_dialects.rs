//! The server's program, and the clients of all systems that it stands in for, with one model.

use crate::program::{Program, Venv, there};

#[test]
fn a_model_that_one_client_registers_is_there_for_all_of_them() {
    let store = tempfile::tempdir().unwrap();
    let (store, any) = (store.path().to_str().unwrap(), "127.0.0.1:0");
    let flags =
        ["--torchserve", "--enable-model-api", "--disable-token-auth", "--torchserve-model-store", store];
    let addresses =
        ["--listen", any, "--torchserve-inference-address", any, "--torchserve-management-address", any];
    let server = Program::start(&[&flags[..], &addresses].concat());
    let [also, inference, management] = &server.others[..] else { panic!("{:?}", server.others) };
    let (classifier, cat) = (there("samples/models/classifier"), there(".deps/pictures/chelsea.png"));
    there("samples/models/classifier/1/model.pt");
    let paths = [classifier, cat].map(|path| path.to_str().unwrap().to_owned());
    let arguments = [
        ["--also", also],
        ["--inference", inference],
        ["--management", management],
        ["--store", store],
        ["--classifier", &paths[0]],
        ["--cat", &paths[1]],
    ];
    server.python(Venv::Clients, "dialects.py", arguments.as_flattened());
}
