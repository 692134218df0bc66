//! Bytes -> the body of a call -> a ModelInferRequest -> tensors -> what a model takes, or an error.
//!
//! For any bytes: reading them as the server does ends, in tensors whose bytes are as many as their shapes take, or in an
//! error that blames the request. What it takes in memory is bounded by the message: a shape alone asks for none.
#![no_main]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use frameserve::error::Kind;
use frameserve::grpc::kserve;
use frameserve::model::check::{Check, Given};
use frameserve::model::pictures::Pictures;
use frameserve::model::{Port, Signature};
use frameserve::proto::codec;
use frameserve::proto::framing::{self, First};
use frameserve::proto::inference::ModelInferRequest;
use frameserve::tensor::{Data, DataType, Dims, Kept};
use libfuzzer_sys::fuzz_target;
use tonic::body::Body;

/// What a model takes, and whether one of its inputs takes pictures.
struct Taken(Signature, Option<Pictures>);

/// One with an input of each type, which have their names; one with batches, and one with any number of pictures.
static MODELS: LazyLock<[Taken; 3]> = LazyLock::new(|| {
    let port = |name: &str, datatype, dims: &[i64]| Port {
        name: name.into(),
        datatype,
        dims: Dims::new(dims).expect("they are -1 or more"),
        reshape: None,
        optional: false,
        labels: None,
    };
    let each = DataType::ALL.map(|datatype| port(datatype.name(), datatype, &[-1])).to_vec();
    let pictures = |max_batch, dims: &[i64]| {
        let ports = vec![port("image", DataType::Fp32, dims)];
        let signature = Signature { max_batch, inputs: ports.clone(), outputs: ports };
        let parameters = BTreeMap::from([("frameserve.input".to_owned(), "image".to_owned())]);
        let pictures = Pictures::of(&parameters, &signature, &|_| Ok(Arc::default()));
        Taken(signature, pictures.expect("the input can hold pictures"))
    };
    let all = Signature { max_batch: 0, inputs: each.clone(), outputs: each };
    [Taken(all, None), pictures(8, &[3, -1, -1]), pictures(0, &[-1, 3, -1, -1])]
});

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    // A body need not be one message behind its header.
    drop(first([input.clone()]));
    let First::Whole(message, _) = first([framing::header(input.len()), input.clone()]) else {
        panic!("a whole message is found");
    };
    assert_eq!(message, input);
    let Ok(message) = codec::read::<ModelInferRequest>(message) else { return };
    for Taken(signature, pictures) in MODELS.iter() {
        match kserve::read(message.clone(), signature) {
            Ok(request) => {
                request.inputs.iter().for_each(whole);
                let check = Check { model: "m", signature, pictures: pictures.as_ref() };
                match check.inputs(request.inputs) {
                    Ok(checked) => {
                        assert_eq!((checked.rows > 0, checked.inputs.len()), (true, signature.inputs.len()))
                    }
                    Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{error}"),
                }
            }
            Err(status) => {
                assert_ne!(status.code() as i32, 13, "a stranger's bytes are no fault of ours: {status}");
                assert!(!status.message().is_empty());
            }
        }
    }
});

/// The first message of a body that is there already.
fn first(pieces: impl IntoIterator<Item = Bytes>) -> First {
    let body = framing::begin_with(pieces, Body::empty());
    let mut first = pin!(framing::first(body, 0..=usize::MAX));
    match first.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(first) => first,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// Its bytes are as many as its shape takes.
fn whole(given: &Given) {
    let Kept::Here(tensor) = &given.tensor else { panic!("nothing lies elsewhere here") };
    let (elements, size) = (tensor.shape().elements(), tensor.datatype().size());
    match tensor.data() {
        Data::Raw(bytes) => assert_eq!(elements.zip(size).map(|(n, size)| n * size), Some(bytes.len())),
        Data::Elements(strings) => assert_eq!(elements, Some(strings.len())),
    }
}
