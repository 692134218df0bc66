//! A TorchScript module and what it gives: what makes the bridge in C++ safe to use.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;

use super::kinds;
use super::names::{Argument, Graph, Takes};
use super::pixels::Picture;
use super::raw::{self, CCall, CInput, CModule, COutput, CPart, CPixels, CResults, CSent, CStaging};
use crate::model::device::Device;
use crate::model::precision::Precision;
use crate::tensor::DataType;

/// A module on a device, in eval mode.
#[derive(Debug)]
pub struct Module {
    module: *mut CModule,
    device: i32,
}

/// A tensor to be made from bytes that lie one after the other in several places.
pub struct Input<'a> {
    /// Which argument of `forward` it is, or is a part of.
    pub argument: usize,
    /// Its name in a dict.
    pub name: &'a CStr,
    /// libtorch's number of its type.
    pub kind: i32,
    pub dims: Vec<i64>,
    pub parts: Vec<&'a [u8]>,
    /// What is to be made of the bytes first, if they are not such a tensor's yet.
    pub pixels: Option<CPixels>,
}

/// Memory of one instance, through which its tensors go to the device and come back.
#[derive(Debug)]
pub struct Staging(*mut CStaging);

/// Inputs that lie on a module's device already.
#[derive(Debug)]
pub struct Sent(*mut CSent);

/// How a module is run.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    pub takes: Takes,
    /// Threads of one operator.
    pub threads: i32,
    /// libtorch's number of a GPU's stream.
    pub stream: i64,
    /// Without what only training needs.
    pub inference: bool,
    /// With the graph executor's own optimisations.
    pub optimized: bool,
}

/// One of the outputs of a run.
#[derive(Debug)]
pub struct Output {
    /// By what the graph calls it, if it does.
    pub name: Option<String>,
    /// What it is, in libtorch's words.
    pub type_name: String,
    /// `None` for what is no tensor that can be given out.
    pub tensor: Option<Values>,
}

/// A tensor's values in the memory that libtorch put them into.
#[derive(Debug)]
pub struct Values {
    pub kind: i32,
    pub dims: Vec<usize>,
    pub bytes: Bytes,
    /// The bytes are the pixels that were made of them.
    pub are_pixels: bool,
}

/// What a run gave. Its memory is given back with the last of its outputs.
#[derive(Debug)]
pub struct Results(Arc<Held>);

#[derive(Debug)]
struct Held(*mut CResults);

/// Bytes of one output, and what keeps them.
struct Kept {
    data: *const u8,
    size: usize,
    _held: Arc<Held>,
}

impl Module {
    /// Reads a file onto a device, to compute there with this precision.
    pub fn load(path: &Path, device: Device, precision: Precision) -> Result<Self, String> {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        let device = number(device)?;
        let kind = match precision {
            Precision::Fp32 | Precision::Tf32 => None,
            Precision::Fp16 => kinds::kind(DataType::Fp16),
            Precision::Bf16 => kinds::kind(DataType::Bf16),
        };
        let kind = kind.unwrap_or(-1);
        let mut module = ptr::null_mut();
        // SAFETY: the path is a C string, and `module` is set where nothing is reported.
        check(unsafe { raw::frameserve_torch_load(path.as_ptr(), device, kind, &raw mut module) })?;
        Ok(Module { module, device })
    }

    /// Has libtorch rewrite the graph for inference. The module must not have run, and is lost on an error.
    pub fn optimized(self) -> Result<Self, String> {
        // SAFETY: the module is ours, and nobody else's.
        check(unsafe { raw::frameserve_torch_optimize(self.module) })?;
        Ok(self)
    }

    /// Has weights and inputs of pictures lie with their channels last, which some networks are faster with. The module
    /// must not have run, and is lost on an error.
    pub fn channels_last(self) -> Result<Self, String> {
        // SAFETY: the module is ours, and nobody else's.
        check(unsafe { raw::frameserve_torch_channels_last(self.module) })?;
        Ok(self)
    }

    /// Why its device can't be used any more, if that is so.
    pub fn check_device(&self) -> Result<(), String> {
        // SAFETY: it takes a number.
        check(unsafe { raw::frameserve_torch_check(self.device) })
    }

    /// What its `forward` takes and gives.
    pub fn graph(&self) -> Graph {
        let mut count = 0;
        // SAFETY: the module lives, and `count` is written to.
        let first = unsafe { raw::frameserve_torch_arguments(self.module, &raw mut count) };
        let arguments = each(first, count).iter().map(|argument| Argument {
            name: text(argument.name).unwrap_or_default(),
            type_name: text(argument.type_name).unwrap_or_default(),
            takes: argument.takes.into(),
            optional: argument.optional,
        });
        // SAFETY: the module lives.
        let returns = unsafe { raw::frameserve_torch_returns(self.module) };
        let names = usize::try_from(returns.count).ok().map(|count| each(returns.names, count));
        Graph {
            arguments: arguments.collect(),
            returns: names.map(|names| names.iter().map(|name| text(*name)).collect()),
        }
    }

    /// Whether a run may change what the next one finds.
    pub fn keeps_state(&self) -> bool {
        // SAFETY: the module lives.
        unsafe { raw::frameserve_torch_keeps_state(self.module) }
    }

    /// A stream on its device for one instance.
    pub fn stream(&self) -> Result<i64, String> {
        let mut stream = 0;
        // SAFETY: `stream` is written to.
        check(unsafe { raw::frameserve_torch_stream(self.device, &raw mut stream) })?;
        Ok(stream)
    }

    /// Calls `forward` once, with memory that is not used again.
    pub fn run(&self, mode: Mode, inputs: &[Input]) -> Result<Results, String> {
        self.run_through(&mut Staging::new(), mode, inputs, None)
    }

    /// Brings inputs to the device, to compute with them as often as is wanted.
    pub fn send(&self, mode: Mode, inputs: &[Input]) -> Result<Sent, String> {
        let mut sent = ptr::null_mut();
        lend(mode, inputs, None, |call| {
            // SAFETY: what the call points to lives until it returns; `sent` is set where nothing is reported.
            check(unsafe { raw::frameserve_torch_send(self.module, call, &raw mut sent) })
        })?;
        Ok(Sent(sent))
    }

    /// Calls `forward` with inputs that were sent, and waits for the device. What it gives is not brought here.
    pub fn compute(&self, mode: Mode, inputs: &[Input], sent: &Sent) -> Result<(), String> {
        lend(mode, inputs, None, |call| {
            // SAFETY: all of them live until it returns.
            check(unsafe { raw::frameserve_torch_compute(self.module, call, sent.0) })
        })
    }

    /// Calls `forward`. `picture` is the output that is to come back as pixels.
    pub fn run_through(
        &self,
        staging: &mut Staging,
        mode: Mode,
        inputs: &[Input],
        picture: Option<&Picture>,
    ) -> Result<Results, String> {
        let mut results = ptr::null_mut();
        lend(mode, inputs, picture, |call| {
            // SAFETY: what the call points to lives until it returns, which is when nothing is read from it any
            // more; the staging is nobody else's meanwhile; `results` is set where nothing is reported.
            check(unsafe { raw::frameserve_torch_run(self.module, call, staging.0, &raw mut results) })
        })?;
        Ok(Results(Arc::new(Held(results))))
    }
}

// SAFETY: libtorch's modules may be used by any thread.
unsafe impl Send for Module {}
// SAFETY: what is done through a shared reference reads the module, or runs `forward`, which libtorch allows on
// several threads at a time: the executor of a graph takes a lock where it compiles. Modules that write to their
// own tensors are not shared (`keeps_state`).
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it came from `frameserve_torch_load`, and is freed this once.
        unsafe { raw::frameserve_torch_free(self.module) }
    }
}

impl Staging {
    /// Without memory, until it is needed.
    pub fn new() -> Self {
        // SAFETY: it takes nothing.
        Staging(unsafe { raw::frameserve_torch_staging() })
    }
}

// SAFETY: it is memory, which any thread may use that alone has it.
unsafe impl Send for Staging {}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: it came from `frameserve_torch_staging`, and is freed this once.
        unsafe { raw::frameserve_torch_staging_free(self.0) }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // SAFETY: it came from `frameserve_torch_send`, and is freed this once.
        unsafe { raw::frameserve_torch_sent_free(self.0) }
    }
}

impl Input<'_> {
    fn lend(&self, parts: &[CPart]) -> CInput {
        CInput {
            name: self.name.as_ptr(),
            argument: self.argument,
            kind: self.kind,
            dims: self.dims.as_ptr(),
            rank: self.dims.len(),
            parts: parts.as_ptr(),
            part_count: parts.len(),
            pixels: self.pixels.as_ref().map_or(ptr::null(), ptr::from_ref),
        }
    }
}

impl Results {
    /// All of them, in the order of the graph.
    pub fn outputs(&self) -> Vec<Output> {
        let mut count = 0;
        // SAFETY: the results live, and `count` is written to.
        let first = unsafe { raw::frameserve_torch_outputs(self.0.0, &raw mut count) };
        each(first, count).iter().map(|output| self.output(output)).collect()
    }

    /// The largest distance of two values in the same place, as a part of the largest value.
    pub fn difference(&self, other: &Results) -> Result<f64, String> {
        let mut difference = f64::INFINITY;
        // SAFETY: both live, and `difference` is written to.
        check(unsafe { raw::frameserve_torch_difference(self.0.0, other.0.0, &raw mut difference) })?;
        Ok(difference)
    }

    fn output(&self, output: &COutput) -> Output {
        let kept = || Kept { data: output.data.cast(), size: output.size, _held: Arc::clone(&self.0) };
        let dims = each(output.dims, output.rank).iter().map(|dim| usize::try_from(*dim).unwrap_or(0));
        let values = || Values {
            kind: output.kind,
            dims: dims.collect(),
            bytes: Bytes::from_owner(kept()),
            are_pixels: output.pixels,
        };
        Output {
            name: text(output.name),
            type_name: text(output.type_name).unwrap_or_default(),
            tensor: (output.kind >= 0).then(values),
        }
    }
}

// SAFETY: nothing changes what a run gave, so that any thread may read it, and the last may free it.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: it came from `frameserve_torch_run`, and is freed this once.
        unsafe { raw::frameserve_torch_results_free(self.0) }
    }
}

// SAFETY: the bytes are of `_held`, which any thread may read.
unsafe impl Send for Kept {}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        each(self.data, self.size)
    }
}

/// Says for all modules of the process whether GPUs may round 32-bit floats to TF32 where they multiply them.
pub fn settle(tf32: bool) {
    // SAFETY: it sets flags that libtorch guards itself.
    unsafe { raw::frameserve_torch_settle(tf32) }
}

/// Begins to use CUDA, whose library must have been loaded.
pub fn start_cuda() -> Result<(), String> {
    // SAFETY: it takes nothing.
    check(unsafe { raw::frameserve_torch_start_cuda() })
}

/// A device, as the bridge has it.
fn number(device: Device) -> Result<i32, String> {
    match device {
        Device::Cpu => Ok(-1),
        Device::Cuda(number) => i32::try_from(number).map_err(|error| error.to_string()),
    }
}

/// Has something done with a call of these inputs.
fn lend<T>(mode: Mode, inputs: &[Input], picture: Option<&Picture>, work: impl FnOnce(&CCall) -> T) -> T {
    let part = |part: &&[u8]| CPart { data: part.as_ptr().cast(), size: part.len() };
    let parts: Vec<Vec<CPart>> = inputs.iter().map(|input| input.parts.iter().map(part).collect()).collect();
    let inputs: Vec<CInput> = inputs.iter().zip(&parts).map(|(input, parts)| input.lend(parts)).collect();
    let picture = picture.map(Picture::lend);
    work(&CCall {
        inputs: inputs.as_ptr(),
        count: inputs.len(),
        takes: mode.takes as i32,
        threads: mode.threads,
        stream: mode.stream,
        inference: mode.inference,
        optimized: mode.optimized,
        picture: picture.as_ref().map_or(ptr::null(), ptr::from_ref),
    })
}

/// The reason that a call reports, if it does.
fn check(reason: *mut c_char) -> Result<(), String> {
    let Some(text) = text(reason) else { return Ok(()) };
    // SAFETY: it was made for us to free, and was copied.
    unsafe { raw::frameserve_torch_text_free(reason) };
    Err(text)
}

fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: what is not null is a C string that lives as long as what it is of.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// An array of C++'s; where it has nothing, its address may be null.
fn each<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the bridge gives the address of an array with its length; the callers hold what it is of.
    unsafe { slice::from_raw_parts(first, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_shared_unless_runs_leave_traces_in_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
        for (name, keeps_state) in [
            ("add", false),
            ("network", false),
            ("traced", false),
            ("named", false),
            ("counts", true),
            // It writes into its input, which could be anything.
            ("weights", true),
        ] {
            let module =
                Module::load(&folder.join(format!("{name}.pt")), Device::Cpu, Precision::Fp32).unwrap();
            assert_eq!(module.keeps_state(), keeps_state, "{name}");
        }
    }
}
