//! Pictures as a model's parameters prepare them, against what people write in Python for the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use frameserve::Error;
use frameserve::frame::Workbench;
use frameserve::limits::Limits;
use frameserve::model::pictures::Pictures;
use frameserve::model::{Port, Signature};
use frameserve::tensor::values::values_f32;
use frameserve::tensor::{DataType, Dims, Shape, Tensor};
use serde::Deserialize;

/// What the script `tests/python/prepare.py` writes.
#[derive(Deserialize)]
struct Case {
    name: String,
    picture: String,
    parameters: BTreeMap<String, String>,
    shape: Vec<usize>,
    datatype: String,
    hwc: bool,
    file: String,
    mean: f32,
    most: f32,
}

#[test]
fn pictures_are_prepared_as_in_python() {
    let folder = tempfile::tempdir().unwrap();
    let cases = cases(folder.path());
    assert!(!cases.is_empty());
    let mut bench = Workbench::new().unwrap();
    let mut table = String::new();
    for case in &cases {
        let [mean, most] = difference(case, folder.path(), &mut bench);
        let verdict = if mean <= case.mean && most <= case.most { "ok" } else { "FAILED" };
        writeln!(table, "{verdict:<6} mean {mean:.5} most {most:.5}: {} ({})", case.name, case.picture)
            .unwrap();
    }
    println!("{table}");
    assert!(!table.contains("FAILED"), "not as in Python:\n{table}");
}

fn cases(out: &Path) -> Vec<Case> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("/usr/bin/python3")
        .arg(root.join("tests/python/prepare.py"))
        .arg("--frames")
        .arg(root.join(".deps/videos"))
        .arg("--out")
        .arg(out)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("/usr/bin/python3 is missing: run `make setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = std::fs::read(out.join("index.json")).expect("the script wrote its index");
    serde_json::from_slice(&index).expect("the index is as declared here")
}

/// Mean and largest difference.
fn difference(case: &Case, folder: &Path, bench: &mut Workbench) -> [f32; 2] {
    let datatype = DataType::from_name(&case.datatype).unwrap();
    let dims = if case.hwc { [-1, -1, 3] } else { [3, -1, -1] };
    let port = |name: &str, dims: &[i64]| Port {
        name: name.into(),
        datatype,
        dims: Dims::new(dims).unwrap(),
        reshape: None,
        optional: false,
        labels: None,
    };
    let signature =
        Signature { max_batch: 0, inputs: vec![port("x", &dims)], outputs: vec![port("y", &[1])] };
    let no_labels = |file: &str| Err(Error::Load(format!("there is no {file}")));
    let pictures = Pictures::of(&case.parameters, &signature, &no_labels).unwrap().unwrap();
    let sent = std::fs::read(folder.join(&case.picture)).unwrap();
    let (found, _) = pictures.prepare(&[sent.into()], &Limits::default(), bench).unwrap();
    let expected = std::fs::read(folder.join(&case.file)).unwrap();
    let expected = Tensor::raw(datatype, Shape::new(case.shape.clone()), expected.into()).unwrap();
    assert_eq!(found.shape(), expected.shape(), "{}", case.name);
    let (found, expected) = (values_f32(&found).unwrap(), values_f32(&expected).unwrap());
    let differences: Vec<f32> = found.iter().zip(&*expected).map(|(a, b)| (a - b).abs()).collect();
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    [mean, differences.into_iter().fold(0.0, f32::max)]
}
