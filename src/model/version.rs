//! A version of a model that is loaded: its threads, and the line that its requests wait in.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backends, Habits, Pixels};
use super::check::Check;
use super::device::Device;
pub use super::instance::{Done, Work};
use super::instance::{Kind, Open};
use super::registered::Registered;
use super::repository::Upload;
use super::settings::Settings;
use super::signature::Signature;
use super::staff::{Member, Staff, Wanted};
use super::statistics::Statistics;
use crate::error::Error;
use crate::exec::courier::Courier;
use crate::exec::line::{Line, Request};
use crate::limits::WhenFull;
use crate::proto::inference::ModelConfig;
use crate::tensor::Kept;

/// A version with its instances, all of them loaded and warm. When nobody has it any more its threads finish what
/// waits, and end.
pub struct Version {
    settings: Arc<Settings>,
    number: u64,
    staff: Staff,
    /// What clients see: the model's signature, and the outputs that are made of its own.
    listed: Signature,
    origin: Origin,
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
    /// What becomes of it where no more may wait.
    pub when_full: WhenFull,
}

/// Where a version lies.
#[derive(Debug)]
pub struct Stored<'a> {
    /// Its number.
    pub number: u64,
    /// Its own folder: `REPOSITORY/NAME/NUMBER`.
    pub folder: &'a Path,
    /// How it came there.
    pub origin: Origin,
}

/// How a version came to lie where it lies. Where a client brought it, this keeps its folder.
#[derive(Debug, Clone)]
pub enum Origin {
    /// It is of the repository.
    Repository,
    /// It came with the request to load its model.
    Upload(Arc<Upload>),
    /// It was registered, beside others of the same model.
    Registered(Arc<Registered>),
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
        let version = Self::idle(settings, stored, means)?;
        // Where one of them can't be made, dropping the version ends the others.
        version.staff.hire(&means.places(&version.settings)?)?;
        Ok(version)
    }

    /// A version without an instance, which answers nothing until it has some.
    pub fn idle(settings: Arc<Settings>, stored: Stored<'_>, means: &Means) -> Result<Self, Error> {
        let Stored { number, folder, origin } = stored;
        let backend = means.backends.find(&settings.backend).ok_or_else(|| {
            let known = means.backends.names().collect::<Vec<_>>().join(", ");
            Error::Load(format!("backend `{}` is not one of {known}", settings.backend))
        })?;
        let open: Arc<Open> = {
            let (backend, settings, folder) = (Arc::clone(backend), Arc::clone(&settings), folder.to_owned());
            // Threads may make the model anew when the version is gone already.
            let kept = origin.clone();
            Arc::new(move || {
                let _kept = &kept;
                Ok(Arc::from(backend.open(&settings, &folder)?))
            })
        };
        let policy = settings.batching_on(means.is_cpu_alone(&settings));
        let requests = Line::new(policy, means.courier.clone());
        let staff = Staff::new(Arc::clone(&settings), number, open, requests);
        Ok(Version { number, staff, listed: settings.listed(), origin, settings })
    }

    /// Changes how many instances there are, while they work: at least and at most so many. Returns when new ones are
    /// ready. Those that go finish what they work on. Where none is left, what waits is worked off first.
    pub fn scale(&self, wanted: RangeInclusive<usize>, means: &Means) -> Result<(), Error> {
        let mut devices = means.places(&self.settings)?;
        devices.sort_unstable();
        devices.dedup();
        self.staff.change(wanted, &devices)
    }

    /// Runs a request that was checked, together with others that wait.
    pub async fn infer(&self, work: Work, treatment: Treatment) -> Result<Done, Error> {
        let shape = |tensor: &Kept| tensor.shape().dims().get(1..).unwrap_or_default().to_vec();
        let inputs = work.inputs.iter().map(|input| input.as_ref().map(shape)).collect();
        let kind = Kind { inputs, pixels: work.pixels };
        let Treatment { priority, timeout, deadline, stream, when_full } = treatment;
        let (rows, cost, input) = (work.rows, work.elements(), work);
        let request = Request { input, rows, cost, kind, level: priority, timeout, deadline, stream };
        self.staff.requests.enter(request, when_full).await?.wait().await
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

    /// Its configuration, as clients see it, with what is true of this version now.
    pub fn config(&self) -> ModelConfig {
        self.settings.listed_config(&self.instances())
    }

    /// What it did so far.
    pub fn statistics(&self) -> &Statistics {
        &self.staff.statistics
    }

    /// How many requests wait for it.
    pub fn waiting(&self) -> usize {
        self.staff.requests.waiting()
    }

    /// Where its instances run.
    pub fn instances(&self) -> Vec<Device> {
        self.staff.instances()
    }

    /// How its instances run.
    pub fn habits(&self) -> Habits {
        self.staff.habits()
    }

    /// All its instances, also those that are leaving.
    pub fn members(&self) -> Vec<Member> {
        self.staff.members()
    }

    /// How many instances it should have.
    pub fn wanted(&self) -> Wanted {
        self.staff.wanted()
    }

    /// Where it came from, if it was registered.
    pub fn registered(&self) -> Option<&Arc<Registered>> {
        match &self.origin {
            Origin::Registered(registered) => Some(registered),
            Origin::Repository | Origin::Upload(_) => None,
        }
    }

    /// Whether its threads themselves are what computes.
    pub fn is_on_cpu(&self) -> bool {
        self.instances().iter().all(|device| *device == Device::Cpu)
    }

    /// What of a request it takes and gives as pixels, and not as tensors.
    pub fn pixels(&self) -> Pixels {
        self.staff.pixels()
    }

    /// What requests for it are checked against.
    pub fn check(&self) -> Check<'_> {
        let Settings { name, signature, pictures, .. } = &*self.settings;
        Check { model: name, signature, pictures: pictures.as_ref() }
    }

    /// What is to be said of it; `Err` once it can't be used any more.
    pub fn condition(&self) -> Result<String, String> {
        match self.staff.condition.note() {
            (note, true) => Err(note),
            (_, false) if self.staff.instances().is_empty() => {
                Err("it has no instance: it has to be scaled up first".into())
            }
            (note, false) => Ok(note),
        }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        let (model, version) = (self.settings.name.clone(), self.number);
        self.staff.requests.close(Error::ModelNotReady { model, version });
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({} {})", self.settings.name, self.number)
    }
}

#[cfg(test)]
mod tests;
