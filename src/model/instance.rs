//! One thread with its own instance of a model, which it loads, warms up, and runs batches on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use super::backend::{Inputs, Model, Opened, Outputs, Pixels};
use super::device::Device;
use super::settings::{Settings, Warmup};
use super::staff::Contract;
use super::statistics::{Compute, Statistics};
use super::warm;
use crate::error::Error;
use crate::exec::line::{Job, Line};
use crate::exec::pool::panic_text;
use crate::limits::Credit;
use crate::tensor::{Kept, Place};

/// Where the requests of one version wait.
pub(super) type Requests = Line<Work, Done, Kind>;

/// What requests must have in common to be run together.
#[derive(PartialEq)]
pub(super) struct Kind {
    /// For each input whether it is there, and its dimensions but the first.
    pub inputs: Vec<Option<Vec<usize>>>,
    /// What of them is pixels: tensors of the same shape are none.
    pub pixels: Pixels,
}

/// What a thread works on.
#[derive(Debug)]
pub struct Work {
    /// Inputs that were checked, in the order of the signature. The thread fetches what lies elsewhere, so that it
    /// is copied right before it is needed, and not at all if nobody waits for it any more.
    pub inputs: Vec<Option<Kept>>,
    /// Rows of the batch; 1 where there are no batches.
    pub rows: usize,
    /// What of it is pixels, and what of the outputs is to be.
    pub pixels: Pixels,
    /// Where outputs are to be put, in the order of the signature; those behind its end stay here.
    pub places: Vec<Option<Arc<dyn Place>>>,
    /// Where it is logged what becomes of it.
    pub span: Span,
    /// Room in memory, which is taken until the thread is done, even if nobody waits any more.
    pub credit: Arc<Credit>,
}

impl Work {
    /// The numbers in its inputs. What a model takes of the time grows with them.
    pub fn elements(&self) -> u64 {
        let elements = |tensor: &Kept| tensor.shape().elements().unwrap_or(usize::MAX) as u64;
        self.inputs.iter().flatten().map(elements).fold(0, u64::saturating_add)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// The outputs, in the order of the signature.
    pub outputs: Vec<Kept>,
    /// How long the request waited for a thread.
    pub queued: Duration,
    /// How long the inputs of the batch were brought here.
    pub fetched: Duration,
    /// How long the batch ran.
    pub ran: Duration,
    /// How long the outputs were put elsewhere.
    pub put: Duration,
}

/// Opens the version again, as it lies on disk.
pub(super) type Open = dyn Fn() -> Result<Arc<dyn Opened>, Error> + Send + Sync;

/// Everything that an instance needs. Those of one version share all but its contract.
pub(super) struct Instance {
    pub settings: Arc<Settings>,
    pub opened: Arc<dyn Opened>,
    pub open: Arc<Open>,
    pub requests: Arc<Requests>,
    pub condition: Arc<Condition>,
    pub statistics: Arc<Statistics>,
    /// What of requests is pixels.
    pub pixels: Pixels,
    pub contract: Contract,
}

/// How a version fares.
#[derive(Debug, Default)]
pub(super) struct Condition(Mutex<Fared>);

#[derive(Debug, Default)]
struct Fared {
    broken: usize,
    note: String,
}

/// How often an instance of one version may break without that being more than bad luck: it is made anew.
const FORGIVEN: usize = 1;

/// What may become of a batch.
enum Fault {
    /// The model refuses it, and can go on.
    Refused(Error),
    /// The model panicked or its device failed, as this says, and it can't be relied on any more.
    Broken(String),
}

impl Condition {
    /// What is to be said of it, and whether that is the end of it.
    pub fn note(&self) -> (String, bool) {
        let fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (fared.note.clone(), fared.broken > FORGIVEN)
    }

    /// Notes that an instance broke; whether the model may go on.
    fn broke(&self, why: &str) -> bool {
        let mut fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fared.broken += 1;
        let goes_on = fared.broken <= FORGIVEN;
        let then = if goes_on {
            "it was loaded anew"
        } else {
            "that was not the first time, and it is not loaded again"
        };
        fared.note = format!("{why}; {then}");
        goes_on
    }

    /// Nothing is held against what is made of it from now on.
    pub fn forgive(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Fared::default();
    }

    fn failed(&self, why: &str, error: &Error) {
        let mut fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fared.broken = FORGIVEN + 1;
        fared.note = format!("{why}; it could not be loaded anew: {error}");
    }
}

impl Instance {
    /// Loads the model and warms it up. This is what a version waits for before it is ready.
    pub fn make(&self) -> Result<Box<dyn Model>, Error> {
        let made = catch_unwind(AssertUnwindSafe(|| self.opened.instance(self.contract.device())));
        let mut model =
            made.map_err(|panic| Error::Load(format!("loading it panicked: {}", panic_text(&*panic))))??;
        for warmup in &self.settings.warmup {
            self.warm(&mut *model, warmup).map_err(|fault| {
                let why = match fault {
                    Fault::Refused(error) => error.to_string(),
                    Fault::Broken(why) => why,
                };
                Error::Load(format!("warm-up `{}` failed: {why}", warmup.name))
            })?;
        }
        Ok(model)
    }

    /// Runs what clients may send in place of a warm-up's request too: pixels, and on a GPU, which gets ready for each
    /// size when it sees it first, batches of every size.
    fn warm(&self, model: &mut dyn Model, warmup: &Warmup) -> Result<(), Fault> {
        let mut run = |batch: &[Inputs], pixels: Pixels| self.infer(model, batch, pixels).map(drop);
        let pixels = warm::pixels(&self.settings, &warmup.inputs, self.pixels).map_err(Fault::Refused)?;
        for _ in 0..warmup.count {
            run(std::slice::from_ref(&warmup.inputs), Pixels::default())?;
            if let Some(pixels) = &pixels {
                run(std::slice::from_ref(pixels), self.pixels)?;
            }
        }
        if self.contract.device() == Device::Cpu {
            return Ok(());
        }
        let (inputs, form) =
            pixels.map_or((warmup.inputs.clone(), Pixels::default()), |it| (it, self.pixels));
        let Some(row) = warm::row(&self.settings, &inputs).map_err(Fault::Refused)? else { return Ok(()) };
        for size in warm::sizes(self.settings.batching.max_batch) {
            let batch = vec![row.clone(); size];
            match (0..warm::RUNS).try_for_each(|_| run(&batch, form)) {
                Ok(()) => {}
                // It may be that the device has no room for so many, and that so many never come.
                Err(Fault::Refused(error)) => {
                    let model = &self.settings.name;
                    tracing::warn!(model, size, %error, "batches of this size fail");
                    break;
                }
                broken => return broken,
            }
        }
        Ok(())
    }

    /// Makes it of what lies on disk, and shares nothing with what may be broken.
    fn make_anew(&mut self) -> Result<Box<dyn Model>, Error> {
        self.opened = (self.open)()?;
        self.make()
    }

    /// Works until the line is closed, or it is sent away.
    pub fn work(mut self, mut model: Box<dyn Model>) {
        while let Some(jobs) = self.requests.next(self.contract.dismissal()) {
            let Err(why) = self.run(&mut *model, jobs) else { continue };
            let goes_on = self.condition.broke(&why);
            let made = if goes_on { self.make_anew() } else { Err(Error::Model(why.clone())) };
            match made {
                Ok(anew) => model = anew,
                Err(error) => {
                    if !self.condition.note().1 {
                        self.condition.failed(&why, &error);
                    }
                    let (note, _) = self.condition.note();
                    return self.requests.fail(Error::Model(note));
                }
            }
        }
    }

    /// Runs a batch, and answers all of it. An error says how the model broke.
    fn run(&self, model: &mut dyn Model, jobs: Vec<Job<Work, Done>>) -> Result<(), String> {
        let taken = Instant::now();
        let (asked, inputs) = fetch(jobs);
        // The same for all that are run together.
        let Some(pixels) = asked.first().map(|job| job.input.pixels) else { return Ok(()) };
        let rows = asked.iter().map(|job| job.input.rows).sum();
        let begin = Instant::now();
        // What a model logs while it runs several requests is about none of them.
        let alone = if let [job] = &asked[..] { job.input.span.clone() } else { Span::none() };
        match alone.in_scope(|| self.infer(model, &inputs, pixels)) {
            Ok(outputs) => {
                let (fetched, ran) = (begin - taken, begin.elapsed());
                for (job, outputs) in asked.into_iter().zip(outputs) {
                    give(job, outputs, fetched, ran);
                }
                let output = begin.elapsed() - ran;
                self.statistics.executed(rows, Compute { input: fetched, infer: ran, output });
                Ok(())
            }
            Err(Fault::Broken(why)) => {
                for job in asked {
                    let model = &self.settings.name;
                    job.input.span.in_scope(|| tracing::error!(model, why, "a model broke"));
                    job.answer(Err(Error::Model(why.clone())));
                }
                Err(why)
            }
            Err(Fault::Refused(error)) if asked.len() == 1 => {
                asked.into_iter().for_each(|job| job.answer(Err(error.clone())));
                Ok(())
            }
            // One of them is bad, and the others need not suffer for it.
            Err(Fault::Refused(_)) => {
                let mut alone = asked.into_iter().zip(inputs);
                let ran = alone.by_ref().try_for_each(|(mut job, inputs)| {
                    job.input.inputs = inputs.into_iter().map(|input| input.map(Kept::Here)).collect();
                    self.run(model, vec![job])
                });
                for (job, _) in alone {
                    job.answer(Err(Error::Model("the model broke at a request of the same batch".into())));
                }
                ran
            }
        }
    }

    fn infer(&self, model: &mut dyn Model, batch: &[Inputs], pixels: Pixels) -> Result<Vec<Outputs>, Fault> {
        let infer = || match pixels {
            Pixels { input: false, output: false } => model.infer(batch),
            pixels => model.infer_pixels(batch, pixels),
        };
        let outputs = catch_unwind(AssertUnwindSafe(infer))
            .map_err(|panic| Fault::Broken(format!("the model panicked: {}", panic_text(&*panic))))?
            .map_err(|error| match error {
                Error::Device(_) => Fault::Broken(error.to_string()),
                error => Fault::Refused(error),
            })?;
        let expected = self.settings.signature.outputs.len();
        if outputs.len() != batch.len() || outputs.iter().any(|outputs| outputs.len() != expected) {
            let error = format!("the model gave other than {expected} outputs for each request");
            return Err(Fault::Refused(Error::Model(error)));
        }
        Ok(outputs)
    }
}

/// Brings the inputs here. A request of which some can't be had is answered with that, and its neighbours go on.
fn fetch(jobs: Vec<Job<Work, Done>>) -> (Vec<Job<Work, Done>>, Vec<Inputs>) {
    let mut here = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for mut job in jobs {
        let inputs = std::mem::take(&mut job.input.inputs);
        match inputs.into_iter().map(|input| input.map(Kept::fetch).transpose()).collect() {
            Ok(inputs) => {
                here.0.push(job);
                here.1.push(inputs);
            }
            Err(error) => job.answer(Err(error)),
        }
    }
    here
}

/// Puts outputs where they are wanted, and answers.
fn give(mut job: Job<Work, Done>, outputs: Outputs, fetched: Duration, ran: Duration) {
    // Who has gone away may have another use for the place by now.
    if !job.is_wanted() {
        return;
    }
    let (begin, queued) = (Instant::now(), job.queued);
    let places = std::mem::take(&mut job.input.places).into_iter().chain(std::iter::repeat(None));
    let outputs: Result<_, _> =
        outputs.into_iter().zip(places).map(|(output, place)| output.put(place)).collect();
    job.answer(outputs.map(|outputs| Done { outputs, queued, fetched, ran, put: begin.elapsed() }));
}
