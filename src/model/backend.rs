//! What can run a model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::device::Device;
use super::identity::Identity;
use super::precision::Precision;
use super::settings::Settings;
use crate::error::Error;
use crate::tensor::Tensor;

/// The inputs of one request, in the order of the signature; `None` for an optional one that was left out. Where
/// the signature has batches, the first dimension of each is the request's number of rows.
pub type Inputs = Vec<Option<Tensor>>;

/// The outputs for one request, in the order of the signature.
pub type Outputs = Vec<Tensor>;

/// What of requests is not as the signature has it, but pixels of 8 bits: the backend makes tensors of them where it
/// computes, and pixels of what it computed.
///
/// They are UINT8 of shape `[pictures, height, width, channels]`, in which one channel is gray and three are BGR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pixels {
    /// The input that takes pictures: their size is right, and what else its preparation says is still to be done.
    pub input: bool,
    /// The output that is a picture.
    pub output: bool,
}

/// A model that was loaded for one thread, which alone uses it.
pub trait Model: Send {
    /// Runs requests together, and gives each its outputs. All have been checked against the signature, and
    /// their shapes differ at most in the first dimension; where the signature has no batches there is only one.
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error>;

    /// The same for requests of which all have the same in the form of pixels. Only those are given such requests whose
    /// backend [`takes_pixels`](Opened::takes_pixels).
    fn infer_pixels(&mut self, _batch: &[Inputs], _pixels: Pixels) -> Result<Vec<Outputs>, Error> {
        Err(Error::Unsupported("this model takes tensors, and no pixels".into()))
    }
}

/// A version of a model of which instances can be made.
pub trait Opened: Send + Sync {
    /// An instance for the thread that asks for it.
    fn instance(&self, device: Device) -> Result<Box<dyn Model>, Error>;

    /// How its instances run, as far as that is known by now.
    fn habits(&self) -> Habits {
        Habits::default()
    }

    /// Whether its instances run [`infer_pixels`](Model::infer_pixels). Where they do not, the server's own threads
    /// make the tensors.
    fn takes_pixels(&self) -> bool {
        false
    }
}

/// How the instances of a model run, for people who look after a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Habits {
    /// Threads that one instance computes with.
    pub threads: Option<u32>,
    /// What 32-bit numbers are computed with.
    pub precision: Option<Precision>,
    /// The form that was fastest, where several were measured.
    pub form: Option<&'static str>,
}

/// Something that can run models of one kind.
pub trait Backend: Send + Sync {
    /// Reads a version. `folder` is the version's own: `REPOSITORY/NAME/NUMBER`.
    fn open(&self, settings: &Arc<Settings>, folder: &Path) -> Result<Box<dyn Opened>, Error>;

    /// What a file says by itself of the model in it, to begin a configuration with. By default that is nothing.
    fn names(&self, _file: &Path) -> Result<Names, Error> {
        Ok(Names::default())
    }
}

/// What is known of a model's inputs and outputs where nobody has described them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The inputs' names, in order.
    pub inputs: Vec<String>,
    /// How many outputs there are; 0 where that is not known.
    pub outputs: usize,
    /// Whether the first input is a list of tensors.
    pub takes_list: bool,
}

/// Backends by the name that a model's configuration calls them by.
#[derive(Clone)]
pub struct Backends(BTreeMap<String, Arc<dyn Backend>>);

impl Backends {
    /// Those of this library, and one more or in place of one of them.
    pub fn with(mut self, name: &str, backend: impl Backend + 'static) -> Self {
        self.0.insert(name.into(), Arc::new(backend));
        self
    }

    /// The same, where TorchScript's models that do not say compute with this precision.
    pub fn with_precision(self, precision: Precision) -> Result<Self, Error> {
        if precision == Precision::Fp32 {
            return Ok(self);
        }
        #[cfg(feature = "torch")]
        return Ok(self.with("pytorch", super::torch::TorchScript { precision }));
        #[cfg(not(feature = "torch"))]
        Err(Error::Unsupported(format!("--precision {precision}: this program was built without libtorch")))
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Backend>> {
        self.0.get(name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Default for Backends {
    fn default() -> Self {
        let backends = Backends(BTreeMap::new()).with("identity", Identity);
        #[cfg(feature = "torch")]
        let backends = backends.with("pytorch", super::torch::TorchScript::default());
        backends
    }
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
