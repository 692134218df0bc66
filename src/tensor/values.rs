//! The numbers of a tensor, whatever its type.

use std::borrow::Cow;

use half::{bf16, f16};

use super::{Data, DataType, Tensor};
use crate::error::Error;

/// Every number of a tensor, in its own order, as near as an `f32` comes to it. Those of an FP32 tensor are not
/// copied where they lie at an address that an `f32` may have.
pub fn values_f32(tensor: &Tensor) -> Result<Cow<'_, [f32]>, Error> {
    let bytes = numbers(tensor)?;
    if tensor.datatype() == DataType::Fp32
        && let Some(values) = in_place(bytes)
    {
        return Ok(Cow::Borrowed(values));
    }
    let values = match tensor.datatype() {
        DataType::Bool | DataType::Uint8 => bytes.iter().map(|value| f32::from(*value)).collect(),
        DataType::Int8 => read(bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
        DataType::Uint16 => read(bytes, |bytes| f32::from(u16::from_le_bytes(bytes))),
        DataType::Int16 => read(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
        DataType::Uint32 => read(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
        DataType::Int32 => read(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        DataType::Uint64 => read(bytes, |bytes| u64::from_le_bytes(bytes) as f32),
        DataType::Int64 => read(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        DataType::Fp16 => read(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DataType::Bf16 => read(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        DataType::Fp32 => read(bytes, f32::from_le_bytes),
        DataType::Fp64 => read(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        DataType::Bytes => return Err(no_numbers(tensor)),
    };
    Ok(Cow::Owned(values))
}

/// Every number of a tensor, in its own order. Only those of 64 bits beyond 2^53 are rounded.
pub fn values_f64(tensor: &Tensor) -> Result<Vec<f64>, Error> {
    let bytes = numbers(tensor)?;
    Ok(match tensor.datatype() {
        DataType::Uint32 => read(bytes, |bytes| f64::from(u32::from_le_bytes(bytes))),
        DataType::Int32 => read(bytes, |bytes| f64::from(i32::from_le_bytes(bytes))),
        DataType::Uint64 => read(bytes, |bytes| u64::from_le_bytes(bytes) as f64),
        DataType::Int64 => read(bytes, |bytes| i64::from_le_bytes(bytes) as f64),
        DataType::Fp64 => read(bytes, f64::from_le_bytes),
        // An f32 has room for all of the others.
        _ => values_f32(tensor)?.iter().map(|value| f64::from(*value)).collect(),
    })
}

/// Every number of a tensor of whole numbers, exactly; `None` for one of others.
pub fn values_i128(tensor: &Tensor) -> Result<Option<Vec<i128>>, Error> {
    let bytes = numbers(tensor)?;
    Ok(match tensor.datatype() {
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => None,
        DataType::Uint64 => Some(read(bytes, |bytes| i128::from(u64::from_le_bytes(bytes)))),
        DataType::Int64 => Some(read(bytes, |bytes| i128::from(i64::from_le_bytes(bytes)))),
        _ => Some(values_f64(tensor)?.into_iter().map(|value| value as i128).collect()),
    })
}

/// The same numbers as another type, as C converts them: what is no whole number loses its fraction, and what is out
/// of the type's range becomes its end.
pub fn cast(tensor: &Tensor, datatype: DataType) -> Result<Tensor, Error> {
    if tensor.datatype() == datatype {
        return Ok(tensor.clone());
    }
    // What has no fraction keeps every digit; everything else fits into 64 bits of a float.
    let bytes: Vec<u8> = match values_i128(tensor)? {
        Some(whole) => match datatype {
            DataType::Int64 => {
                written(whole, |value| clamped::<i64>(value, i64::MIN, i64::MAX).to_le_bytes())
            }
            DataType::Uint64 => {
                written(whole, |value| clamped::<u64>(value, u64::MIN, u64::MAX).to_le_bytes())
            }
            _ => from_f64(whole.into_iter().map(|value| value as f64).collect(), datatype, tensor)?,
        },
        None => from_f64(values_f64(tensor)?, datatype, tensor)?,
    };
    Tensor::raw(datatype, tensor.shape().clone(), bytes.into())
}

/// A float becomes a whole number by `as`, which goes to the type's end where it is out of its range.
fn from_f64(values: Vec<f64>, datatype: DataType, tensor: &Tensor) -> Result<Vec<u8>, Error> {
    Ok(match datatype {
        DataType::Bool => written(values, |value| [u8::from(value != 0.0)]),
        DataType::Uint8 => written(values, |value| (value as u8).to_le_bytes()),
        DataType::Uint16 => written(values, |value| (value as u16).to_le_bytes()),
        DataType::Uint32 => written(values, |value| (value as u32).to_le_bytes()),
        DataType::Uint64 => written(values, |value| (value as u64).to_le_bytes()),
        DataType::Int8 => written(values, |value| (value as i8).to_le_bytes()),
        DataType::Int16 => written(values, |value| (value as i16).to_le_bytes()),
        DataType::Int32 => written(values, |value| (value as i32).to_le_bytes()),
        DataType::Int64 => written(values, |value| (value as i64).to_le_bytes()),
        DataType::Fp16 => written(values, |value| f16::from_f64(value).to_le_bytes()),
        DataType::Bf16 => written(values, |value| bf16::from_f64(value).to_le_bytes()),
        DataType::Fp32 => written(values, |value| (value as f32).to_le_bytes()),
        DataType::Fp64 => written(values, f64::to_le_bytes),
        DataType::Bytes => return Err(no_numbers(tensor)),
    })
}

fn written<T, const N: usize>(values: Vec<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}

fn clamped<T: TryFrom<i128> + Into<i128> + Copy>(value: i128, least: T, most: T) -> T {
    T::try_from(value).unwrap_or(if value < least.into() { least } else { most })
}

fn numbers(tensor: &Tensor) -> Result<&[u8], Error> {
    match tensor.data() {
        Data::Raw(bytes) => Ok(bytes),
        Data::Elements(_) => Err(no_numbers(tensor)),
    }
}

fn no_numbers(tensor: &Tensor) -> Error {
    let shape = tensor.shape();
    Error::Range {
        what: "the type of a tensor",
        value: format!("BYTES (of shape {shape})"),
        range: "it must be one of numbers".into(),
    }
}

fn read<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

/// Little-endian bytes as what they are, if machine and address allow that.
fn in_place(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: any four bytes are an f32, and `align_to` leaves out those before and behind aligned ones.
    let (before, values, behind) = unsafe { bytes.align_to::<f32>() };
    (cfg!(target_endian = "little") && before.is_empty() && behind.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tensor::Shape;

    fn tensor(datatype: DataType, bytes: impl Into<Bytes>) -> Tensor {
        let bytes = bytes.into();
        let shape = Shape::new(vec![bytes.len() / datatype.size().unwrap()]);
        Tensor::raw(datatype, shape, bytes).unwrap()
    }

    #[test]
    fn numbers_at_any_address() {
        let bytes: Vec<u8> = [0.0_f32, 1.5, -2.25, f32::MAX].iter().flat_map(|v| v.to_le_bytes()).collect();
        for shift in 0..8 {
            let mut shifted = vec![7; shift];
            shifted.extend(&bytes);
            let tensor = tensor(DataType::Fp32, Bytes::from(shifted).slice(shift..));
            assert_eq!(*values_f32(&tensor).unwrap(), [0.0, 1.5, -2.25, f32::MAX]);
        }
    }

    #[test]
    fn one_minus_two_in_every_type() {
        let cases: [(DataType, Vec<u8>); 9] = [
            (DataType::Int8, [1_i8, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Int16, [1_i16, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Int32, [1_i32, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Int64, [1_i64, -2].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Fp16, [1.0, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
            (DataType::Bf16, [1.0, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
            (DataType::Fp32, [1.0_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Fp64, [1.0_f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
            (DataType::Fp64, [1.0_f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ];
        for (datatype, bytes) in cases {
            let tensor = tensor(datatype, bytes);
            assert_eq!(*values_f32(&tensor).unwrap(), [1.0, -2.0], "{datatype}");
            assert_eq!(values_f64(&tensor).unwrap(), [1.0, -2.0], "{datatype}");
            let whole = values_i128(&tensor).unwrap();
            assert_eq!(whole.is_none(), datatype.is_float());
            assert!(whole.is_none_or(|whole| whole == [1, -2]));
        }
    }

    #[test]
    fn numbers_become_those_of_another_type() {
        let minus: Vec<u8> = [300_i32, -2].iter().flat_map(|v| v.to_le_bytes()).collect();
        let minus = tensor(DataType::Int32, minus);
        let floats = cast(&minus, DataType::Fp32).unwrap();
        assert_eq!(*values_f32(&floats).unwrap(), [300.0, -2.0]);
        assert_eq!(cast(&floats, DataType::Uint8).unwrap().bytes().unwrap(), &[255, 0][..]);
        assert_eq!(cast(&floats, DataType::Bool).unwrap().bytes().unwrap(), &[1, 1][..]);
        let large = tensor(DataType::Uint64, u64::MAX.to_le_bytes().to_vec());
        assert_eq!(values_i128(&cast(&large, DataType::Int64).unwrap()).unwrap().unwrap(), [i64::MAX.into()]);
        let least = tensor(DataType::Int64, i64::MIN.to_le_bytes().to_vec());
        assert_eq!(values_i128(&cast(&least, DataType::Uint64).unwrap()).unwrap().unwrap(), [0]);
        for datatype in DataType::ALL.into_iter().filter(|datatype| *datatype != DataType::Bytes) {
            let there = cast(&minus, datatype).unwrap();
            assert_eq!((there.datatype(), there.byte_size()), (datatype, 2 * datatype.size().unwrap()));
        }
        assert!(cast(&minus, DataType::Bytes).is_err());
    }

    #[test]
    fn the_largest_whole_numbers_are_exact() {
        let large = tensor(DataType::Uint64, u64::MAX.to_le_bytes().to_vec());
        assert_eq!(values_i128(&large).unwrap().unwrap(), [i128::from(u64::MAX)]);
        let bits = tensor(DataType::Uint32, u32::MAX.to_le_bytes().to_vec());
        assert_eq!(values_i128(&bits).unwrap().unwrap(), [i128::from(u32::MAX)]);
        let words = Tensor::elements(Shape::new(vec![1]), vec![Bytes::from_static(b"x")]).unwrap();
        assert!(values_f32(&words).is_err() && values_i128(&words).is_err() && values_f64(&words).is_err());
    }
}
