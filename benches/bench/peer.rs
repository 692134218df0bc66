//! Against the loop that everybody writes: grpcio, imdecode, an operation, imencode, yield.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

use crate::clips::Clip;
use crate::drive::{Driven, Load};
use crate::limit::WINDOW;
use crate::look::Look;
use crate::pairs::{Pairs, Sample, Spread, geometric_means};
use crate::process::Server;
use crate::report::{Table, shown, verdict};
use crate::{Result, Setting};

/// As the Python server knows them.
const PIPELINES: [&str; 3] = ["gray|canny", "blur", "resize=640x360"];
pub const PYTHON: &str = ".deps/peers/bin/python";
pub const PROGRAM: &str = "benches/peers/opencv_server.py";
/// Frames of one stream that the Python server works on at a time, where it is told to.
const PARALLEL: &str = "8";
/// That variant is told for information, in fewer pairs.
const PAIRS_WITH_PARALLEL: usize = 2;

/// One thing that was compared.
struct Cell {
    pipeline: &'static str,
    clip: String,
    streams: usize,
    pairs: Pairs,
}

/// Both servers, on one pipeline.
struct Duel<'a> {
    setting: &'a Setting,
    frameserve: &'a Server,
    python: Server,
    pipeline: &'static str,
}

pub fn measure(setting: &Setting) -> Result<String> {
    if !Path::new(PYTHON).exists() {
        return Err(format!("there is no {PYTHON}: run scripts/setup bench").into());
    }
    let frameserve = Server::frameserve(None)?;
    let (mut loops, mut parallel) = (Vec::new(), Vec::new());
    for pipeline in PIPELINES {
        let duel = |window: &str| -> Result<Duel> {
            let python = python(pipeline, window)?;
            Ok(Duel { setting, frameserve: &frameserve, python, pipeline })
        };
        let (plain, ahead) = (duel("1")?, duel(PARALLEL)?);
        for clip in [&setting.clips.easy, &setting.clips.hard] {
            for streams in [1, 4] {
                loops.push(plain.fight(clip, streams, setting.pairs)?);
            }
            parallel.push(ahead.fight(clip, 1, setting.pairs.min(PAIRS_WITH_PARALLEL))?);
        }
    }
    let (summary, all) = (summary(&loops), details(&loops));
    let ahead = details(&parallel);
    Ok(format!(
        "{}\n\n{summary}\n{all}\n\
         For information, the same Python server when it works on {PARALLEL} frames of a stream at a time, on \
         as many threads as there are cores:\n\n{ahead}",
        versions()?
    ))
}

fn python(pipeline: &str, window: &str) -> Result<Server> {
    let mut command = Command::new(PYTHON);
    command.args([PROGRAM, "--listen", "127.0.0.1:0", "--pipeline", pipeline, "--window", window]);
    Server::start(command, None)
}

fn versions() -> Result<String> {
    let program = "import sys, cv2, grpc; print(f'Python {sys.version.split()[0]}, grpcio {grpc.__version__}, \
                   OpenCV {cv2.__version__}')";
    let output = Command::new(PYTHON).args(["-c", program]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl Duel<'_> {
    fn fight(&self, clip: &Clip, streams: usize, count: usize) -> Result<Cell> {
        let look: RefCell<Option<Look>> = RefCell::default();
        let run = |server: &Server| {
            let (driven, cpu) = self.load(clip, streams).run(server, None)?;
            same_look(&look, &driven).map_err(|error| format!("{}: {error}", self.pipeline))?;
            Ok(Sample { value: driven.fps, cpu })
        };
        let pairs = Pairs::measure(count, || run(self.frameserve), || run(&self.python))?;
        Ok(Cell { pipeline: self.pipeline, clip: clip.name.clone(), streams, pairs })
    }

    fn load(&self, clip: &Clip, streams: usize) -> Load {
        Load {
            url: String::new(),
            clip: clip.clone(),
            pipeline: self.pipeline.into(),
            streams,
            window: WINDOW,
            span: self.setting.span,
        }
    }
}

/// The same size, subsampling and quantization, or else it is no comparison.
pub fn same_look(first: &RefCell<Option<Look>>, driven: &Driven) -> Result<()> {
    let mut first = first.borrow_mut();
    let first = first.get_or_insert_with(|| driven.look.clone());
    if *first != driven.look {
        return Err(format!("the servers' replies differ: {first:?} and {:?}", driven.look).into());
    }
    Ok(())
}

fn details(cells: &[Cell]) -> Table {
    let mut table = Table::new(&[
        "stages",
        "clip",
        "streams",
        "frameserve, frames/s",
        "Python, frames/s",
        "ratio",
        "processor ms a frame",
    ]);
    for Cell { pipeline, clip, streams, pairs } in cells {
        let [ours, theirs] = pairs.values();
        table.row([
            shown(pipeline),
            clip.clone(),
            streams.to_string(),
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            Spread::of(&pairs.ratios()).to_string(),
            pairs.cpu(),
        ]);
    }
    table
}

fn summary(cells: &[Cell]) -> Table {
    let mut table = Table::new(&["", "ratio", "target", ""]);
    let mut row = |what: &str, target: f64, belongs: &dyn Fn(&Cell) -> bool| {
        let rows: Vec<_> =
            cells.iter().filter(|cell| belongs(cell)).map(|cell| cell.pairs.ratios()).collect();
        let ratio = Spread::of(&geometric_means(&rows));
        let met = verdict(ratio.median, |ratio| ratio >= target);
        table.row([what.into(), ratio.to_string(), format!("{target}"), met]);
    };
    row("one stream, geometric mean of the six", 2.0, &|cell| cell.streams == 1);
    row("four streams, geometric mean of the six", 1.3, &|cell| cell.streams == 4);
    let resize = PIPELINES[2];
    row("one stream, `resize=640x360`, both clips", 2.5, &|cell| {
        cell.streams == 1 && cell.pipeline == resize
    });
    table
}
