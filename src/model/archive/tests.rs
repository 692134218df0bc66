//! What becomes of archives, and which of them are refused, and how.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::CompressionMethod;

use super::package::tests::{tarred, zip};
use super::*;
use crate::model::backend::{Backends, Model, Opened};
use crate::model::config::Source;
use crate::model::pictures::Task;
use crate::model::{Backend, Device, Settings};
use crate::tensor::image::{Interpolation, Resize};

/// A program that is one by its looks.
fn program() -> Vec<u8> {
    zip(&[("m/data.pkl", b"x"), ("m/constants.pkl", b"x"), ("m/code/x.py", b"x")], CompressionMethod::Stored)
}

fn manifest(model: Value) -> Vec<u8> {
    let whole = json!({
        "createdOn": "01/02/2026 03:04:05", "runtime": "python", "model": model, "archiverVersion": "0.12.0"
    });
    whole.to_string().into_bytes()
}

fn named(handler: &str) -> Value {
    json!({ "modelName": "mine", "serializedFile": "net.pt", "handler": handler, "modelVersion": "2.0" })
}

/// An archive with this manifest, a program, and these files.
struct Archive {
    folder: TempDir,
}

impl Archive {
    fn of(manifest: &[u8], files: &[(&str, &[u8])]) -> Self {
        let program = program();
        let mut all: Vec<(&str, &[u8])> = vec![("net.pt", &program)];
        all.extend(files);
        if !manifest.is_empty() {
            all.push((package::MANIFEST, manifest));
        }
        Self::raw(&zip(&all, CompressionMethod::Deflated))
    }

    fn raw(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file.mar"), bytes).unwrap();
        Archive { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.mar")
    }

    fn open(&self) -> Result<ModelArchive, Error> {
        ModelArchive::open(&self.path(), &Wanted::default())
    }
}

fn refused(manifest: &Value, files: &[(&str, &[u8])]) -> String {
    Archive::of(manifest.to_string().as_bytes(), files).open().expect_err("it should be refused").to_string()
}

fn refused_model(model: Value) -> String {
    Archive::of(&manifest(model), &[("model.py", b""), ("need.txt", b""), ("mine.py", b"")])
        .open()
        .expect_err("it should be refused")
        .to_string()
}

/// It stands where libtorch would, so that configurations can be read without it.
struct Nothing;

impl Backend for Nothing {
    fn open(&self, _: &std::sync::Arc<Settings>, _: &Path) -> Result<Box<dyn Opened>, Error> {
        Ok(Box::new(Nothing))
    }
}

impl Opened for Nothing {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        Err(Error::Unsupported("it runs nothing".into()))
    }
}

fn settings(archive: &ModelArchive) -> Settings {
    let backends = Backends::default().with("pytorch", Nothing);
    let source = Source {
        name: &archive.name,
        folder: archive.folder.folder(),
        version: None,
        given: Some(&archive.config),
        backends: &backends,
    };
    Settings::read(&source).unwrap().unwrap()
}

#[test]
fn a_classifier_becomes_a_model_of_ours() {
    let labels = br#"{"0": ["n1", "cat"], "1": "dog"}"#;
    let options =
        b"batchSize: 4\nmaxBatchDelay: 20\nminWorkers: 2\nmaxWorkers: 3\nresponseTimeout: 9\njobQueueSize: 5";
    let mut model = named("image_classifier");
    model["configFile"] = "options.yaml".into();
    let archive = Archive::of(&manifest(model), &[("index_to_name.json", labels), ("options.yaml", options)]);
    let opened = archive.open().unwrap();
    assert_eq!(
        (opened.name.as_str(), opened.version.as_str(), opened.runtime.as_str()),
        ("mine", "2.0", "python")
    );
    assert_eq!((opened.batch_size, opened.max_batch_delay), (4, Duration::from_millis(20)));
    assert_eq!((opened.options.min_workers, opened.options.max_workers), (Some(2), Some(3)));
    let folder = opened.folder.folder().to_owned();
    let mut files: Vec<_> =
        fs::read_dir(folder.join("1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["labels.txt", "model.pt"], "what is not needed is not unpacked");
    let settings = settings(&opened);
    assert_eq!(settings.signature.max_batch, 4);
    assert_eq!(settings.batching.max_delay, Duration::from_millis(20));
    assert_eq!(settings.batching.queue.max_size, 5);
    assert_eq!(settings.instances[0].count, 2);
    let pictures = settings.pictures.unwrap();
    let recipe = pictures.preparation().recipe();
    assert_eq!((recipe.resize, recipe.interpolation), (Resize::Short(256), Interpolation::BilinearAntialias));
    let Some(Task::Classification(classifier)) = pictures.task else { panic!("a classifier") };
    assert_eq!(classifier.labels[..], ["cat", "dog"]);
    drop(opened);
    assert!(!folder.exists());
}

#[test]
fn the_other_handlers_become_models_too() {
    let detector = Archive::of(&manifest(named("object_detector")), &[]);
    // The program is none that libtorch could look into.
    #[cfg(feature = "torch")]
    assert!(detector.open().unwrap_err().to_string().contains("model.pt"));
    #[cfg(not(feature = "torch"))]
    {
        let settings = settings(&detector.open().unwrap());
        let Some(Task::Detection(detector)) = settings.pictures.unwrap().task else { panic!("a detector") };
        assert!((detector.threshold - 0.5).abs() < 1e-9 && detector.labels.is_empty());
    }
    let segmenter = Archive::of(&manifest(named("image_segmenter")), &[]).open().unwrap();
    let segmenter = settings(&segmenter);
    assert!(matches!(segmenter.pictures.unwrap().task, Some(Task::Segmentation(_))));
    assert_eq!(segmenter.signature.max_batch, 1);

    let options =
        b"batchSize: 3\nframeserve:\n  name: other\n  max_batch_size: 8\n  input: [{name: x, data_type: \
                    TYPE_INT64, dims: [2]}]\n  output: [{name: y, data_type: TYPE_FP32, dims: [1]}]\n";
    let mut model = named("base_handler");
    model["configFile"] = "o.yaml".into();
    let base = Archive::of(&manifest(model), &[("o.yaml", options)]).open().unwrap();
    let base = settings(&base);
    assert_eq!((base.signature.max_batch, base.signature.inputs[0].name.as_str()), (3, "x"));
    let untold = Archive::of(&manifest(named("base_handler")), &[]).open().unwrap_err().to_string();
    assert!(untold.contains("put a configuration (docs/models.md) into the file of options"), "{untold}");
}

#[test]
fn a_request_goes_before_the_archive() {
    let mut model = named("image_segmenter");
    model["configFile"] = "o.yaml".into();
    let archive =
        Archive::of(&manifest(model), &[("o.yaml", b"batchSize: 4\nmaxBatchDelay: 20\ndeviceType: cpu")]);
    let wanted = Wanted {
        name: Some("other-1.x_".into()),
        handler: Some("image_classifier".into()),
        batch_size: Some(7),
        max_batch_delay: Some(Duration::ZERO),
    };
    let opened = ModelArchive::open(&archive.path(), &wanted).unwrap();
    assert_eq!((opened.name.as_str(), opened.handler.as_str()), ("other-1.x_", "image_classifier"));
    assert_eq!((opened.batch_size, opened.max_batch_delay), (7, Duration::ZERO));
    assert_eq!(settings(&opened).signature.max_batch, 7);
}

#[test]
fn an_archive_without_a_manifest_leaves_it_to_the_request() {
    let archive = Archive::of(b"", &[]);
    let error = archive.open().unwrap_err().to_string();
    assert!(error.contains("neither the archive nor the request names a handler"), "{error}");
    let wanted = Wanted { handler: Some("image_classifier".into()), ..Wanted::default() };
    let opened = ModelArchive::open(&archive.path(), &wanted).unwrap();
    assert_eq!((opened.name.as_str(), opened.version.as_str()), ("file", "1.0"));
}

#[test]
fn what_needs_python_is_refused_with_a_way_out() {
    let mut eager = named("image_classifier");
    eager["modelFile"] = "model.py".into();
    let error = refused_model(eager);
    assert!(
        error.contains("written in Python (modelFile `model.py`)") && error.contains("torch.jit.script"),
        "{error}"
    );
    for own in
        ["mine", "mine.py", "mine.py:handle", "text_classifier", "../image_classifier", "image_classifier:x"]
    {
        let error = refused_model(named(own));
        assert!(error.contains(&format!("its handler `{own}` is written in Python")), "{error}");
        assert!(error.contains("torch.jit.trace"), "{error}");
    }
    let own = Archive::of(&manifest(named("image_classifier")), &[("image_classifier.py", b"")]);
    assert!(
        own.open().unwrap_err().to_string().contains("its handler `image_classifier` is written in Python")
    );
    let mut packages = named("image_classifier");
    packages["requirementsFile"] = "need.txt".into();
    assert!(refused_model(packages).contains("packages for Python (requirementsFile `need.txt`)"));
    let mut enveloped = named("image_classifier");
    enveloped["envelope"] = "json".into();
    assert!(refused_model(enveloped).contains("in an envelope (`json`)"));
    let runtime = json!({ "runtime": "LSP", "model": named("image_classifier") });
    assert!(refused(&runtime, &[]).contains("its runtime is `LSP`"));
    let workflow = json!({ "runtime": "python", "workflow": { "workflowName": "w", "specFile": "s.yaml" } });
    assert!(refused(&workflow, &[]).contains("the archive of a workflow"));
}

#[test]
fn what_is_no_program_is_refused() {
    let state = zip(&[("net/data.pkl", b"x"), ("net/data/0", b"x")], CompressionMethod::Stored);
    for (name, bytes, says) in [
        ("weights.pth", &state[..], "perhaps weights, for a model that is written in Python"),
        ("net.onnx", b"\x08\x01", "perhaps a model in ONNX"),
        ("net.so", b"\x7fELF", "perhaps a library"),
    ] {
        let mut model = named("image_classifier");
        model["serializedFile"] = name.into();
        let error = Archive::of(&manifest(model), &[(name, bytes)]).open().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("torch.jit.trace"), "{error}");
    }
    let mut missing = named("image_classifier");
    missing["serializedFile"] = "gone.pt".into();
    let error = refused_model(missing);
    assert!(
        error.contains("names the serializedFile `gone.pt`, and the archive has no such file"),
        "{error}"
    );
    let mut options = named("image_classifier");
    options["configFile"] = "../options.yaml".into();
    assert!(refused_model(options).contains("names the configFile `../options.yaml`"));
    let mut none = named("image_classifier");
    none.as_object_mut().unwrap().remove("serializedFile");
    let error = Archive::of(&manifest(none), &[("second.pt", b"")]).open().unwrap_err().to_string();
    assert!(error.contains("names no serializedFile, and has 2 files that end with .pt"), "{error}");
}

#[test]
fn manifests_that_are_none_are_refused() {
    for (text, says) in [
        ("{", "MAR-INF/MANIFEST.json: EOF"),
        ("[]", "MAR-INF/MANIFEST.json: "),
        ("{}", "MAR-INF/MANIFEST.json has no `model`"),
        (r#"{"model": {"handler": 1}}"#, "invalid type"),
        (r#"{"model": {"serializedFile": "net.pt"}}"#, "names a handler"),
    ] {
        let error = Archive::of(text.as_bytes(), &[]).open().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    for name in ["", "-a", "a b", "a/b", "../a", "é", &"a".repeat(256)] {
        let mut model = named("image_classifier");
        model["modelName"] = name.into();
        assert!(refused_model(model).contains("a model can't be named"), "{name}");
    }
    let labels = Archive::of(&manifest(named("image_classifier")), &[("index_to_name.json", b"[1]")]);
    assert!(labels.open().unwrap_err().to_string().contains("index_to_name.json: "));
    let mut model = named("image_classifier");
    model["configFile"] = "o.yaml".into();
    let options = Archive::of(&manifest(model), &[("o.yaml", b"batchSize: x")]);
    assert!(options.open().unwrap_err().to_string().contains("o.yaml: `batchSize` is `\"x\"`"));
}

proptest! {
    #[test]
    fn damage_is_an_error_at_most(
        packed in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..6),
    ) {
        let program = program();
        let manifest = manifest(named("image_classifier"));
        let files: [(&str, &[u8]); 3] =
            [("net.pt", &program), ("index_to_name.json", b"{\"0\": \"cat\"}"), (package::MANIFEST, &manifest)];
        let mut bytes = if packed { tarred(&files) } else { zip(&files, CompressionMethod::Stored) };
        match cut {
            Some(cut) => bytes.truncate(cut.index(bytes.len())),
            None => flips.iter().for_each(|(at, by)| {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }),
        }
        if let Ok(opened) = Archive::raw(&bytes).open() {
            prop_assert!(opened.folder.folder().join("1/model.pt").is_file());
        }
    }
}
