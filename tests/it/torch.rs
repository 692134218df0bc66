//! TorchScript models, through the backend alone. Those of `tests/models` are made by the script beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use frameserve::error::{Error, Kind};
use frameserve::exec::batch::{Policy, QueuePolicy, TimeoutAction};
use frameserve::model::settings::{Settings, VersionPolicy};
use frameserve::model::torch::{self, Takes};
use frameserve::model::{
    Backends, Device, Habits, Inputs, Model, Opened, Outputs, Port, Precision, Signature,
};
use frameserve::proto::inference::ModelConfig;
use frameserve::tensor::{DataType, Dims, Shape, Tensor};

#[test]
fn tuples_by_order_and_requests_together() {
    let mut model =
        load(&settings("add", &["a FP32 2", "b FP32 2"], &["sum FP32 2", "less FP32 2"], 8)).unwrap();
    let one = inputs(&[fp32(&[1, 2], &[1.0, 2.0]), fp32(&[1, 2], &[10.0, 20.0])]);
    let two = inputs(&[fp32(&[2, 2], &[3.0, 4.0, 5.0, 6.0]), fp32(&[2, 2], &[1.0; 4])]);
    let outputs = model.infer(&[one, two]).unwrap();
    assert_eq!(outputs[0], [fp32(&[1, 2], &[11.0, 22.0]), fp32(&[1, 2], &[-9.0, -18.0])]);
    assert_eq!(outputs[1], [fp32(&[2, 2], &[4.0, 5.0, 6.0, 7.0]), fp32(&[2, 2], &[2.0, 3.0, 4.0, 5.0])]);
}

#[test]
fn arguments_by_name_and_by_number() {
    for names in [["b FP32 1", "a FP32 1"], ["y__1 FP32 1", "x__0 FP32 1"]] {
        let mut model = load(&settings("add", &names, &["less__1 FP32 1"], 0)).unwrap();
        let request = inputs(&[fp32(&[1], &[1.0]), fp32(&[1], &[10.0])]);
        assert_eq!(model.infer(&[request]).unwrap(), [[fp32(&[1], &[9.0])]]);
    }
}

#[test]
fn every_type_goes_through_as_it_is() {
    for datatype in DataType::ALL {
        let name = datatype.name();
        let settings = settings("same", &[&format!("x {name} 3")], &[&format!("y {name} 3")], 0);
        let Some(size) = datatype.size() else {
            let refused = failure(load(&settings));
            assert!(refused.contains("`x` is of type BYTES"), "{refused}");
            continue;
        };
        let bytes: Vec<u8> =
            (0..3 * size as u8).map(|n| if datatype == DataType::Bool { n % 2 } else { n }).collect();
        let tensor = Tensor::raw(datatype, Shape::new(vec![3]), bytes.into()).unwrap();
        let outputs = load(&settings).unwrap().infer(&[inputs(std::slice::from_ref(&tensor))]).unwrap();
        assert_eq!(outputs, [[tensor]], "{name}");
    }
}

#[test]
fn bytes_may_lie_at_any_address() {
    let bytes = Bytes::from((0..17).collect::<Vec<u8>>());
    let mut model = load(&settings("same", &["x FP64 2"], &["y FP64 2"], 0)).unwrap();
    for from in [0, 1] {
        let tensor = Tensor::raw(DataType::Fp64, Shape::new(vec![2]), bytes.slice(from..from + 16)).unwrap();
        assert_eq!(model.infer(&[inputs(std::slice::from_ref(&tensor))]).unwrap(), [[tensor]]);
    }
}

#[test]
fn how_a_model_runs_can_be_told() {
    let mut settings = settings("same", &["x FP32 2,2"], &["y FP32 2,2"], 4);
    let opened = open(&settings, &models()).unwrap();
    let usual = Habits { threads: Some(1), precision: Some(Precision::Fp32), form: None };
    assert_eq!(opened.habits(), usual, "no form was measured yet");
    opened.instance(Device::Cpu).unwrap();
    let measured = opened.habits();
    assert!(measured.form.is_some(), "{measured:?}");
    assert_eq!(Habits { form: None, ..measured }, usual);
    let parameters =
        [("INTRA_OP_THREAD_COUNT", "2"), ("PRECISION", "bf16"), ("DISABLE_OPTIMIZED_EXECUTION", "true")];
    settings.parameters = parameters.map(|(key, value)| (key.into(), value.into())).into();
    let opened = open(&settings, &models()).unwrap();
    opened.instance(Device::Cpu).unwrap();
    let other = Habits { threads: Some(2), precision: Some(Precision::Bf16), form: None };
    assert_eq!(opened.habits(), other);
}

#[test]
fn optional_inputs_can_be_left_out() {
    let settings = settings("optionals", &["x FP32 1", "shift? FP32 1"], &["y FP32 1"], 4);
    let mut model = load(&settings).unwrap();
    let with = vec![Some(fp32(&[1, 1], &[1.0])), Some(fp32(&[1, 1], &[0.5]))];
    let without = vec![Some(fp32(&[1, 1], &[1.0])), None];
    assert_eq!(model.infer(&[with]).unwrap(), [[fp32(&[1, 1], &[4.5])]]);
    assert_eq!(model.infer(&[without]).unwrap(), [[fp32(&[1, 1], &[4.0])]]);
    let refused = failure(load(&self::settings("add", &["a FP32 1", "b? FP32 1"], &["x__0 FP32 1"], 0)));
    assert!(refused.contains("`b` is optional"), "{refused}");
}

#[test]
fn outputs_by_name_and_nested_ones_in_order() {
    for name in ["named", "tuples"] {
        let mut model = load(&settings(name, &["x FP32 1"], &["half FP32 1", "double FP32 1"], 0)).unwrap();
        let outputs = model.infer(&[inputs(&[fp32(&[1], &[2.0])])]).unwrap();
        assert_eq!(outputs, [[fp32(&[1], &[1.0]), fp32(&[1], &[4.0])]], "{name}");
    }
    let request = || [inputs(&[fp32(&[1], &[2.0])])];
    let mut other = load(&settings("named", &["x FP32 1"], &["quarter FP32 1"], 0)).unwrap();
    let wrong = other.infer(&request()).unwrap_err().to_string();
    assert!(wrong.contains("did not give `quarter`; it gave `double`, `half`"), "{wrong}");

    let mut nested = load(&settings("nested", &["x FP32 1"], &["z__2 FP32 1", "x__0 FP32 1"], 0)).unwrap();
    assert_eq!(nested.infer(&request()).unwrap(), [[fp32(&[1], &[5.0]), fp32(&[1], &[3.0])]]);
    for (output, says) in [("n__3", "gave Int"), ("n__4", "gave None"), ("n__5", "which is number 5")] {
        let mut model = load(&settings("nested", &["x FP32 1"], &[&format!("{output} FP32 1")], 0)).unwrap();
        let wrong = model.infer(&request()).unwrap_err();
        assert_eq!(wrong.kind(), Kind::Failed);
        assert!(wrong.to_string().contains(says), "{wrong}");
    }
}

#[test]
fn inputs_in_lists_and_dicts() {
    let mut list = load(&settings("listed", &["p FP32 1", "q FP32 1"], &["y FP32 1"], 4)).unwrap();
    let request = || inputs(&[fp32(&[1, 1], &[5.0]), fp32(&[1, 1], &[3.0])]);
    let outputs = list.infer(&[request(), request()]).unwrap();
    assert_eq!(outputs, [[fp32(&[1, 1], &[8.0])], [fp32(&[1, 1], &[8.0])]]);
    let mut dict = load(&settings("mapped", &["b FP32 1", "a FP32 1"], &["y FP32 1"], 4)).unwrap();
    assert_eq!(dict.infer(&[request()]).unwrap(), [[fp32(&[1, 1], &[-2.0])]]);
}

#[test]
fn detectors_as_torchvision_writes_them() {
    let outputs = ["scores FP32 -1", "boxes FP32 -1,2"];
    let mut model = load(&settings("detects", &["image FP32 -1,-1"], &outputs, 0)).unwrap();
    let image = fp32(&[2, 2], &[0.0, 0.5, 0.0, 0.25]);
    let found = model.infer(&[inputs(&[image])]).unwrap();
    assert_eq!(found, [[fp32(&[2], &[0.5, 0.25]), fp32(&[2, 2], &[0.0, 1.0, 1.0, 1.0])]]);
    let two = ["image FP32 -1,-1", "other FP32 -1,-1"];
    let mut model = load(&settings("detects", &two, &outputs, 0)).unwrap();
    let image = || fp32(&[1, 1], &[1.0]);
    let wrong = model.infer(&[inputs(&[image(), image()])]).unwrap_err().to_string();
    assert!(wrong.contains("gave `scores` more than once"), "{wrong}");
}

#[test]
fn reshape_is_the_models_own_shape() {
    let mut settings = settings("same", &["x FP32 2,2"], &["y FP32 4"], 4);
    settings.signature.inputs[0].reshape = Dims::new(&[4, 1]);
    settings.signature.outputs[0].reshape = Dims::new(&[4, 1]);
    let values: Vec<f32> = (0..8_u8).map(f32::from).collect();
    let outputs = load(&settings).unwrap().infer(&[inputs(&[fp32(&[2, 2, 2], &values)])]).unwrap();
    assert_eq!(outputs, [[fp32(&[2, 4], &values)]]);
}

#[test]
fn configurations_that_do_not_fit_the_graph() {
    let cases: [(&str, &[&str], &[&str], &str); 7] = [
        ("add", &["a FP32 1"], &["x FP32 1", "y FP32 1"], "no input is for the argument `b`"),
        (
            "add",
            &["x FP32 1", "y FP32 1", "z FP32 1"],
            &["x__0 FP32 1"],
            "the model's arguments are `a: Tensor`, `b: Tensor`",
        ),
        ("add", &["a FP32 1", "b FP32 1"], &["x FP32 1"], "1 outputs, and the model gives 2 tensors"),
        ("add", &["a FP32 1", "b FP32 1"], &["x__2 FP32 1"], "`x__2` would be number 2"),
        (
            "number",
            &["x FP32 1", "scale FP32 1"],
            &["y FP32 1"],
            "is of type float, which is no single tensor",
        ),
        ("number", &["x FP32 1"], &["y FP32 1"], "no input is for the argument `scale`"),
        ("same", &["x FP32 1"], &["y BYTES 1"], "`y` is of type BYTES"),
    ];
    for (name, inputs, outputs, says) in cases {
        let refused = failure(load(&settings(name, inputs, outputs, 0)));
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn a_model_computes_with_16_bits_where_it_is_told_to() {
    let with = |precision: &str| {
        let mut settings = settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 8);
        settings.parameters.insert("PRECISION".into(), precision.into());
        let outputs = load(&settings).unwrap().infer(&[picture(2)]).unwrap().remove(0);
        values(&outputs[0])
    };
    let exact = with("fp32");
    for (precision, tolerance) in [("fp16", 1e-2), ("bf16", 3e-2)] {
        let found = with(precision);
        let scale = exact.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let pairs = exact.iter().zip(&found);
        let worst = pairs.map(|(exact, found)| (exact - found).abs() / scale).fold(0.0, f32::max);
        assert!(worst > 0.0, "{precision} is as exact as fp32, and can't be what was computed with");
        assert!(worst < tolerance, "{precision}: {worst}");
    }
}

#[test]
fn a_model_that_does_not_run_in_a_precision_computes_with_32_bits() {
    let with = |precision: &str| {
        let mut settings = settings("mixes", &["x FP32 3,-1,-1"], &["y FP32 3"], 8);
        settings.parameters.insert("PRECISION".into(), precision.into());
        load(&settings).unwrap().infer(&[picture(2)]).unwrap().remove(0)
    };
    assert_eq!(with("fp16"), with("fp32"));
    assert_eq!(with("bf16"), with("fp32"));
}

#[test]
fn parameters_are_checked() {
    for (key, value, says) in [
        ("INTRA_OP_THREAD_COUNT", "0", "`0`, not a number from 1 to 1024"),
        ("INTRA_OP_THREAD_COUNT", "two", "`two`, not a number"),
        ("PRECISION", "fp8", "`fp8`, not fp32, fp16 or bf16"),
        ("PRECISION", "tf32", "`tf32`, not fp32, fp16 or bf16"),
        ("INFERENCE_MODE", "yes", "INFERENCE_MODE is `yes`, neither true nor false"),
    ] {
        let mut settings = settings("same", &["x FP32 1"], &["y FP32 1"], 0);
        settings.parameters.insert(key.into(), value.into());
        let refused = failure(load(&settings));
        assert!(refused.contains(says), "{refused}");
    }
    let mut settings = settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 2);
    for (key, value) in
        [("INTRA_OP_THREAD_COUNT", "2"), ("DISABLE_OPTIMIZED_EXECUTION", "true"), ("INFERENCE_MODE", "false")]
    {
        settings.parameters.insert(key.into(), value.into());
    }
    let request = fp32(&[1, 3, 8, 8], &[0.5; 192]);
    assert!(load(&settings).unwrap().infer(&[inputs(&[request])]).is_ok());
}

#[test]
fn outputs_that_are_not_as_configured() {
    let request = || inputs(&[fp32(&[2, 2], &[1.0, 0.0, 0.0, 0.0])]);
    for (name, output, says) in [
        ("same", "y INT64 2", "`y` should be of type INT64 by the configuration, and the model gave FP32"),
        (
            "same",
            "y FP32 3",
            "`y` should have the shape [-1,3] by the configuration, and the model gave [2,2]",
        ),
        ("same", "y FP32 2,1", "`y` should have the shape [-1,2,1]"),
        (
            "found",
            "y INT64 2",
            "`y` should have a row for each of the batch's 2, and the model gave the shape [1,2]",
        ),
    ] {
        let mut model = load(&settings(name, &["x FP32 2"], &[output], 4)).unwrap();
        let wrong = model.infer(&[request()]).unwrap_err();
        assert!(matches!(wrong, Error::Model(_)) && wrong.to_string().contains(says), "{wrong}");
    }
    let mut model = load(&settings("found", &["x FP32 -1,2"], &["y INT64 -1,2"], 0)).unwrap();
    let outputs = model.infer(&[request()]).unwrap();
    assert_eq!(outputs[0][0].shape().dims(), [1, 2]);
}

#[test]
fn what_a_program_raises_is_told_without_its_traceback() {
    let mut model = load(&settings("raises", &["x FP32 3"], &["y FP32 -1"], 4)).unwrap();
    let mut fail = |value: f32| {
        let error = model.infer(&[inputs(&[fp32(&[2, 3], &[value; 6])])]).unwrap_err();
        assert!(matches!(error, Error::Model(_)), "{error:?}");
        error.to_string()
    };
    assert_eq!(fail(-1.0), "ValueError: x must not be negative");
    assert_eq!(
        fail(1.0),
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3), in `return torch.mm(x, x)`"
    );
}

#[test]
fn files_that_are_no_programs() {
    let refused = |name: &str| failure(load(&settings(name, &["x FP32 1"], &["y FP32 1"], 0)));
    assert!(refused("missing").contains("missing.pt: No such file"), "{}", refused("missing"));
    assert!(refused("states").contains("it holds no TorchScript program"), "{}", refused("states"));
    assert!(refused("noforward").contains("it has no method `forward`"), "{}", refused("noforward"));
    assert!(refused("unknown").contains("the operator elsewhere::unknown, which"), "{}", refused("unknown"));
}

#[test]
fn damaged_files_are_refused_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(models().join("network.pt")).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        vec![vec![], vec![0], b"PK\x03\x04 and no more".to_vec(), vec![0xff; 5000]];
    damaged.extend((1..20).map(|part| whole[..whole.len() * part / 20].to_vec()));
    // Where the central directory begins, and in what it lists.
    damaged.extend((0..40).map(|at| {
        let mut bytes = whole.clone();
        let at = whole.len() * at / 40;
        bytes[at..(at + 40).min(whole.len())].fill(0xa5);
        bytes
    }));
    let mut settings = settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 2);
    settings.file = "damaged.pt".into();
    let (mut refused, mut loaded) = (0, 0);
    for bytes in damaged {
        fs::write(folder.path().join("damaged.pt"), bytes).unwrap();
        match open(&settings, folder.path()) {
            Err(Error::Load(reason)) => {
                assert!(!reason.contains('\n') && reason.len() < 800, "{reason}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
            // Where only weights or padding were hit, nothing can be wrong.
            Ok(_) => loaded += 1,
        }
    }
    assert!(refused >= 23, "{refused} refused, {loaded} loaded");
}

#[test]
fn instances_share_their_weights_and_run_side_by_side() {
    let mut plain = settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 64);
    plain.parameters.insert("DISABLE_OPTIMIZED_EXECUTION".into(), "true".into());
    for name in ["network", "traced"] {
        let mut settings = settings(name, &["x FP32 3,8,8"], &["y FP32 5"], 64);
        let expected = |rows: usize| {
            let settings = Settings { file: format!("{name}.pt"), ..plain.clone() };
            load(&settings).unwrap().infer(&[picture(rows)]).unwrap()
        };
        let expected: Vec<_> = (1..=8).map(expected).collect();
        settings.file = format!("{name}.pt");
        let opened = open(&settings, &models()).unwrap();
        thread::scope(|scope| {
            for worker in 0..8 {
                let (opened, expected) = (&opened, &expected);
                scope.spawn(move || {
                    let mut model = opened.instance(Device::Cpu).unwrap();
                    for round in 0..50 {
                        let rows = 1 + (worker + round) % 8;
                        let outputs = model.infer(&[picture(rows)]).unwrap();
                        close(&outputs[0][0], &expected[rows - 1][0][0]);
                    }
                });
            }
        });
    }
}

#[test]
fn programs_that_remember_get_a_module_for_each_instance() {
    let opened = open(&settings("counts", &["x FP32 1"], &["y FP32 1"], 0), &models()).unwrap();
    let request = || inputs(&[fp32(&[1], &[0.0])]);
    let mut one = opened.instance(Device::Cpu).unwrap();
    let mut other = opened.instance(Device::Cpu).unwrap();
    let count = |model: &mut Box<dyn Model>| model.infer(&[request()]).unwrap().remove(0).remove(0);
    let number = |tensor: &Tensor| f32::from_le_bytes(tensor.bytes().unwrap()[..4].try_into().unwrap());
    let first = count(&mut one);
    assert_eq!(number(&count(&mut one)), 2.0);
    // What was given out stays as it was, though the program has counted on in its own memory.
    assert_eq!(number(&first), 1.0);
    assert_eq!(number(&count(&mut other)), 1.0);
    assert_eq!(number(&count(&mut one)), 3.0);
}

#[test]
fn of_a_traced_program_the_message_is_told_as_well() {
    let mut model = load(&settings("traced", &["x FP32 -1,8,8"], &["y FP32 5"], 4)).unwrap();
    let tensor = fp32(&[1, 4, 8, 8], &[0.0; 256]);
    let Err(Error::Model(reason)) = model.infer(&[inputs(&[tensor])]) else { panic!("it takes 4 channels") };
    let message = "Given groups=1, weight of size [8, 3, 3, 3], expected input[1, 4, 8, 8] to have 3 channels, but \
                   got 4 channels instead, in `";
    assert!(reason.starts_with(message), "{reason}");
}

#[test]
fn a_program_may_write_into_what_it_was_given() {
    let mut model = load(&settings("weights", &["x FP32 2"], &["w FP32 4", "y FP32 2"], 0)).unwrap();
    let tensor = fp32(&[2], &[1.0, 2.0]);
    for _ in 0..2 {
        let outputs = model.infer(&[inputs(std::slice::from_ref(&tensor))]).unwrap();
        assert_eq!(outputs, [[fp32(&[4], &[0.0, 1.0, 2.0, 3.0]), fp32(&[2], &[2.0, 3.0])]]);
    }
    assert_eq!(tensor, fp32(&[2], &[1.0, 2.0]));
}

#[test]
fn outputs_outlive_their_model() {
    let mut model = load(&settings("same", &["x FP32 1024"], &["y FP32 1024"], 0)).unwrap();
    let tensor = fp32(&[1024], &[7.0; 1024]);
    let outputs = model.infer(&[inputs(std::slice::from_ref(&tensor))]).unwrap();
    drop(model);
    let outputs: Vec<Outputs> = thread::spawn(move || outputs).join().unwrap();
    assert_eq!(outputs, [[tensor]]);
}

#[test]
fn the_graph_names_its_arguments_and_some_of_its_outputs() {
    let graph = |name: &str| torch::graph(&models().join(name)).unwrap();
    let optionals = graph("optionals.pt");
    let arguments: Vec<_> =
        optionals.arguments.iter().map(|it| (it.name.as_str(), it.takes, it.optional)).collect();
    let expected = [
        ("x", Takes::Tensor, false),
        ("scale", Takes::Tensor, true),
        ("rounds", Takes::Other, true),
        ("shift", Takes::Tensor, true),
    ];
    assert_eq!(arguments, expected);
    assert_eq!(optionals.returns, Some(vec![None]));
    assert_eq!(graph("add.pt").returns, Some(vec![None, None]));
    assert_eq!(graph("tuples.pt").returns, Some(vec![Some("double".into()), Some("half".into())]));
    assert_eq!(graph("named.pt").returns, None);
}

#[test]
fn a_gpu_gives_the_same_or_is_said_to_be_missing() {
    let opened = open(&settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 8), &models()).unwrap();
    let Some(gpu) = gpu() else {
        let refused = failure(opened.instance(Device::Cuda(0)));
        assert!(refused.starts_with("cuda:0 can't be used: "), "{refused}");
        return;
    };
    let batch = [picture(1), picture(3)];
    let expected = opened.instance(Device::Cpu).unwrap().infer(&batch).unwrap();
    let mut model = opened.instance(gpu).unwrap();
    for (outputs, expected) in model.infer(&batch).unwrap().iter().zip(&expected) {
        close(&outputs[0], &expected[0]);
    }
}

/// A device of this kind, or a line that says that there is none.
pub fn gpu() -> Option<Device> {
    if frameserve::model::torch().cuda_devices.is_empty() {
        println!("skipped: no CUDA device");
        return None;
    }
    Some(Device::Cuda(0))
}

#[test]
fn on_a_gpu_16_bits_are_near_to_32() {
    let Some(gpu) = gpu() else { return };
    let with = |precision: &str, device: Device| {
        let mut settings = settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 8);
        settings.parameters.insert("PRECISION".into(), precision.into());
        let mut model = open(&settings, &models()).unwrap().instance(device).unwrap();
        values(&model.infer(&[picture(2)]).unwrap()[0][0])
    };
    let exact = with("fp32", Device::Cpu);
    for (precision, tolerance) in [("fp32", 1e-4), ("fp16", 1e-2), ("bf16", 3e-2)] {
        let scale = exact.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let found = with(precision, gpu);
        let apart = exact.iter().zip(&found).map(|(exact, found)| (exact - found).abs() / scale);
        let worst = apart.fold(0.0, f32::max);
        assert!(worst < tolerance, "{precision}: {worst}");
    }
}

#[test]
fn two_instances_on_a_gpu_give_what_one_does() {
    let Some(gpu) = gpu() else { return };
    let opened = open(&settings("network", &["x FP32 3,8,8"], &["y FP32 5"], 8), &models()).unwrap();
    let expected = opened.instance(gpu).unwrap().infer(&[picture(3)]).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut model = opened.instance(gpu).unwrap();
                for _ in 0..50 {
                    close(&model.infer(&[picture(3)]).unwrap()[0][0], &expected[0][0]);
                }
            });
        }
    });
}

/// Settings of a model of this folder. A port is written as `name TYPE dims`, with a `?` if it is optional.
pub fn settings(name: &str, inputs: &[&str], outputs: &[&str], max_batch: usize) -> Settings {
    let port = |text: &&str| {
        let [name, datatype, dims] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let dims: Vec<i64> = dims.split(',').map(|dim| dim.parse().unwrap()).collect();
        Port {
            name: name.trim_end_matches('?').into(),
            datatype: DataType::from_name(datatype).unwrap(),
            dims: Dims::new(&dims).unwrap(),
            reshape: None,
            optional: name.ends_with('?'),
            labels: None,
        }
    };
    let (inputs, outputs) = (inputs.iter().map(port).collect(), outputs.iter().map(port).collect());
    let queue =
        QueuePolicy { max_size: 0, timeout: None, allow_override: false, action: TimeoutAction::Reject };
    Settings {
        name: name.into(),
        backend: "pytorch".into(),
        signature: Signature { max_batch, inputs, outputs },
        file: format!("{name}.pt"),
        versions: VersionPolicy::Latest(1),
        instances: Vec::new(),
        batching: Policy {
            max_batch: max_batch.max(1),
            preferred: Vec::new(),
            max_delay: std::time::Duration::ZERO,
            levels: 0,
            default_level: 0,
            queue,
            queues: BTreeMap::new(),
            threads: 1,
        },
        warmup: Vec::new(),
        pictures: None,
        parameters: BTreeMap::new(),
        methods: BTreeMap::new(),
        cpu_batch: None,
        config: ModelConfig::default(),
    }
}

pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

pub fn open(settings: &Settings, folder: &Path) -> Result<Box<dyn Opened>, Error> {
    let backends = Backends::default();
    backends.find(&settings.backend).unwrap().open(&Arc::new(settings.clone()), folder)
}

fn load(settings: &Settings) -> Result<Box<dyn Model>, Error> {
    open(settings, &models())?.instance(Device::Cpu)
}

fn failure(loaded: Result<Box<dyn Model>, Error>) -> String {
    match loaded {
        Err(Error::Load(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was loaded"),
    }
}

pub fn inputs(tensors: &[Tensor]) -> Inputs {
    tensors.iter().cloned().map(Some).collect()
}

pub fn fp32(dims: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Fp32, Shape::new(dims.to_vec()), bytes.into()).unwrap()
}

/// A picture of 8x8 for each row.
fn picture(rows: usize) -> Inputs {
    let values: Vec<f32> = (0..rows * 192).map(|at| (at * 37 % 255) as f32 / 255.0).collect();
    inputs(&[fp32(&[rows, 3, 8, 8], &values)])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let bytes = tensor.bytes().unwrap();
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn close(one: &Tensor, other: &Tensor) {
    assert_eq!(one.shape(), other.shape());
    for (one, other) in values(one).into_iter().zip(values(other)) {
        // A GPU may multiply with fewer bits.
        assert!((one - other).abs() < 1e-3, "{one} {other}");
    }
}
