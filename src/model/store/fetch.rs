//! Fetches an archive from a URL, within bounds, and puts it into the store when it is whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::{Scheme, is_allowed, scheme};
use crate::exec::pool::Wanted;

/// Bytes of the largest archive.
const MOST_BYTES: u64 = 8 << 30;

/// How long all of it may take.
const MOST_TIME: Duration = Duration::from_secs(15 * 60);

/// How long a server may take to be there.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// Redirections that are followed.
const MOST_REDIRECTIONS: usize = 5;

/// Why it did not come.
#[derive(Debug)]
pub enum Failure {
    /// Another came first.
    Exists,
    /// Anything else.
    Failed(String),
}

/// Fetches what is at `url` to `to`. A redirection has to lead to a place that is allowed, too.
pub fn fetch(url: &str, to: &Path, allowed: &[Regex], wanted: Wanted<'_>) -> Result<(), Failure> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let part = tempfile::Builder::new().prefix(".fetching-").tempfile_in(folder);
    let mut part = part.map_err(|error| failed(format!("the store can't be written to: {error}")))?;
    match scheme(url) {
        Some((Scheme::File, rest)) => {
            let path = decoded(rest.strip_prefix("localhost").unwrap_or(rest));
            let file = File::open(&path).map_err(|error| failed(format!("{path}: {error}")))?;
            copy(file, part.as_file_mut(), wanted)?;
        }
        Some((Scheme::Http, _)) => copy(body(url, allowed)?, part.as_file_mut(), wanted)?,
        None => return Err(failed("it is no file, http or https URL".into())),
    }
    part.persist_noclobber(to).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists,
        _ => failed(error.error.to_string()),
    })?;
    Ok(())
}

fn body(url: &str, allowed: &[Regex]) -> Result<impl Read, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        // Each has to be held against what is allowed.
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_global(Some(MOST_TIME))
        .build()
        .into();
    let mut url = url.to_owned();
    for _ in 0..=MOST_REDIRECTIONS {
        let response = agent.get(&url).call().map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body().into_with_config().limit(MOST_BYTES + 1).reader());
        }
        let location = response.headers().get("location").and_then(|location| location.to_str().ok());
        let Some(location) = location.filter(|_| status.is_redirection()) else {
            return Err(failed(format!("{url} answers with {status}")));
        };
        url = joined(&url, location);
        if !is_allowed(&url, allowed) || !matches!(scheme(&url), Some((Scheme::Http, _))) {
            return Err(failed(format!("it leads to {url}, which does not match any allowed URL")));
        }
    }
    Err(failed(format!("it leads on more than {MOST_REDIRECTIONS} times")))
}

/// Where a redirection leads: a URL, or a path on the same host.
fn joined(url: &str, location: &str) -> String {
    if scheme(location).is_some() || !location.starts_with('/') {
        return location.into();
    }
    let host = url.match_indices('/').nth(2).map_or(url, |(at, _)| &url[..at]);
    format!("{host}{location}")
}

fn copy(mut from: impl Read, to: &mut File, wanted: Wanted<'_>) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 18];
    let (mut bytes, begin) = (0, Instant::now());
    loop {
        let count = from.read(&mut buffer).map_err(|error| failed(error.to_string()))?;
        if count == 0 {
            return to.flush().map_err(|error| failed(error.to_string()));
        }
        bytes += count as u64;
        if bytes > MOST_BYTES {
            return Err(failed(format!("it has more than {MOST_BYTES} bytes")));
        }
        if begin.elapsed() > MOST_TIME {
            return Err(failed(format!("it took more than {} seconds", MOST_TIME.as_secs())));
        }
        if !wanted() {
            return Err(failed("nobody waits for it any more".into()));
        }
        to.write_all(&buffer[..count]).map_err(|error| failed(error.to_string()))?;
    }
}

/// A path with the bytes that stand in it as `%20`.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let code =
            others.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn failed(why: String) -> Failure {
    Failure::Failed(why)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::spawn;

    use super::*;

    /// A server that gives these answers, one after the other, and where it is.
    fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        spawn(move || {
            for answer in answers {
                let (mut client, _) = listener.accept().unwrap();
                let mut asked = [0; 1024];
                assert!(client.read(&mut asked).unwrap() > 0);
                client.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn why(fetched: Result<(), Failure>) -> String {
        match fetched.unwrap_err() {
            Failure::Failed(why) => why,
            Failure::Exists => "it exists".into(),
        }
    }

    #[test]
    fn redirections_lead_only_where_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("m.mar");
        let answers = [
            answer("302 Found", "Location: /moved\r\n", ""),
            answer("200 OK", "", "whole"),
            answer("302 Found", "Location: http://127.0.0.2/secret\r\n", ""),
            answer("302 Found", "Location: file:///etc/passwd\r\n", ""),
            answer("404 Not Found", "", "no"),
        ];
        let address = serve(answers.to_vec());
        let allowed = [super::super::expression(&format!("{address}/.*|file://.*")).unwrap()];
        let fetch = || super::fetch(&format!("{address}/m.mar"), &to, &allowed, &|| true);
        fetch().unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "whole");
        assert!(why(fetch()).contains("http://127.0.0.2/secret"));
        assert!(why(fetch()).contains("file:///etc/passwd"));
        assert!(why(fetch()).contains("404"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "what fails leaves nothing");
    }

    #[test]
    fn who_gives_up_stops_it() {
        let folder = tempfile::tempdir().unwrap();
        let address = serve(vec![answer("200 OK", "", "whole")]);
        let allowed = [super::super::expression(".*").unwrap()];
        let fetched = super::fetch(&format!("{address}/m"), &folder.path().join("m"), &allowed, &|| false);
        assert!(why(fetched).contains("nobody waits"));
    }
}
