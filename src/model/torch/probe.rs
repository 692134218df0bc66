//! Finds out whether a model runs in the precision that it is to compute with, before a client does.

use super::module::{Module, Staging};
use super::plan::Plan;
use super::{samples, text};
use crate::model::backend::{Inputs, Pixels};
use crate::model::precision::Precision;

/// Sides to make up a shape with where nobody says what is sent. A network may want more than the first has.
const SIDES: [u32; 2] = [64, 224];

/// Runs with each request: the first looks at what comes, and the second runs what was compiled for it.
const RUNS: usize = 2;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Runs,
    /// It does with 32-bit floats, and in this precision fails so.
    Fails(String),
    /// It fails with 32-bit floats as well, since nobody knows what it takes.
    Untold(String),
}

/// Tries a model in this precision with the requests that are known, or else with some that are made up. `fresh` reads its
/// file.
pub fn probe(
    plan: &Plan,
    precision: Precision,
    fresh: impl Fn(Precision) -> Result<Module, String>,
) -> Found {
    let known = samples::known(&plan.settings);
    let requests: Vec<Vec<Inputs>> = match known.is_empty() {
        true => {
            SIDES.iter().filter_map(|side| Some(vec![samples::made_up(&plan.settings, *side)?])).collect()
        }
        false => vec![known],
    };
    let attempt = |precision, requests: &[Inputs]| run(plan, &fresh(precision)?, requests);
    let mut untold = String::from("no request can be made up for it");
    for requests in &requests {
        let Err(reason) = attempt(precision, requests) else { return Found::Runs };
        match attempt(Precision::Fp32, requests) {
            Ok(()) => return Found::Fails(text::essence(&reason)),
            Err(reason) => untold = text::essence(&reason),
        }
    }
    Found::Untold(untold)
}

/// Runs a module, and looks at what it gives as is done with what clients ask.
fn run(plan: &Plan, module: &Module, requests: &[Inputs]) -> Result<(), String> {
    let mut mode = plan.mode();
    mode.stream = module.stream()?;
    let mut staging = Staging::new();
    for request in requests {
        let batch = std::slice::from_ref(request);
        let inputs = plan.inputs(batch, Pixels::default()).map_err(|error| error.to_string())?;
        for _ in 0..RUNS {
            let results = module.run_through(&mut staging, mode, &inputs, None)?;
            plan.outputs(batch, &results.outputs(), None).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::model::Settings;
    use crate::model::backend::Backends;
    use crate::model::config::Source;
    use crate::model::device::Device;
    use crate::model::torch::graph;

    /// Probes a model of `tests/models` that takes `x` of these dims and gives `y`.
    fn probed(name: &str, dims: &str, precision: Precision) -> Found {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("1/model.pt");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.pt"));
        std::fs::create_dir(folder.path().join("1")).unwrap();
        std::fs::copy(from, &file).unwrap();
        let config = format!(
            "backend: 'pytorch' max_batch_size: 4 input {{ name: 'x' data_type: TYPE_FP32 dims: [ {dims} ] }} \
             output {{ name: 'y' data_type: TYPE_FP32 dims: [ -1 ] }}"
        );
        std::fs::write(folder.path().join("config.pbtxt"), config).unwrap();
        let backends = Backends::default();
        let source =
            Source { name: "m", folder: folder.path(), version: None, given: None, backends: &backends };
        let settings = Settings::read(&source).unwrap().unwrap();
        let plan = Plan::new(&Arc::new(settings), &graph(&file).unwrap()).unwrap();
        probe(&plan, precision, |precision| Module::load(&file, Device::Cpu, precision))
    }

    #[test]
    fn a_model_that_makes_other_numbers_itself_is_found_out() {
        for dims in ["3, 8, 8", "3, -1, -1"] {
            for precision in [Precision::Fp16, Precision::Bf16] {
                assert_eq!(probed("network", dims, precision), Found::Runs, "{dims} {precision}");
                let Found::Fails(reason) = probed("mixes", dims, precision) else {
                    panic!("{dims} {precision}")
                };
                assert!(reason.contains("to have the same dtype"), "{reason}");
            }
        }
    }

    #[test]
    fn what_fails_anyway_tells_nothing() {
        let Found::Untold(reason) = probed("network", "-1, 8, 8", Precision::Fp16) else {
            panic!("64 channels are none of its sizes")
        };
        assert!(reason.contains("to have 3 channels, but got 224"), "{reason}");
    }
}
