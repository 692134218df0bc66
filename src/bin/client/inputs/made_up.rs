//! Values of any type, for who wants only some.

use bytes::Bytes;
use frameserve::tensor::{DataType, Shape, Tensor};

use super::Filling;
use crate::failure::Failure;

/// More would be a typing error.
const MOST_BYTES: usize = 1 << 31;

/// FP32 as BF16, rounded towards zero.
pub fn narrowed(tensor: &Tensor) -> Result<Tensor, Failure> {
    let bytes = tensor.bytes().map(Bytes::as_ref).unwrap_or_default();
    let halves: Vec<u8> = bytes.chunks_exact(4).flat_map(|value| [value[2], value[3]]).collect();
    Tensor::raw(DataType::Bf16, tensor.shape().clone(), halves.into()).map_err(Failure::usage)
}

/// A tensor filled in that way.
pub fn make_up(datatype: DataType, shape: Shape, filling: &Filling) -> Result<Tensor, Failure> {
    let size = datatype.size().unwrap_or(16);
    let count = shape.elements().filter(|count| count.saturating_mul(size) <= MOST_BYTES);
    let count = count.ok_or_else(|| {
        Failure::usage(format!("a tensor of shape {shape} is too large: it may have {MOST_BYTES} bytes"))
    })?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut element = || match filling {
        Filling::Ones => encode(datatype, 1.0),
        Filling::Zeros | Filling::File(_) => encode(datatype, 0.0),
        Filling::Random if datatype.is_float() => encode(datatype, random.next() as f64 / u64::MAX as f64),
        Filling::Random => encode(datatype, (random.next() >> 56) as f64),
    };
    if datatype == DataType::Bytes {
        return Tensor::elements(shape, (0..count).map(|_| element().into()).collect())
            .map_err(Failure::usage);
    }
    let bytes: Vec<u8> = (0..count).flat_map(|_| element()).collect();
    Tensor::raw(datatype, shape, bytes.into()).map_err(Failure::usage)
}

/// A number as an element; as a byte string, its digits.
fn encode(datatype: DataType, value: f64) -> Vec<u8> {
    let whole = value as u64;
    match datatype {
        DataType::Bool => vec![u8::from(whole % 2 == 1)],
        DataType::Int8 => vec![whole as u8 & 0x7f],
        DataType::Fp16 => half_bits(value).to_le_bytes().to_vec(),
        DataType::Bf16 => (value as f32).to_le_bytes()[2..].to_vec(),
        DataType::Fp32 => (value as f32).to_le_bytes().to_vec(),
        DataType::Fp64 => value.to_le_bytes().to_vec(),
        DataType::Bytes => value.to_string().into_bytes(),
        integer => whole.to_le_bytes()[..integer.size().unwrap_or(8)].to_vec(),
    }
}

/// A number from 0 to 1 as IEEE 754 binary16, rounded towards zero.
fn half_bits(value: f64) -> u16 {
    let bits = (value as f32).to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    if exponent <= 0 { 0 } else { (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

/// xorshift64: quick, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{half, shown};

    #[test]
    fn every_type_can_be_made_up() {
        for datatype in DataType::ALL {
            for (filling, expected) in [(Filling::Zeros, "0"), (Filling::Ones, "1"), (Filling::Random, "")] {
                let tensor = make_up(datatype, Shape::new(vec![4]), &filling).unwrap();
                let text = shown(&tensor, 1).remove(0);
                let plain = match text.trim_matches('"') {
                    "true" => "1",
                    "false" => "0",
                    other => other,
                };
                assert!(expected.is_empty() || plain == expected, "{datatype} {filling:?}: {text}");
                assert!(plain.parse::<f64>().is_ok_and(|value| (0.0..=255.0).contains(&value)), "{text}");
            }
        }
        assert_eq!([half(half_bits(0.75)), half(half_bits(1.0))], [0.75, 1.0]);
        assert!(make_up(DataType::Fp32, Shape::new(vec![1 << 40]), &Filling::Ones).is_err());
    }
}
