//! Finds out in which form a model is fastest and gives the same: as it is, as libtorch optimises it, or with the
//! channels of its tensors last.

use std::time::{Duration, Instant};

use super::module::{Input, Mode, Module, Results, Sent};
use crate::model::device::Device;
use crate::model::precision::Precision;

/// The first runs look at what comes, and compile for it.
const WARM_RUNS: usize = 2;
/// Timed runs of each with each sample: at least as many as the first, at most as many as the second, and between them
/// none more once they have taken this long.
const TIMED_RUNS: (usize, usize) = (3, 10);
const TIME: Duration = Duration::from_secs(3);
/// What takes so many times as long as the fastest after a run is measured no more.
const HOPELESS: f64 = 1.5;
/// A gain that is smaller may be chance.
const GAIN: f64 = 0.98;

/// What is run to measure, and how.
pub struct Trial<'a> {
    /// The model's name, for the log.
    pub model: &'a str,
    pub device: Device,
    pub precision: Precision,
    pub mode: Mode,
    /// Of each sample.
    pub inputs: &'a [Vec<Input<'a>>],
}

/// What can be done to a module before it runs.
#[derive(Debug, Clone, Copy)]
enum Form {
    Optimized,
    ChannelsLast,
    OptimizedChannelsLast,
}

/// A module, in another form or as it is, which gives the same.
struct Candidate {
    form: Option<Form>,
    module: Module,
    /// The samples, where they lie on the device when it is timed.
    sent: Vec<Sent>,
    /// The shortest run with each sample.
    shortest: Vec<Duration>,
}

/// What a model is to run as.
pub struct Chosen {
    pub module: Module,
    /// Its form, if it was measured beside others.
    pub form: Option<&'static str>,
}

/// How far apart the results of two forms may be, as parts of the largest value. They add and round in another order,
/// which shows in the last of the bits that are computed with: 24 of 32-bit floats, 11 of TF32 and of 16 bits with the
/// smaller range, 8 of those with the larger.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-4,
        Precision::Tf32 | Precision::Fp16 => 1e-2,
        Precision::Bf16 => 2e-2,
    }
}

/// The module, or another of the same file in a form that is faster and gives the same. `fresh` reads the file.
pub fn fastest(trial: &Trial, plain: Module, fresh: impl Fn() -> Result<Module, String>) -> Chosen {
    let model = trial.model;
    let mut candidates = vec![trial.candidate(None, plain)];
    if let Err(reason) = trial.contest(&mut candidates, fresh) {
        // If the model itself fails, its warm-up will say so.
        tracing::debug!(model, reason, "the forms of the model can't be measured");
        return Chosen { module: candidates.swap_remove(0).module, form: None };
    }
    let (shares, best) = ranked(&times(&candidates));
    for (candidate, share) in candidates.iter().zip(shares) {
        let Candidate { form, shortest, .. } = candidate;
        tracing::debug!(model, ?form, ?shortest, share, "measured");
    }
    let best = candidates.swap_remove(best);
    if let Some(form) = best.form {
        let precision = trial.precision;
        tracing::info!(model, ?form, %precision, "the model runs in the form that is fastest here");
    }
    Chosen { module: best.module, form: Some(best.form.map_or("as it is", Form::name)) }
}

fn times(candidates: &[Candidate]) -> Vec<&[Duration]> {
    candidates.iter().map(|candidate| candidate.shortest.as_slice()).collect()
}

/// How long each takes as a share of what the first, the plain module, does, by the geometric mean over the samples;
/// and which is to run: the plain one, unless another is clearly faster.
fn ranked(times: &[&[Duration]]) -> (Vec<f64>, usize) {
    let share = |own: &&[Duration]| {
        let pairs = own.iter().zip(times[0]);
        let logarithms = pairs.map(|(time, plain)| (time.as_secs_f64() / plain.as_secs_f64()).ln());
        (logarithms.sum::<f64>() / own.len() as f64).exp()
    };
    let shares: Vec<f64> = times.iter().map(share).collect();
    let least = (0..shares.len()).min_by(|one, other| shares[*one].total_cmp(&shares[*other]));
    let best = least.filter(|least| shares[*least] < GAIN).unwrap_or(0);
    (shares, best)
}

impl Form {
    const ALL: [Form; 3] = [Form::Optimized, Form::ChannelsLast, Form::OptimizedChannelsLast];

    fn name(self) -> &'static str {
        match self {
            Form::Optimized => "optimized",
            Form::ChannelsLast => "channels last",
            Form::OptimizedChannelsLast => "optimized, channels last",
        }
    }

    fn of(self, fresh: Module) -> Result<Module, String> {
        match self {
            Form::Optimized => fresh.optimized(),
            Form::ChannelsLast => fresh.channels_last(),
            Form::OptimizedChannelsLast => fresh.channels_last()?.optimized(),
        }
    }
}

impl Trial<'_> {
    fn candidate(&self, form: Option<Form>, module: Module) -> Candidate {
        Candidate { form, module, sent: Vec::new(), shortest: vec![Duration::MAX; self.inputs.len()] }
    }

    /// Adds the other forms to the plain module, and measures them all.
    fn contest(
        &self,
        candidates: &mut Vec<Candidate>,
        fresh: impl Fn() -> Result<Module, String>,
    ) -> Result<(), String> {
        // A run comes first, since it sets the thread up.
        let expected = self.warm(&candidates[0].module)?;
        for form in Form::ALL {
            match self.same(form, fresh()?, &expected) {
                Ok(Some(module)) => candidates.push(self.candidate(Some(form), module)),
                Ok(None) => {}
                Err(reason) => {
                    tracing::debug!(model = self.model, ?form, reason, "the model can't have this form");
                }
            }
        }
        self.time_all(candidates)
    }

    /// A module in this form, if it gives what is expected.
    fn same(&self, form: Form, fresh: Module, expected: &[Results]) -> Result<Option<Module>, String> {
        let module = form.of(fresh)?;
        let found = self.warm(&module)?;
        let differences: Result<Vec<f64>, String> =
            expected.iter().zip(&found).map(|(expected, found)| expected.difference(found)).collect();
        let difference = differences?.into_iter().fold(0.0, f64::max);
        let same = difference <= tolerance(self.precision);
        if !same {
            let model = self.model;
            tracing::debug!(model, ?form, difference, "the model gives something else in this form");
        }
        Ok(same.then_some(module))
    }

    fn warm(&self, module: &Module) -> Result<Vec<Results>, String> {
        let warm = |inputs: &Vec<Input>| {
            for _ in 1..WARM_RUNS {
                module.run(self.mode, inputs)?;
            }
            module.run(self.mode, inputs)
        };
        self.inputs.iter().map(warm).collect()
    }

    /// They take turns, so that what else the machine does hits all.
    fn time_all(&self, candidates: &mut Vec<Candidate>) -> Result<(), String> {
        if self.device != Device::Cpu {
            for candidate in &mut *candidates {
                let sent = self.inputs.iter().map(|inputs| candidate.module.send(self.mode, inputs));
                candidate.sent = sent.collect::<Result<_, _>>()?;
            }
        }
        let end = Instant::now() + TIME;
        for runs in 1..=TIMED_RUNS.1 {
            for candidate in &mut *candidates {
                for sample in 0..self.inputs.len() {
                    let time = self.time(candidate, sample)?;
                    candidate.shortest[sample] = time.min(candidate.shortest[sample]);
                }
            }
            if runs >= TIMED_RUNS.0 && Instant::now() > end {
                break;
            }
            let (mut shares, _) = ranked(&times(candidates));
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
            // The plain one stays, since the others are measured by it.
            shares[0] = least;
            let mut shares = shares.into_iter();
            candidates.retain(|_| shares.next().is_some_and(|share| share <= least * HOPELESS));
        }
        Ok(())
    }

    /// On a GPU the inputs lie there already, since the same copies, to memory that has to be pinned first, would be most
    /// of the time whatever the form.
    fn time(&self, candidate: &Candidate, sample: usize) -> Result<Duration, String> {
        let (module, inputs) = (&candidate.module, &self.inputs[sample]);
        let start = (Instant::now(), thread_time());
        match candidate.sent.get(sample) {
            Some(sent) => module.compute(self.mode, inputs, sent)?,
            None => module.run(self.mode, inputs).map(drop)?,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clearly_faster_over_all_samples_is_best() {
        let ms = Duration::from_millis;
        let (plain, level, better) = ([ms(100), ms(1000)], [ms(101), ms(970)], [ms(60), ms(1200)]);
        let (shares, best) = ranked(&[&plain, &level, &better]);
        assert_eq!(best, 2, "a small picture counts as much as a large one: {shares:?}");
        assert!((shares[2] - 0.72_f64.sqrt()).abs() < 1e-9, "{shares:?}");
        assert_eq!(ranked(&[&plain, &level]).1, 0, "a gain of one part in a hundred may be chance");
        let nothing = [Duration::ZERO; 2];
        assert_eq!(ranked(&[&nothing, &nothing]).1, 0, "without a clock there is no telling");
    }
}
