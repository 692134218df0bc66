//! Requests to try a model with before clients send some.

use crate::frame::Size;
use crate::model::backend::Inputs;
use crate::model::settings::Settings;
use crate::model::signature::Port;
use crate::tensor::{DataType, Shape, Tensor};

/// Models are asked with pictures of a few sizes, and which form is faster may hang on it.
const MOST_SAMPLES: usize = 4;

/// Requests as they are known to come: those that warm the model up, or one row, if all dimensions are fixed.
///
/// Random numbers are put in the place of zeros, from which networks of all weights make the same.
pub fn known(settings: &Settings) -> Vec<Inputs> {
    if settings.warmup.is_empty() {
        return row(settings).into_iter().collect();
    }
    let mut samples: Vec<Inputs> = Vec::new();
    for warmup in &settings.warmup {
        let seen = samples.iter().any(|sample| shapes(sample).eq(shapes(&warmup.inputs)));
        if !seen && samples.len() < MOST_SAMPLES {
            samples.push(warmup.inputs.iter().cloned().map(|input| input.map(varied)).collect());
        }
    }
    samples
}

fn shapes(inputs: &Inputs) -> impl Iterator<Item = Option<&Shape>> {
    inputs.iter().map(|input| input.as_ref().map(Tensor::shape))
}

fn row(settings: &Settings) -> Option<Inputs> {
    let input = |port: &Port| {
        let dims = port.dims.fixed()?;
        let row: &[usize] = if settings.signature.max_batch > 0 { &[1] } else { &[] };
        random(port.datatype, Shape::new([row, dims.dims()].concat()))
    };
    let input = |port: &Port| if port.optional { Some(None) } else { input(port).map(Some) };
    settings.signature.inputs.iter().map(input).collect()
}

/// A request for a model of which it is not known what is sent to it: each dimension that varies is `side`, and so are the
/// sides of a picture before it is prepared. `None` where that can't be, which the model may say as well.
pub fn made_up(settings: &Settings, side: u32) -> Option<Inputs> {
    let input = |(at, port): (usize, &Port)| {
        if port.optional {
            return Some(None);
        }
        let shape = match settings.pictures.as_ref().filter(|pictures| pictures.input == at) {
            Some(pictures) => pictures.shape_of(Size::new(side, side)).ok()?,
            None => {
                let row = (settings.signature.max_batch > 0).then_some(1);
                let dims = port.dims.dims().iter().map(|dim| dim.unwrap_or(side as usize));
                Shape::new(row.into_iter().chain(dims).collect())
            }
        };
        random(port.datatype, shape).map(Some)
    };
    settings.signature.inputs.iter().enumerate().map(input).collect()
}

fn varied(tensor: Tensor) -> Tensor {
    let zeros = tensor.bytes().is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    let random = zeros.then(|| random(tensor.datatype(), tensor.shape().clone()));
    random.flatten().unwrap_or(tensor)
}

/// Numbers from 0 to 1, always the same; whole numbers are 0, which is an index that exists.
fn random(datatype: DataType, shape: Shape) -> Option<Tensor> {
    let length = shape.elements()?.checked_mul(datatype.size()?)?;
    let mut state: u32 = 1;
    let numbers = std::iter::repeat_with(move || {
        // The constants are those of Numerical Recipes.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    });
    let bytes: Vec<u8> = match datatype {
        // With this exponent, all that can follow are numbers from 0.5 to 1.
        DataType::Fp16 => {
            numbers.flat_map(|n| (0x3800 | (n >> 22) as u16).to_le_bytes()).take(length).collect()
        }
        DataType::Bf16 => {
            numbers.flat_map(|n| (0x3f00 | (n >> 25) as u16).to_le_bytes()).take(length).collect()
        }
        DataType::Fp32 => numbers.flat_map(|n| unit(n).to_le_bytes()).take(length).collect(),
        DataType::Fp64 => numbers.flat_map(|n| f64::from(unit(n)).to_le_bytes()).take(length).collect(),
        _ => vec![0; length],
    };
    Tensor::raw(datatype, shape, bytes.into()).ok()
}

fn unit(number: u32) -> f32 {
    // A float holds 24 bits.
    (number >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_lie_between_0_and_1() {
        for datatype in [DataType::Fp16, DataType::Bf16, DataType::Fp32, DataType::Fp64] {
            let tensor = random(datatype, Shape::new(vec![100])).unwrap();
            let wide = |bytes: &[u8]| match datatype {
                DataType::Fp32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
                DataType::Fp64 => f64::from_le_bytes(bytes.try_into().unwrap()),
                DataType::Bf16 => f64::from(f32::from_le_bytes([0, 0, bytes[0], bytes[1]])),
                // Of the numbers from 0.5 to 1, which have one exponent, 10 bits differ.
                _ => f64::from(u16::from_le_bytes(bytes.try_into().unwrap()) - 0x3800) / 2048.0 + 0.5,
            };
            let bytes = tensor.bytes().unwrap();
            let values: Vec<f64> = bytes.chunks(datatype.size().unwrap()).map(wide).collect();
            assert!(values.iter().all(|value| (0.0..1.0).contains(value)), "{values:?}");
            assert!(values.iter().any(|value| *value < 0.7) && values.iter().any(|value| *value > 0.8));
        }
    }

    #[test]
    fn only_zeros_are_replaced() {
        let tensor = |bytes: &'static [u8]| {
            Tensor::raw(DataType::Fp32, Shape::new(vec![1]), bytes::Bytes::from_static(bytes)).unwrap()
        };
        assert_ne!(varied(tensor(&[0; 4])), tensor(&[0; 4]));
        assert_eq!(varied(tensor(&[0, 0, 0, 1])), tensor(&[0, 0, 0, 1]));
    }
}
