//! Tensors as protobuf fields: one list for each kind of number, and one for strings.

use bytes::Bytes;

use super::raw::{self, Of};
use super::refusal::Refusal;
use crate::proto::inference::InferTensorContents;
use crate::tensor::{Data, DataType, Shape, Tensor};

/// Fields as a tensor. Only the field for its type may have elements; there is none for FP16 and BF16.
pub fn tensor(
    of: Of<'_>,
    datatype: DataType,
    shape: Shape,
    contents: InferTensorContents,
) -> Result<Tensor, Refusal> {
    let Of { input, model } = of;
    let mut filled = filled(datatype, &contents);
    if let Some(found) = filled.next().filter(|found| *found != datatype) {
        return Err(Refusal::invalid(format!(
            "unexpected explicit tensor data for input tensor '{input}' for model '{model}' of type '{found}', \
             expected datatype '{datatype}'"
        )));
    }
    if filled.next().is_some() {
        return Err(Refusal::invalid(format!(
            "unexpected explicit tensor data for input tensor '{input}' for model '{model}', binary data was \
             already supplied."
        )));
    }
    let bytes = match datatype {
        DataType::Bytes => return raw::tensor_of_strings(of, shape, contents.bytes_contents),
        DataType::Fp16 | DataType::Bf16 => Bytes::new(),
        DataType::Bool => contents.bool_contents.into_iter().map(u8::from).collect(),
        DataType::Int8 => narrow(of, datatype, &contents.int_contents, i8::to_le_bytes)?,
        DataType::Int16 => narrow(of, datatype, &contents.int_contents, i16::to_le_bytes)?,
        DataType::Int32 => little_endian(&contents.int_contents, i32::to_le_bytes),
        DataType::Int64 => little_endian(&contents.int64_contents, i64::to_le_bytes),
        DataType::Uint8 => narrow(of, datatype, &contents.uint_contents, u8::to_le_bytes)?,
        DataType::Uint16 => narrow(of, datatype, &contents.uint_contents, u16::to_le_bytes)?,
        DataType::Uint32 => little_endian(&contents.uint_contents, u32::to_le_bytes),
        DataType::Uint64 => little_endian(&contents.uint64_contents, u64::to_le_bytes),
        DataType::Fp32 => little_endian(&contents.fp32_contents, f32::to_le_bytes),
        DataType::Fp64 => little_endian(&contents.fp64_contents, f64::to_le_bytes),
    };
    raw::tensor(of, datatype, shape, bytes)
}

/// The types of the fields that have elements. Some fields serve several types, and are then taken for the one
/// that is wanted.
fn filled(wanted: DataType, contents: &InferTensorContents) -> impl Iterator<Item = DataType> + use<> {
    let of = |fits: [DataType; 3]| if fits.contains(&wanted) { wanted } else { fits[2] };
    let fields = [
        (DataType::Bool, contents.bool_contents.len()),
        (of([DataType::Int8, DataType::Int16, DataType::Int32]), contents.int_contents.len()),
        (DataType::Int64, contents.int64_contents.len()),
        (of([DataType::Uint8, DataType::Uint16, DataType::Uint32]), contents.uint_contents.len()),
        (DataType::Uint64, contents.uint64_contents.len()),
        (DataType::Fp32, contents.fp32_contents.len()),
        (DataType::Fp64, contents.fp64_contents.len()),
        (DataType::Bytes, contents.bytes_contents.len()),
    ];
    fields.into_iter().filter(|(_, elements)| *elements > 0).map(|(datatype, _)| datatype)
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Bytes {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

/// Numbers of a type that has no field of its own, and comes in that of a wider one.
fn narrow<W, T, const N: usize>(
    of: Of<'_>,
    datatype: DataType,
    values: &[W],
    bytes: fn(T) -> [u8; N],
) -> Result<Bytes, Refusal>
where
    W: Copy + std::fmt::Display,
    T: TryFrom<W>,
{
    let mut all = Vec::with_capacity(values.len() * N);
    for (at, value) in values.iter().enumerate() {
        let wide = |_| Refusal::Request(format!("element {at} of {of} is {value}, which is no {datatype}"));
        all.extend(bytes(T::try_from(*value).map_err(wide)?));
    }
    Ok(all.into())
}

/// Whether there is a field for this type.
pub fn has_field(datatype: DataType) -> bool {
    !matches!(datatype, DataType::Fp16 | DataType::Bf16)
}

/// A tensor as fields. One of a type that has none is left empty.
pub fn contents(tensor: Tensor) -> InferTensorContents {
    let datatype = tensor.datatype();
    let mut contents = InferTensorContents::default();
    let bytes = match tensor.into_data() {
        Data::Elements(strings) => {
            contents.bytes_contents = strings;
            return contents;
        }
        Data::Raw(bytes) => bytes,
    };
    match datatype {
        DataType::Bool => contents.bool_contents = bytes.iter().map(|byte| *byte != 0).collect(),
        DataType::Int8 => contents.int_contents = values(&bytes, i8::from_le_bytes),
        DataType::Int16 => contents.int_contents = values(&bytes, i16::from_le_bytes),
        DataType::Int32 => contents.int_contents = values(&bytes, i32::from_le_bytes),
        DataType::Int64 => contents.int64_contents = values(&bytes, i64::from_le_bytes),
        DataType::Uint8 => contents.uint_contents = values(&bytes, u8::from_le_bytes),
        DataType::Uint16 => contents.uint_contents = values(&bytes, u16::from_le_bytes),
        DataType::Uint32 => contents.uint_contents = values(&bytes, u32::from_le_bytes),
        DataType::Uint64 => contents.uint64_contents = values(&bytes, u64::from_le_bytes),
        DataType::Fp32 => contents.fp32_contents = values(&bytes, f32::from_le_bytes),
        DataType::Fp64 => contents.fp64_contents = values(&bytes, f64::from_le_bytes),
        DataType::Fp16 | DataType::Bf16 | DataType::Bytes => {}
    }
    contents
}

fn values<T, W: From<T>, const N: usize>(bytes: &[u8], value: fn([u8; N]) -> T) -> Vec<W> {
    let (whole, _) = bytes.as_chunks::<N>();
    whole.iter().map(|bytes| W::from(value(*bytes))).collect()
}
