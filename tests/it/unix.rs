//! Unix domain sockets: all services over them, several listeners at a time, and what becomes of the files.

use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::process::Command;

use frameserve::client::{Client, ClientError, InferenceClient, ServingStatus};
use frameserve::config::{Address, Config, SharedMemory};
use frameserve::proto::inference::SystemSharedMemoryStatusRequest;
use frameserve::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use frameserve::server::Listener;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{TestServer, config};
use crate::program::{Program, SERVER, Venv, succeeds};

fn unix(path: &Path) -> Address {
    Address::Unix(path.into())
}

fn url(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[tokio::test]
async fn one_server_listens_in_several_places() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (folder.path().join("a.sock"), folder.path().join("b.sock"));
    let mut listeners = vec![Listener::from(TcpListener::bind("127.0.0.1:0").await.unwrap())];
    for path in [&first, &second] {
        listeners.push(Listener::bind(&unix(path), None).await.unwrap());
    }
    let tcp = listeners[0].address().unwrap().to_string();
    let server = TestServer::start_on(Config::default(), listeners).await;
    for to in [&tcp, &url(&first), &url(&second)] {
        let client = Client::connect(to).await.unwrap();
        assert_eq!(client.health("ImageTest").await.unwrap(), ServingStatus::Serving, "{to}");
        client.open(config("gray")).await.unwrap();
        InferenceClient::connect(to).await.unwrap().server_metadata().await.unwrap();
    }
    server.ended().await;
    assert!(!first.exists() && !second.exists(), "the files are still there");
}

#[tokio::test]
async fn who_comes_over_a_socket_is_on_this_machine() {
    let folder = TempDir::new().unwrap();
    for (who, code) in [(SharedMemory::ThisMachine, None), (SharedMemory::Nowhere, Some(Code::Unimplemented))]
    {
        let path = folder.path().join("s.sock");
        let listener = Listener::bind(&unix(&path), None).await.unwrap();
        let config = Config { shared_memory: who, ..Config::default() };
        let server = TestServer::start_on(config, vec![listener]).await;
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        let mut client = GrpcInferenceServiceClient::new(endpoint.connect().await.unwrap());
        let status = client.system_shared_memory_status(SystemSharedMemoryStatusRequest::default()).await;
        assert_eq!(status.err().map(|status| status.code()), code, "{who:?}");
        server.ended().await;
    }
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.sock");
    drop(StdListener::bind(&path).unwrap());
    let listener = Listener::bind(&unix(&path), None).await.unwrap();
    let said = Listener::bind(&unix(&path), None).await.unwrap_err().to_string();
    assert!(said.contains(&url(&path)) && said.contains("another server answers"), "{said}");
    assert!(path.exists(), "who is refused takes nothing away");
    // Somebody removed the file, and another server has made its own: that is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    let _other = StdListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists(), "another's socket was removed");
}

#[tokio::test]
async fn what_is_no_place_for_a_socket_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    for (path, says) in [(&file, "no socket"), (&folder.path().join("none/s.sock"), "there is no folder")] {
        let said = Listener::bind(&unix(path), None).await.unwrap_err().to_string();
        assert!(said.contains(says) && said.contains(&url(path)), "{said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[tokio::test]
async fn connections_over_sockets_are_counted_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.sock");
    let listener = Listener::bind(&unix(&path), None).await.unwrap();
    let mut only_one = Config::default();
    only_one.transport.max_connections = 1;
    let server = TestServer::start_on(only_one, vec![listener]).await;
    let mut silent = UnixStream::connect(&path).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    // It never says the rest. Its place is free when the time for that is over, and not before.
    let begun = std::time::Instant::now();
    let client = Client::connect(&url(&path)).await.unwrap();
    client.describe().await.unwrap();
    assert!(begun.elapsed().as_secs() >= 8, "the silent one did not count");
    let mut rest = Vec::new();
    let _reset_or_end = silent.read_to_end(&mut rest).await;
    drop(client);
    server.ended().await;
}

#[tokio::test]
async fn a_client_says_where_it_found_nobody() {
    let nowhere = Client::connect("unix:/no/such.sock").await.unwrap_err();
    assert!(matches!(nowhere, ClientError::Connect { .. }), "{nowhere:?}");
    let said = nowhere.to_string();
    assert!(said.contains("frameserve-server --listen unix:/no/such.sock"), "{said}");
}

#[test]
fn the_programs_meet_over_a_socket() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.sock");
    let server = Program::start_in(folder.path(), &["--listen", "unix:s.sock"]);
    assert_eq!(server.address, "unix:s.sock");
    let client = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
        succeeds(command.args(words).args(["--server", "unix:s.sock"]).current_dir(&folder))
    };
    assert!(client(&["doctor"]).contains("Server at unix:s.sock"));
    client(&["stream", "test:64x48", "--frames", "3"]);
    client(&["models"]);
    client(&["pipelines"]);
    let second = Command::new(SERVER).args(["--listen", &url(&path)]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another server answers there"), "{said}");
    server.signal(libc::SIGTERM);
    server.wait();
    assert!(!path.exists(), "the file is still there");
}

#[test]
fn grpcio_has_every_service_over_a_socket() {
    let folder = TempDir::new().unwrap();
    let listen = format!("unix:{}", folder.path().join("s.sock").display());
    let server = Program::start_with_models(&["--listen", &listen]);
    server.python(Venv::Clients, "transports.py", &[]);
}
