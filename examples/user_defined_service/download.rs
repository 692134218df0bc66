//! Pictures from allowed places: files below certain folders, and certain hosts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::codegen::http::{Request, StatusCode, Uri};

use crate::protos::ImageData;

/// Fetches pictures.
#[derive(Debug)]
pub struct Downloader {
    /// Without links and `..`.
    folders: Vec<PathBuf>,
    /// `host` or `host:port`.
    hosts: Vec<String>,
    max_bytes: usize,
}

/// How long a host may take for all of a picture.
const PATIENCE: Duration = Duration::from_secs(20);

impl Downloader {
    /// From these places, which have to be there, and no larger than this.
    pub fn new(folders: &[PathBuf], hosts: Vec<String>, max_bytes: usize) -> io::Result<Self> {
        let folders = folders.iter().map(|folder| folder.canonicalize()).collect::<io::Result<_>>()?;
        Ok(Downloader { folders, hosts, max_bytes })
    }

    /// The bytes that a message means.
    pub async fn fetch(&self, image: &ImageData) -> Result<Bytes, Status> {
        let ImageData { url, filename } = image;
        match url.strip_prefix("file://") {
            _ if url.is_empty() && filename.is_empty() => {
                Err(Status::invalid_argument("neither `url` nor `filename` says which picture is meant"))
            }
            Some(path) => self.file(Path::new(path)).await,
            None if url.is_empty() => self.file(Path::new(filename)).await,
            None => {
                let late = |_| Status::deadline_exceeded(format!("`{url}` took more than {PATIENCE:?}"));
                tokio::time::timeout(PATIENCE, self.download(url)).await.map_err(late)?
            }
        }
    }

    /// A file of an allowed folder; a relative path is one below any of them.
    async fn file(&self, path: &Path) -> Result<Bytes, Status> {
        let denied = || {
            let path = path.display();
            Status::permission_denied(format!(
                "`{path}` is not there, or not below a folder of --allow-folder"
            ))
        };
        for folder in &self.folders {
            // Links are followed first, so that none leads out of the folder.
            let Ok(real) = tokio::fs::canonicalize(folder.join(path)).await else { continue };
            if !real.starts_with(folder) {
                continue;
            }
            let unreadable = |error: io::Error| Status::not_found(format!("`{}`: {error}", path.display()));
            let metadata = tokio::fs::metadata(&real).await.map_err(unreadable)?;
            if !metadata.is_file() {
                return Err(Status::invalid_argument(format!("`{}` is no file", path.display())));
            }
            self.check_size(metadata.len())?;
            return Ok(tokio::fs::read(real).await.map_err(unreadable)?.into());
        }
        Err(denied())
    }

    /// What an allowed host gives. Redirections are not followed, since they lead elsewhere.
    async fn download(&self, url: &str) -> Result<Bytes, Status> {
        let wrong = |reason: &str| Status::invalid_argument(format!("url `{url}`: {reason}"));
        let uri: Uri = url.parse().map_err(|_| wrong("it can't be read"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it may begin with http:// or file://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if !self.hosts.iter().any(|host| host == authority.as_str()) {
            let text = format!("url `{url}`: `{authority}` is not one of the hosts of --allow-host");
            return Err(Status::permission_denied(text));
        }
        let failed = |error: &dyn std::fmt::Display| Status::unavailable(format!("url `{url}`: {error}"));
        let port = uri.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((authority.host(), port)).await.map_err(|error| failed(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path).header("host", authority.as_str()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Status::not_found(format!("url `{url}`: {}", response.status())));
        }
        let body = Limited::new(response.into_body(), self.max_bytes).collect().await;
        Ok(body.map_err(|error| failed(&error))?.to_bytes())
    }

    fn check_size(&self, bytes: u64) -> Result<(), Status> {
        if bytes <= self.max_bytes as u64 {
            return Ok(());
        }
        let max = self.max_bytes;
        Err(Status::resource_exhausted(format!("the picture has {bytes} bytes, and the limit is {max}")))
    }
}
