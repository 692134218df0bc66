//! One stream against the limit: the same work in one process, with no network.

use crate::drive::Load;
use crate::inprocess::Work;
use crate::pairs::{Pairs, Sample, Spread};
use crate::process::Server;
use crate::report::{Table, shown, verdict};
use crate::{Result, Setting};

pub const PIPELINES: [&str; 4] = ["gray | canny", "blur", "resize=640x360", ""];
/// Enough that the server always has something to do.
pub const WINDOW: u32 = 16;
const TARGET: f64 = 0.9;

pub fn measure(setting: &Setting) -> Result<String> {
    let server = Server::frameserve(setting.cores.server)?;
    let mut table = Table::new(&[
        "clip",
        "stages",
        "server, frames/s",
        "in-process, frames/s",
        "ratio",
        "target: 0.9",
        "processor ms a frame",
    ]);
    for clip in [&setting.clips.easy, &setting.clips.hard] {
        for pipeline in PIPELINES {
            let served = || {
                let load = Load::one_stream(setting, clip, pipeline, WINDOW);
                let (driven, cpu) = load.run(&server, setting.cores.client)?;
                Ok(Sample { value: driven.fps, cpu })
            };
            let possible = || {
                let repeated = Work::of(setting, clip, pipeline).run(setting.cores.server)?;
                Ok(Sample { value: repeated.fps, cpu: repeated.cpu })
            };
            let pairs = Pairs::measure(setting.pairs, served, possible)?;
            let ratio = Spread::of(&pairs.ratios());
            let [served, possible] = pairs.values();
            table.row([
                clip.name.clone(),
                shown(pipeline),
                format!("{served:.0}"),
                format!("{possible:.0}"),
                ratio.to_string(),
                verdict(ratio.median, |ratio| ratio >= TARGET),
                pairs.cpu(),
            ]);
        }
    }
    Ok(table.to_string())
}
