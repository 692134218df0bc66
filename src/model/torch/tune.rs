//! Finds out in which form a model is fastest and gives the same: as it is, as libtorch optimises it, or with the
//! channels of its tensors last.

use std::time::{Duration, Instant};

use super::module::{Input, Mode, Module, Results};
use crate::model::backend::Inputs;
use crate::model::device::Device;
use crate::model::settings::Settings;
use crate::model::signature::Port;
use crate::tensor::{DataType, Shape, Tensor};

/// The first runs look at what comes, and compile for it.
const WARM_RUNS: usize = 3;
/// Timed runs of each: at least one, and no more than this many or than take this long.
const TIMED_RUNS: usize = 10;
const TIME: Duration = Duration::from_secs(2);
/// How far apart the results may be, as parts of the largest value.
const TOLERANCE: f64 = 1e-4;
/// A gain that is smaller may be chance.
const GAIN: f64 = 0.98;

/// What is run to measure, and how.
pub struct Trial<'a> {
    /// The model's name, for the log.
    pub model: &'a str,
    pub device: Device,
    pub mode: Mode,
    pub inputs: &'a [Input<'a>],
}

/// A request to measure with: the first that warms the model up, or one row, if all dimensions are fixed.
///
/// Random numbers are put in the place of zeros, from which networks of all weights make the same.
pub fn sample(settings: &Settings) -> Option<Inputs> {
    if let Some(warmup) = settings.warmup.first() {
        return Some(warmup.inputs.iter().cloned().map(|input| input.map(varied)).collect());
    }
    let input = |port: &Port| {
        let dims = port.dims.fixed()?;
        let row: &[usize] = if settings.signature.max_batch > 0 { &[1] } else { &[] };
        random(port.datatype, Shape::new([row, dims.dims()].concat()))
    };
    let input = |port: &Port| if port.optional { Some(None) } else { input(port).map(Some) };
    settings.signature.inputs.iter().map(input).collect()
}

fn varied(tensor: Tensor) -> Tensor {
    let zeros = tensor.bytes().is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    let random = zeros.then(|| random(tensor.datatype(), tensor.shape().clone()));
    random.flatten().unwrap_or(tensor)
}

/// What can be done to a module before it runs.
#[derive(Debug, Clone, Copy)]
enum Form {
    Optimized,
    ChannelsLast,
    OptimizedChannelsLast,
}

/// A module in another form, which gives the same.
struct Candidate {
    form: Form,
    module: Module,
    shortest: Duration,
}

/// The module, or another of the same file in a form that is faster and gives the same. `fresh` reads the file.
pub fn fastest(trial: &Trial, plain: Module, fresh: impl Fn() -> Result<Module, String>) -> Module {
    let model = trial.model;
    match trial.best(&plain, fresh) {
        Ok(Some(Candidate { form, module, .. })) => {
            tracing::info!(model, ?form, "the model runs in the form that is fastest here");
            module
        }
        Ok(None) => plain,
        Err(reason) => {
            // If the model itself fails, its warm-up will say so.
            tracing::debug!(model, reason, "the forms of the model can't be measured");
            plain
        }
    }
}

impl Form {
    const ALL: [Form; 3] = [Form::Optimized, Form::ChannelsLast, Form::OptimizedChannelsLast];

    fn of(self, fresh: Module) -> Result<Module, String> {
        match self {
            Form::Optimized => fresh.optimized(),
            Form::ChannelsLast => fresh.channels_last(),
            Form::OptimizedChannelsLast => fresh.channels_last()?.optimized(),
        }
    }
}

impl Trial<'_> {
    /// The fastest of the other forms, if it is faster.
    fn best(
        &self,
        plain: &Module,
        fresh: impl Fn() -> Result<Module, String>,
    ) -> Result<Option<Candidate>, String> {
        // A run comes first, since it sets the thread up.
        let expected = self.warm(plain)?;
        let candidate = |form: Form| match self.candidate(form, fresh()?, &expected) {
            Ok(candidate) => Ok(candidate),
            Err(reason) => {
                tracing::debug!(model = self.model, ?form, reason, "the model can't have this form");
                Ok(None)
            }
        };
        let candidates: Result<Vec<_>, String> = Form::ALL.into_iter().map(candidate).collect();
        let mut candidates: Vec<Candidate> = candidates?.into_iter().flatten().collect();
        let shortest = self.times(plain, &mut candidates)?;
        for Candidate { form, shortest: other, .. } in &candidates {
            tracing::debug!(model = self.model, ?form, ?shortest, ?other, "measured");
        }
        let best = candidates.into_iter().min_by_key(|candidate| candidate.shortest);
        Ok(best.filter(|best| best.shortest.as_secs_f64() < shortest.as_secs_f64() * GAIN))
    }

    /// A module in this form, if it gives what is expected.
    fn candidate(&self, form: Form, fresh: Module, expected: &Results) -> Result<Option<Candidate>, String> {
        let module = form.of(fresh)?;
        let difference = expected.difference(&self.warm(&module)?)?;
        let same = difference <= TOLERANCE;
        if !same {
            tracing::debug!(
                model = self.model,
                ?form,
                difference,
                "the model gives something else in this form"
            );
        }
        Ok(same.then_some(Candidate { form, module, shortest: Duration::MAX }))
    }

    fn warm(&self, module: &Module) -> Result<Results, String> {
        for _ in 1..WARM_RUNS {
            module.run(self.mode, self.inputs)?;
        }
        module.run(self.mode, self.inputs)
    }

    /// The shortest run of each. They take turns, so that what else the machine does hits all.
    fn times(&self, plain: &Module, candidates: &mut [Candidate]) -> Result<Duration, String> {
        let end = Instant::now() + TIME;
        let mut shortest = Duration::MAX;
        for _ in 0..TIMED_RUNS {
            shortest = shortest.min(self.time(plain)?);
            for candidate in &mut *candidates {
                candidate.shortest = candidate.shortest.min(self.time(&candidate.module)?);
            }
            if Instant::now() > end {
                break;
            }
        }
        Ok(shortest)
    }

    fn time(&self, module: &Module) -> Result<Duration, String> {
        let start = (Instant::now(), thread_time());
        module.run(self.mode, self.inputs)?;
        // What one thread works does not depend on how busy the machine is.
        let alone = self.mode.threads == 1 && self.device == Device::Cpu;
        Ok(if alone { thread_time().saturating_sub(start.1) } else { start.0.elapsed() })
    }
}

/// For how long this thread has had a processor.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is written to. The clock is there on every Linux; where it was not, the time is 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Numbers from 0 to 1, always the same; whole numbers are 0, which is an index that exists.
fn random(datatype: DataType, shape: Shape) -> Option<Tensor> {
    let length = shape.elements()?.checked_mul(datatype.size()?)?;
    let mut state: u32 = 1;
    let numbers = std::iter::repeat_with(move || {
        // The constants are those of Numerical Recipes.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    });
    let bytes: Vec<u8> = match datatype {
        // With this exponent, all that can follow are numbers from 0.5 to 1.
        DataType::Fp16 => {
            numbers.flat_map(|n| (0x3800 | (n >> 22) as u16).to_le_bytes()).take(length).collect()
        }
        DataType::Bf16 => {
            numbers.flat_map(|n| (0x3f00 | (n >> 25) as u16).to_le_bytes()).take(length).collect()
        }
        DataType::Fp32 => numbers.flat_map(|n| unit(n).to_le_bytes()).take(length).collect(),
        DataType::Fp64 => numbers.flat_map(|n| f64::from(unit(n)).to_le_bytes()).take(length).collect(),
        _ => vec![0; length],
    };
    Tensor::raw(datatype, shape, bytes.into()).ok()
}

fn unit(number: u32) -> f32 {
    // A float holds 24 bits.
    (number >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_lie_between_0_and_1() {
        for datatype in [DataType::Fp16, DataType::Bf16, DataType::Fp32, DataType::Fp64] {
            let tensor = random(datatype, Shape::new(vec![100])).unwrap();
            let wide = |bytes: &[u8]| match datatype {
                DataType::Fp32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
                DataType::Fp64 => f64::from_le_bytes(bytes.try_into().unwrap()),
                DataType::Bf16 => f64::from(f32::from_le_bytes([0, 0, bytes[0], bytes[1]])),
                // Of the numbers from 0.5 to 1, which have one exponent, 10 bits differ.
                _ => f64::from(u16::from_le_bytes(bytes.try_into().unwrap()) - 0x3800) / 2048.0 + 0.5,
            };
            let bytes = tensor.bytes().unwrap();
            let values: Vec<f64> = bytes.chunks(datatype.size().unwrap()).map(wide).collect();
            assert!(values.iter().all(|value| (0.0..1.0).contains(value)), "{values:?}");
            assert!(values.iter().any(|value| *value < 0.7) && values.iter().any(|value| *value > 0.8));
        }
    }

    #[test]
    fn only_zeros_are_replaced() {
        let tensor = |bytes: &'static [u8]| {
            Tensor::raw(DataType::Fp32, Shape::new(vec![1]), bytes::Bytes::from_static(bytes)).unwrap()
        };
        assert_ne!(varied(tensor(&[0; 4])), tensor(&[0; 4]));
        assert_eq!(varied(tensor(&[0, 0, 0, 1])), tensor(&[0, 0, 0, 1]));
    }
}
