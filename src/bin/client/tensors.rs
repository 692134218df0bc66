//! Tensors in the protocol's messages, and their elements in words.

use bytes::{BufMut, Bytes, BytesMut};
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::model_infer_response::InferOutputTensor;
use frameserve::proto::inference::{InferTensorContents, ModelInferRequest, ModelInferResponse};
use frameserve::tensor::{Data, DataType, Shape, Tensor};
use serde_json::Value;

use crate::failure::Failure;

/// More of a byte string is not shown.
const SHOWN_BYTES: usize = 60;

/// An input or an output with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub tensor: Tensor,
}

impl Named {
    /// Puts it into a request, as raw contents.
    pub fn put(&self, request: &mut ModelInferRequest) {
        request.inputs.push(InferInputTensor {
            name: self.name.clone(),
            datatype: self.tensor.datatype().name().into(),
            shape: self.tensor.shape().dims().iter().map(|dim| *dim as i64).collect(),
            ..InferInputTensor::default()
        });
        request.raw_input_contents.push(raw(&self.tensor));
    }
}

/// The bytes of raw contents: byte strings each have their length before them.
pub fn raw(tensor: &Tensor) -> Bytes {
    match tensor.data() {
        Data::Raw(bytes) => bytes.clone(),
        Data::Elements(elements) => {
            let mut bytes = BytesMut::with_capacity(tensor.byte_size() + 4 * elements.len());
            for element in elements {
                bytes.put_u32_le(element.len() as u32);
                bytes.put_slice(element);
            }
            bytes.freeze()
        }
    }
}

/// The outputs of a reply, whether they came raw or typed.
pub fn outputs(reply: ModelInferResponse) -> Result<Vec<Named>, Failure> {
    let ModelInferResponse { outputs, raw_output_contents: raw, .. } = reply;
    if !raw.is_empty() && raw.len() != outputs.len() {
        let (outputs, raw) = (outputs.len(), raw.len());
        return Err(Failure::bad_reply(format!("the reply has {outputs} outputs and {raw} raw contents")));
    }
    let mut raw = raw.into_iter();
    outputs.into_iter().map(|output| named(output, raw.next())).collect()
}

fn named(output: InferOutputTensor, raw: Option<Bytes>) -> Result<Named, Failure> {
    let InferOutputTensor { name, datatype, shape, contents, .. } = output;
    let fail = |reason: String| Failure::bad_reply(format!("output '{name}' of the reply: {reason}"));
    let datatype =
        DataType::from_name(&datatype).ok_or_else(|| fail(format!("'{datatype}' is no datatype")))?;
    let dims: Option<Vec<usize>> = shape.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let dims = Shape::new(dims.ok_or_else(|| fail(format!("{shape:?} is no shape")))?);
    let tensor = match (datatype, raw) {
        (DataType::Bytes, Some(raw)) => Tensor::elements(dims, elements(&raw).map_err(fail)?),
        (datatype, Some(raw)) => Tensor::raw(datatype, dims, raw),
        (DataType::Bytes, None) => Tensor::elements(dims, contents.unwrap_or_default().bytes_contents),
        (datatype, None) => Tensor::raw(datatype, dims, typed(datatype, contents.unwrap_or_default())),
    };
    let tensor = tensor.map_err(|error| fail(error.to_string()))?;
    Ok(Named { name, tensor })
}

/// Takes byte strings apart that have their lengths before them.
fn elements(raw: &Bytes) -> Result<Vec<Bytes>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let length = raw.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let end = length.map(|length| at + 4 + length as usize).filter(|end| *end <= raw.len());
        let end = end.ok_or_else(|| format!("its byte strings end within one, at byte {at}"))?;
        found.push(raw.slice(at + 4..end));
        at = end;
    }
    Ok(found)
}

/// Typed contents as the bytes that raw ones would be.
fn typed(datatype: DataType, contents: InferTensorContents) -> Bytes {
    let c = contents;
    let bytes: Vec<u8> = match datatype {
        DataType::Bool => c.bool_contents.iter().map(|value| u8::from(*value)).collect(),
        DataType::Int8 => c.int_contents.iter().map(|value| *value as u8).collect(),
        DataType::Int16 => c.int_contents.iter().flat_map(|value| (*value as i16).to_le_bytes()).collect(),
        DataType::Int32 => c.int_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::Int64 => c.int64_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::Uint8 => c.uint_contents.iter().map(|value| *value as u8).collect(),
        DataType::Uint16 => c.uint_contents.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect(),
        DataType::Uint32 => c.uint_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::Uint64 => c.uint64_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::Fp32 => c.fp32_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::Fp64 => c.fp64_contents.iter().flat_map(|value| value.to_le_bytes()).collect(),
        // The protocol has no typed field for them; MLServer sends their bytes as one string.
        DataType::Fp16 | DataType::Bf16 | DataType::Bytes => c.bytes_contents.concat(),
    };
    bytes.into()
}

/// The first `count` elements, as text.
pub fn shown(tensor: &Tensor, count: usize) -> Vec<String> {
    match tensor.data() {
        Data::Elements(elements) => elements.iter().take(count).map(shown_bytes).collect(),
        Data::Raw(bytes) => {
            let size = tensor.datatype().size().unwrap_or(1);
            bytes.chunks_exact(size).take(count).map(|element| number(tensor.datatype(), element)).collect()
        }
    }
}

/// Its elements as numbers; `None` for byte strings.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let (datatype, bytes) = (tensor.datatype(), tensor.bytes()?);
    let size = datatype.size()?;
    Some(bytes.chunks_exact(size).map(|element| float(datatype, element)).collect())
}

/// The first `count` elements, as JSON. Byte strings that are no text are given by their length.
pub fn values(tensor: &Tensor, count: usize) -> Vec<Value> {
    match tensor.data() {
        Data::Elements(elements) => elements.iter().take(count).map(text_value).collect(),
        Data::Raw(bytes) => {
            let size = tensor.datatype().size().unwrap_or(1);
            bytes
                .chunks_exact(size)
                .take(count)
                .map(|element| number_value(tensor.datatype(), element))
                .collect()
        }
    }
}

fn text_value(element: &Bytes) -> Value {
    match std::str::from_utf8(element) {
        Ok(text) => text.into(),
        Err(_) => serde_json::json!({ "bytes": element.len() }),
    }
}

/// With as few digits as tell it from its neighbours; null for what JSON has no number for. JSON's readers may
/// keep 53 bits of the 64-bit types.
fn number_value(datatype: DataType, element: &[u8]) -> Value {
    let value = float(datatype, element);
    match datatype {
        DataType::Fp64 => value.into(),
        // What 0.1 became in 32 bits is 0.10000000149 in 64, of which nobody wants to know.
        narrow if narrow.is_float() => (value as f32).to_string().parse().unwrap_or(f64::NAN).into(),
        whole => serde_json::from_str(&number(whole, element)).unwrap_or(Value::Null),
    }
}

fn shown_bytes(element: &Bytes) -> String {
    match std::str::from_utf8(element) {
        Ok(text) if text.chars().count() <= SHOWN_BYTES => format!("{text:?}"),
        Ok(text) => {
            let start: String = text.chars().take(SHOWN_BYTES).collect();
            format!("{start:?}... ({} bytes)", element.len())
        }
        Err(_) => format!("({} bytes)", element.len()),
    }
}

fn number(datatype: DataType, element: &[u8]) -> String {
    match datatype {
        DataType::Fp16 | DataType::Bf16 => float_text(float(datatype, element), 4),
        DataType::Fp32 => float_text(float(datatype, element), 7),
        DataType::Fp64 => float_text(float(datatype, element), 10),
        DataType::Bool => (bits(element) != 0).to_string(),
        // 64 bits are more than a float holds.
        DataType::Int64 => (bits(element) as i64).to_string(),
        DataType::Uint64 => bits(element).to_string(),
        whole => float(whole, element).to_string(),
    }
}

fn float(datatype: DataType, element: &[u8]) -> f64 {
    let bits = bits(element);
    match datatype {
        DataType::Int8 => f64::from(bits as i8),
        DataType::Int16 => f64::from(bits as i16),
        DataType::Int32 => f64::from(bits as i32),
        DataType::Int64 => bits as i64 as f64,
        DataType::Fp16 => f64::from(half(bits as u16)),
        DataType::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
        DataType::Fp32 => f64::from(f32::from_bits(bits as u32)),
        DataType::Fp64 => f64::from_bits(bits),
        _ => bits as f64,
    }
}

/// Of a little-endian number of up to eight bytes.
fn bits(element: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..element.len()].copy_from_slice(element);
    u64::from_le_bytes(wide)
}

/// So many digits that count, and no zeros after them.
fn float_text(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..=9).contains(&magnitude) {
        return format!("{value:.*e}", digits - 1);
    }
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A half-precision number (IEEE 754 binary16).
pub fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    sign * match bits >> 10 & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(datatype: &str, shape: &[i64]) -> InferOutputTensor {
        let (name, datatype) = ("y".into(), datatype.into());
        InferOutputTensor { name, datatype, shape: shape.into(), ..InferOutputTensor::default() }
    }

    #[test]
    fn byte_strings_come_back_and_cut_ones_do_not() {
        let strings = vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        let tensor = Tensor::elements(Shape::new(vec![3]), strings).unwrap();
        let bytes = raw(&tensor);
        assert_eq!(named(output("BYTES", &[3]), Some(bytes.clone())).unwrap().tensor, tensor);
        assert!(named(output("BYTES", &[2]), Some(bytes.clone())).is_err());
        for end in [1, 5, bytes.len() - 1] {
            assert!(elements(&bytes.slice(..end)).is_err(), "{end}");
        }
    }

    #[test]
    fn typed_contents_are_as_good_as_raw_ones() {
        let contents = InferTensorContents { int_contents: vec![-1, 7], ..InferTensorContents::default() };
        let typed = InferOutputTensor { contents: Some(contents), ..output("INT16", &[2]) };
        let tensor = named(typed, None).unwrap().tensor;
        assert_eq!(tensor.bytes().unwrap(), &[0xff, 0xff, 7, 0][..]);
        assert_eq!(shown(&tensor, 9), ["-1", "7"]);
    }

    #[test]
    fn replies_that_contradict_themselves_are_errors() {
        let reply = |outputs, raw_output_contents| ModelInferResponse {
            outputs,
            raw_output_contents,
            ..ModelInferResponse::default()
        };
        for (output, raw) in [
            (output("FP32", &[2]), vec![Bytes::from_static(b"1234")]),
            (output("FP32", &[-1]), vec![Bytes::from_static(b"1234")]),
            (output("FP8", &[4]), vec![Bytes::from_static(b"1234")]),
            (output("INT8", &[1]), vec![Bytes::from_static(b"1"), Bytes::new()]),
        ] {
            assert!(outputs(reply(vec![output], raw)).is_err());
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([half(0x3c00), half(0xc000), half(0x0001)], [1.0, -2.0, 2f32.powi(-24)]);
        assert!(half(0x7c00).is_infinite() && half(0x7c01).is_nan());
        assert_eq!(
            [float_text(0.5, 7), float_text(-1.0, 7), float_text(0.1f32.into(), 7)],
            ["0.5", "-1", "0.1"]
        );
        let tensor = Tensor::raw(
            DataType::Fp32,
            Shape::new(vec![2]),
            Bytes::from([0.1f32, f32::NAN].map(f32::to_le_bytes).concat()),
        );
        assert_eq!(values(&tensor.unwrap(), 9), [serde_json::json!(0.1), Value::Null]);
        assert_eq!([float_text(1e-9, 3), float_text(123_456.0, 4)], ["1.00e-9", "123456"]);
    }
}
