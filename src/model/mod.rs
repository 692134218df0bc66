//! Models: what one is, where it lies on disk, and which are loaded.

pub mod archive;
pub mod backend;
pub mod check;
pub mod config;
pub mod device;
mod identity;
mod instance;
pub mod pictures;
mod places;
mod precision;
pub mod registered;
pub mod registry;
pub mod repository;
pub mod settings;
pub mod signature;
pub mod staff;
pub mod statistics;
pub mod store;
#[cfg(feature = "torch")]
pub mod torch;
pub mod version;
mod warm;

use std::sync::LazyLock;

pub use backend::{Backend, Backends, Habits, Inputs, Model, Opened, Outputs, Pixels};
pub use device::{Device, DeviceChoice};
pub use precision::Precision;
pub use registry::{Control, Registry};
pub use settings::Settings;
pub use signature::{Port, Signature};
pub use version::Version;

/// What there is of libtorch in this program, and on this machine.
#[derive(Debug)]
pub struct Torch {
    /// Empty: built without it.
    pub version: &'static str,
    /// Devices that it can use.
    pub cuda_devices: Vec<String>,
    /// Why there are none.
    pub cuda_reason: String,
}

/// What there is of libtorch; found out once.
pub fn torch() -> &'static Torch {
    static TORCH: LazyLock<Torch> = LazyLock::new(find_torch);
    &TORCH
}

#[cfg(feature = "torch")]
fn find_torch() -> Torch {
    torch::find()
}

#[cfg(not(feature = "torch"))]
fn find_torch() -> Torch {
    Torch { version: "", cuda_devices: Vec::new(), cuda_reason: "built without libtorch".into() }
}
