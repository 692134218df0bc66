//! Opens a version of a model: reads its file, and holds its configuration against what is in it.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::instance::Instance;
use super::module::{self, Module, Staging};
use super::names::{Graph, Takes};
use super::plan::{self, Plan};
use super::probe::{self, Found};
use super::samples;
use super::text;
use super::tune::{self, Chosen, Trial};
use crate::error::Error;
use crate::model::backend::{Backend, Habits, Model, Names, Opened, Pixels};
use crate::model::device::Device;
use crate::model::precision::Precision;
use crate::model::settings::Settings;

/// Serves TorchScript programs, as `torch.jit.save` writes them.
///
/// Parameters of a model's configuration that it heeds:
/// `INTRA_OP_THREAD_COUNT` (threads of one operator; 1 if it is not set, since instances are the parallelism),
/// `DISABLE_OPTIMIZED_EXECUTION` and `INFERENCE_MODE` (both `true` or `false`; by default programs are optimised
/// and run in inference mode), `PRECISION` (`fp32`, `fp16` or `bf16`).
///
/// Whether GPUs compute with TF32 holds for the whole process: what was opened last counts.
#[derive(Debug, Default)]
pub struct TorchScript {
    /// What models compute with that do not say.
    pub precision: Precision,
}

/// A version that was read, and its modules on the devices.
struct Version {
    file: PathBuf,
    precision: Precision,
    plan: Arc<Plan>,
    keeps_state: bool,
    modules: Mutex<Modules>,
    /// The one that was fastest on the first device.
    form: OnceLock<&'static str>,
    /// What it computes with there.
    computes: OnceLock<Precision>,
}

#[derive(Default)]
struct Modules {
    /// What was read to look at the graph, until an instance takes it.
    read: Option<Module>,
    /// Those that the instances of a device share.
    shared: HashMap<Device, Arc<Module>>,
    /// What they compute with.
    precisions: HashMap<Device, Precision>,
}

/// What the program in a file takes and gives.
pub fn graph(file: &Path) -> Result<Graph, Error> {
    load(file, Device::Cpu, Precision::Fp32).map(|module| module.graph())
}

impl Backend for TorchScript {
    fn names(&self, file: &Path) -> Result<Names, Error> {
        let Graph { arguments, returns } = graph(file)?;
        let takes_list = arguments.first().is_some_and(|first| first.takes == Takes::List);
        let inputs = arguments.into_iter().map(|argument| argument.name).collect();
        Ok(Names { inputs, outputs: returns.map_or(0, |returns| returns.len()), takes_list })
    }

    fn open(&self, settings: &Arc<Settings>, folder: &Path) -> Result<Box<dyn Opened>, Error> {
        let file = folder.join(&settings.file);
        let precision = plan::precision(settings, self.precision)?;
        module::settle(self.precision == Precision::Tf32);
        let module = load(&file, Device::Cpu, Precision::Fp32)?;
        let plan = Arc::new(Plan::new(settings, &module.graph())?);
        let keeps_state = module.keeps_state();
        let modules = Mutex::new(Modules { read: Some(module), ..Modules::default() });
        let (form, computes) = (OnceLock::new(), OnceLock::new());
        Ok(Box::new(Version { file, precision, plan, keeps_state, modules, form, computes }))
    }
}

impl Opened for Version {
    fn instance(&self, device: Device) -> Result<Box<dyn Model>, Error> {
        let module = self.module(device)?;
        let mut mode = self.plan.mode();
        mode.stream = module.stream().map_err(|reason| self.failed(&reason))?;
        let (plan, staging) = (Arc::clone(&self.plan), Staging::new());
        Ok(Box::new(Instance { module, mode, plan, staging }))
    }

    fn habits(&self) -> Habits {
        let threads = u32::try_from(self.plan.mode().threads).ok();
        let precision = self.computes.get().copied().unwrap_or(self.precision);
        Habits { threads, precision: Some(precision), form: self.form.get().copied() }
    }

    fn takes_pixels(&self) -> bool {
        true
    }
}

impl Version {
    /// A module for an instance: the one that all instances of the device share, so that its weights are there
    /// once, or one of its own, if calls leave traces in it.
    fn module(&self, device: Device) -> Result<Arc<Module>, Error> {
        let mut modules = self.modules();
        if let Some(module) = modules.shared.get(&device) {
            return Ok(Arc::clone(module));
        }
        // The lock is held meanwhile: the other instances of the device wait for this module.
        let known = modules.precisions.get(&device).copied();
        let precision = known.unwrap_or_else(|| self.precision_on(device));
        modules.precisions.insert(device, precision);
        self.computes.get_or_init(|| precision);
        let read = modules.read.take().filter(|_| device == Device::Cpu && !precision.is_narrow());
        let module = read.map_or_else(|| load(&self.file, device, precision), Ok)?;
        let module = Arc::new(self.fastest(module, device, precision)?);
        if !self.keeps_state {
            modules.shared.insert(device, Arc::clone(&module));
        }
        Ok(module)
    }

    /// What the model is to compute with, or 32-bit floats, if it does not run so.
    fn precision_on(&self, device: Device) -> Precision {
        let (model, precision) = (&self.plan.settings.name, self.precision);
        match (precision, device) {
            // Processors have no such thing.
            (Precision::Tf32, Device::Cpu) => return Precision::Fp32,
            (precision, _) if !precision.is_narrow() => return precision,
            _ => {}
        }
        let fresh = |precision| load(&self.file, device, precision).map_err(|error| error.to_string());
        match probe::probe(&self.plan, precision, fresh) {
            Found::Runs => precision,
            Found::Fails(reason) => {
                tracing::warn!(model, %device, %precision, reason, "the model fails in this precision: it runs in fp32");
                Precision::Fp32
            }
            Found::Untold(reason) => {
                let message = "whether the model runs in this precision, its first request will tell";
                tracing::warn!(model, %device, %precision, reason, message);
                precision
            }
        }
    }

    /// The module in whichever form is fastest; as it is, if that can't be measured, or if the runs for it would leave
    /// traces.
    fn fastest(&self, module: Module, device: Device, precision: Precision) -> Result<Module, Error> {
        let measurable = self.plan.optimized && !self.keeps_state;
        let samples = if measurable { samples::known(&self.plan.settings) } else { Vec::new() };
        if samples.is_empty() {
            return Ok(module);
        }
        let mut mode = self.plan.mode();
        mode.stream = module.stream().map_err(|reason| self.failed(&reason))?;
        let inputs = |sample| self.plan.inputs(std::slice::from_ref(sample), Pixels::default());
        let inputs = samples.iter().map(inputs).collect::<Result<Vec<_>, _>>()?;
        // One that was cloned is not optimised as well, so the file is read again for each form.
        let fresh = || load(&self.file, device, precision).map_err(|error| error.to_string());
        let model = &self.plan.settings.name;
        let trial = Trial { model, device, precision, mode, inputs: &inputs };
        let Chosen { module, form } = tune::fastest(&trial, module, fresh);
        if let Some(form) = form {
            self.form.get_or_init(|| form);
        }
        Ok(module)
    }

    fn modules(&self) -> MutexGuard<'_, Modules> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Load(format!("{}: {}", name(&self.file), text::essence(reason)))
    }
}

fn load(file: &Path, device: Device, precision: Precision) -> Result<Module, Error> {
    if let Device::Cuda(number) = device {
        // This also loads libtorch's part for GPUs, without which it knows none.
        let found = crate::model::torch();
        if number >= found.cuda_devices.len() {
            let list = format!("the CUDA devices here are {}", found.cuda_devices.join(", "));
            let reason = if found.cuda_devices.is_empty() { &found.cuda_reason } else { &list };
            return Err(Error::Load(format!("{device} can't be used: {reason}")));
        }
    }
    // libtorch's words for a file that is not there are many.
    File::open(file).map_err(|error| Error::Load(format!("{}: {error}", name(file))))?;
    Module::load(file, device, precision)
        .map_err(|reason| Error::Load(format!("{}: {}", name(file), text::load_reason(&reason))))
}

/// The end of a path, by which its owner knows it: VERSION/FILE.
fn name(file: &Path) -> String {
    let parts: Vec<_> = file.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}
