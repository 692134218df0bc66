//! Where instances run, and what they get there. No GPU is needed for it: these models compute nothing.

use std::sync::Mutex;

use super::*;
use crate::model::Inputs;
use crate::model::Opened;
use crate::model::backend::{Backend, Model, Outputs};
use crate::model::config::Source;
use crate::tensor::DataType;

/// A backend that takes pixels, and remembers how many requests were run together, and whether they were pixels.
#[derive(Clone, Default)]
struct Taker {
    seen: Arc<Mutex<Vec<(usize, bool)>>>,
    /// Batches of so many it refuses, and larger ones.
    refused: Option<usize>,
}

impl Backend for Taker {
    fn open(&self, _: &Arc<Settings>, _: &Path) -> Result<Box<dyn Opened>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Opened for Taker {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn takes_pixels(&self) -> bool {
        true
    }
}

impl Model for Taker {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        self.seen.lock().unwrap().push((batch.len(), false));
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    }

    fn infer_pixels(&mut self, batch: &[Inputs], pixels: Pixels) -> Result<Vec<Outputs>, Error> {
        assert!(pixels.input && pixels.output);
        for inputs in batch {
            let tensor = inputs[0].as_ref().unwrap();
            assert_eq!((tensor.datatype(), tensor.shape().dims()), (DataType::Uint8, &[1, 8, 8, 3][..]));
        }
        self.seen.lock().unwrap().push((batch.len(), true));
        if self.refused.is_some_and(|size| batch.len() >= size) {
            return Err(Error::Model("no room".into()));
        }
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    }
}

const CPU: Device = Device::Cpu;
const GPUS: [Device; 2] = [Device::Cuda(0), Device::Cuda(1)];

/// A version of a model that takes and gives pictures, on these devices.
fn load(backend: &str, more: &str, devices: &[Device]) -> Version {
    load_with(&Taker::default(), backend, more, devices)
}

fn load_with(taker: &Taker, backend: &str, more: &str, devices: &[Device]) -> Version {
    let folder = tempfile::tempdir().unwrap();
    let (settings, means) = (settings(folder.path(), backend, more), means(taker, devices));
    let stored = Stored { number: 1, folder: folder.path(), origin: Origin::Repository };
    Version::load(settings, stored, &means).unwrap()
}

fn settings(folder: &Path, backend: &str, more: &str) -> Arc<Settings> {
    let text = format!(
        "backend: '{backend}' max_batch_size: 4 {more}
         input {{ name: 'x' data_type: TYPE_FP32 dims: [ 3, 8, 8 ] }}
         output {{ name: 'y' data_type: TYPE_FP32 dims: [ 3, 8, 8 ] }}
         parameters {{ key: 'frameserve.task' value {{ string_value: 'image' }} }}"
    );
    std::fs::write(folder.join(crate::model::config::FILE), text).unwrap();
    let backends = Backends::default().with("taker", Taker::default());
    let source = Source { name: "m", folder, version: None, given: None, backends: &backends };
    Arc::new(Settings::read(&source).unwrap().unwrap())
}

fn means(taker: &Taker, devices: &[Device]) -> Means {
    Means {
        backends: Backends::default().with("taker", taker.clone()),
        devices: devices.to_vec(),
        cpu_only: false,
        cpu_instances: 3,
        taken: Vec::new(),
        courier: Courier::default(),
    }
}

#[test]
fn there_are_two_instances_on_a_gpu_where_nobody_says_how_many() {
    let instances = |more: &str, devices: &[Device]| load("taker", more, devices).instances();
    let [one, other] = GPUS;
    for unsaid in ["", "instance_group {}", "instance_group { kind: KIND_GPU }"] {
        assert_eq!(instances(unsaid, &GPUS), [one, one, other, other], "{unsaid}");
    }
    assert_eq!(instances("instance_group { gpus: 1 }", &GPUS), [other, other]);
    assert_eq!(instances("instance_group { count: 1 kind: KIND_GPU }", &GPUS), GPUS);
    assert_eq!(instances("instance_group { kind: KIND_CPU }", &GPUS), [CPU]);
    assert_eq!(instances("", &[CPU]), [CPU; 3]);
    assert_eq!(instances("instance_group {}", &[CPU]), [CPU]);
}

#[test]
fn pictures_go_as_pixels_to_gpus_or_as_the_configuration_says() {
    let pixels = |backend: &str, more: &str, devices: &[Device]| {
        let Pixels { input, output } = load(backend, more, devices).pixels();
        assert_eq!(input, output);
        input
    };
    let convert = |value: &str| {
        format!("parameters {{ key: 'frameserve.convert' value {{ string_value: '{value}' }} }}")
    };
    assert!(pixels("taker", "", &GPUS) && !pixels("taker", "", &[CPU]));
    assert!(!pixels("taker", &convert("host"), &GPUS) && pixels("taker", &convert("device"), &[CPU]));
    let both = "instance_group { kind: KIND_GPU } instance_group { kind: KIND_CPU }";
    assert!(!pixels("taker", both, &GPUS));
    assert!(!pixels("identity", "", &GPUS) && !pixels("identity", &convert("device"), &[CPU]));
}

#[test]
fn instances_are_warm_for_what_comes_and_on_gpus_for_batches_of_every_size() {
    let seen = |more: &str, device: Device| {
        let taker = Taker::default();
        drop(load_with(&taker, "taker", &format!("instance_group {{ count: 1 }} {more}"), &[device]));
        taker.seen.lock().unwrap().clone()
    };
    let convert = |value: &str| {
        format!("parameters {{ key: 'frameserve.convert' value {{ string_value: '{value}' }} }}")
    };
    assert_eq!(seen("", CPU), [(1, false)]);
    assert_eq!(seen(&convert("device"), CPU), [(1, false), (1, true)]);
    let every = |pixels: bool| (1..=4).flat_map(move |size| [(size, pixels); 3]);
    assert_eq!(seen("", GPUS[0]), [(1, false), (1, true)].into_iter().chain(every(true)).collect::<Vec<_>>());
    assert_eq!(
        seen(&convert("host"), GPUS[0]),
        [(1, false)].into_iter().chain(every(false)).collect::<Vec<_>>()
    );
}

#[test]
fn a_batch_that_a_gpu_has_no_room_for_is_no_reason_not_to_load() {
    let taker = Taker { refused: Some(3), ..Taker::default() };
    drop(load_with(&taker, "taker", "instance_group { count: 1 }", &GPUS[..1]));
    let sizes: Vec<usize> = taker.seen.lock().unwrap().iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 2, 2, 2, 3], "nor are larger ones tried");
}

#[test]
fn what_is_put_together_on_a_cpu_alone_can_be_less() {
    let cap = "parameters { key: 'frameserve.cpu_batch' value { string_value: '2' } }";
    let batching = |more: &str, devices: &[Device]| {
        let folder = tempfile::tempdir().unwrap();
        let preferred = "dynamic_batching { preferred_batch_size: [ 2, 4 ] }";
        let settings = settings(folder.path(), "taker", &format!("{preferred} {more}"));
        let policy = settings.batching_on(means(&Taker::default(), devices).is_cpu_alone(&settings));
        (policy.max_batch, policy.preferred)
    };
    let (less, all) = ((2, vec![2]), (4, vec![2, 4]));
    assert_eq!(
        (batching(cap, &[CPU]), batching(cap, &GPUS), batching("", &[CPU])),
        (less.clone(), all.clone(), all.clone())
    );
    assert_eq!(batching(&format!("{cap} instance_group {{ kind: KIND_CPU }}"), &GPUS), less);
    let both = "instance_group { kind: KIND_CPU } instance_group { kind: KIND_GPU }";
    assert_eq!(batching(&format!("{cap} {both}"), &GPUS), all);
}
