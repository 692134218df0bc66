//! frameserve.
pub mod client;
pub mod config;
pub mod engine;
pub mod error;
pub mod exec;
pub mod frame;
pub mod grpc;
pub mod limits;
pub mod model;
pub mod pipeline;
pub mod server;
pub mod session;

pub use error::Error;
