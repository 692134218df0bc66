//! TorchServe's services.

pub mod handler;
