//! The wire: one file or folder for each protocol.

pub mod exchange;
pub mod image_test;
pub mod kserve;
pub mod layer;
pub mod mindspore;
pub mod mounted;
pub mod peer;
pub mod ray;
pub mod status;
pub mod torchserve;
