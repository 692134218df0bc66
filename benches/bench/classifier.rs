//! A classifier with the shape of ResNet-18, on all cores: against the loop that one writes first, and others.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::drive::Span;
use crate::duel::{Duels, Goal, P50};
use crate::models::{CLASSIFIER, Module, PYTHON, Peer, Requests, classifier, cores, frameserve, repository};
use crate::pairs::Sample;
use crate::{Result, Setting};

const CALLERS: u32 = 8;
const TARGET: f64 = 1.2;
/// An inference takes some 30 ms, so that a second has too few of them.
const LONGER: f64 = 4.0;
const LOOP: &str = "benches/peers/torch_loop.py";

/// What the loop says.
#[derive(Deserialize)]
struct Repeated {
    inferences_per_second: f64,
    cpu_ms: f64,
}

pub fn measure(setting: &Setting) -> Result<String> {
    if let Some(why) = missing() {
        return Ok(why);
    }
    let Some(file) = classifier()? else { return Ok(not_measured()) };
    let ours = frameserve(&repository(Some(&file))?, None)?;
    let requests = requests(setting, CALLERS);
    let ours = || requests.all(&ours, None);
    let mut duels = Duels::new();
    for module in [Module::Plain, Module::Optimized] {
        let theirs = || python_loop(&file, module, requests.span);
        duels.against_rate(goal("Python loop", module), setting.pairs, ours, theirs)?;
    }
    for peer in [Peer::Triton, Peer::Kserve] {
        for module in [Module::Plain, Module::Optimized] {
            let goal = goal(peer.name(), module);
            match peer.start(Some(&file), module)? {
                Some(theirs) => {
                    duels.fight(goal, setting.pairs, ours, || requests.all(&theirs, None))?;
                }
                None => duels.not_measured(goal),
            }
        }
    }
    Ok(duels.to_string())
}

/// Why nothing can be said of classifiers.
pub fn missing() -> Option<String> {
    frameserve::model::torch().version.is_empty().then(|| "not measured: built without libtorch\n".into())
}

pub fn not_measured() -> String {
    "not measured: `scripts/setup peers` brings what makes the model\n".into()
}

pub fn requests(setting: &Setting, callers: u32) -> Requests {
    let Span { warm_up, seconds } = setting.span;
    let span = Span { warm_up: warm_up * 2.0, seconds: seconds * LONGER };
    let told = ["--shape", "image=FP32:1,3,224,224"].map(String::from).into();
    Requests { model: CLASSIFIER, told, callers, span }
}

fn goal(against: &str, module: Module) -> Goal {
    let (how, ratio) = match module {
        Module::Plain => ("", Some(TARGET)),
        Module::Optimized => (", module optimized by hand", None),
    };
    Goal { against: format!("{against}{how}"), callers: CALLERS, ratio, p50: P50::NoMatter }
}

/// As many threads as our server has instances.
fn python_loop(file: &Path, module: Module, span: Span) -> Result<Sample> {
    let mut command = Command::new(PYTHON);
    command.env("OMP_NUM_THREADS", "1").args(["-s", LOOP]).arg("--model").arg(file);
    command.args(["--threads", &cores()?.to_string()]);
    command.args(["--seconds", &span.seconds.to_string(), "--warmup", &span.warm_up.to_string()]);
    if module == Module::Optimized {
        command.arg("--optimized");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let Repeated { inferences_per_second: value, cpu_ms } = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{LOOP}: {}: {error}", output.status))?;
    Ok(Sample { value, cpu: cpu_ms / 1e3 })
}
