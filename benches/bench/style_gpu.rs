//! Style on a GPU: ever more streams, beside what the model alone and the codec alone can do.

use frameserve::model::torch;

use crate::drive::Load;
use crate::inprocess::{Repeated, Work};
use crate::limit::WINDOW;
use crate::models::{cores, frameserve_on};
use crate::painter::{Loop, Painter, repository, warm_up};
use crate::pairs::{Spread, median};
use crate::process::Server;
use crate::report::Table;
use crate::{Result, Setting};

const STREAMS: [usize; 5] = [1, 2, 4, 8, 16];
const BATCHES: [usize; 5] = [1, 2, 4, 8, 16];

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
    let mut seen = STREAMS.map(|_| Vec::new());
    // All of them in turns.
    for _ in 0..setting.pairs {
        for (streams, seen) in STREAMS.into_iter().zip(&mut seen) {
            seen.push(run(setting, painter, (&server, streams))?);
        }
    }
    drop(server);
    let mut table = Table::new(&["", "frames/s", "p95, ms", "processor ms a frame"]);
    for (streams, seen) in STREAMS.into_iter().zip(&seen) {
        let of = |part: fn(&Streamed) -> f64| seen.iter().map(part).collect::<Vec<_>>();
        table.row([
            format!("`{}`, streams: {streams}", painter.stage()),
            format!("{:.0}", Spread::of(&of(|seen| seen.fps))),
            format!("{:.1}", median(&of(|seen| seen.p95)) * 1e3),
            format!("{:.2}", median(&of(|seen| seen.cpu)) * 1e3),
        ]);
    }
    let (batch, alone) = model_alone(setting, painter)?;
    let none = String::new;
    table.row([format!("the model alone in Python, batches of {batch}"), alone, none(), none()]);
    let codec = format!("JPEG decoded and encoded alone, on {} cores", cores()?);
    table.row([codec, codec_alone(setting)?, none(), none()]);
    Ok(table.to_string())
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
fn model_alone(setting: &Setting, painter: &Painter) -> Result<(usize, String)> {
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
    Ok((best.0, format!("{:.0}", best.1)))
}

/// What all cores together decode and encode in a second, a process on each.
fn codec_alone(setting: &Setting) -> Result<String> {
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
    Ok(format!("{:.0}", Spread::of(&rates)))
}
