//! What a model's configuration comes down to, once it was read and checked.

use std::collections::BTreeMap;

use crate::exec::batch::Policy;
use crate::proto::inference::ModelConfig;
use crate::tensor::Tensor;

use super::pictures::Pictures;
use super::signature::Signature;

/// How one model is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// What runs it: "pytorch", "identity", or a backend of the program that embeds this library.
    pub backend: String,
    /// What it takes and gives.
    pub signature: Signature,
    /// Name of the file in each version's folder.
    pub file: String,
    /// Which of the versions that lie on disk are served.
    pub versions: VersionPolicy,
    /// Where and how often it is loaded; empty leaves that to the server.
    pub instances: Vec<Instances>,
    /// How requests wait and are put together.
    pub batching: Policy,
    /// What each instance runs before it counts as ready.
    pub warmup: Vec<Warmup>,
    /// What it takes to take pictures, and what its outputs mean.
    pub pictures: Option<Pictures>,
    /// Further parameters, by key, for the backend.
    pub parameters: BTreeMap<String, String>,
    /// The whole configuration with what was filled in, as clients may ask for it.
    pub config: ModelConfig,
}

/// Which versions are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// So many of those with the highest numbers.
    Latest(usize),
    /// Every one.
    All,
    /// These.
    Specific(Vec<u64>),
}

/// Instances of a model on one kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// How many there are, on each of the devices.
    pub count: usize,
    /// Where.
    pub place: Place,
}

/// Where an instance may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On a GPU if the server uses one, else on the CPU.
    Auto,
    /// On the CPU.
    Cpu,
    /// On each of these GPUs; on every one that the server uses if there are none.
    Gpus(Vec<usize>),
}

/// A request that is run to warm up.
#[derive(Debug, Clone)]
pub struct Warmup {
    /// What it is called in errors.
    pub name: String,
    /// How often it is run.
    pub count: usize,
    /// Its inputs, in the order of the signature, with the dimension of the batch if there is one.
    pub inputs: Vec<Option<Tensor>>,
}
