//! Models that take pictures: what the tests of this folder have in common.

mod detections;
mod outputs;
mod parameters;
mod prepare;
mod segmentation;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Pictures;
use crate::error::Error;
use crate::model::signature::{Port, Signature};
use crate::tensor::{DataType, Dims, Shape, Tensor};

pub fn port(name: &str, datatype: DataType, dims: &[i64]) -> Port {
    Port {
        name: name.into(),
        datatype,
        dims: Dims::new(dims).unwrap(),
        reshape: None,
        optional: false,
        labels: None,
    }
}

/// One FP32 input and one FP32 output of these dims.
pub fn signature(max_batch: usize, input: &[i64], output: &[i64]) -> Signature {
    Signature {
        max_batch,
        inputs: vec![port("x", DataType::Fp32, input)],
        outputs: vec![port("y", DataType::Fp32, output)],
    }
}

/// Labels of the one file that there is.
pub fn labels(file: &str) -> Result<Arc<[String]>, Error> {
    match file {
        "labels.txt" => Ok(["cat", "dog"].map(String::from).into()),
        _ => Err(Error::Load(format!("there is no {file}"))),
    }
}

pub fn read(signature: &Signature, parameters: &[(&str, &str)]) -> Result<Option<Pictures>, Error> {
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(key, value)| (format!("frameserve.{key}"), (*value).to_owned())).collect();
    Pictures::of(&parameters, signature, &labels)
}

pub fn pictures(signature: &Signature, parameters: &[(&str, &str)]) -> Pictures {
    read(signature, parameters).unwrap().unwrap()
}

pub fn refused(signature: &Signature, parameters: &[(&str, &str)]) -> String {
    read(signature, parameters).unwrap_err().to_string()
}

pub fn fp32(shape: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Fp32, Shape::new(shape.to_vec()), bytes.into()).unwrap()
}

pub fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.bytes().unwrap().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A smooth color picture as JPEG.
pub fn jpeg(width: usize, height: usize) -> Bytes {
    let mut image = turbojpeg::Image {
        pixels: vec![0; width * height * 3],
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::BGR,
    };
    for (at, pixel) in image.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (at % width, at / width);
        pixel.copy_from_slice(&[(x * 255 / width) as u8, (y * 255 / height) as u8, 200]);
    }
    Bytes::copy_from_slice(&turbojpeg::compress(image.as_deref(), 95, turbojpeg::Subsamp::None).unwrap())
}
