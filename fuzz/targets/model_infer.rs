//! Bytes -> a ModelInferRequest -> tensors or an error.
//!
//! For any bytes: reading them ends, in tensors whose bytes are as many as their shapes take, or in an error that
//! blames the request. What it takes in memory is bounded by the message: a shape alone asks for none.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use frameserve::grpc::kserve;
use frameserve::model::{Port, Signature};
use frameserve::proto::inference::ModelInferRequest;
use frameserve::tensor::{Data, DataType, Dims, Kept};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// One with an input of each type, which have their names, and one with batches.
static SIGNATURES: LazyLock<[Signature; 2]> = LazyLock::new(|| {
    let port = |name: &str, datatype, dims: &[i64]| Port {
        name: name.into(),
        datatype,
        dims: Dims::new(dims).expect("they are -1 or more"),
        reshape: None,
        optional: false,
        labels: None,
    };
    let each = DataType::ALL.map(|datatype| port(datatype.name(), datatype, &[-1])).to_vec();
    let picture = vec![port("image", DataType::Fp32, &[3, -1, -1])];
    [
        Signature { max_batch: 0, inputs: each.clone(), outputs: each },
        Signature { max_batch: 8, inputs: picture.clone(), outputs: picture },
    ]
});

fuzz_target!(|input: &[u8]| {
    let Ok(message) = ModelInferRequest::decode(Bytes::copy_from_slice(input)) else { return };
    for signature in SIGNATURES.iter() {
        match kserve::read(message.clone(), signature) {
            Ok(request) => {
                for given in request.inputs {
                    let Kept::Here(tensor) = given.tensor else { panic!("nothing lies elsewhere here") };
                    let elements = tensor.shape().elements();
                    let size = tensor.datatype().size();
                    match tensor.data() {
                        Data::Raw(bytes) => assert_eq!(elements.zip(size).map(|(n, size)| n * size), Some(bytes.len())),
                        Data::Elements(strings) => assert_eq!(elements, Some(strings.len())),
                    }
                }
            }
            Err(status) => {
                assert_ne!(status.code() as i32, 13, "a stranger's bytes are no fault of ours: {status}");
                assert!(!status.message().is_empty());
            }
        }
    }
});
