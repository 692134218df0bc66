//! Requests as they come on the wire: what is read of them, and what is refused in which words.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use tonic::Code;

use super::raw::{self, Of};
use super::*;
use crate::engine::InferReply;
use crate::model::Port;
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::tensor::{DataType, Dims, Kept, Shape, Tensor};

const OF: Of<'_> = Of { input: "x", model: "m" };

fn signature() -> Signature {
    let port = |name: &str| Port {
        name: name.into(),
        datatype: DataType::Fp32,
        dims: Dims::new(&[-1]).unwrap(),
        reshape: None,
        optional: false,
        labels: None,
    };
    Signature { max_batch: 0, inputs: vec![port("x"), port("y")], outputs: vec![port("z")] }
}

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".into(),
        inputs,
        raw_input_contents: raw.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        ..ModelInferRequest::default()
    }
}

fn with(parameters: &[(&str, ParameterChoice)]) -> parameters::Parameters {
    let parameter = |value: &ParameterChoice| InferParameter { parameter_choice: Some(value.clone()) };
    parameters.iter().map(|(key, value)| (key.to_string(), parameter(value))).collect()
}

fn refused(message: ModelInferRequest) -> (Code, String) {
    let status = read(message, &signature()).expect_err("it should have been refused");
    (status.code(), status.message().into())
}

fn invalid(message: ModelInferRequest, text: &str) {
    assert_eq!(refused(message), (Code::InvalidArgument, text.into()));
}

#[test]
fn raw_inputs_are_not_copied() {
    let bytes = Bytes::from(vec![7; 8]);
    let mut message = request(vec![input("x", "FP32", &[2])], &[]);
    message.raw_input_contents.push(bytes.clone());
    let read = read(message, &signature()).unwrap();
    assert_eq!(read.inputs[0].tensor.here().unwrap().bytes().unwrap().as_ptr(), bytes.as_ptr());
}

#[test]
fn raw_bytes_are_as_many_as_the_shape_takes() {
    let of = "input 'x' for model 'm'";
    let size = |shape: &[i64], expected: &str| {
        let text = format!(
            "[request id: <id_unknown>] input byte size mismatch for {of}. Expected {expected}, got 5"
        );
        invalid(request(vec![input("x", "FP32", shape)], &[b"12345"]), &text);
    };
    size(&[2], "8");
    size(&[], "4");
    size(&[0], "0");
    size(&[1 << 62, 1 << 62], "those of shape [4611686018427387904,4611686018427387904]");
    size(&[i64::MAX], "those of shape [9223372036854775807]");
    let open = format!("[request id: 7] All input dimensions should be specified for {of}, got [1,-1]");
    let message = request(vec![input("x", "FP32", &[1, -1])], &[b"1234"]);
    invalid(ModelInferRequest { id: "7".into(), ..message }, &open);
    let text = format!("[request id: <id_unknown>] {of} has 65 dimensions, and the limit is 64");
    invalid(request(vec![input("x", "FP32", &[1; 65])], &[b"1234"]), &text);
    let text = format!("[request id: <id_unknown>] element 1 of {of} is 2, and a BOOL is 0 or 1");
    invalid(request(vec![input("x", "BOOL", &[2])], &[b"\x01\x02"]), &text);
}

#[test]
fn data_is_there_once_for_each_input() {
    let both = || vec![input("x", "FP32", &[1]), input("y", "FP32", &[1])];
    invalid(
        request(both(), &[b"1234"]),
        "unable to find data for input tensor 'y' for model 'm' in request.",
    );
    invalid(
        request(both(), &[b"1234", b"1234", b"1234"]),
        "the number of inputs (2) does not match the expected number of raw input contents (3) for model 'm'.",
    );
    let mut mixed = both();
    mixed[1].contents = Some(InferTensorContents::default());
    invalid(
        request(mixed, &[b"1234"]),
        "contents field must not be specified when using raw_input_contents for 'y' for model 'm'",
    );
}

#[test]
fn unknown_types_are_named() {
    invalid(
        request(vec![input("x", "FP31", &[1])], &[b"1234"]),
        "[request id: <id_unknown>] inference input 'x' data-type is 'FP31', but model 'm' expects 'FP32'",
    );
    invalid(
        request(vec![input("w", "FP31", &[1])], &[b"1234"]),
        "[request id: <id_unknown>] unexpected inference input 'w' for model 'm'",
    );
}

#[test]
fn typed_inputs_have_the_field_of_their_type() {
    let typed = |datatype: &str, shape: &[i64], contents: InferTensorContents| {
        let mut input = input("x", datatype, shape);
        input.contents = Some(contents);
        request(vec![input], &[])
    };
    let ints = |values: &[i32]| InferTensorContents { int_contents: values.to_vec(), ..Default::default() };
    let of = "for input tensor 'x' for model 'm'";
    let kind = |found: &str, expected: &str| {
        format!("unexpected explicit tensor data {of} of type '{found}', expected datatype '{expected}'")
    };
    invalid(typed("FP32", &[1], ints(&[1])), &kind("INT32", "FP32"));
    invalid(typed("FP16", &[1], ints(&[1])), &kind("INT32", "FP16"));
    let strings =
        InferTensorContents { bytes_contents: vec![Bytes::from_static(b"ab")], ..Default::default() };
    invalid(typed("BF16", &[1], strings), &kind("BYTES", "BF16"));
    let twice = InferTensorContents { fp32_contents: vec![1.0], ..ints(&[1]) };
    invalid(
        typed("INT32", &[1], twice),
        &format!("unexpected explicit tensor data {of}, binary data was already supplied."),
    );
    let request_text = |text: &str| format!("[request id: <id_unknown>] {text}");
    invalid(
        typed("INT8", &[2], ints(&[1, 128])),
        &request_text("element 1 of input 'x' for model 'm' is 128, which is no INT8"),
    );
    invalid(
        typed("INT16", &[2], ints(&[1])),
        &request_text("input byte size mismatch for input 'x' for model 'm'. Expected 4, got 2"),
    );
    invalid(
        typed("BYTES", &[2], InferTensorContents::default()),
        &request_text("expected 2 string elements for inference input 'x' for model 'm', got 0"),
    );
    assert!(read(typed("FP16", &[0], InferTensorContents::default()), &signature()).is_ok());
}

#[test]
fn strings_have_their_lengths() {
    let bytes = |shape: &[i64], raw: &'static [u8], text: &str| {
        let text = format!("[request id: <id_unknown>] {text}");
        invalid(request(vec![input("x", "BYTES", shape)], &[raw]), &text);
    };
    let of = "for inference input 'x' for model 'm'";
    bytes(
        &[1],
        b"\x01\0",
        &format!(
            "incomplete string length indicator {of}, expecting 4 bytes but only 2 bytes available. Please make \
             sure the string length indicator is in one buffer."
        ),
    );
    bytes(
        &[1],
        b"\x05\0\0\0abc",
        &format!("incomplete string data {of}, expecting string of length 5 but only 3 bytes available"),
    );
    let two = b"\x01\0\0\0a\0\0\0\0";
    bytes(&[1], two, &format!("unexpected number of string elements 2 {of}, expecting 1"));
    bytes(&[3], two, &format!("expected 3 string elements {of}, got 2"));
    // Would be a lot of memory for nothing.
    bytes(&[1 << 60], two, &format!("expected {} string elements {of}, got 2", 1_u64 << 60));
    assert!(read(request(vec![input("x", "BYTES", &[2])], &[two]), &signature()).is_ok());
}

#[test]
fn parameters_have_their_types() {
    use ParameterChoice::*;
    let ask = |key: &str, value: ParameterChoice| ModelInferRequest {
        parameters: with(&[(key, value)]),
        ..request(vec![], &[])
    };
    let wrong = |key: &str, value, expected: &str| {
        let text = format!("invalid value type for '{key}' parameter, expected {expected}.");
        invalid(ask(key, value), &text);
    };
    wrong("sequence_id", BoolParam(true), "int64_param or string_param");
    wrong("sequence_start", Int64Param(1), "bool_param");
    wrong("priority", StringParam("high".into()), "int64_param or uint64_param");
    wrong("timeout", Uint64Param(5), "int64_param");
    wrong("triton_enable_empty_final_response", Int64Param(1), "bool_param");
    invalid(ask("priority", Int64Param(-1)), "invalid value for 'priority', expected value >= 0.");
    invalid(ask("timeout", Int64Param(-1)), "invalid value for 'timeout', expected microseconds >= 0.");
    assert!(refused(ask("triton_secret", BoolParam(true))).1.contains("reserved for Triton usage"));
    let nothing = HashMap::from([("mine".to_string(), InferParameter { parameter_choice: None })]);
    let (code, _) = refused(ModelInferRequest { parameters: nothing, ..request(vec![], &[]) });
    assert_eq!(code, Code::InvalidArgument);

    let parameters = with(&[
        ("priority", Uint64Param(3)),
        ("timeout", Int64Param(1500)),
        ("triton_enable_empty_final_response", BoolParam(true)),
        ("mine", DoubleParam(0.5)),
    ]);
    let read = read(ModelInferRequest { parameters, ..request(vec![], &[]) }, &signature()).unwrap();
    assert_eq!(read.treatment.priority, 3);
    assert_eq!(read.treatment.timeout, Some(std::time::Duration::from_micros(1500)));
}

#[test]
fn outputs_are_asked_for_in_their_forms() {
    use ParameterChoice::*;
    let ask = |parameters: &[(&str, ParameterChoice)]| {
        let output = InferRequestedOutputTensor { name: "z".into(), parameters: with(parameters) };
        ModelInferRequest { outputs: vec![output], ..request(vec![], &[]) }
    };
    let read = |parameters| read(ask(parameters), &signature()).unwrap().outputs.remove(0);
    assert_eq!(read(&[("classification", Int64Param(3))]).classification, 3);
    let encoding = read(&[("codec", StringParam("webp".into())), ("quality", Int64Param(40))]).codec.unwrap();
    assert_eq!((encoding.codec, encoding.quality), (crate::frame::Codec::Webp, 40));
    for (parameters, text) in [
        (
            &[("classification", Int64Param(0))][..],
            "invalid value for 'classification' parameter, expected > 0",
        ),
        (
            &[("classification", StringParam("3".into()))],
            "invalid value type for 'classification' parameter, expected int64_param",
        ),
        (
            &[("codec", StringParam("gif".into()))],
            "'codec' of output 'z' is 'gif', expected jpeg, png or webp",
        ),
        (&[("quality", Int64Param(40))], "output 'z' has a 'quality' and no 'codec'"),
        (
            &[("codec", StringParam("jpeg".into())), ("quality", Int64Param(0))],
            "'quality' of output 'z' is 0, expected 1 to 100",
        ),
        (
            &[("shared_memory_region", StringParam("r".into()))],
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'z'",
        ),
        (
            &[("shared_memory_offset", Int64Param(1))],
            "'shared_memory_offset' can not be specified without 'shared_memory_region' parameter for tensor 'z'",
        ),
        (
            &[("shared_memory_region", Int64Param(1))],
            "invalid value type for 'shared_memory_region' parameter for tensor 'z', expected string_param.",
        ),
        (
            &[
                ("shared_memory_region", StringParam("r".into())),
                ("shared_memory_byte_size", Int64Param(4)),
                ("classification", Int64Param(1)),
            ],
            "output can't set both 'shared_memory_region' and 'classification'",
        ),
    ] {
        invalid(ask(parameters), text);
    }
}

#[test]
fn inputs_in_shared_memory_are_bounded_together() {
    use ParameterChoice::*;
    let shared = |bytes: i64| InferInputTensor {
        parameters: with(&[
            ("shared_memory_region", StringParam("r".into())),
            ("shared_memory_byte_size", Int64Param(bytes)),
        ]),
        ..input("x", "UINT8", &[bytes])
    };
    assert!(read(request(vec![shared(1 << 19), shared(1 << 19)], &[]), &signature()).is_ok());
    let (code, _) = refused(request(vec![shared(1 << 19), shared((1 << 19) + 1)], &[]));
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(refused(request(vec![shared(-1)], &[])).0, Code::InvalidArgument);
    let mut twice = shared(4);
    twice.contents = Some(InferTensorContents::default());
    assert!(
        refused(request(vec![twice], &[])).1.starts_with("unexpected 'content' provided when using shared")
    );
}

/// Elements of this type, as plain bytes.
fn elements(datatype: DataType) -> impl Strategy<Value = Bytes> {
    let strings = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9);
    let numbers = prop::collection::vec(any::<u8>(), 0..160);
    (numbers, strings).prop_map(move |(mut bytes, strings)| match datatype.size() {
        Some(size) => {
            bytes.truncate(bytes.len() / size * size);
            if datatype == DataType::Bool {
                bytes.iter_mut().for_each(|byte| *byte &= 1);
            }
            bytes.into()
        }
        None => strings
            .iter()
            .flat_map(|string| [&u32::try_from(string.len()).unwrap().to_le_bytes(), &string[..]].concat())
            .collect(),
    })
}

/// How many elements these bytes are.
fn count(datatype: DataType, bytes: &Bytes) -> usize {
    let Some(size) = datatype.size() else {
        let mut rest = &bytes[..];
        let mut count = 0;
        while let Some((length, after)) = rest.split_first_chunk() {
            rest = &after[u32::from_le_bytes(*length) as usize..];
            count += 1;
        }
        return count;
    };
    bytes.len() / size
}

proptest! {
    #[test]
    fn every_type_goes_through_bytes_and_fields_unchanged(
        (datatype, bytes) in prop::sample::select(DataType::ALL.to_vec())
            .prop_flat_map(|datatype| (Just(datatype), elements(datatype)))
    ) {
        let shape = Shape::new(vec![count(datatype, &bytes)]);
        let tensor = raw::tensor(OF, datatype, shape.clone(), bytes.clone()).unwrap();
        prop_assert_eq!(&raw::bytes(tensor.clone()).unwrap(), &bytes);
        if typed::has_field(datatype) {
            let contents = typed::contents(tensor.clone());
            prop_assert_eq!(typed::tensor(OF, datatype, shape, contents).unwrap(), tensor);
        }
    }

    #[test]
    fn any_shape_and_bytes_are_read_or_refused(
        datatype in prop::sample::select(DataType::ALL.to_vec()),
        shape in prop::collection::vec(prop_oneof![-2_i64..5, any::<i64>()], 0..4),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut message = request(vec![input("x", datatype.name(), &shape)], &[]);
        message.raw_input_contents.push(bytes.clone().into());
        if let Ok(read) = read(message, &signature()) {
            let tensor = read.inputs.into_iter().next().unwrap().tensor.fetch().unwrap();
            prop_assert_eq!(raw::bytes(tensor).unwrap(), bytes);
        }
    }
}

#[test]
fn replies_have_one_form() {
    let tensor = |datatype, bytes: &'static [u8]| {
        Tensor::raw(datatype, Shape::new(vec![1]), Bytes::from_static(bytes)).unwrap()
    };
    let outputs = |half: bool| {
        let strings = Tensor::elements(Shape::new(vec![1]), vec![Bytes::from_static(b"ab")]).unwrap();
        let mut outputs =
            vec![("a".to_string(), tensor(DataType::Int8, b"\xff")), ("b".to_string(), strings)];
        if half {
            outputs.push(("c".to_string(), tensor(DataType::Fp16, b"12")));
        }
        let here = |(name, tensor)| (name, Kept::Here(tensor));
        InferReply { outputs: outputs.into_iter().map(here).collect() }
    };
    let head = || output::Head { model: "m".into(), version: 3 };
    let typed = output::reply(head(), outputs(false), output::Form::Typed).unwrap();
    assert!(typed.raw_output_contents.is_empty());
    assert_eq!(typed.outputs[0].contents.as_ref().unwrap().int_contents, [-1]);
    assert_eq!(typed.outputs[1].contents.as_ref().unwrap().bytes_contents, ["ab"]);
    for (half, form) in [(false, output::Form::Raw), (true, output::Form::Typed)] {
        let raw = output::reply(head(), outputs(half), form).unwrap();
        assert!(raw.outputs.iter().all(|output| output.contents.is_none()));
        assert_eq!(raw.raw_output_contents[..2], [&b"\xff"[..], b"\x02\0\0\0ab"]);
        assert_eq!((raw.model_name.as_str(), raw.model_version.as_str()), ("m", "3"));
    }
}
