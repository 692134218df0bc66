//! Tensors as this protocol has them.

use bytes::Bytes;

use super::fault::Fault;
use crate::error::Error;
use crate::proto::mindspore::tensor::TensorData;
use crate::proto::mindspore::{DataType as Wire, Tensor as Message, TensorShape};
use crate::tensor::values::values_f32;
use crate::tensor::{Data, DataType, Shape, Tensor};

/// Dimensions of a tensor; the libraries that compute with them take no more either.
const MOST_DIMS: usize = 64;

/// Reads a tensor; what is wrong with it is said as this protocol's server says it.
pub fn read(message: Message) -> Result<Tensor, Fault> {
    let dtype = message.dtype();
    let dims = message.shape.unwrap_or_default().dims;
    let data = match message.tensor_data {
        Some(TensorData::ShmData(_)) => {
            return Err(invalid("input shared memory", "is not supported: send the data in the message"));
        }
        Some(TensorData::Data(data)) => data,
        None => Bytes::new(),
    };
    if let Wire::MsString | Wire::MsBytes = dtype {
        return string(&dims, message.bytes_val);
    }
    let datatype = datatype(dtype)
        .ok_or_else(|| invalid("input data type", &format!("{} invalid", name_of_wire(message.dtype))))?;
    let shape = shape(&dims).ok_or_else(|| invalid("input  shape", &format!("{} invalid", list(&dims))))?;
    let expected = shape.elements().and_then(|elements| elements.checked_mul(datatype.size()?));
    if expected != Some(data.len()) {
        return Err(invalid("input data size", &format!("{} invalid", data.len())));
    }
    if datatype == DataType::Bool && data.iter().any(|byte| *byte > 1) {
        // What it would be is not defined anywhere, least of all in what a model was compiled to.
        return Err(invalid("input data type", "MS_BOOL has bytes that are neither 0 nor 1: invalid"));
    }
    Ok(Tensor::raw(datatype, shape, data)?)
}

/// A tensor as a message. A type that the protocol does not have goes as 32-bit floats, which have room for it.
pub fn message(tensor: Tensor) -> Result<Message, Error> {
    let dims = |shape: &Shape| TensorShape {
        dims: shape.dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
    };
    let shape = Some(dims(tensor.shape()));
    let Some(dtype) = wire(tensor.datatype()) else {
        let values = values_f32(&tensor)?;
        return Ok(floats(tensor.shape().dims(), &values));
    };
    Ok(match tensor.into_data() {
        Data::Raw(data) => Message {
            shape,
            dtype: dtype.into(),
            tensor_data: Some(TensorData::Data(data)),
            bytes_val: Vec::new(),
        },
        Data::Elements(bytes_val) => Message { shape, dtype: dtype.into(), bytes_val, tensor_data: None },
    })
}

/// One string.
pub fn text(text: String) -> Message {
    Message {
        shape: Some(TensorShape { dims: vec![1] }),
        dtype: Wire::MsString.into(),
        bytes_val: vec![text.into()],
        tensor_data: None,
    }
}

/// Floats of this shape.
pub fn floats(dims: &[usize], values: &[f32]) -> Message {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message {
        shape: Some(TensorShape {
            dims: dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
        }),
        dtype: Wire::MsFloat32.into(),
        tensor_data: Some(TensorData::Data(data.into())),
        bytes_val: Vec::new(),
    }
}

/// What this protocol's server calls a type where it compares two of them.
pub fn kind(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Bool => "kMSI_Bool",
        DataType::Uint8 => "kMSI_Uint8",
        DataType::Uint16 => "kMSI_Uint16",
        DataType::Uint32 => "kMSI_Uint32",
        DataType::Uint64 => "kMSI_Uint64",
        DataType::Int8 => "kMSI_Int8",
        DataType::Int16 => "kMSI_Int16",
        DataType::Int32 => "kMSI_Int32",
        DataType::Int64 => "kMSI_Int64",
        DataType::Fp16 => "kMSI_Float16",
        DataType::Bf16 => "kMSI_BFloat16",
        DataType::Fp32 => "kMSI_Float32",
        DataType::Fp64 => "kMSI_Float64",
        DataType::Bytes => "kMSI_Bytes",
    }
}

/// A string or bytes: always one.
fn string(dims: &[i64], values: Vec<Bytes>) -> Result<Tensor, Fault> {
    if values.len() != 1 {
        let text = "Instance tensor check failed: bytes or string type shape batch size can only be 1";
        return Err(Fault::invalid(text));
    }
    if !matches!(dims, [] | [1]) {
        return Err(Fault::invalid(format!(
            "Instance tensor check failed: bytes or string type input  shape can only be (1,) or empty, but given \
             shape is {}",
            list(dims)
        )));
    }
    Ok(Tensor::elements(Shape::new(vec![1]), values)?)
}

/// Only the last dimension may be empty, as in the original.
fn shape(dims: &[i64]) -> Option<Shape> {
    let leading = dims.split_last().map_or(&[][..], |(_, leading)| leading);
    if dims.len() > MOST_DIMS || leading.contains(&0) {
        return None;
    }
    dims.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<_>>().map(Shape::new)
}

fn invalid(what: &str, wrong: &str) -> Fault {
    Fault::invalid(format!("Tensor check failed: {what} {wrong}"))
}

fn list(dims: &[i64]) -> String {
    let dims: Vec<_> = dims.iter().map(i64::to_string).collect();
    format!("[{}]", dims.join(", "))
}

fn name_of_wire(number: i32) -> String {
    Wire::try_from(number).map_or_else(|_| number.to_string(), |known| known.as_str_name().into())
}

fn datatype(wire: Wire) -> Option<DataType> {
    Some(match wire {
        Wire::MsBool => DataType::Bool,
        Wire::MsInt8 => DataType::Int8,
        Wire::MsUint8 => DataType::Uint8,
        Wire::MsInt16 => DataType::Int16,
        Wire::MsUint16 => DataType::Uint16,
        Wire::MsInt32 => DataType::Int32,
        Wire::MsUint32 => DataType::Uint32,
        Wire::MsInt64 => DataType::Int64,
        Wire::MsUint64 => DataType::Uint64,
        Wire::MsFloat16 => DataType::Fp16,
        Wire::MsFloat32 => DataType::Fp32,
        Wire::MsFloat64 => DataType::Fp64,
        Wire::MsString | Wire::MsBytes => DataType::Bytes,
        Wire::MsUnknown => return None,
    })
}

/// `None` for the one type that the protocol does not have.
fn wire(datatype: DataType) -> Option<Wire> {
    Some(match datatype {
        DataType::Bool => Wire::MsBool,
        DataType::Uint8 => Wire::MsUint8,
        DataType::Uint16 => Wire::MsUint16,
        DataType::Uint32 => Wire::MsUint32,
        DataType::Uint64 => Wire::MsUint64,
        DataType::Int8 => Wire::MsInt8,
        DataType::Int16 => Wire::MsInt16,
        DataType::Int32 => Wire::MsInt32,
        DataType::Int64 => Wire::MsInt64,
        DataType::Fp16 => Wire::MsFloat16,
        DataType::Fp32 => Wire::MsFloat32,
        DataType::Fp64 => Wire::MsFloat64,
        DataType::Bytes => Wire::MsBytes,
        DataType::Bf16 => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_goes_and_comes_back() {
        for datatype in DataType::ALL.into_iter().filter(|datatype| *datatype != DataType::Bf16) {
            let tensor = match datatype.size() {
                Some(size) => Tensor::raw(datatype, Shape::new(vec![3]), vec![1; 3 * size].into()),
                None => Tensor::elements(Shape::new(vec![1]), vec![Bytes::from_static(b"\xff\0")]),
            };
            let tensor = tensor.unwrap();
            assert_eq!(read(message(tensor.clone()).unwrap()), Ok(tensor), "{datatype}");
        }
    }

    #[test]
    fn what_the_protocol_lacks_goes_as_floats() {
        let half =
            Tensor::raw(DataType::Bf16, Shape::new(vec![1]), Bytes::from_static(&[0x80, 0x3f])).unwrap();
        let floats = read(message(half).unwrap()).unwrap();
        assert_eq!(*values_f32(&floats).unwrap(), [1.0]);
    }

    #[test]
    fn what_can_not_be_is_refused_in_the_words_of_the_original() {
        let numbers = |dtype: Wire, dims: &[i64], bytes: usize| Message {
            shape: Some(TensorShape { dims: dims.to_vec() }),
            dtype: dtype.into(),
            tensor_data: Some(TensorData::Data(vec![2; bytes].into())),
            bytes_val: Vec::new(),
        };
        let strings = |dims: &[i64], count: usize| Message {
            shape: Some(TensorShape { dims: dims.to_vec() }),
            dtype: Wire::MsBytes.into(),
            bytes_val: vec![Bytes::from_static(b"x"); count],
            tensor_data: None,
        };
        let shared = Message {
            dtype: Wire::MsInt8.into(),
            tensor_data: Some(TensorData::ShmData(Default::default())),
            ..Message::default()
        };
        let cases = [
            (numbers(Wire::MsFloat32, &[2], 7), "Tensor check failed: input data size 7 invalid"),
            (numbers(Wire::MsFloat32, &[i64::MAX, 4], 4), "Tensor check failed: input data size 4 invalid"),
            (numbers(Wire::MsInt8, &[-1], 1), "Tensor check failed: input  shape [-1] invalid"),
            (numbers(Wire::MsInt8, &[0, 2], 0), "Tensor check failed: input  shape [0, 2] invalid"),
            (numbers(Wire::MsUnknown, &[1], 1), "Tensor check failed: input data type MS_UNKNOWN invalid"),
            (numbers(Wire::MsBool, &[1], 1), "MS_BOOL has bytes that are neither 0 nor 1"),
            (Message { dtype: 77, ..Message::default() }, "input data type 77 invalid"),
            (strings(&[1], 2), "bytes or string type shape batch size can only be 1"),
            (strings(&[2], 1), "shape can only be (1,) or empty, but given shape is [2]"),
            (shared, "shared memory is not supported"),
        ];
        for (message, text) in cases {
            let fault = format!("{:?}", read(message).unwrap_err());
            assert!(fault.contains(text), "{fault}");
        }
    }
}
