//! frameserve.
pub mod error;
pub mod frame;
pub mod grpc;
pub mod limits;
pub mod pipeline;

pub use error::Error;
