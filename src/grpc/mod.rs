//! The wire: one file or folder for each protocol.

pub mod image_test;
pub mod status;

/// Messages and services, generated from `protos/`.
#[allow(missing_docs, clippy::all, clippy::restriction, reason = "it is generated code")]
pub mod proto {
    tonic::include_proto!("_");
    /// Every protocol's description, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}
