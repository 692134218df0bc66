//! TLS: all services, mutual TLS, what is wrong with certificates, and clients and servers of which one speaks it.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use frameserve::client::{Client, ClientError, InferenceClient, ServingStatus, Tls as ClientTls};
use frameserve::config::{Config, TlsFiles};
use frameserve::server::{Listener, Tls};
use frameserve::tls::{Pem, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::Certificates;
use crate::harness::{TestServer, config};
use crate::program::{Program, SERVER, Venv};

fn pem(certificates: &Certificates, file: &str) -> Pem {
    Pem::read(certificates.path(file)).unwrap()
}

/// With `server.crt`; with mutual TLS if there is an authority.
fn server_tls(certificates: &Certificates, client_authority: Option<&str>) -> Tls {
    let authority = client_authority.map(|file| certificates.path(file));
    let (certificate, key) = (certificates.path("server.crt"), certificates.path("server.key"));
    Tls::read(&TlsFiles { certificate, key, client_authority: authority }).unwrap()
}

async fn start(tls: Option<Tls>) -> TestServer {
    let listener = Listener::from(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let listener = match tls {
        Some(tls) => listener.with_tls(tls),
        None => listener,
    };
    TestServer::start_on(Config::default(), vec![listener]).await
}

fn trusting(certificates: &Certificates) -> ClientTls {
    ClientTls::default().with_authorities(&pem(certificates, "ca.crt")).unwrap()
}

fn showing(certificates: &Certificates, file: &str) -> ClientTls {
    let (certificate, key) = (format!("{file}.crt"), format!("{file}.key"));
    let tls = trusting(certificates);
    tls.with_identity(&pem(certificates, &certificate), &pem(certificates, &key)).unwrap()
}

fn https(address: SocketAddr) -> String {
    format!("https://{address}")
}

/// Why there is no connection.
async fn refused(url: &str, tls: &ClientTls) -> String {
    let error = Client::connect_with(url, tls).await.expect_err(url);
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(url), "{said}");
    said
}

async fn works(url: &str, tls: &ClientTls) {
    let client = Client::connect_with(url, tls).await.unwrap();
    assert_eq!(client.health("ImageTest").await.unwrap(), ServingStatus::Serving);
    client.open(config("gray")).await.unwrap();
    let models = InferenceClient::connect_with(url, tls).await.unwrap();
    models.server_metadata().await.unwrap();
}

#[tokio::test]
async fn a_client_trusts_whom_it_is_told_to_trust() {
    let certificates = Certificates::new();
    let server = start(Some(server_tls(&certificates, None))).await;
    let url = https(server.address);
    works(&url, &trusting(&certificates)).await;
    works(&format!("https://localhost:{}", server.address.port()), &trusting(&certificates)).await;
    works(&url, &trusting(&certificates).with_server_name("localhost")).await;
    let said = refused(&url, &trusting(&certificates).with_server_name("other.example")).await;
    assert!(said.contains("not for other.example, but for localhost, 127.0.0.1"), "{said}");
    let other = Certificates::authority("Other CA");
    let said = refused(&url, &trusting(&other)).await;
    assert!(said.contains("authority that is not trusted") && said.contains("--tls-ca"), "{said}");
    server.ended().await;
}

#[tokio::test]
async fn keys_and_certificates_may_be_of_many_kinds() {
    let made = Certificates::authority("Test CA");
    let name = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    made.openssl("genrsa -traditional -out pkcs1.key 2048");
    made.openssl("ecparam -genkey -name prime256v1 -noout -out sec1.key");
    made.openssl("genpkey -algorithm ed25519 -out pkcs8.key");
    for kind in ["pkcs1", "sec1", "pkcs8"] {
        made.sign(kind, name);
        let (certificate, key) = (pem(&made, &format!("{kind}.crt")), pem(&made, &format!("{kind}.key")));
        let server = start(Some(Tls::new(&certificate, &key, None).unwrap())).await;
        works(&https(server.address), &trusting(&made)).await;
        server.ended().await;
    }
}

#[tokio::test]
async fn a_chain_leads_to_its_authority() {
    let made = Certificates::authority("Test CA");
    made.sign("between", "basicConstraints=critical,CA:TRUE");
    made.openssl("genrsa -out server.key 2048");
    made.openssl("req -new -key server.key -out server.csr -subj /CN=localhost");
    std::fs::write(made.path("server.ext"), "subjectAltName=IP:127.0.0.1").unwrap();
    made.openssl(
        "x509 -req -in server.csr -CA between.crt -CAkey between.key -CAcreateserial -days 9 -extfile server.ext \
         -out leaf.crt",
    );
    let chain = ["leaf.crt", "between.crt"].map(|file| std::fs::read(made.path(file)).unwrap()).concat();
    std::fs::write(made.path("server.crt"), chain).unwrap();
    let server = start(Some(server_tls(&made, None))).await;
    works(&https(server.address), &trusting(&made)).await;
    server.ended().await;
}

#[tokio::test]
async fn certificates_that_are_no_good_are_told_apart() {
    let certificates = Certificates::authority("Test CA");
    let name = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    certificates.sign_for("server", name, "-1");
    let server = start(Some(server_tls(&certificates, None))).await;
    let said = refused(&https(server.address), &trusting(&certificates)).await;
    assert!(said.contains("the server's certificate has expired"), "{said}");
    server.ended().await;
    // As `openssl req -x509` makes it: the server's own, and an authority's.
    certificates.openssl("req -x509 -new -key server.key -days 9 -out server.crt -subj /CN=x");
    let server = start(Some(server_tls(&certificates, None))).await;
    let own = ClientTls::default().with_authorities(&pem(&certificates, "server.crt")).unwrap();
    let said = refused(&https(server.address), &own).await;
    assert!(said.contains("CA:FALSE"), "{said}");
    server.ended().await;
}

#[tokio::test]
async fn mutual_tls_asks_for_a_certificate_of_its_authority() {
    let certificates = Certificates::new();
    certificates.sign("client", "extendedKeyUsage=clientAuth");
    certificates.sign_for("late", "extendedKeyUsage=clientAuth", "-1");
    let server = start(Some(server_tls(&certificates, Some("ca.crt")))).await;
    let url = https(server.address);
    works(&url, &showing(&certificates, "client")).await;
    let said = refused(&url, &trusting(&certificates)).await;
    assert!(said.contains("asks its clients for a certificate") && said.contains("--tls-cert"), "{said}");
    let said = refused(&url, &showing(&certificates, "late")).await;
    assert!(said.contains("has expired"), "{said}");
    let strangers = Certificates::authority("Other CA");
    strangers.sign("client", "extendedKeyUsage=clientAuth");
    let stranger = ClientTls::default().with_authorities(&pem(&certificates, "ca.crt")).unwrap();
    let stranger =
        stranger.with_identity(&pem(&strangers, "client.crt"), &pem(&strangers, "client.key")).unwrap();
    let said = refused(&url, &stranger).await;
    assert!(said.contains("does not accept this client's certificate"), "{said}");
    server.ended().await;
}

#[tokio::test]
async fn who_speaks_tls_to_who_does_not_is_told() {
    let certificates = Certificates::new();
    let (with, without) = (start(Some(server_tls(&certificates, None))).await, start(None).await);
    let said = refused(&format!("http://{}", with.address), &ClientTls::default()).await;
    assert!(said.ends_with(&format!("the server speaks TLS: use https://{}", with.address)), "{said}");
    let said = refused(&https(without.address), &trusting(&certificates)).await;
    assert!(said.ends_with(&format!("does not speak TLS: use http://{}", without.address)), "{said}");
    // What a client that knows nothing of this server makes of it.
    let channel = with.channel().await;
    let mut foreign = tonic_health::pb::health_client::HealthClient::new(channel);
    let status = foreign.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap_err();
    assert!(format!("{status:?}").contains("this address speaks TLS"), "{status:?}");
    with.ended().await;
    without.ended().await;
}

#[tokio::test]
async fn a_server_that_speaks_neither_is_told_from_both() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hanging_up = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _first = stream.read(&mut [0; 16]).await;
        }
    });
    let certificates = Certificates::authority("Test CA");
    let said = refused(&https(address), &trusting(&certificates)).await;
    assert!(said.contains("perhaps it does not speak TLS"), "{said}");
    hanging_up.abort();
}

#[tokio::test]
async fn options_for_tls_are_not_ignored_without_it() {
    let certificates = Certificates::authority("Test CA");
    for url in ["http://127.0.0.1:1", "127.0.0.1:1", "unix:/x.sock"] {
        let error = Client::connect_with(url, &trusting(&certificates)).await.unwrap_err();
        assert!(matches!(error, ClientError::Url { .. }) && error.to_string().contains("TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_goes_nowhere_costs_its_place_for_a_while_only() {
    let certificates = Certificates::new();
    let listener = Listener::from(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut one = Config::default();
    one.transport.max_connections = 1;
    let listener = listener.with_tls(server_tls(&certificates, None));
    let server = TestServer::start_on(one, vec![listener]).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let begun = Instant::now();
    works_in_the_end(&https(server.address), &trusting(&certificates)).await;
    assert!(begun.elapsed() >= Duration::from_secs(8), "the slow one did not count");
    let _reset_or_end = slow.read_to_end(&mut Vec::new()).await;
    server.ended().await;
}

async fn works_in_the_end(url: &str, tls: &ClientTls) {
    let connecting = async {
        loop {
            // It gives up after five seconds, which is less than the other has.
            if let Ok(client) = Client::connect_with(url, tls).await {
                break client;
            }
        }
    };
    let client = tokio::time::timeout(Duration::from_secs(40), connecting).await.unwrap();
    client.describe().await.unwrap();
}

#[test]
fn files_that_do_not_do_are_named() {
    let certificates = Certificates::new();
    certificates.sign("other", "subjectAltName=DNS:other");
    certificates.openssl("pkcs8 -topk8 -in other.key -out encrypted.key -passout pass:secret");
    let read = |certificate, key, authority: Option<&str>| {
        Tls::read(&TlsFiles {
            certificate: certificates.path(certificate),
            key: certificates.path(key),
            client_authority: authority.map(|file| certificates.path(file)),
        })
        .expect_err(key)
    };
    assert!(matches!(read("none.crt", "server.key", None), TlsError::Unreadable { .. }));
    assert!(matches!(read("server.key", "server.key", None), TlsError::NoCertificate { .. }));
    assert!(matches!(read("server.crt", "server.crt", None), TlsError::NoKey { .. }));
    assert!(matches!(read("server.crt", "other.key", None), TlsError::OtherKey { .. }));
    assert!(matches!(read("other.crt", "encrypted.key", None), TlsError::EncryptedKey { .. }));
    assert!(matches!(read("server.crt", "server.key", Some("ca.key")), TlsError::NoCertificate { .. }));
}

fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn settings_of_the_server_go_together() {
    let made = Certificates::new();
    made.sign("other", "subjectAltName=DNS:other");
    let [cert, key, other, ca] =
        ["server.crt", "server.key", "other.key", "ca.crt"].map(|file| made.file(file));
    for (arguments, says) in [
        (&["--tls-cert", &*cert] as &[&str], "--tls-key"),
        (&["--tls-key", &key], "--tls-cert"),
        (&["--tls-client-ca", &ca], "--tls-client-ca goes with --tls-cert"),
        (&["--tls-cert", &cert, "--tls-key", &other], "is not that of the first certificate"),
        (&["--tls-cert", "/no/where.crt", "--tls-key", &key], "/no/where.crt can't be read"),
        (&["--tls-cert", &cert, "--tls-key", &key, "--listen", "unix:x.sock"], "TCP address"),
    ] {
        let (code, said) = run(SERVER, arguments);
        assert!(code == Some(1) && said.contains(says), "{arguments:?}: `{says}` is not in\n{said}");
    }
    let listen =
        ["--listen", "127.0.0.1:0,unix:x.sock", "--tls-cert", &cert, "--tls-key", &key, "--print-config"];
    let (code, printed) = run(SERVER, &listen);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("listen = [\"127.0.0.1:0\", \"unix:x.sock\"]"), "{printed}");
    let file = made.path("frameserve.toml");
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(run(SERVER, &["--config", file.to_str().unwrap(), "--print-config"]), (Some(0), printed));
}

#[test]
fn the_programs_meet_over_mutual_tls() {
    let made = Certificates::new();
    made.sign("client", "extendedKeyUsage=clientAuth");
    let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|file| made.file(file));
    let [own, own_key] = ["client.crt", "client.key"].map(|file| made.file(file));
    let tls = ["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let server = Program::start_with_models(&tls);
    let client = env!("CARGO_BIN_EXE_frameserve-client");
    let url = format!("https://{}", server.address);
    let target = format!("kserves://{}", server.address);
    let shown = ["--tls-ca", &ca, "--tls-cert", &own, "--tls-key", &own_key];
    let load = ["models", "load", "identity", "--server", &url];
    let infer = ["infer", "identity", "--input", "INPUT0=ones", "--shape", "INPUT0=1,4", "--server", &url];
    let bench = ["bench", "identity", "--shape", "INPUT0=1,4", "--target", &target, "--check-identity"];
    let bench = [&bench[..], &["--seconds", "0.2", "--warmup", "0", "--concurrency", "1", "--shared-memory"]]
        .concat();
    for words in [
        &load as &[&str],
        &infer,
        &bench,
        &["models", "--server", &url],
        &["pipelines", "--server", &url],
        &["doctor", "--server", &url],
        &["stream", "test:64x48", "--frames", "3", "--server", &url],
    ] {
        let (code, said) = run(client, &[words, &shown].concat());
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }
    let (code, said) = run(client, &["doctor", "--server", &url, "--tls-ca", &ca]);
    assert!(code == Some(2) && said.contains("give one with --tls-cert FILE"), "{said}");
    let (code, said) = run(client, &["models", "--server", &url, "--tls-ca", &ca, "--tls-cert", &own]);
    assert!(code == Some(1) && said.contains("one of them is missing"), "{said}");
    let (code, said) = run(client, &["models", "--server", &url, "--tls-ca", "/no/where"]);
    assert!(code == Some(1) && said.contains("--tls-ca: /no/where can't be read"), "{said}");
    let plain = format!("http://{}", server.address);
    let (code, said) = run(client, &["stream", "test:64x48", "--server", &plain]);
    assert!(code == Some(2) && said.contains(&format!("use {url}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_came_wrongly() {
    let made = Certificates::new();
    let strangers = Certificates::authority("Other CA");
    strangers.sign("client", "extendedKeyUsage=clientAuth");
    let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|file| made.file(file));
    let log = made.path("log");
    let tls = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca, "--listen", "127.0.0.1:0"];
    let server = Program::start_with_log(&log, &tls);
    let plain_log = made.path("plain-log");
    let plain = Program::start_with_log(&plain_log, &["--listen", "127.0.0.1:0"]);
    let (url, trusting_another) = (format!("https://{}", server.address), trusting(&strangers));
    refused(&url, &trusting(&made)).await;
    refused(&url, &trusting_another).await;
    let stranger = trusting(&made);
    let (own, own_key) = (pem(&strangers, "client.crt"), pem(&strangers, "client.key"));
    refused(&url, &stranger.with_identity(&own, &own_key).unwrap()).await;
    refused(&format!("http://{}", server.address), &ClientTls::default()).await;
    refused(&format!("https://{}", plain.address), &trusting(&made)).await;
    for server in [server, plain] {
        server.signal(libc::SIGTERM);
        server.wait();
    }
    let said = std::fs::read_to_string(log).unwrap();
    for line in [
        "the client showed no certificate, and --tls-client-ca asks for one",
        "the client does not trust the authority of this server's certificate",
        "the client's certificate is of an authority that is not trusted here",
        "a client without TLS came to an address with TLS",
    ] {
        assert!(said.contains(line), "`{line}` is not in\n{said}");
    }
    let said = std::fs::read_to_string(plain_log).unwrap();
    assert!(said.contains("a client with TLS came to an address without TLS"), "{said}");
}

#[test]
fn grpcio_has_every_service_over_tls() {
    let made = Certificates::new();
    made.sign("client", "extendedKeyUsage=clientAuth");
    let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|file| made.file(file));
    let [own, own_key] = ["client.crt", "client.key"].map(|file| made.file(file));
    let listen = ["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let server = Program::start_with_models(&listen);
    server.python(Venv::Clients, "transports.py", &["--ca", &ca]);
    server.python(Venv::Clients, "transports.py", &["--ca", &ca, "--name", "localhost", "--check", "models"]);
    server.python(Venv::Clients, "transports.py", &["--refused", "this address speaks TLS"]);
    let mutual = Program::start_with_models(&[&listen[..], &["--tls-client-ca", &ca]].concat());
    mutual.python(Venv::Clients, "transports.py", &["--ca", &ca, "--cert", &own, "--key", &own_key]);
    mutual.python(Venv::Clients, "transports.py", &["--ca", &ca, "--refused", "failed to connect"]);
    let plain = Program::start_with_models(&["--listen", "127.0.0.1:0"]);
    plain.python(Venv::Clients, "transports.py", &["--ca", &ca, "--refused", "WRONG_VERSION_NUMBER"]);
    let other = Certificates::authority("Other CA");
    server.python(
        Venv::Clients,
        "transports.py",
        &["--ca", &other.file("ca.crt"), "--refused", "CERTIFICATE_VERIFY"],
    );
}
