//! The scripts of `samples/export` for networks of one's own: what they write, the server's program runs as torch does, and
//! takes pictures for.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::program::{Venv, root, succeeds, there};
use crate::programs_torch::start;

/// Those that find something; the last two with points.
const DETECTORS: [&str; 5] = ["torchvision_detector", "yolov8", "yolov5", "yolo_pose", "heatmap_pose"];
const POINTS: usize = 5;

#[tokio::test]
async fn what_the_scripts_export_gives_what_torch_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    succeeds(Venv::Models.command(&root().join("tests/python/export_models.py")).arg(path));
    let models = folder.path().join("models");
    let flags = ["--model-repository", models.to_str().unwrap()];
    let server = start(&[&flags[..], &["--model-control", "explicit", "--load-model", "*"]].concat()).await;
    for check in ["optimised_models_give_what_torch_gives", "models_as_they_were_saved_give_what_torch_gives"]
    {
        server.python(Venv::Clients, "torch_outputs.py", &[path, "--check", check]);
    }

    let astronaut = there(".deps/pictures/astronaut.png");
    let infer = |model: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
        command.args(["infer", model, astronaut.to_str().unwrap(), "--server", &server.address]);
        succeeds(command.args(more))
    };
    let answered = |model: &str| {
        let found: Value = serde_json::from_str(&infer(model, &["--json"])).unwrap();
        found["results"][0].clone()
    };
    for model in DETECTORS {
        let found = answered(model);
        let found = found["detections"].as_array().unwrap_or_else(|| panic!("{model}: {found:#}"));
        assert!(!found.is_empty(), "{model}");
        for one in found {
            let label = one["label"].as_str().unwrap();
            assert!(["nothing", "cat", "dog", "person"].contains(&label), "{model}: {one:#}");
            let points = one["points"].as_array().map(Vec::len);
            assert_eq!(points, model.ends_with("pose").then_some(2 * POINTS), "{model}: {one:#}");
        }
    }
    let found = answered("torchvision_classifier");
    assert_eq!(found["classes"].as_array().map(Vec::len), Some(3), "{found:#}");
    for model in ["style", "torchvision_segmenter"] {
        let out = folder.path().join(format!("{model}.png"));
        infer(model, &["-o", out.to_str().unwrap()]);
        assert!(fs::metadata(&out).unwrap().len() > 100, "{model}");
    }
}
