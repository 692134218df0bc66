//! Raw frames that nothing is done to, against a bare echo.

use crate::args::Task;
use crate::drive::Load;
use crate::limit::WINDOW;
use crate::pairs::{Pairs, Sample, Spread};
use crate::process::{Server, myself};
use crate::report::{Table, verdict};
use crate::{Result, Setting};

const TARGET: f64 = 0.9;

pub fn measure(setting: &Setting) -> Result<String> {
    let frameserve = Server::frameserve(setting.cores.server)?;
    let echo = Server::start(myself(&Task::Echo)?, setting.cores.server)?;
    let run = |server: &Server| {
        let load = Load::one_stream(setting, &setting.clips.raw, "", WINDOW);
        let (driven, cpu) = load.run(server, setting.cores.client)?;
        Ok(Sample { value: driven.fps, cpu })
    };
    let pairs = Pairs::measure(setting.pairs, || run(&frameserve), || run(&echo))?;
    let ratio = Spread::of(&pairs.ratios());
    let [ours, theirs] = pairs.values();
    let mut table = Table::new(&[
        "frameserve, frames/s",
        "bare echo, frames/s",
        "ratio",
        "target: 0.9",
        "processor ms a frame",
    ]);
    table.row([
        format!("{ours:.0}"),
        format!("{theirs:.0}"),
        ratio.to_string(),
        verdict(ratio.median, |ratio| ratio >= TARGET),
        pairs.cpu(),
    ]);
    Ok(table.to_string())
}
