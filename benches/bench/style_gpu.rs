//! Style on a GPU: ever more streams, beside what the model alone and the codec alone can do.

use frameserve::model::torch;

use crate::drive::Load;
use crate::inprocess::{Repeated, Work};
use crate::limit::WINDOW;
use crate::models::{cores, frameserve_on};
use crate::painter::{Loop, Painter, repository, warm_up};
use crate::pairs::{Spread, median};
use crate::process::Server;
use crate::report::{Table, verdict};
use crate::{Result, Setting};

const STREAMS: [usize; 5] = [1, 2, 4, 8, 16];
const BATCHES: [usize; 5] = [1, 2, 4, 8, 16];
/// Where the target for the total lies, and what it is of the lesser of model and codec.
const TARGET: (usize, f64) = (8, 0.9);
/// What the total has to be of that with half as many streams.
const STEADY: f64 = 0.97;

pub fn measure(setting: &Setting, painter: &Painter) -> Result<String> {
    if torch().cuda_devices.is_empty() {
        return Ok(format!("not measured: no CUDA device ({})\n", torch().cuda_reason));
    }
    // As it is shipped, and warmed up for the clip, from which the server knows the sizes of batches by itself.
    let config = format!("{}{}", painter.config, warm_up(&setting.clips.easy, 1));
    let folder = repository("bench-styles-gpu", &[(painter, config)])?;
    let server = frameserve_on("cuda:0", &folder, None)?;
    let mut seen = STREAMS.map(|_| Vec::new());
    // All of them in turns.
    for _ in 0..setting.pairs {
        for (streams, seen) in STREAMS.into_iter().zip(&mut seen) {
            seen.push(run(setting, painter, (&server, streams))?);
        }
    }
    drop(server);
    let (batch, model) = model_alone(setting, painter)?;
    let codec = codec_alone(setting)?;
    let lesser = model.median.min(codec.median);
    let mut table = Table::new(&[
        "",
        "frames/s",
        "p95, ms",
        "processor ms a frame",
        "of the lesser alone",
        "target: 0.9 at 8",
        "of the step before",
        "target: 0.97",
    ]);
    let none = String::new;
    let totals = seen.each_ref().map(|seen| Spread::of(&of(seen, |seen| seen.fps)));
    for (step, (streams, seen)) in STREAMS.into_iter().zip(&seen).enumerate() {
        let shares: Vec<f64> = seen.iter().map(|seen| seen.fps / lesser).collect();
        let share = Spread::of(&shares);
        let at_target = streams == TARGET.0;
        let kept = step.checked_sub(1).map(|before| totals[step].median / totals[before].median);
        table.row([
            format!("`{}`, streams: {streams}", painter.stage()),
            format!("{:.0}", totals[step]),
            format!("{:.1}", median(&of(seen, |seen| seen.p95)) * 1e3),
            format!("{:.2}", median(&of(seen, |seen| seen.cpu)) * 1e3),
            share.to_string(),
            if at_target { verdict(share.median, |share| share >= TARGET.1) } else { none() },
            kept.map_or_else(none, |kept| format!("{kept:.2}")),
            kept.map_or_else(none, |kept| verdict(kept, |kept| kept >= STEADY)),
        ]);
    }
    let alone = |what: String, rate: &Spread| {
        [what, format!("{rate:.0}"), none(), none(), none(), none(), none(), none()]
    };
    table.row(alone(format!("the model alone in Python, batches of {batch}"), &model));
    table.row(alone(format!("JPEG decoded and encoded alone, on {} cores", cores()?), &codec));
    Ok(table.to_string())
}

fn of(seen: &[Streamed], part: fn(&Streamed) -> f64) -> Vec<f64> {
    seen.iter().map(part).collect()
}

struct Streamed {
    fps: f64,
    /// In seconds, as is the processor time of a frame.
    p95: f64,
    cpu: f64,
}

fn run(setting: &Setting, painter: &Painter, (server, streams): (&Server, usize)) -> Result<Streamed> {
    let load = Load { streams, ..Load::one_stream(setting, &setting.clips.easy, &painter.stage(), WINDOW) };
    let (driven, cpu) = load.run(server, None)?;
    Ok(Streamed { fps: driven.fps, p95: driven.p95, cpu })
}

/// The batch with which it is fastest, and pictures a second.
fn model_alone(setting: &Setting, painter: &Painter) -> Result<(usize, Spread)> {
    let mut alone = Loop::on_batches(painter)?;
    let mut best = (0, Spread::of(&[0.0]));
    for batch in BATCHES {
        let mut rates = Vec::new();
        for _ in 0..setting.pairs {
            rates.push(alone.paint_batches(&setting.clips.easy, batch, setting.span)?.value);
        }
        let rate = Spread::of(&rates);
        if rate.median > best.1.median {
            best = (batch, rate);
        }
    }
    Ok(best)
}

/// What all cores together decode and encode in a second, a process on each.
fn codec_alone(setting: &Setting) -> Result<Spread> {
    let mut rates = Vec::new();
    for _ in 0..setting.pairs {
        let workers: Vec<_> = std::thread::scope(|scope| {
            let work =
                || Work::of(setting, &setting.clips.easy, "").run(None).map_err(|error| error.to_string());
            let started: Vec<_> = (0..cores().unwrap_or(1)).map(|_| scope.spawn(work)).collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut total = 0.0;
        for worker in workers {
            let Repeated { fps, .. } = worker.map_err(|_| "a thread panicked")??;
            total += fps;
        }
        rates.push(total);
    }
    Ok(Spread::of(&rates))
}
