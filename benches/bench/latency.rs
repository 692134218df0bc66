//! What the server adds to the time of a frame when nothing else is going on.

use crate::drive::Load;
use crate::inprocess::Work;
use crate::pairs::{Pairs, Sample, Spread, median};
use crate::process::Server;
use crate::report::{Table, shown, verdict};
use crate::{Result, Setting};

const PIPELINES: [&str; 2] = ["gray | canny", ""];
/// In seconds.
const TARGET: f64 = 0.001;

pub fn measure(setting: &Setting) -> Result<String> {
    let server = Server::frameserve(setting.cores.server)?;
    let mut table = Table::new(&[
        "clip",
        "stages",
        "through the server, p50",
        "p99",
        "in-process, p50",
        "added, ms",
        "target: under 1 ms",
        "processor ms a frame",
    ]);
    for clip in [&setting.clips.easy, &setting.clips.hard] {
        for pipeline in PIPELINES {
            let mut p99 = Vec::new();
            let served = || {
                let load = Load::one_stream(setting, clip, pipeline, 1);
                let (driven, cpu) = load.run(&server, setting.cores.client)?;
                p99.push(driven.p99);
                Ok(Sample { value: driven.p50, cpu })
            };
            let possible = || {
                let repeated = Work::of(setting, clip, pipeline).run(setting.cores.server)?;
                Ok(Sample { value: repeated.p50, cpu: repeated.cpu })
            };
            let pairs = Pairs::measure(setting.pairs, served, possible)?;
            let added: Vec<f64> = pairs.differences();
            let in_ms: Vec<f64> = added.iter().map(|seconds| seconds * 1e3).collect();
            let [served, possible] = pairs.values();
            table.row([
                clip.name.clone(),
                shown(pipeline),
                ms(served),
                ms(median(&p99)),
                ms(possible),
                Spread::of(&in_ms).to_string(),
                verdict(median(&added), |added| added < TARGET),
                pairs.cpu(),
            ]);
        }
    }
    Ok(table.to_string())
}

fn ms(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}
