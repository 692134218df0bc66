//! What whole configurations come down to.

mod anything;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::archive::tests::archive;
use super::*;
use crate::exec::batch::{Entry, Queue, TimeoutAction, Wanted};
use crate::model::backend::{Backend, Opened};
use crate::model::settings::{Instances, Place, VersionPolicy};
use crate::proto::inference::model_version_policy::PolicyChoice;
use crate::tensor::{DataType, Dims, Tensor};

/// A backend that was never asked for anything.
struct Other;

impl Backend for Other {
    fn open(&self, _: &Arc<Settings>, _: &Path) -> Result<Box<dyn Opened>, Error> {
        Err(Error::Load("nothing to open".into()))
    }
}

const PORTS: &str = "input { name: 'x' data_type: TYPE_FP32 dims: [ 3, 4 ] }
                     output { name: 'y' data_type: TYPE_FP32 dims: [ 10 ] }";

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, bytes) in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn read_from(folder: &TempDir, given: Option<&str>) -> Result<Option<Settings>, Error> {
    let backends = Backends::default().with("pytorch", Other).with("own", Other);
    let source = Source { name: "m", folder: folder.path(), version: None, given, backends: &backends };
    Settings::read(&source)
}

fn read(text: &str, files: &[(&str, &[u8])]) -> Result<Settings, Error> {
    let files = [files, &[("1/model.pt", b""), ("config.pbtxt", text.as_bytes())]].concat();
    read_from(&folder(&files), None).map(Option::unwrap)
}

fn with_ports(text: &str) -> Result<Settings, Error> {
    read(&format!("{PORTS}\n{text}"), &[])
}

fn refusal(text: &str) -> String {
    with_ports(text).map(|_| ()).expect_err(text).to_string()
}

/// Whether a request of this priority, which may wait for 10 ms, has waited for too long after so many.
fn expires(settings: &Settings, level: u32, after: u64) -> bool {
    let policy = &settings.batching;
    let (came, level) = (Instant::now(), policy.level(level));
    let asked = Some(Duration::from_millis(10));
    let mut queue = Queue::new(policy.clone());
    // Nobody's turn comes before the batch is full.
    let expires = policy.timeout(level, asked).map(|timeout| came + timeout);
    let entry = Entry { job: Waits, rows: 1, cost: 1, kind: (), level, came, expires, stream: None };
    queue.push(entry).unwrap();
    !queue.next(came + Duration::from_millis(after), false).expired.is_empty()
}

/// A request that somebody waits for.
#[derive(Debug, PartialEq)]
struct Waits;

impl Wanted for Waits {
    fn is_wanted(&self) -> bool {
        true
    }
}

#[test]
fn a_requests_own_timeout_counts_unless_a_policy_is_configured_that_forbids_it() {
    let levels = "priority_levels: 2 default_priority_level: 1";
    for (policies, first, second) in [
        ("", true, true),
        ("default_queue_policy {}", false, false),
        ("default_queue_policy { max_queue_size: 5 }", false, false),
        ("default_queue_policy { allow_timeout_override: true }", true, true),
        ("priority_queue_policy { key: 2 value {} }", true, false),
        (
            "default_queue_policy {} priority_queue_policy { key: 2 value { allow_timeout_override: true } }",
            false,
            true,
        ),
    ] {
        let waits = "max_queue_delay_microseconds: 3600000000";
        let text = format!("max_batch_size: 8 dynamic_batching {{ {waits} {levels} {policies} }}");
        let settings = with_ports(&text).unwrap();
        for (level, counts) in [(1, first), (2, second)] {
            assert!(!expires(&settings, level, 9), "{policies}");
            assert_eq!(expires(&settings, level, 10), counts, "{policies}");
        }
    }
}

#[test]
fn a_batch_on_a_cpu_is_no_larger_than_any() {
    let with = |value: &str| {
        let text =
            format!("parameters {{ key: 'frameserve.cpu_batch' value {{ string_value: '{value}' }} }}");
        with_ports(&format!("max_batch_size: 8 {text}"))
    };
    assert_eq!(with("8").unwrap().cpu_batch, Some(8));
    for wrong in ["0", "9", "two"] {
        let refused = with(wrong).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("it must be from 1 to max_batch_size, which is 8"), "{refused}");
    }
    let refused = refusal("parameters { key: 'PRECISION' value { string_value: 'tf32' } }");
    assert!(refused.contains("it must be fp32, fp16 or bf16"), "{refused}");
}

#[test]
fn a_configuration_comes_back_as_clients_got_it() {
    let detector = "input { name: 'x' data_type: TYPE_FP32 dims: [ 1, 3, 8, 8 ] }
                    output [ { name: 'boxes' data_type: TYPE_FP32 dims: [ -1, 4 ] },
                             { name: 'scores' data_type: TYPE_FP32 dims: [ -1 ] } ]
                    parameters { key: 'frameserve.task' value { string_value: 'detection' } }";
    let settings = read(detector, &[]).unwrap();
    let listed = settings.listed_config(&[]);
    assert_eq!(listed.output.len(), 3);
    let with_added =
        |dims| format!("{detector} output {{ name: 'detections' data_type: TYPE_STRING dims: [ {dims} ] }}");
    let again = read(&with_added("1"), &[]).unwrap();
    assert_eq!((&again.signature, again.listed_config(&[])), (&settings.signature, listed));
    let refused = read(&with_added("2"), &[]).expect_err("an output of its own").to_string();
    assert!(refused.contains("the model has one of that name"), "{refused}");
}

#[test]
fn a_whole_configuration() {
    let text = r#"
        name: "m"
        platform: "pytorch_libtorch"
        max_batch_size: 8
        input [
          { name: "INPUT__0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, -1 ] },
          { name: "text" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [] } optional: true }
        ]
        output [ { name: "OUTPUT__0" data_type: TYPE_BF16 dims: [ 3 ] label_filename: "labels/of.txt" } ]
        version_policy { specific { versions: [ 3, 1, 3 ] } }
        instance_group [
          { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 1, 0 ] }, { name: "any" count: 3 }, { gpus: 2 }
        ]
        dynamic_batching {
          preferred_batch_size: [ 8, 4 ]
          max_queue_delay_microseconds: 1500
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy { max_queue_size: 10 }
          priority_queue_policy {
            key: 3
            value { timeout_action: DELAY default_timeout_microseconds: 20 allow_timeout_override: true }
          }
        }
        parameters { key: "INTRA_OP_THREAD_COUNT" value { string_value: "2" } }
        parameters { key: "INFERENCE_MODE" value { string_value: "true" } }
        default_model_filename: "net.pt"
        optimization { graph { level: 1 } }
    "#;
    let settings = read(text, &[("labels/of.txt", b"cat\r\ndog \n\n")]).unwrap();
    let [picture, words] = settings.signature.inputs.as_slice() else { panic!("{settings:?}") };
    assert_eq!(
        (settings.name.as_str(), settings.backend.as_str(), settings.file.as_str()),
        ("m", "pytorch", "net.pt")
    );
    assert_eq!((picture.name.as_str(), picture.datatype), ("INPUT__0", DataType::Fp32));
    assert_eq!(picture.dims, Dims::new(&[3, 224, -1]).unwrap());
    assert_eq!(
        (words.datatype, words.optional, words.reshape.clone()),
        (DataType::Bytes, true, Dims::new(&[]))
    );
    let output = &settings.signature.outputs[0];
    assert_eq!(
        (output.datatype, output.labels.as_deref().unwrap()),
        (DataType::Bf16, &["cat".into(), "dog".into(), String::new()][..])
    );
    assert_eq!(settings.signature.max_batch, 8);
    assert_eq!(settings.versions, VersionPolicy::Specific(vec![1, 3]));
    let places = [(2, Place::Cpu), (0, Place::Gpus(vec![1, 0])), (3, Place::Auto), (0, Place::Gpus(vec![2]))];
    assert_eq!(settings.instances, places.map(|(count, place)| Instances { count, place }));
    let batching = &settings.batching;
    assert_eq!((batching.max_batch, batching.preferred.as_slice()), (8, [4, 8].as_slice()));
    assert_eq!(
        (batching.max_delay, batching.levels, batching.default_level),
        (Duration::from_micros(1500), 3, 2)
    );
    assert_eq!(
        (batching.queue.max_size, batching.queue.timeout, batching.queue.action),
        (10, None, TimeoutAction::Reject)
    );
    let third = &batching.queues[&3];
    assert_eq!(
        (third.timeout, third.action, third.allow_override),
        (Some(Duration::from_micros(20)), TimeoutAction::Delay, true)
    );
    let parameters = [("INTRA_OP_THREAD_COUNT", "2"), ("INFERENCE_MODE", "true")];
    assert_eq!(settings.parameters, parameters.map(|(key, value)| (key.into(), value.into())).into());
    assert!(settings.warmup.is_empty());
    assert_eq!(settings.config.instance_group[0].name, "m_0");
    assert_eq!(settings.config.backend, "pytorch");
}

#[test]
fn what_is_left_out_is_filled_in() {
    let settings = with_ports("instance_group { kind: KIND_CPU }").unwrap();
    let config = &settings.config;
    assert_eq!((config.name.as_str(), config.backend.as_str()), ("m", "pytorch"));
    assert_eq!(
        (config.platform.as_str(), config.default_model_filename.as_str()),
        ("pytorch_libtorch", "model.pt")
    );
    let policy = config.version_policy.as_ref().unwrap().policy_choice.as_ref().unwrap();
    assert!(matches!(policy, PolicyChoice::Latest(latest) if latest.num_versions == 1));
    assert_eq!((config.instance_group[0].count, config.instance_group[0].name.as_str()), (1, "m_0"));
    assert_eq!(settings.versions, VersionPolicy::Latest(1));
    let batching = &settings.batching;
    assert_eq!((batching.max_batch, batching.max_delay, batching.levels), (1, Duration::ZERO, 0));
    assert_eq!(with_ports("max_batch_size: 16").unwrap().batching.max_batch, 16);
    assert!(with_ports("").unwrap().instances.is_empty());
}

#[test]
fn a_configuration_is_looked_for_in_three_places() {
    let json = |name: &str| {
        let input = r#"[{"name": "x", "dataType": "TYPE_FP32", "dims": [1]}]"#;
        format!(r#"{{"backend": "pytorch", "input": {input}, "output": {}}}"#, input.replace('x', name))
    };
    let packed = |name: &str| {
        archive(&[("a/extra/frameserve.json", json(name).as_bytes())], zip::CompressionMethod::Stored)
    };
    let (old, new) = (packed("old"), packed("new"));
    let folder = folder(&[("9/model.pt", &old), ("10/model.pt", &new)]);
    let output = |settings: Settings| settings.signature.outputs[0].name.clone();
    assert_eq!(output(read_from(&folder, None).unwrap().unwrap()), "new");
    let backends = Backends::default().with("pytorch", Other);
    let source =
        Source { name: "m", folder: folder.path(), version: Some(9), given: None, backends: &backends };
    assert_eq!(output(Settings::read(&source).unwrap().unwrap()), "old");
    std::fs::write(folder.path().join(FILE), PORTS).unwrap();
    assert_eq!(output(read_from(&folder, None).unwrap().unwrap()), "y");
    assert_eq!(output(read_from(&folder, Some(&json("given"))).unwrap().unwrap()), "given");
    let error = read_from(&folder, Some("{\"inputs\": []}")).unwrap_err().to_string();
    assert!(error.starts_with("the configuration of the request: ") && error.contains("inputs"), "{error}");
}

#[test]
fn without_a_configuration_there_is_a_draft() {
    let plain = archive(&[("a/data.pkl", b"x")], zip::CompressionMethod::Stored);
    assert!(read_from(&folder(&[("1/model.pt", &plain)]), None).unwrap().is_none());
    assert!(read_from(&folder(&[("1/other", b"x")]), None).unwrap().is_none());
    assert!(read_from(&folder(&[]), None).unwrap().is_none());
    let error = read_from(&folder(&[("1/model.pt", b"x")]), None).unwrap_err().to_string();
    assert!(error.starts_with("1/model.pt is no TorchScript archive: "), "{error}");
    for (inputs, outputs) in [(vec![], 0), (vec!["image \"\\\n\u{1}é".into(), "size".into()], 3)] {
        let text = draft("m", &inputs, outputs);
        let settings = read(&text, &[]).unwrap();
        let names: Vec<_> = settings.signature.inputs.iter().map(|port| port.name.clone()).collect();
        assert_eq!(names, if inputs.is_empty() { vec!["INPUT__0".into()] } else { inputs.clone() });
        assert_eq!(
            settings.signature.outputs.last().unwrap().name,
            format!("OUTPUT__{}", outputs.max(1) - 1)
        );
        assert!(undescribed("m", &inputs, outputs).to_string().ends_with(&text));
    }
}

#[test]
fn a_backend_is_found_or_refused() {
    let backend = |text: &str| with_ports(text).map(|settings| settings.backend);
    for text in ["", "backend: 'pytorch'", "platform: 'pytorch_libtorch'", "platform: 'pytorch_torchscript'"]
    {
        assert_eq!(backend(text).unwrap(), "pytorch", "{text}");
    }
    assert_eq!(backend("backend: 'pytorch' platform: 'pytorch_libtorch'").unwrap(), "pytorch");
    assert_eq!(backend("backend: 'own'").unwrap(), "own");
    for (text, reason) in [
        (
            "backend: 'onnxruntime'",
            "config.pbtxt: backend `onnxruntime`: this server has identity, own, pytorch",
        ),
        ("platform: 'tensorrt_plan'", "platform `tensorrt_plan`: platforms here are pytorch_libtorch"),
        ("backend: 'pytorch' platform: 'tensorrt_plan'", "platform `tensorrt_plan`"),
        (
            "backend: 'own' platform: 'pytorch_libtorch'",
            "platform `pytorch_libtorch`: backend `own` has no platforms",
        ),
        ("name: 'other'", "name `other`: the model's folder is `m`"),
        ("default_model_filename: 'model.onnx'", "backend ``: there is no `model.pt`"),
        (
            "default_model_filename: '../x' backend: 'pytorch'",
            "default_model_filename `../x`: it must be a path below",
        ),
        ("sequence_batching {}", "sequence_batching `{}`: requests are not kept together"),
    ] {
        assert!(refusal(text).contains(reason), "{}", refusal(text));
    }
    let folder = folder(&[("config.pbtxt", PORTS.as_bytes()), ("1/model.onnx", b"")]);
    assert!(read_from(&folder, None).unwrap_err().to_string().contains("there is no `model.pt`"));
    let backends = Backends::default();
    let given = Some(r#"{"backend": "pytorch"}"#);
    let source = Source { name: "m", folder: folder.path(), version: None, given, backends: &backends };
    if backends.find("pytorch").is_none() {
        let error = Settings::read(&source).unwrap_err().to_string();
        assert!(error.contains("built without libtorch"), "{error}");
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    for (text, reason) in [
        ("max_batch_size: -1", "max_batch_size -1: it must be 0 or more"),
        ("input { data_type: TYPE_FP32 dims: 1 }", "an input has no name"),
        ("input { name: 'z' dims: 1 }", "input `z`: data_type TYPE_INVALID"),
        ("input { name: 'z' data_type: 99 dims: 1 }", "input `z`: data_type 99"),
        ("input { name: 'z' data_type: TYPE_INT8 }", "input `z`: dims []: there must be at least one"),
        ("input { name: 'z' data_type: TYPE_INT8 dims: 0 }", "input `z`: dims [0]: each must be 1 or more"),
        ("input { name: 'z' data_type: TYPE_INT8 dims: -2 }", "input `z`: dims [-2]"),
        (
            "input { name: 'z' data_type: TYPE_INT8 dims: [ 9223372036854775807, 9 ] }",
            "input `z`: dims [9223372036854775807, 9]: it has more elements",
        ),
        ("input { name: 'x' data_type: TYPE_INT8 dims: 1 }", "input `x`: there are two of this name"),
        ("output { name: 'y' data_type: TYPE_INT8 dims: 1 }", "output `y`: there are two of this name"),
        (
            "input { name: 'z' data_type: TYPE_INT8 dims: [ 2, 3 ] reshape { shape: [ 5 ] } }",
            "input `z`: reshape [5]",
        ),
        (
            "input { name: 'z' data_type: TYPE_INT8 dims: [ 4, -1, 2 ] reshape { shape: [ 2, -1, 4 ] } }",
            "input `z`: reshape [2, -1, 4]: it must have as many elements as dims [4, -1, 2]",
        ),
        ("output { name: 'z' data_type: TYPE_INT8 dims: 2 reshape {} }", "output `z`: reshape []"),
        (
            "input { name: 'z' data_type: TYPE_INT8 dims: 2 format: FORMAT_NHWC }",
            "format FORMAT_NHWC: it needs 3 dims",
        ),
        (
            "output { name: 'z' data_type: TYPE_INT8 dims: 2 label_filename: 'a.txt' }",
            "`a.txt`: there is no such file",
        ),
        (
            "output { name: 'z' data_type: TYPE_INT8 dims: 2 label_filename: '../a' }",
            "label_filename `../a`: it must",
        ),
        (
            "output { name: 'z' data_type: TYPE_INT8 dims: 2 label_filename: '/etc/passwd' }",
            "label_filename `/etc/passwd`",
        ),
        (
            "output { name: 'z' data_type: TYPE_INT8 dims: 2 label_filename: '1' }",
            "label_filename `1`: can't be read",
        ),
        ("version_policy { latest {} }", "num_versions 0: it must be 1 or more"),
        ("version_policy { specific {} }", "versions []: there must be at least one"),
        ("version_policy { specific { versions: 0 } }", "versions 0: it must be 1 or more"),
        ("instance_group { count: 65 }", "instance_group `m_0`: count 65: it must be from 1 to 64"),
        ("instance_group { count: -1 }", "count -1"),
        (
            &"instance_group { count: 64 }".repeat(5),
            "instance_group 320: all groups together may have up to 256",
        ),
        ("instance_group { kind: KIND_GPU gpus: -1 }", "gpus -1: GPUs are numbered from 0"),
        ("instance_group { kind: KIND_GPU gpus: [ 1, 1 ] }", "gpus 1: it stands there twice"),
        ("instance_group { kind: KIND_CPU gpus: 0 }", "gpus 0: the kind is KIND_CPU"),
        ("instance_group { kind: KIND_MODEL }", "kind KIND_MODEL"),
        (
            "dynamic_batching { preferred_batch_size: 2 }",
            "preferred_batch_size 2: it must be from 1 to max_batch_size",
        ),
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 0 }", "preferred_batch_size 0"),
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }", "which is 4"),
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level 0: it must be from 1 to"),
        ("dynamic_batching { priority_levels: 2 default_priority_level: 3 }", "default_priority_level 3"),
        ("dynamic_batching { default_priority_level: 1 }", "there are no priorities"),
        ("dynamic_batching { priority_levels: 99999999999 }", "priority_levels 99999999999: it may be up to"),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} } }",
            "priority_queue_policy 3: it must be from 1 to priority_levels, which is 2",
        ),
        (
            "parameters { key: 'INTRA_OP_THREAD_COUNT' value { string_value: '0' } }",
            "INTRA_OP_THREAD_COUNT `0`",
        ),
        (
            "parameters { key: 'DISABLE_OPTIMIZED_EXECUTION' value { string_value: 'yes' } }",
            "it must be true or false",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(reason), "{text}\n{error}");
    }
    let reason = |text: &str| read(text, &[]).unwrap_err().to_string();
    assert!(reason("output { name: 'y' data_type: TYPE_INT8 dims: 1 }").contains("there is no input"));
    assert!(reason("input { name: 'y' data_type: TYPE_INT8 dims: 1 }").contains("there is no output"));
    assert_eq!(
        reason("nmae: 1"),
        "config.pbtxt: line 1, column 1: field 'nmae' not found for message 'inference.ModelConfig'"
    );
    let latin = read_from(&folder(&[("config.pbtxt", b"name: '\xe4'")]), None).unwrap_err().to_string();
    assert!(latin.starts_with("config.pbtxt: can't be read: "), "{latin}");
}

#[test]
fn reshape_keeps_the_elements_between_those_that_vary() {
    let input =
        "input { name: 'z' data_type: TYPE_INT8 dims: [ 4, -1, 2, 3 ] reshape { shape: [ 2, 2, -1, 6 ] } }";
    let settings = with_ports(input).unwrap();
    assert_eq!(settings.signature.inputs[1].reshape, Dims::new(&[2, 2, -1, 6]));
}

#[test]
fn parameters_go_to_who_knows_them() {
    let text = "parameters { key: 'DISABLE_OPTIMIZED_EXECUTION' value { string_value: 'true' } } \
                parameters { key: 'k' value { string_value: 'v' } } \
                parameters { key: 'frameserve.task' value { string_value: 'image' } }";
    let parsed = |backend: &str| {
        let text = format!("backend: '{backend}' {text} input {{ name: 'x' format: FORMAT_NHWC }}");
        let mut unused = Vec::new();
        let config = Parsed::from_text(&text).unwrap().message;
        (Parameters::sort(&config, &mut unused).unwrap(), unused)
    };
    let (pytorch, unused) = parsed("pytorch");
    assert_eq!(pytorch.backend.keys().collect::<Vec<_>>(), ["DISABLE_OPTIMIZED_EXECUTION"]);
    assert_eq!(unused, ["parameter k `v`: backend `pytorch` has no such parameter"]);
    assert_eq!(pytorch.pictures["frameserve.layout"], "hwc");
    let config =
        Parsed::from_text("backend: 'pytorch' parameters { key: 'ENABLE_NVFUSER' }").unwrap().message;
    let mut unused = Vec::new();
    assert!(Parameters::sort(&config, &mut unused).unwrap().backend.is_empty());
    assert_eq!(unused, ["parameter ENABLE_NVFUSER ``: the backend decides that by itself"]);
    let (own, unused) = parsed("own");
    assert_eq!((own.backend.len(), own.pictures.len(), unused.len()), (2, 2, 0));
    let (identity, unused) = parsed("identity");
    assert_eq!((identity.backend.len(), unused.len()), (0, 2));
}

#[test]
fn warm_up_requests_fit_the_model() {
    let one = |text: &str| with_ports(text).unwrap().warmup.remove(0);
    let tensor = |text: &str| one(text).inputs.remove(0).unwrap();
    let zeros = tensor("max_batch_size: 4");
    assert_eq!((zeros.shape().dims(), zeros.byte_size()), ([1, 3, 4].as_slice(), 48));
    assert_eq!(tensor("").shape().dims(), [3, 4]);
    let warmup = |rest: &str, input: &str| {
        format!(
            "max_batch_size: 4 model_warmup {{ {rest} inputs {{ key: 'x' value {{ data_type: TYPE_FP32 {input} }} }} }}"
        )
    };
    let random = one(&warmup("name: 'w' batch_size: 3 count: 7", "dims: [ 3, 4 ] random_data: true"));
    assert_eq!((random.name.as_str(), random.count), ("model_warmup `w`", 7));
    let rows = random.inputs[0].clone().unwrap().split(&[1, 1, 1]).unwrap();
    assert_eq!(rows[0], rows[2]);
    assert_ne!(rows[0].bytes().unwrap(), zeros.bytes().unwrap());
    for (text, reason) in [
        (
            warmup("name: 'w' count: 10001", "dims: [ 3, 4 ] zero_data: true"),
            "model_warmup `w`: count 10001: all requests together may be run 10000 times",
        ),
        (
            warmup("name: 'w' batch_size: 5", "dims: [ 3, 4 ] zero_data: true"),
            "model_warmup `w`: batch_size 5: it may be up to 4",
        ),
        (
            warmup("", "dims: [ 3, 5 ] zero_data: true"),
            "model_warmup[0]: input `x`: dims [3, 5]: it must be one shape",
        ),
        (warmup("", "dims: [ 3, -1 ] zero_data: true"), "dims [3, -1]"),
        (warmup("", "dims: [ 3, 4 ]"), "it needs one of zero_data"),
        (warmup("", "dims: [ 3, 4 ] zero_data: false"), "it needs one of zero_data"),
        (
            warmup("", "dims: [ 3, 4 ] input_data_file: '../x'"),
            "input_data_file `../x`: it must be a path below",
        ),
        (warmup("", "dims: [ 3, 4 ] input_data_file: 'x'"), "input_data_file `x`: it can't be read"),
        (
            warmup("", "dims: [ 3, 4 ] zero_data: true").replace("FP32", "INT32"),
            "data_type INT32: the model takes FP32",
        ),
        (
            warmup("", "dims: [ 3, 4 ] zero_data: true").replace("'x'", "'z'"),
            "inputs `z`: the model has no such input",
        ),
        ("model_warmup {}".into(), "inputs `x`: this input is missing"),
    ] {
        let error = refusal(&text);
        assert!(error.contains(reason), "{error}");
    }
    let huge = warmup("", "dims: [ 3, 200000000 ] zero_data: true");
    let error = read(&format!("{} {huge}", PORTS.replace("3, 4", "3, -1")), &[]).unwrap_err().to_string();
    assert!(error.contains("all inputs together may have up to 1073741824 bytes"), "{error}");
    let large = "input { name: 'z' data_type: TYPE_FP64 dims: [ 100000, 100000 ] }";
    assert!(with_ports(large).unwrap().warmup.is_empty());
    let optional = "input { name: 'z' data_type: TYPE_FP64 dims: -1 optional: true }";
    assert_eq!(one(optional).inputs[1], None);
    let strings = "input { name: 'z' data_type: TYPE_STRING dims: 2 }";
    assert_eq!(one(strings).inputs[1].as_ref().unwrap().byte_size(), 0);
}

#[test]
fn warm_up_files_hold_one_row() {
    let text = "max_batch_size: 2 input { name: 'x' data_type: TYPE_UINT8 dims: 3 } input { name: 's' data_type: \
                TYPE_STRING dims: 2 } output { name: 'y' data_type: TYPE_UINT8 dims: 3 } model_warmup { batch_size: 2 \
                inputs { key: 'x' value { data_type: TYPE_UINT8 dims: 3 input_data_file: 'x.bin' } } \
                inputs { key: 's' value { data_type: TYPE_STRING dims: 2 input_data_file: 's.bin' } } }";
    let strings = b"\x01\0\0\0a\x02\0\0\0bc";
    let settings = read(text, &[("warmup/x.bin", b"abc"), ("warmup/s.bin", strings)]).unwrap();
    let [Some(numbers), Some(strings)] = settings.warmup[0].inputs.as_slice() else { panic!("{settings:?}") };
    assert_eq!((numbers.bytes().unwrap(), numbers.shape().dims()), (&"abcabc".into(), [2, 3].as_slice()));
    let expected = ["a", "bc", "a", "bc"].map(Into::into).to_vec();
    assert_eq!(strings, &Tensor::elements(strings.shape().clone(), expected).unwrap());
    let error = read(text, &[("warmup/x.bin", b"abcd")]).unwrap_err().to_string();
    assert!(error.contains("it has 4 bytes, and the input takes 3"), "{error}");
}
