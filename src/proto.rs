//! Messages and services, generated from `protos/`.
#![allow(missing_docs, clippy::all, clippy::restriction, reason = "it is generated code")]

pub mod codec;

tonic::include_proto!("_");

/// The KServe V2 inference protocol, and what a model's configuration consists of.
pub mod inference {
    tonic::include_proto!("inference");
}

/// Every protocol's description, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
