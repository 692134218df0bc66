//! A model that does nothing, so that all that is measured is the serving: against others, a bare echo, and
//! ourselves through shared memory.

use crate::args::Task;
use crate::duel::{Duels, Goal, P50};
use crate::models::{IDENTITY, Module, Peer, Requests, classifier, frameserve, repository};
use crate::process::{Server, myself};
use crate::{Result, Setting};

/// 602 kB each way.
pub const SHAPE: [&str; 2] = ["--shape", "input=FP32:1,3,224,224"];
const CALLERS: [u32; 2] = [1, 8];
const ECHO_TARGET: f64 = 0.9;
const SHARED_TARGET: f64 = 2.0;

pub fn measure(setting: &Setting) -> Result<String> {
    let classifier = classifier()?;
    let ours = frameserve(&repository(None)?, None)?;
    let mut duels = Duels::new();
    for peer in Peer::ALL {
        let goal = |callers| Goal {
            against: peer.name().into(),
            callers,
            ratio: Some(target(peer, callers)),
            p50: P50::Below,
        };
        // One at a time, since each has threads and memory that the others would feel.
        let Some(theirs) = peer.start(classifier.as_deref(), Module::Plain)? else {
            CALLERS.into_iter().for_each(|callers| duels.not_measured(goal(callers)));
            continue;
        };
        for callers in CALLERS {
            let requests = requests(setting, callers);
            let (ours, theirs) = (|| requests.all(&ours, None), || requests.all(&theirs, None));
            duels.fight(goal(callers), setting.pairs, ours, theirs)?;
        }
    }
    let echo = Server::start(myself(&Task::Echo)?, None)?;
    for callers in CALLERS {
        let requests = requests(setting, callers);
        let goal = goal("bare tonic echo", callers, ECHO_TARGET);
        duels.fight(goal, setting.pairs, || requests.all(&ours, None), || requests.all(&echo, None))?;
    }
    for callers in CALLERS {
        let wire = requests(setting, callers);
        let mut shared = wire.clone();
        shared.told.push("--shared-memory".into());
        let goal = goal("shared memory, against ourselves without", callers, SHARED_TARGET);
        duels.fight(goal, setting.pairs, || shared.all(&ours, None), || wire.all(&ours, None))?;
    }
    Ok(duels.to_string())
}

fn target(peer: Peer, callers: u32) -> f64 {
    match (peer, callers) {
        (Peer::Triton, 1) => 1.4,
        (Peer::Triton, _) => 1.3,
        (Peer::Kserve, _) => 2.5,
        (Peer::Mlserver, _) => 15.0,
    }
}

fn goal(against: &str, callers: u32, ratio: f64) -> Goal {
    Goal { against: against.into(), callers, ratio: Some(ratio), p50: P50::NoMatter }
}

pub fn requests(setting: &Setting, callers: u32) -> Requests {
    let told = [&SHAPE[..], &["--check-identity"]].concat();
    let told = told.into_iter().map(String::from).collect();
    Requests { model: IDENTITY, told, callers, span: setting.span }
}
