//! Tensors from nested lists in JSON, and back.

use half::{bf16, f16};
use serde_json::Value;

use super::json::{Json, Truth};
use crate::error::{Error, RequestError};
use crate::model::signature::{Port, Signature};
use crate::tensor::values::{values_f64, values_i128};
use crate::tensor::{Data, DataType, Shape, Tensor};

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

/// Writes a tensor as nested lists. Of a tensor with one row, of a batch or not, `row` writes that row alone.
pub fn write(json: &mut Json, tensor: &Tensor, dims: &[usize]) -> Result<(), Error> {
    let mut leaf: Box<dyn FnMut(&mut Json, usize)> = match tensor.data() {
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

fn nest(json: &mut Json, dims: &[usize], at: &mut usize, leaf: &mut dyn FnMut(&mut Json, usize)) {
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
