//! What is possible: the same decoding, stages and encoding in a plain loop, on one thread, with no network.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use frameserve::Error;
use frameserve::frame::{Codec, Encoded, Encoding, Frame, Identity, Workbench};
use frameserve::limits::Limits;
use frameserve::pipeline::names::Names;
use frameserve::pipeline::{Passage, Pipeline};
use serde::{Deserialize, Serialize};

use crate::args::Task;
use crate::clips::Clip;
use crate::drive::{Clock, Span};
use crate::pairs::quantile;
use crate::process;
use crate::{Result, Setting};

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {
    pub clip: Clip,
    pub pipeline: String,
    pub span: Span,
}

/// How fast it was.
#[derive(Debug, Serialize, Deserialize)]
pub struct Repeated {
    /// Frames a second.
    pub fps: f64,
    /// Seconds for a frame, in the middle.
    pub p50: f64,
    /// Processor time, in seconds a frame.
    pub cpu: f64,
}

impl Work {
    /// For as long as the setting says.
    pub fn of(setting: &Setting, clip: &Clip, pipeline: &str) -> Work {
        Work { clip: clip.clone(), pipeline: pipeline.into(), span: setting.span }
    }

    /// Has it done by a process of its own.
    pub fn run(self, core: Option<usize>) -> Result<Repeated> {
        process::ask(&Task::InProcess(self), core)
    }
}

/// Does it.
pub fn repeat(work: &Work) -> Result<Repeated> {
    opencv::core::set_num_threads(1)?;
    let frames = work.clip.frames()?;
    let pipeline = Pipeline::parse(&work.pipeline, &Names::default(), &Limits::default())?;
    let mut bench = Workbench::new()?;
    let mut index = 0;
    repeated(work.span, || {
        let frame = frames[index % frames.len()].clone();
        index += 1;
        black_box(process(frame, &pipeline, &mut bench)?);
        Ok(())
    })
}

/// Does it again and again for this span.
pub fn repeated(span: Span, mut once: impl FnMut() -> Result<()>) -> Result<Repeated> {
    let mut times = Vec::new();
    let mut count = 0;
    let before = processor_time()?;
    let clock = Clock::start(span);
    loop {
        let begin = Instant::now();
        once()?;
        let now = Instant::now();
        count += 1;
        if clock.counts(now) {
            times.push((now - begin).as_secs_f64());
        }
        if clock.is_over(now) {
            break;
        }
    }
    let cpu = (processor_time()? - before) / f64::from(count);
    Ok(Repeated { fps: times.len() as f64 / span.seconds, p50: quantile(&times, 0.5), cpu })
}

/// Of this process, in seconds.
pub fn processor_time() -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into a value of this very type, which outlives the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

fn process(bytes: Bytes, pipeline: &Pipeline, bench: &mut Workbench) -> std::result::Result<Bytes, Error> {
    let encoded = Encoded::with_header(bytes, Codec::Jpeg)?;
    let image = encoded.decode(pipeline.need(encoded.size), bench)?;
    let mut frame = Frame::new(Identity::default(), image);
    let mut times = Vec::new();
    for segment in 0..pipeline.segments() {
        let mut workers = pipeline.workers(segment)?;
        let (scratch, wanted) = (&mut bench.scratch, &|| true);
        let passage =
            Passage { frame: &mut frame, scratch, times: &mut times, wanted, before: Duration::ZERO };
        pipeline.run(segment, &mut workers, passage)?;
        pipeline.give_back(segment, workers);
    }
    Encoding::new(Codec::Jpeg).encode(frame.image, bench)
}
