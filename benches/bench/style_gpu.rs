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
/// What all streams together must keep of what fewer had.
const NO_FALL: f64 = 0.97;
/// What must be had of what the model alone or the codec alone can do, and with which of `STREAMS`.
const LIMIT_TARGET: f64 = 0.9;
const COMPARED: usize = 3;

/// The model as it is shipped takes one picture at a time; a GPU wants more.
const CONFIG: &str = r#"
backend: "pytorch"
max_batch_size: 16
input { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }
output { name: "painted" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }
dynamic_batching { }
parameters { key: "frameserve.task" value { string_value: "image" } }
"#;

pub fn measure(setting: &Setting, painter: &Painter) -> Result<String> {
    if torch().cuda_devices.is_empty() {
        return Ok(format!("not measured: no CUDA device ({})\n", torch().cuda_reason));
    }
    let warm_up = BATCHES.map(|batch| warm_up(&setting.clips.easy, batch)).concat();
    let folder = repository("bench-styles-gpu", &[(painter, format!("{CONFIG}{warm_up}"))])?;
    let server = frameserve_on("cuda:0", &folder, None)?;
    let mut all = STREAMS.map(|_| Vec::new());
    // All of them in turns.
    for _ in 0..setting.pairs {
        for (streams, seen) in STREAMS.into_iter().zip(&mut all) {
            seen.push(run(setting, painter, (&server, streams))?);
        }
    }
    drop(server);
    let (batch, model) = model_alone(setting, painter)?;
    let codec = codec_alone(setting)?;
    let header = ["", "frames/s", "p95, ms", "processor ms a frame", "of one step before", "target: 0.97"];
    let mut table = Table::new(&header);
    for (step, (streams, seen)) in STREAMS.into_iter().zip(&all).enumerate() {
        let of = |part: fn(&Streamed) -> f64| seen.iter().map(part).collect::<Vec<_>>();
        let [kept, verdict] = match step.checked_sub(1).map(|before| &all[before]) {
            None => [String::new(), String::new()],
            Some(before) => {
                let kept: Vec<_> =
                    seen.iter().zip(before).map(|(now, before)| now.fps / before.fps).collect();
                let kept = Spread::of(&kept);
                [format!("{kept:.2}"), verdict(kept.median, |kept| kept >= NO_FALL)]
            }
        };
        table.row([
            format!("`{}`, streams: {streams}", painter.stage()),
            format!("{:.0}", Spread::of(&of(|seen| seen.fps))),
            format!("{:.1}", median(&of(|seen| seen.p95)) * 1e3),
            format!("{:.2}", median(&of(|seen| seen.cpu)) * 1e3),
            kept,
            verdict,
        ]);
    }
    let limit = model.median.min(codec.median);
    let share: Vec<_> = all[COMPARED].iter().map(|seen| seen.fps / limit).collect();
    let share = Spread::of(&share);
    let mut limits = Table::new(&["", "frames/s", "streams: 8, of the lesser", "target: 0.9", ""]);
    let none = String::new;
    let alone = format!("the model alone in Python, batches of {batch}");
    limits.row([alone, format!("{model:.0}"), none(), none(), none()]);
    let both = format!("JPEG decoded and encoded alone, on {} cores", cores()?);
    let met = verdict(share.median, |share| share >= LIMIT_TARGET);
    limits.row([both, format!("{codec:.0}"), format!("{share:.2}"), LIMIT_TARGET.to_string(), met]);
    Ok(format!("{table}\n{limits}"))
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
