//! Tokens: the keys that clients have to send, the file in which their owner finds them, and how they are renewed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use serde_json::json;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::error::Error;

/// Where they are renewed.
pub const RENEWAL_PATH: &str = "/token";

/// How long a key is good for.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Bytes of a key, which is twice as long as a text.
const KEY_BYTES: usize = 16;

/// What is said of a call without a key, or with a wrong one.
const DENIED: &str = "Token Authorization failed. Token either incorrect, expired, or not provided correctly";

/// The keys of a server, and the file that they stand in. It is removed when this is dropped.
pub struct Keys {
    file: PathBuf,
    /// Renews the others, and never expires.
    api: String,
    current: Mutex<Current>,
}

struct Current {
    management: Key,
    inference: Key,
}

struct Key {
    text: String,
    expires: SystemTime,
}

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Management of models.
    Management,
    /// Predictions.
    Inference,
}

/// Lets through calls that have the right key. Where none is asked for, all of them.
#[derive(Debug, Clone)]
pub struct Check {
    keys: Option<Arc<Keys>>,
    purpose: Purpose,
}

impl Keys {
    /// Makes keys, and writes them to a file that only its owner can read. What it was before is overwritten.
    pub fn create(file: PathBuf) -> Result<Self, Error> {
        let failed = |error: io::Error| unwritable(&file, &error);
        let current =
            Current { management: Key::new().map_err(failed)?, inference: Key::new().map_err(failed)? };
        let api = random().map_err(failed)?;
        let keys = Keys { file: file.clone(), api, current: Mutex::new(current) };
        keys.write(&keys.current()).map_err(failed)?;
        tracing::info!("the tokens that TorchServe's clients have to send stand in {}", file.display());
        Ok(keys)
    }

    fn opens(&self, token: &str, purpose: Purpose) -> bool {
        let current = self.current();
        let key = match purpose {
            Purpose::Management => &current.management,
            Purpose::Inference => &current.inference,
        };
        same(token, &key.text) && SystemTime::now() < key.expires
    }

    /// Makes a new key in place of the one for this purpose.
    fn renew(&self, purpose: Purpose) -> Result<(), Error> {
        let failed = |error: io::Error| unwritable(&self.file, &error);
        let key = Key::new().map_err(failed)?;
        let mut current = self.current();
        match purpose {
            Purpose::Management => current.management = key,
            Purpose::Inference => current.inference = key,
        }
        self.write(&current).map_err(failed)?;
        tracing::info!(?purpose, "a token was renewed");
        Ok(())
    }

    /// Writes the file as a whole, beside the old one and then in its place.
    fn write(&self, current: &Current) -> io::Result<()> {
        let key = |key: &Key| json!({ "key": key.text, "expiration time": Timestamp::from(key.expires).to_string() });
        let keys = json!({
            "management": key(&current.management),
            "inference": key(&current.inference),
            "API": { "key": self.api },
        });
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        // A file of that kind can be read by its owner alone.
        let mut file =
            tempfile::Builder::new().prefix(".key_file-").tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(serde_json::to_string_pretty(&keys)?.as_bytes())?;
        file.persist(&self.file).map_err(|error| error.error)?;
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Removes the file, so that nobody takes its keys for those of a server that is still there.
    fn remove_file(&self) {
        // Another server may have written its own to the same place.
        let ours = fs::read_to_string(&self.file).is_ok_and(|text| text.contains(&self.api));
        if ours && let Err(error) = fs::remove_file(&self.file) {
            tracing::warn!(%error, "{} can't be removed", self.file.display());
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.remove_file();
    }
}

/// Removes the file of keys when it is dropped, even if calls that were cut off still hold the keys.
#[derive(Debug)]
pub struct KeyFile(Arc<Keys>);

impl KeyFile {
    /// The file of these keys.
    pub fn of(keys: &Arc<Keys>) -> Self {
        KeyFile(Arc::clone(keys))
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.0.remove_file();
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.file.display())
    }
}

impl Key {
    fn new() -> io::Result<Self> {
        Ok(Key { text: random()?, expires: SystemTime::now() + LIFETIME })
    }
}

impl Check {
    /// Holds calls of this purpose against these keys, if there are any.
    pub fn new(keys: Option<Arc<Keys>>, purpose: Purpose) -> Self {
        Check { keys, purpose }
    }
}

impl Interceptor for Check {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(keys) = &self.keys else { return Ok(request) };
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        match given.and_then(bearer) {
            Some(token) if keys.opens(token, self.purpose) => Ok(request),
            _ => Err(Status::permission_denied(DENIED)),
        }
    }
}

/// Renews keys over plain HTTP, as TorchServe does: `GET /token?type=management` or `inference`, with the API key.
#[derive(Debug, Clone)]
pub struct Renewal(Arc<Keys>);

impl Renewal {
    /// What renews these keys.
    pub fn of(keys: &Arc<Keys>) -> Self {
        Renewal(Arc::clone(keys))
    }

    /// The code and the text of the reply to such a request.
    pub fn answer(&self, query: &str, authorization: Option<&str>) -> (http::StatusCode, String) {
        let error = |code: http::StatusCode, class: &str, text: &str| {
            let body = json!({ "code": code.as_u16(), "type": class, "message": text });
            (code, format!("{body:#}\n"))
        };
        let token = authorization.and_then(bearer);
        if !token.is_some_and(|token| same(token, &self.0.api)) {
            return error(http::StatusCode::BAD_REQUEST, "InvalidKeyException", DENIED);
        }
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let purpose = match pairs.collect::<HashMap<_, _>>().get("type") {
            Some(&"management") => Purpose::Management,
            Some(&"inference") => Purpose::Inference,
            other => {
                let text = format!("type is `{}`: it must be management or inference", other.unwrap_or(&""));
                return error(http::StatusCode::BAD_REQUEST, "InvalidKeyException", &text);
            }
        };
        match self.0.renew(purpose) {
            Ok(()) => (http::StatusCode::OK, String::new()),
            Err(why) => {
                tracing::error!(error = %why, "a token could not be renewed");
                let text = "the key file can't be written; the server's log has the cause";
                error(http::StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", text)
            }
        }
    }
}

impl<B> Service<http::Request<B>> for Renewal {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let (code, text) = match *request.method() {
            http::Method::GET => self.answer(request.uri().query().unwrap_or_default(), authorization),
            _ => (http::StatusCode::METHOD_NOT_ALLOWED, String::new()),
        };
        let mut response = http::Response::new(Body::new(text));
        *response.status_mut() = code;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", json);
        ready(Ok(response))
    }
}

/// The token of a header: one word after `Bearer`.
fn bearer(header: &str) -> Option<&str> {
    let rest = header.strip_prefix("Bearer")?;
    let token = rest.trim_start();
    let apart = token.len() < rest.len();
    (apart && !token.is_empty() && !token.contains(char::is_whitespace)).then_some(token)
}

/// Whether two texts are the same. How long it takes tells nothing of where they differ.
fn same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

/// A key that nobody guesses.
fn random() -> io::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unwritable(file: &Path, error: &io::Error) -> Error {
    let range = format!("it can't be written: {error}");
    Error::Range { what: "--torchserve-key-file", value: file.display().to_string(), range }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keys(file: &Path) -> (String, String, String) {
        let text = fs::read_to_string(file).unwrap();
        let keys: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key = |name: &str| keys[name]["key"].as_str().unwrap().to_owned();
        assert!(keys["management"]["expiration time"].as_str().unwrap().ends_with('Z'));
        (key("management"), key("inference"), key("API"))
    }

    #[test]
    fn keys_open_what_they_are_for_until_they_are_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key_file.json");
        let held = Arc::new(Keys::create(file.clone()).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let (management, inference, api) = keys(&file);
        let opens = |token: &str, purpose| held.opens(token, purpose);
        assert!(opens(&management, Purpose::Management) && opens(&inference, Purpose::Inference));
        assert!(!opens(&management, Purpose::Inference) && !opens(&inference, Purpose::Management));
        assert!(!opens(&api, Purpose::Management) && !opens("", Purpose::Inference));

        let renewal = Renewal::of(&held);
        let asked =
            |query: &str, token: &str| renewal.answer(query, Some(&format!("Bearer {token}"))).0.as_u16();
        assert_eq!(asked("type=management", &management), 400);
        assert_eq!(asked("type=all", &api), 400);
        assert_eq!(renewal.answer("type=management", None).0.as_u16(), 400);
        assert_eq!(keys(&file).0, management);
        assert_eq!(asked("type=management", &api), 200);
        let renewed = keys(&file);
        assert!(opens(&renewed.0, Purpose::Management) && !opens(&management, Purpose::Management));
        assert_eq!((renewed.1, renewed.2), (inference.clone(), api.clone()));
        assert_eq!(asked("type=inference", &api), 200);
        assert!(!opens(&inference, Purpose::Inference));

        held.current().inference.expires = SystemTime::now();
        assert!(!opens(&keys(&file).1, Purpose::Inference));
        drop(renewal);
        drop(held);
        assert!(!file.exists());
    }

    #[test]
    fn a_file_of_another_server_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key_file.json");
        let first = Keys::create(file.clone()).unwrap();
        let second = Keys::create(file.clone()).unwrap();
        drop(first);
        assert!(file.exists());
        drop(second);
        assert!(!file.exists());
        let nowhere = Keys::create(folder.path().join("no/where.json")).unwrap_err();
        assert!(nowhere.to_string().contains("no/where.json"));
    }

    #[test]
    fn a_header_names_one_token() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("Bearer   abc"), Some("abc"));
        for wrong in ["Bearer", "Bearer ", "Bearerabc", "Bearer a b", "bearer abc", "abc", "Basic abc"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
    }
}
