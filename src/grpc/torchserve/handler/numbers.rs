//! Tensors from nested lists in JSON, and back.

use half::{bf16, f16};
use serde_json::Value;

use super::json::{Json, Truth};
use crate::error::{Error, RequestError};
use crate::model::signature::{Port, Signature};
use crate::tensor::values::{values_f64, values_i128};
use crate::tensor::{Data, DataType, Shape, Tensor};

/// Writes the element of this number.
type Leaf<'a> = dyn FnMut(&mut Json, usize) + 'a;

/// Lists within lists.
const DEEPEST: usize = 16;

/// Nested lists, as the tensor of an input. One row of a batch may stand without the dimension that counts rows.
pub fn tensor(signature: &Signature, port: &Port, values: &Value) -> Result<Tensor, Error> {
    let wrong = |reason: String| {
        Error::from(RequestError::Malformed(format!("input `{}` is no tensor: {reason}", port.name)))
    };
    let mut shape = Vec::new();
    let mut first = values;
    while let Value::Array(items) = first {
        shape.push(items.len());
        if shape.len() > DEEPEST {
            return Err(wrong(format!("its lists are nested more than {DEEPEST} deep")));
        }
        let Some(next) = items.first() else { break };
        first = next;
    }
    let shape_of = || Shape::new(shape.clone());
    let outer = Shape::new(with_batch(signature, port, shape.clone()));
    if port.datatype == DataType::Bytes {
        let mut elements = Vec::new();
        leaves(values, &shape, &mut |value| {
            elements.push(value.as_str()?.to_owned().into());
            Some(())
        })
        .ok_or_else(|| {
            wrong(format!("its elements must be strings, in lists of the shape {}", shape_of()))
        })?;
        return Tensor::elements(outer, elements);
    }
    let mut bytes = Vec::new();
    leaves(values, &shape, &mut |value| put(port.datatype, value, &mut bytes)).ok_or_else(|| {
        wrong(format!("its elements must be of {}, in lists of the shape {}", port.datatype, shape_of()))
    })?;
    Tensor::raw(port.datatype, outer, bytes.into())
}

/// A shape with the dimension before it that the input has and it lacks: that of the batch, or one of 1.
pub fn with_batch(signature: &Signature, port: &Port, shape: Vec<usize>) -> Vec<usize> {
    let dims = signature.client_dims(port);
    let lacks = dims.dims().len() == shape.len() + 1 && matches!(dims.dims().first(), Some(None | Some(1)));
    if lacks { [&[1], &shape[..]].concat() } else { shape }
}

/// Writes a tensor as nested lists of these dimensions, which have as many elements.
pub fn write(json: &mut Json, tensor: &Tensor, dims: &[usize]) -> Result<(), Error> {
    let mut leaf: Box<Leaf<'_>> = match tensor.data() {
        Data::Elements(elements) => {
            for (index, element) in elements.iter().enumerate() {
                std::str::from_utf8(element).map_err(|error| {
                    Error::Model(format!(
                        "string {index} of an output is no text, and JSON holds none else: {error}"
                    ))
                })?;
            }
            Box::new(|json, at| json.string(&String::from_utf8_lossy(&elements[at])))
        }
        Data::Raw(bytes) if tensor.datatype() == DataType::Bool => {
            Box::new(|json, at| json.truth(if bytes[at] == 0 { Truth::No } else { Truth::Yes }))
        }
        Data::Raw(_) => match values_i128(tensor)? {
            Some(values) => Box::new(move |json, at| json.whole(values[at])),
            None => {
                let values = values_f64(tensor)?;
                Box::new(move |json, at| json.number(values[at]))
            }
        },
    };
    nest(json, dims, &mut 0, &mut *leaf);
    Ok(())
}

fn nest(json: &mut Json, dims: &[usize], at: &mut usize, leaf: &mut Leaf<'_>) {
    let Some((&first, rest)) = dims.split_first() else {
        leaf(json, *at);
        *at += 1;
        return;
    };
    json.list(|json| {
        for _ in 0..first {
            json.item();
            nest(json, rest, at, leaf);
        }
    });
}

/// Takes each element, row by row; `None` if lists are not of this shape, or an element is none.
fn leaves(value: &Value, shape: &[usize], take: &mut dyn FnMut(&Value) -> Option<()>) -> Option<()> {
    let Some((&length, rest)) = shape.split_first() else { return take(value) };
    let items = value.as_array().filter(|items| items.len() == length)?;
    items.iter().try_for_each(|item| leaves(item, rest, take))
}

/// Appends a number, if it is one of this type.
fn put(datatype: DataType, value: &Value, to: &mut Vec<u8>) -> Option<()> {
    // JSON has one kind of numbers; in Python `True` is 1.
    let float = || value.as_f64().or_else(|| value.as_bool().map(|truth| f64::from(u8::from(truth))));
    let whole = || {
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        number.or_else(|| value.as_bool().map(i128::from))
    };
    match datatype {
        DataType::Bool => to.push(match value {
            Value::Bool(truth) => u8::from(*truth),
            other => u8::from(other.as_f64()? != 0.0),
        }),
        DataType::Uint8 => to.extend(u8::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Uint16 => to.extend(u16::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Uint32 => to.extend(u32::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Uint64 => to.extend(u64::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Int8 => to.extend(i8::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Int16 => to.extend(i16::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Int32 => to.extend(i32::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Int64 => to.extend(i64::try_from(whole()?).ok()?.to_le_bytes()),
        DataType::Fp16 => to.extend(f16::from_f64(float()?).to_le_bytes()),
        DataType::Bf16 => to.extend(bf16::from_f64(float()?).to_le_bytes()),
        DataType::Fp32 => to.extend((float()? as f32).to_le_bytes()),
        DataType::Fp64 => to.extend(float()?.to_le_bytes()),
        DataType::Bytes => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tensor::Dims;

    fn port(datatype: DataType, dims: &[i64]) -> Port {
        let dims = Dims::new(dims).unwrap();
        Port { name: "x".into(), datatype, dims, reshape: None, optional: false, labels: None }
    }

    fn read(datatype: DataType, dims: &[i64], max_batch: usize, values: &Value) -> Result<Tensor, String> {
        let signature = Signature { max_batch, ..Signature::default() };
        tensor(&signature, &port(datatype, dims), values).map_err(|error| error.to_string())
    }

    fn written(tensor: &Tensor) -> Value {
        let mut json = Json::default();
        write(&mut json, tensor, tensor.shape().dims()).unwrap();
        serde_json::from_str(&json.into_text()).unwrap()
    }

    #[test]
    fn every_type_goes_there_and_back() {
        for datatype in DataType::ALL {
            let values = match datatype {
                DataType::Bool => json!([[true, false], [false, true]]),
                DataType::Bytes => json!([["a", "é"], ["", "\n"]]),
                DataType::Uint64 => json!([[0, u64::MAX], [1, 2]]),
                datatype if datatype.is_float() => json!([[0.5, -1.0], [2.0, 0.0]]),
                _ => json!([[0, 127], [1, 2]]),
            };
            let tensor = read(datatype, &[2, 2], 0, &values).unwrap();
            assert_eq!((tensor.datatype(), tensor.shape().dims()), (datatype, &[2, 2][..]));
            assert_eq!(written(&tensor), values, "{datatype}");
        }
        let single = read(DataType::Fp32, &[-1], 0, &json!([3])).unwrap();
        assert_eq!(written(&single), json!([3.0]));
        assert_eq!(written(&read(DataType::Fp32, &[-1], 0, &json!([])).unwrap()), json!([]));
    }

    #[test]
    fn a_row_may_stand_alone() {
        let shape = |dims: &[i64], max_batch, values: Value| {
            read(DataType::Fp32, dims, max_batch, &values).unwrap().shape().dims().to_vec()
        };
        assert_eq!(shape(&[2], 8, json!([1, 2])), [1, 2]);
        assert_eq!(shape(&[2], 8, json!([[1, 2], [3, 4], [5, 6]])), [3, 2]);
        assert_eq!(shape(&[1, 2], 0, json!([1, 2])), [1, 2]);
        assert_eq!(shape(&[-1, 2], 0, json!([1, 2])), [1, 2]);
        // It is left to the model's check to say what is wrong.
        assert_eq!(shape(&[3, 2], 0, json!([1, 2])), [2]);
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for (datatype, values, says) in [
            (DataType::Fp32, json!([[1, 2], [3]]), "must be of FP32, in lists of the shape [2,2]"),
            (DataType::Fp32, json!([1, [2]]), "in lists of the shape [2]"),
            (DataType::Fp32, json!(["1"]), "must be of FP32"),
            (DataType::Fp32, json!([null]), "must be of FP32"),
            (DataType::Uint8, json!([256]), "must be of UINT8"),
            (DataType::Uint8, json!([-1]), "must be of UINT8"),
            (DataType::Int32, json!([1.5]), "must be of INT32"),
            (DataType::Bytes, json!([1]), "must be strings"),
        ] {
            let error = read(datatype, &[-1], 0, &values).unwrap_err();
            assert!(
                error.contains("input `x` is no tensor: its elements") && error.contains(says),
                "{error}"
            );
        }
        let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
        assert!(read(DataType::Fp32, &[-1], 0, &deep).unwrap_err().contains("nested more than 16 deep"));
    }

    proptest! {
        #[test]
        fn numbers_of_32_bits_come_back_as_they_were(values in prop::collection::vec(any::<f32>(), 1..9)) {
            let numbers: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tensor = Tensor::raw(DataType::Fp32, Shape::new(vec![numbers.len()]), bytes.into()).unwrap();
            let again = read(DataType::Fp32, &[-1], 0, &written(&tensor)).unwrap();
            if !numbers.is_empty() {
                prop_assert_eq!(again, tensor);
            }
        }
    }
}
