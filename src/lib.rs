//! frameserve takes video frames over gRPC, runs an OpenCV pipeline on each, and streams them back in order; and
//! answers single pictures and tensors with models of a repository.
//!
//! This library is the server and a client for it; the programs `frameserve-server` and `frameserve-client`
//! are thin. Its modules, from the wire inwards:
//!
//! ```text
//!   server ── listeners, HTTP/2, draining        client ── streams from the other side
//!     │                                             │
//!   grpc ──── one file or folder for each protocol ─┘
//!     │
//!   engine ── what every service calls: the threads, the limits, the frames' way through a pipeline, and a
//!     │       request's way through a model
//!     ├── session    one stream: ordered, windowed, paced, draining; knows nothing of frames
//!     ├── pipeline   stages, their parameters, and the text that they are written in
//!     ├── model      what lies in a repository, what of it is loaded, and what runs it
//!     ├── exec       threads that compute, and the lines that requests wait for them in
//!     ├── tensor     what models take and give, and how pictures become that
//!     └── frame      a picture, what it is, what was found in it; codecs
//!
//!   error, limits ── for all     config ── what a server is told to be     proto ── the generated messages
//!   memory ── what a program keeps of it     tls ── certificates and keys
//! ```
//!
//! A server in a few lines ([`server::Server::mount`] adds services of one's own):
//!
//! ```no_run
//! use frameserve::config::Config;
//! use frameserve::server::Server;
//! use tokio::net::TcpListener;
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = TcpListener::bind("127.0.0.1:50051").await?;
//! let forever = std::future::pending();
//! Server::new(Config::default())?.serve(vec![listener], forever).await?;
//! # Ok(())
//! # }
//! ```

pub mod client;
pub mod config;
pub mod engine;
pub mod error;
pub mod exec;
pub mod frame;
pub mod grpc;
pub mod limits;
pub mod memory;
pub mod model;
pub mod pipeline;
pub mod proto;
pub mod server;
pub mod session;
pub mod tensor;
pub mod tls;
mod writes;

pub use error::Error;
