//! What a model's configuration comes down to, once it was read and checked.

use std::collections::BTreeMap;

use crate::exec::batch::Policy;
use crate::proto::inference::model_instance_group::Kind;
use crate::proto::inference::{DataType, ModelConfig, ModelInstanceGroup, ModelOutput};
use crate::tensor::Tensor;

use super::device::Device;
use super::pictures::Pictures;
use super::signature::Signature;

/// Threads that an instance computes with where nothing is said: instances are the parallelism.
pub const INSTANCE_THREADS: u32 = 1;

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
    /// What each instance runs before it counts as ready. Empty where nobody knows what the model takes: no
    /// `model_warmup`, and dims that vary.
    pub warmup: Vec<Warmup>,
    /// What it takes to take pictures, and what its outputs mean.
    pub pictures: Option<Pictures>,
    /// Further parameters, by key, for the backend.
    pub parameters: BTreeMap<String, String>,
    /// Further names of its methods, for clients that call models by a method.
    pub methods: BTreeMap<String, String>,
    /// Rows of the largest batch where it runs on the CPU alone, if that is another than elsewhere.
    pub cpu_batch: Option<usize>,
    /// The whole configuration with what was filled in, as clients may ask for it.
    pub config: ModelConfig,
}

impl Settings {
    /// How requests wait and are put together, on the CPU alone or elsewhere.
    pub fn batching_on(&self, cpu: bool) -> Policy {
        let mut policy = self.batching.clone();
        if let Some(most) = self.cpu_batch.filter(|_| cpu) {
            policy.max_batch = policy.max_batch.min(most);
            policy.preferred.retain(|size| *size <= most);
        }
        policy
    }

    /// What clients see of the signature: the model's own, and the outputs that are made of its own.
    pub fn listed(&self) -> Signature {
        let mut listed = self.signature.clone();
        listed.outputs.extend(self.pictures.as_ref().and_then(Pictures::added_output));
        listed
    }

    /// The configuration as clients see it: with the outputs that are made of the model's own, and where its
    /// instances really run.
    pub fn listed_config(&self, instances: &[Device]) -> ModelConfig {
        let mut config = self.config.clone();
        let added = self.pictures.as_ref().and_then(Pictures::added_output);
        config.output.extend(added.map(|port| ModelOutput {
            name: port.name,
            data_type: DataType::TypeString.into(),
            dims: port.dims.to_i64(),
            ..ModelOutput::default()
        }));
        let mut counts: BTreeMap<Device, i32> = BTreeMap::new();
        instances.iter().for_each(|device| *counts.entry(*device).or_default() += 1);
        let group = |(device, count)| {
            let (kind, gpus) = match device {
                Device::Cpu => (Kind::Cpu, Vec::new()),
                Device::Cuda(number) => (Kind::Gpu, vec![i32::try_from(number).unwrap_or(i32::MAX)]),
            };
            let name = format!("{}_{device}", self.name);
            ModelInstanceGroup { name, kind: kind.into(), gpus, count, ..ModelInstanceGroup::default() }
        };
        config.instance_group = counts.into_iter().map(group).collect();
        config
    }
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
    /// How many there are, on each of the devices; 0 where that is not said.
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
    /// Its inputs, in the order of the signature, of shapes as clients send them: with the dimension of the
    /// batch if there is one, and without `reshape`.
    pub inputs: Vec<Option<Tensor>>,
}
