//! The server's program and other people's clients of the KServe V2 protocol, as they are published.

use frameserve::proto::inference::log_settings_request::SettingValue;
use frameserve::proto::inference::log_settings_request::setting_value::ParameterChoice;
use frameserve::proto::inference::{LogSettingsRequest, RepositoryModelLoadRequest};

use crate::program::{Program, Venv};
use crate::puppet::InferClient;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/models");

/// A server whose models are loaded by its clients.
fn server() -> Program {
    Program::start(&["--model-repository", MODELS, "--model-control", "explicit"])
}

#[test]
fn tritons_client_gets_what_triton_gives() {
    server().python(Venv::Clients, "triton_client.py", &[]);
}

#[test]
fn kserves_client_gets_what_kserve_gives() {
    server().python(Venv::Clients, "kserve_client.py", &[]);
}

#[test]
fn the_protocol_is_tritons_field_by_field() {
    server().python(Venv::Clients, "descriptors.py", &[]);
}

#[test]
fn poisoned_requests_are_refused_and_cost_no_memory() {
    let server = server();
    server.python(Venv::Clients, "poison.py", &["--pid", &server.child.id().to_string()]);
}

#[test]
fn tritons_client_finds_a_server_by_its_flags_and_is_told_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pipelines.toml");
    std::fs::write(&config, "[pipelines]\nedges = \"canny\"\n").unwrap();
    let config = config.to_str().unwrap();
    let server =
        Program::start(&["--server-name", "triton", "--model-repository", MODELS, "--config", config]);
    server.python(Venv::Clients, "triton_program.py", &["--pid", &server.child.id().to_string()]);
    server.wait();
}

#[tokio::test]
async fn what_is_logged_changes_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let flags = ["--listen", "127.0.0.1:0", "--model-repository", MODELS, "--model-control", "explicit"];
    let server = Program::start_with_log(&log, &flags);
    let mut client = InferClient::connect(format!("http://{}", server.address)).await.unwrap();
    let mut load = async |name: &str, info: bool| {
        let info = SettingValue { parameter_choice: Some(ParameterChoice::BoolParam(info)) };
        let settings = [("log_info".to_owned(), info)].into();
        client.log_settings(LogSettingsRequest { settings }).await.unwrap();
        let request = RepositoryModelLoadRequest { model_name: name.into(), ..Default::default() };
        client.repository_model_load(request).await.unwrap();
        std::fs::read_to_string(&log).unwrap()
    };
    let is_told = |log: &str, name: &str| {
        log.lines().any(|line| line.contains("a model is ready") && line.contains(name))
    };
    assert!(is_told(&load("identity", true).await, "identity"));
    assert!(!is_told(&load("pair", false).await, "pair"));
    let log = load("scores", true).await;
    assert!(is_told(&log, "scores") && !is_told(&log, "pair"), "{log}");
}
