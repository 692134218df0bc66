//! From the values of pixels, 0 to 255, to the numbers of a tensor.

use half::{bf16, f16};

use crate::error::Error;
use crate::tensor::DataType;

/// What becomes of the values of each channel: `(value * scale - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Factor that comes first.
    pub scale: f64,
    /// What is then taken away, for each channel of the tensor.
    pub mean: [f64; 3],
    /// What it is then divided by.
    pub std: [f64; 3],
}

/// A [`Scaling`] for one type of tensor, worked out as far as it can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Samples {
    /// Bytes as they are.
    Bytes,
    /// A factor and an offset for each channel, which is faster than to look it up.
    Fp32([Line; 3]),
    /// For each channel the bytes of each of the 256 numbers that there can be.
    One(Tables<1>),
    Two(Tables<2>),
    Four(Tables<4>),
    Eight(Tables<8>),
}

/// For each channel the bytes that each value becomes.
type Tables<const N: usize> = Box<[[[u8; N]; 256]; 3]>;

/// `value * factor + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    factor: f32,
    offset: f32,
}

impl Scaling {
    /// Nothing is done, but to divide by 255 for tensors whose numbers may lie between whole ones.
    pub fn usual(datatype: DataType) -> Self {
        let scale = if datatype.is_float() { 1.0 / 255.0 } else { 1.0 };
        Scaling { scale, mean: [0.0; 3], std: [1.0; 3] }
    }

    fn of(&self, channel: usize, value: u8) -> f64 {
        (f64::from(value) * self.scale - self.mean[channel]) / self.std[channel]
    }

    fn is_identity(&self) -> bool {
        *self == Scaling { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] }
    }
}

impl Samples {
    /// For tensors of this type. Whole numbers are rounded, and what is out of their range becomes its end.
    pub(super) fn new(scaling: &Scaling, datatype: DataType) -> Result<Self, Error> {
        let whole = |channel, value| scaling.of(channel, value).round_ties_even();
        Ok(match datatype {
            DataType::Uint8 if scaling.is_identity() => Samples::Bytes,
            DataType::Uint8 => Samples::One(tables(|c, v| (whole(c, v) as u8).to_le_bytes())),
            DataType::Int8 => Samples::One(tables(|c, v| (whole(c, v) as i8).to_le_bytes())),
            DataType::Uint16 => Samples::Two(tables(|c, v| (whole(c, v) as u16).to_le_bytes())),
            DataType::Int16 => Samples::Two(tables(|c, v| (whole(c, v) as i16).to_le_bytes())),
            DataType::Fp16 => Samples::Two(tables(|c, v| f16::from_f64(scaling.of(c, v)).to_le_bytes())),
            DataType::Bf16 => Samples::Two(tables(|c, v| bf16::from_f64(scaling.of(c, v)).to_le_bytes())),
            DataType::Uint32 => Samples::Four(tables(|c, v| (whole(c, v) as u32).to_le_bytes())),
            DataType::Int32 => Samples::Four(tables(|c, v| (whole(c, v) as i32).to_le_bytes())),
            DataType::Uint64 => Samples::Eight(tables(|c, v| (whole(c, v) as u64).to_le_bytes())),
            DataType::Int64 => Samples::Eight(tables(|c, v| (whole(c, v) as i64).to_le_bytes())),
            DataType::Fp64 => Samples::Eight(tables(|c, v| scaling.of(c, v).to_le_bytes())),
            DataType::Fp32 => Samples::Fp32(std::array::from_fn(|channel| Line::new(scaling, channel))),
            DataType::Bool | DataType::Bytes => {
                return Err(Error::Load(format!("a tensor of {datatype} can't hold a picture")));
            }
        })
    }

    /// Writes the values of one channel, of which `to` must have room for as many.
    pub(super) fn plane(&self, channel: usize, from: &[u8], to: &mut [u8]) {
        match self {
            Samples::Bytes => to.copy_from_slice(from),
            Samples::Fp32(lines) => {
                let line = lines[channel];
                for (value, to) in from.iter().zip(to.as_chunks_mut::<4>().0) {
                    *to = line.at(*value);
                }
            }
            Samples::One(tables) => look_up(&tables[channel], from, to),
            Samples::Two(tables) => look_up(&tables[channel], from, to),
            Samples::Four(tables) => look_up(&tables[channel], from, to),
            Samples::Eight(tables) => look_up(&tables[channel], from, to),
        }
    }

    /// Writes pixels of three channels each.
    pub(super) fn pixels(&self, from: &[u8], to: &mut [u8]) {
        match self {
            Samples::Bytes => to.copy_from_slice(from),
            // The same for all channels: they need not be told apart, which is several times faster.
            Samples::Fp32([first, second, third]) if first == second && second == third => {
                self.plane(0, from, to);
            }
            Samples::Fp32([first, second, third]) => {
                let to = to.as_chunks_mut::<4>().0.as_chunks_mut::<3>().0;
                for (pixel, to) in from.as_chunks::<3>().0.iter().zip(to) {
                    *to = [first.at(pixel[0]), second.at(pixel[1]), third.at(pixel[2])];
                }
            }
            Samples::One(tables) => look_up_pixels(tables, from, to),
            Samples::Two(tables) => look_up_pixels(tables, from, to),
            Samples::Four(tables) => look_up_pixels(tables, from, to),
            Samples::Eight(tables) => look_up_pixels(tables, from, to),
        }
    }
}

impl Line {
    fn new(scaling: &Scaling, channel: usize) -> Self {
        let Scaling { scale, mean, std } = scaling;
        Line { factor: (scale / std[channel]) as f32, offset: (-mean[channel] / std[channel]) as f32 }
    }

    #[inline]
    fn at(self, value: u8) -> [u8; 4] {
        (f32::from(value) * self.factor + self.offset).to_le_bytes()
    }
}

fn tables<const N: usize>(bytes: impl Fn(usize, u8) -> [u8; N]) -> Tables<N> {
    let mut tables = Box::new([[[0; N]; 256]; 3]);
    for (channel, table) in tables.iter_mut().enumerate() {
        for (value, to) in (0..=255).zip(table) {
            *to = bytes(channel, value);
        }
    }
    tables
}

fn look_up<const N: usize>(table: &[[u8; N]; 256], from: &[u8], to: &mut [u8]) {
    for (value, to) in from.iter().zip(to.as_chunks_mut::<N>().0) {
        *to = table[usize::from(*value)];
    }
}

fn look_up_pixels<const N: usize>(tables: &[[[u8; N]; 256]; 3], from: &[u8], to: &mut [u8]) {
    let to = to.as_chunks_mut::<N>().0.as_chunks_mut::<3>().0;
    for (pixel, to) in from.as_chunks::<3>().0.iter().zip(to) {
        for channel in 0..3 {
            to[channel] = tables[channel][usize::from(pixel[channel])];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling() -> Scaling {
        Scaling { scale: 1.0 / 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }

    #[test]
    fn every_value_of_every_type_is_as_computed_one_by_one() {
        let from: Vec<u8> = (0..=255).collect();
        for datatype in DataType::ALL {
            let Ok(samples) = Samples::new(&scaling(), datatype) else {
                assert!(matches!(datatype, DataType::Bool | DataType::Bytes));
                continue;
            };
            let mut to = vec![0; 256 * datatype.size().unwrap()];
            for channel in 0..3 {
                samples.plane(channel, &from, &mut to);
                for value in 0..=255_u8 {
                    let exact = scaling().of(channel, value);
                    let found = read(datatype, &to, usize::from(value));
                    let (exact, error) = match datatype {
                        DataType::Fp64 => (exact, 0.0),
                        DataType::Fp32 => (exact, 1e-6),
                        DataType::Fp16 => (exact, exact.abs().max(0.001) / 2048.0),
                        DataType::Bf16 => (exact, exact.abs().max(0.001) / 256.0),
                        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => {
                            (exact.round_ties_even().max(0.0), 0.0)
                        }
                        _ => (exact.round_ties_even(), 0.0),
                    };
                    assert!((found - exact).abs() <= error, "{datatype} {value}: {found}, not {exact}");
                }
            }
        }
    }

    #[test]
    fn pixels_are_planes_side_by_side() {
        for datatype in [DataType::Uint8, DataType::Int16, DataType::Fp32, DataType::Bf16, DataType::Fp64] {
            for scaling in [scaling(), Scaling::usual(datatype)] {
                check_pixels(&scaling, datatype);
            }
        }
    }

    fn check_pixels(scaling: &Scaling, datatype: DataType) {
        let from: Vec<u8> = (0..=254).collect();
        let samples = Samples::new(scaling, datatype).unwrap();
        let size = datatype.size().unwrap();
        let mut interleaved = vec![0; from.len() * size];
        samples.pixels(&from, &mut interleaved);
        for (index, value) in from.iter().enumerate() {
            let mut alone = vec![0; size];
            samples.plane(index % 3, &[*value], &mut alone);
            assert_eq!(alone, interleaved[index * size..][..size]);
        }
    }

    fn read(datatype: DataType, bytes: &[u8], index: usize) -> f64 {
        fn at<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
            bytes[index * N..][..N].try_into().unwrap()
        }
        match datatype {
            DataType::Uint8 => f64::from(bytes[index]),
            DataType::Int8 => f64::from(i8::from_le_bytes(at(bytes, index))),
            DataType::Uint16 => f64::from(u16::from_le_bytes(at(bytes, index))),
            DataType::Int16 => f64::from(i16::from_le_bytes(at(bytes, index))),
            DataType::Uint32 => f64::from(u32::from_le_bytes(at(bytes, index))),
            DataType::Int32 => f64::from(i32::from_le_bytes(at(bytes, index))),
            DataType::Uint64 => u64::from_le_bytes(at(bytes, index)) as f64,
            DataType::Int64 => i64::from_le_bytes(at(bytes, index)) as f64,
            DataType::Fp16 => f64::from(f16::from_le_bytes(at(bytes, index))),
            DataType::Bf16 => f64::from(bf16::from_le_bytes(at(bytes, index))),
            DataType::Fp32 => f64::from(f32::from_le_bytes(at(bytes, index))),
            DataType::Fp64 => f64::from_le_bytes(at(bytes, index)),
            DataType::Bool | DataType::Bytes => panic!("no number"),
        }
    }
}
