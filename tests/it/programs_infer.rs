//! The server's program and other people's clients of the KServe V2 protocol, as they are published.

use crate::program::{Program, Venv};

/// A server whose models are loaded by its clients.
fn server() -> Program {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/models");
    Program::start(&["--model-repository", models, "--model-control", "explicit"])
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
