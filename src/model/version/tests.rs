//! Where instances run, and what they get there. No GPU is needed for it: these models compute nothing.

use super::*;
use crate::model::Inputs;
use crate::model::Opened;
use crate::model::backend::{Backend, Model, Outputs};
use crate::model::config::Source;

/// A backend that takes pixels.
struct Taker;

impl Backend for Taker {
    fn open(&self, _: &Arc<Settings>, _: &Path) -> Result<Box<dyn Opened>, Error> {
        Ok(Box::new(Taker))
    }
}

impl Opened for Taker {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Taker))
    }

    fn takes_pixels(&self) -> bool {
        true
    }
}

impl Model for Taker {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    }
}

const CPU: Device = Device::Cpu;
const GPUS: [Device; 2] = [Device::Cuda(0), Device::Cuda(1)];

/// A version of a model that takes and gives pictures, on these devices.
fn load(backend: &str, more: &str, devices: &[Device]) -> Version {
    let text = format!(
        "backend: '{backend}' max_batch_size: 4 {more}
         input {{ name: 'x' data_type: TYPE_FP32 dims: [ 3, 8, 8 ] }}
         output {{ name: 'y' data_type: TYPE_FP32 dims: [ 3, 8, 8 ] }}
         parameters {{ key: 'frameserve.task' value {{ string_value: 'image' }} }}"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(crate::model::config::FILE), text).unwrap();
    let backends = Backends::default().with("taker", Taker);
    let source = Source { name: "m", folder: folder.path(), version: None, given: None, backends: &backends };
    let settings = Arc::new(Settings::read(&source).unwrap().unwrap());
    let means = Means {
        backends,
        devices: devices.to_vec(),
        cpu_only: false,
        cpu_instances: 3,
        taken: Vec::new(),
        courier: Courier::default(),
    };
    let stored = Stored { number: 1, folder: folder.path(), origin: Origin::Repository };
    Version::load(settings, stored, &means).unwrap()
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
