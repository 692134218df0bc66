//! Models in streams: against Python's loop around the same model, against a server around that loop, and streams
//! that share one model.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::classifier::{missing, not_measured};
use crate::clips::Clip;
use crate::drive::{Driven, Load, Span};
use crate::limit::WINDOW;
use crate::look::Look;
use crate::models::{Module, cores};
use crate::painter::{Loop, Painter, python_server_has_torch, serving};
use crate::pairs::{Pairs, Sample, Spread, median};
use crate::peer::same_look;
use crate::process::Server;
use crate::report::{Table, verdict};
use crate::{Result, Setting, style_gpu};

const LOOP_TARGET: f64 = 0.95;
const SERVER_TARGET: f64 = 1.7;
const TOTAL_TARGET: f64 = 1.0;
const EVEN_TARGET: f64 = 0.9;
const STREAMS: usize = 4;
/// A frame of the classic model takes up to a second: a span has at least so many that count, and so many before.
const FRAMES: f64 = 12.0;
const FRAMES_BEFORE: f64 = 2.0;
/// Four streams share what one has, and how evenly is to be seen.
const LONGER: f64 = 3.0;
/// What is compared there is alike, so that it takes more pairs to tell them apart.
const MORE: usize = 3;
const NO_PEERS: &str = "not measured: `scripts/setup peers bench` brings Python's grpcio with torch\n";

/// One model on one clip.
struct Job<'a> {
    painter: &'a Painter,
    clip: &'a Clip,
    /// The clip's, decoded.
    frames: PathBuf,
    span: Span,
}

/// The same model in Python: as it is loaded, and optimized by hand.
struct Loops {
    plain: Loop,
    optimized: Loop,
}

/// The same model behind Python's grpcio: on one thread of torch's, and on as many as torch takes.
struct Peers {
    one: Server,
    own: Server,
}

pub fn measure(setting: &Setting) -> Result<String> {
    if let Some(why) = missing() {
        return Ok(why);
    }
    let Some(classic) = Painter::classic()? else { return Ok(not_measured()) };
    let painters = [Painter::compact()?, classic];
    let [alone, served, shared] = on_processors(setting, &painters)?;
    let gpu = style_gpu::measure(setting, &painters[0])?;
    Ok(format!(
        "One stream and one instance, against the loop in Python:\n\n{alone}\n\
         One stream and an instance for each core, against the server in Python:\n\n{served}\n\
         {STREAMS} streams that share a model, against one:\n\n{shared}\n\
         On a GPU, 1280x720:\n\n{gpu}"
    ))
}

fn on_processors(setting: &Setting, painters: &[Painter; 2]) -> Result<[String; 3]> {
    let clips = [&setting.clips.small, &setting.clips.medium];
    let (single, server) = (serving(painters, 1, &clips)?, serving(painters, cores()?, &clips)?);
    let (mut alone, mut served) = (against_loop(), against_server());
    let has_peers = python_server_has_torch();
    for painter in painters {
        let mut loops = Loops::start(painter)?;
        let jobs = loops.jobs(setting, painter)?;
        for job in &jobs {
            loops.row(&mut alone, job, (&single, setting.pairs))?;
        }
        drop(loops);
        if has_peers {
            let peers = Peers::start(painter, &clips)?;
            for job in &jobs {
                peers.row(&mut served, job, (&server, setting.pairs))?;
            }
        }
    }
    let served = if has_peers { served.to_string() } else { NO_PEERS.into() };
    Ok([alone.to_string(), served, shared(setting, &painters[0], &server)?.to_string()])
}

impl Job<'_> {
    fn load(&self, streams: usize) -> Load {
        let (url, clip, pipeline) = (String::new(), self.clip.clone(), self.painter.stage());
        // All streams together have as many frames in flight as one has alone.
        let window = WINDOW / streams as u32;
        Load { url, clip, pipeline, streams, window, span: self.span }
    }

    fn run(&self, server: &Server, streams: usize) -> Result<(Driven, Sample)> {
        let run = self.load(streams).run(server, None);
        let (driven, cpu) = run.map_err(|error| format!("{}: {error}", self.cells().join(", ")))?;
        let value = driven.rates.iter().sum();
        Ok((driven, Sample { value, cpu }))
    }

    /// What a row begins with.
    fn cells(&self) -> [String; 2] {
        [format!("`{}`", self.painter.stage()), format!("{}x{}", self.clip.width, self.clip.height)]
    }
}

impl Loops {
    fn start(painter: &Painter) -> Result<Self> {
        let [plain, optimized] =
            [Module::Plain, Module::Optimized].map(|module| Loop::on_frames(painter, module));
        Ok(Loops { plain: plain?, optimized: optimized? })
    }

    /// What there is to measure, with spans for how long a frame takes.
    fn jobs<'a>(&mut self, setting: &'a Setting, painter: &'a Painter) -> Result<Vec<Job<'a>>> {
        let mut jobs = Vec::new();
        for clip in [&setting.clips.small, &setting.clips.medium] {
            let frames = clip.decoded()?;
            let probe = Span { warm_up: 0.0, seconds: 0.0 };
            let frame = 1.0 / self.plain.paint(clip, &frames, probe)?.value;
            let warm_up = setting.span.warm_up.max(FRAMES_BEFORE * frame);
            let seconds = setting.span.seconds.max(FRAMES * frame);
            jobs.push(Job { painter, clip, frames, span: Span { warm_up, seconds } });
        }
        Ok(jobs)
    }

    fn row(&mut self, table: &mut Table, job: &Job, (server, count): (&Server, usize)) -> Result<()> {
        let mut optimized = Vec::new();
        let ours = || Ok(job.run(server, 1)?.1);
        let theirs = || {
            let plain = self.plain.paint(job.clip, &job.frames, job.span)?;
            optimized.push(self.optimized.paint(job.clip, &job.frames, job.span)?.value);
            Ok(plain)
        };
        let pairs = Pairs::measure(count, ours, theirs)?;
        row(table, job, &pairs, (LOOP_TARGET, &optimized));
        Ok(())
    }
}

impl Peers {
    fn start(painter: &Painter, clips: &[&Clip]) -> Result<Self> {
        let (one, own) = (painter.python_server(Some(1), clips)?, painter.python_server(None, clips)?);
        Ok(Peers { one, own })
    }

    fn row(&self, table: &mut Table, job: &Job, (server, count): (&Server, usize)) -> Result<()> {
        let look: RefCell<Option<Look>> = RefCell::default();
        let run = |server: &Server| {
            let (driven, sample) = job.run(server, 1)?;
            same_look(&look, &driven)?;
            Ok::<_, Box<dyn std::error::Error>>(sample)
        };
        let mut own = Vec::new();
        let theirs = || {
            let one = run(&self.one)?;
            own.push(run(&self.own)?.value);
            Ok(one)
        };
        let pairs = Pairs::measure(count, || run(server), theirs)?;
        row(table, job, &pairs, (SERVER_TARGET, &own));
        Ok(())
    }
}

fn against_loop() -> Table {
    table(["loop, frames/s", "target: 0.95", "for information: loop with `optimize_for_inference`, frames/s"])
}

fn against_server() -> Table {
    table([
        "Python, one thread of torch's, frames/s",
        "target: 1.7",
        "for information: Python, torch's own number of threads, frames/s",
    ])
}

fn table([theirs, target, information]: [&str; 3]) -> Table {
    Table::new(&[
        "stages",
        "size",
        "frameserve, frames/s",
        theirs,
        "ratio",
        target,
        "processor ms a frame",
        information,
    ])
}

fn row(table: &mut Table, job: &Job, pairs: &Pairs, (target, information): (f64, &[f64])) {
    let [stage, size] = job.cells();
    let ratio = Spread::of(&pairs.ratios());
    let [ours, theirs] = pairs.values();
    table.row([
        stage,
        size,
        format!("{ours:.2}"),
        format!("{theirs:.2}"),
        ratio.to_string(),
        verdict(ratio.median, |ratio| ratio >= target),
        pairs.cpu(),
        Spread::of(information).to_string(),
    ]);
}

/// Streams that have a model together, against one that has it alone.
fn shared(setting: &Setting, painter: &Painter, server: &Server) -> Result<Table> {
    let mut table = Table::new(&[
        "stages",
        "size",
        "four streams, frames/s",
        "one stream, frames/s",
        "ratio",
        "target: 1.0",
        "the slowest of the four over the fastest",
        "target: 0.9",
        "processor ms a frame",
    ]);
    let Span { warm_up, seconds } = setting.span;
    let span = Span { warm_up: warm_up * LONGER, seconds: seconds * LONGER };
    for clip in [&setting.clips.small, &setting.clips.medium] {
        let job = Job { painter, clip, frames: PathBuf::new(), span };
        let mut even = Vec::new();
        let four = || {
            let (driven, sample) = job.run(server, STREAMS)?;
            even.push(evenness(&driven.rates));
            Ok(sample)
        };
        let pairs = Pairs::measure(MORE * setting.pairs, four, || Ok(job.run(server, 1)?.1))?;
        let ([stage, size], [all, one]) = (job.cells(), pairs.values());
        let ratio = Spread::of(&pairs.ratios());
        table.row([
            stage,
            size,
            format!("{all:.2}"),
            format!("{one:.2}"),
            ratio.to_string(),
            verdict(ratio.median, |ratio| ratio >= TOTAL_TARGET),
            Spread::of(&even).to_string(),
            verdict(median(&even), |even| even >= EVEN_TARGET),
            pairs.cpu(),
        ]);
    }
    Ok(table)
}

/// The least of them over the most.
fn evenness(rates: &[f64]) -> f64 {
    let Spread { min, max, .. } = Spread::of(rates);
    min / max
}
