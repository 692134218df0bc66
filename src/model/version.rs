//! A version of a model that is loaded: its threads, and the line that its requests wait in.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::backend::Backends;
use super::check::Check;
use super::device::Device;
use super::instance::{Condition, Instance, Kind, Open, Requests};
pub use super::instance::{Done, Work};
use super::repository::Upload;
use super::settings::{Instances, Place, Settings};
use super::signature::Signature;
use super::statistics::Statistics;
use crate::error::Error;
use crate::exec::batch::Policy;
use crate::exec::courier::Courier;
use crate::exec::line::{Line, Request};
use crate::proto::inference::ModelConfig;
use crate::tensor::Kept;

/// A version that is loaded and warm. When nobody has it any more its threads finish what waits, and end.
pub struct Version {
    settings: Arc<Settings>,
    number: u64,
    requests: Arc<Requests>,
    condition: Arc<Condition>,
    statistics: Arc<Statistics>,
    instances: Vec<Device>,
    /// What clients see: the model's signature, and the outputs that are made of its own.
    listed: Signature,
    /// The model's configuration, with what is true of this version.
    config: ModelConfig,
}

/// How a request wants to be treated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Treatment {
    /// Its priority, from 1; 0 for the model's own.
    pub priority: u32,
    /// How long it wants to wait for its turn at most.
    pub timeout: Option<Duration>,
    /// When nobody will wait for it any more.
    pub deadline: Option<Instant>,
    /// The stream that it is of: all of a stream's requests together have no more than its share of the model.
    pub stream: Option<u64>,
}

/// Where a version lies.
#[derive(Debug)]
pub struct Stored<'a> {
    /// Its number.
    pub number: u64,
    /// Its own folder: `REPOSITORY/NAME/NUMBER`.
    pub folder: &'a Path,
    /// What keeps that folder, where a client brought it.
    pub upload: Option<Arc<Upload>>,
}

/// What a server gives its models to be loaded with.
#[derive(Debug, Clone)]
pub struct Means {
    /// What can run models.
    pub backends: Backends,
    /// Where they may run: the CPU, or GPUs.
    pub devices: Vec<Device>,
    /// The CPU was asked for by name: models that want a GPU run there too.
    pub cpu_only: bool,
    /// Instances of a model on the CPU that does not say how many.
    pub cpu_instances: usize,
    /// Names that models can't have, since something else answers to them.
    pub taken: Vec<String>,
    /// What brings their answers.
    pub courier: Courier,
}

impl Version {
    /// Loads and warms up all instances, each on its own thread, and returns when they are ready.
    pub fn load(settings: Arc<Settings>, stored: Stored<'_>, means: &Means) -> Result<Self, Error> {
        let Stored { number, folder, upload } = stored;
        let backend = means.backends.find(&settings.backend).ok_or_else(|| {
            let known = means.backends.names().collect::<Vec<_>>().join(", ");
            Error::Load(format!("backend `{}` is not one of {known}", settings.backend))
        })?;
        let instances = means.places(&settings)?;
        let open: Arc<Open> = {
            let (backend, settings, folder) = (Arc::clone(backend), Arc::clone(&settings), folder.to_owned());
            Arc::new(move || Ok(Arc::from(backend.open(&settings, &folder)?)))
        };
        let opened = open()?;
        let statistics = Arc::new(Statistics::default());
        let batching = Policy { threads: instances.len(), ..settings.batching.clone() };
        let like = Instance {
            requests: Arc::new(Line::new(batching, means.courier.clone())),
            condition: Arc::default(),
            statistics: Arc::clone(&statistics),
            open,
            opened,
            settings: Arc::clone(&settings),
            device: Device::Cpu,
            _upload: upload,
        };
        let version = Version {
            number,
            requests: Arc::clone(&like.requests),
            condition: Arc::clone(&like.condition),
            statistics,
            instances: instances.clone(),
            listed: settings.listed(),
            config: settings.listed_config(&instances),
            settings,
        };
        // Where one of them can't be made, dropping the version ends the others.
        let (ready, made) = mpsc::channel();
        for (index, &device) in instances.iter().enumerate() {
            let (instance, ready) = (Instance { device, ..like.clone() }, ready.clone());
            let thread = Builder::new().name(format!("{}-{index}", version.settings.name));
            let started = thread.spawn(move || match instance.make() {
                Ok(model) => {
                    let _gone = ready.send(Ok(()));
                    instance.work(model);
                }
                Err(error) => {
                    let _gone = ready.send(Err(error));
                }
            });
            started.map_err(|error| Error::Load(format!("no thread can be started for it: {error}")))?;
        }
        drop(ready);
        for _ in &instances {
            // All report, unless one of them could not even do that.
            made.recv().map_err(|_| Error::Load("an instance ended while it was made".into()))??;
        }
        Ok(version)
    }

    /// Runs a request that was checked, together with others that wait.
    pub async fn infer(&self, work: Work, treatment: Treatment) -> Result<Done, Error> {
        let shape = |tensor: &Kept| tensor.shape().dims().get(1..).unwrap_or_default().to_vec();
        let kind: Kind = work.inputs.iter().map(|input| input.as_ref().map(shape)).collect();
        let Treatment { priority, timeout, deadline, stream } = treatment;
        let (rows, input) = (work.rows, work);
        let request = Request { input, rows, kind, level: priority, timeout, deadline, stream };
        self.requests.send(request)?.wait().await
    }

    /// Its model's settings.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What clients see of its signature.
    pub fn listed(&self) -> &Signature {
        &self.listed
    }

    /// Its configuration, as clients see it.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What it did so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How many requests wait for it.
    pub fn waiting(&self) -> usize {
        self.requests.waiting()
    }

    /// Where its instances run.
    pub fn instances(&self) -> &[Device] {
        &self.instances
    }

    /// Whether its threads themselves are what computes.
    pub fn is_on_cpu(&self) -> bool {
        self.instances.iter().all(|device| *device == Device::Cpu)
    }

    /// What requests for it are checked against.
    pub fn check(&self) -> Check<'_> {
        let Settings { name, signature, pictures, .. } = &*self.settings;
        Check { model: name, signature, pictures: pictures.as_ref() }
    }

    /// What is to be said of it; `Err` once it can't be used any more.
    pub fn condition(&self) -> Result<String, String> {
        match self.condition.note() {
            (note, false) => Ok(note),
            (note, true) => Err(note),
        }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        let (model, version) = (self.settings.name.clone(), self.number);
        self.requests.close(Error::ModelNotReady { model, version });
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({} {})", self.settings.name, self.number)
    }
}

impl Means {
    /// A device for each instance of a model.
    fn places(&self, settings: &Settings) -> Result<Vec<Device>, Error> {
        let unsaid = [Instances { count: 0, place: Place::Auto }];
        let groups = if settings.instances.is_empty() { &unsaid[..] } else { &settings.instances };
        let mut places = Vec::new();
        for Instances { count, place } in groups {
            let devices = self.devices(place)?;
            let each = match count {
                0 if devices == [Device::Cpu] => self.cpu_instances,
                0 => 1,
                count => *count,
            };
            places.extend(devices.iter().flat_map(|device| std::iter::repeat_n(*device, each)));
        }
        Ok(places)
    }

    fn devices(&self, place: &Place) -> Result<Vec<Device>, Error> {
        let gpus: Vec<_> = self.devices.iter().copied().filter(|device| *device != Device::Cpu).collect();
        let wanted = match place {
            Place::Cpu => return Ok(vec![Device::Cpu]),
            Place::Auto => return Ok(self.devices.clone()),
            Place::Gpus(_) if self.cpu_only => {
                tracing::warn!("a model that wants a GPU runs on the CPU, as --device cpu says");
                return Ok(vec![Device::Cpu]);
            }
            Place::Gpus(numbers) if gpus.is_empty() => {
                let reason = "instance_group wants a GPU (KIND_GPU), and this server uses none: run it with \
                              --device cpu to have such models on the CPU";
                let which = if numbers.is_empty() { String::new() } else { format!(" (gpus: {numbers:?})") };
                return Err(Error::Load(format!("{reason}{which}")));
            }
            Place::Gpus(numbers) if numbers.is_empty() => return Ok(gpus),
            Place::Gpus(numbers) => numbers,
        };
        let known = |number: &usize| {
            let device = Device::Cuda(*number);
            let have = gpus.iter().map(Device::to_string).collect::<Vec<_>>().join(", ");
            let reason =
                || Error::Load(format!("instance_group wants {device}, and this server uses {have}"));
            gpus.contains(&device).then_some(device).ok_or_else(reason)
        };
        wanted.iter().map(known).collect()
    }
}
