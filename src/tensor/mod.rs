//! Tensors as they travel: a data type, a shape, and bytes. Nothing of libtorch, nothing of a protocol.

pub mod classification;
mod datatype;
pub mod image;
mod kept;
mod shape;
pub mod values;

use bytes::Bytes;

pub use datatype::DataType;
pub use kept::{Elsewhere, Kept, Place};
pub use shape::{Dims, Shape};

use crate::error::Error;

/// What findings name as their source that were read from a model's outputs, where no stage says it better.
pub const MODEL: &str = "model";

/// Values of one type in an array of any number of dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    datatype: DataType,
    shape: Shape,
    data: Data,
}

/// What a tensor's elements are kept in, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Little-endian numbers without padding. They may lie at any address.
    Raw(Bytes),
    /// The elements of a tensor of [`DataType::Bytes`].
    Elements(Vec<Bytes>),
}

impl Tensor {
    /// A tensor of numbers, or an error if the bytes are not as many as the shape takes.
    pub fn raw(datatype: DataType, shape: Shape, bytes: Bytes) -> Result<Self, Error> {
        let expected = datatype.size().and_then(|size| shape.elements()?.checked_mul(size));
        if expected != Some(bytes.len()) {
            let found = bytes.len();
            return Err(Error::Internal(format!("{found} bytes are no {datatype} tensor of shape {shape}")));
        }
        Ok(Tensor { datatype, shape, data: Data::Raw(bytes) })
    }

    /// A tensor of byte strings, or an error if they are not as many as the shape takes.
    pub fn elements(shape: Shape, elements: Vec<Bytes>) -> Result<Self, Error> {
        if shape.elements() != Some(elements.len()) {
            let found = elements.len();
            return Err(Error::Internal(format!("{found} elements are no BYTES tensor of shape {shape}")));
        }
        Ok(Tensor { datatype: DataType::Bytes, shape, data: Data::Elements(elements) })
    }

    /// The type of its elements.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Its dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Its elements alone.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The bytes of a tensor of numbers; `None` for one of byte strings.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.data {
            Data::Raw(bytes) => Some(bytes),
            Data::Elements(_) => None,
        }
    }

    /// Bytes that its elements take.
    pub fn byte_size(&self) -> usize {
        match &self.data {
            Data::Raw(bytes) => bytes.len(),
            Data::Elements(elements) => elements.iter().map(Bytes::len).sum(),
        }
    }

    /// Bytes of memory that it takes, with what tells byte strings apart: that is most of it where they are short.
    pub fn memory(&self) -> usize {
        let strings = match &self.data {
            Data::Raw(_) => 0,
            Data::Elements(elements) => elements.len(),
        };
        self.byte_size().saturating_add(strings.saturating_mul(size_of::<Bytes>()))
    }

    /// The same elements under another shape, which must have as many.
    pub fn reshape(self, shape: Shape) -> Result<Self, Error> {
        if shape.elements() != self.shape.elements() {
            return Err(Error::Internal(format!("a tensor of shape {} is none of {shape}", self.shape)));
        }
        Ok(Tensor { shape, ..self })
    }

    /// Cuts it along the first dimension into parts of so many rows each, without copying numbers.
    pub fn split(self, rows: &[usize]) -> Result<Vec<Self>, Error> {
        let Some((&first, rest)) =
            self.shape.dims().split_first().filter(|(first, _)| **first == rows.iter().sum::<usize>())
        else {
            return Err(Error::Internal(format!("a tensor of shape {} has no {rows:?} rows", self.shape)));
        };
        let row = |all: usize| all.checked_div(first).unwrap_or(0);
        let mut at = 0;
        let parts = rows.iter().map(|&rows| {
            let shape = Shape::new([&[rows], rest].concat());
            let from = at;
            at += rows;
            let data = match &self.data {
                Data::Raw(bytes) => Data::Raw(bytes.slice(from * row(bytes.len())..at * row(bytes.len()))),
                Data::Elements(all) => {
                    Data::Elements(all[from * row(all.len())..at * row(all.len())].to_vec())
                }
            };
            Tensor { datatype: self.datatype, shape, data }
        });
        Ok(parts.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_as_many_bytes_as_its_shape_takes() {
        let shape = || Shape::new(vec![2, 3]);
        assert!(Tensor::raw(DataType::Fp32, shape(), Bytes::from(vec![0; 24])).is_ok());
        for wrong in [0, 23, 25] {
            assert!(Tensor::raw(DataType::Fp32, shape(), Bytes::from(vec![0; wrong])).is_err());
        }
        let huge = Shape::new(vec![usize::MAX, 2]);
        assert!(Tensor::raw(DataType::Uint8, huge, Bytes::new()).is_err());
    }

    #[test]
    fn split_gives_each_its_rows() {
        let tensor =
            Tensor::raw(DataType::Uint16, Shape::new(vec![3, 2]), Bytes::from_static(b"abcdefghijkl"));
        let parts = tensor.clone().unwrap().split(&[1, 2]).unwrap();
        assert_eq!(parts[0].bytes().unwrap(), "abcd");
        assert_eq!(parts[1].bytes().unwrap(), "efghijkl");
        assert_eq!(parts[1].shape().dims(), [2, 2]);
        assert!(tensor.unwrap().split(&[1, 1]).is_err());
        let empty = Tensor::raw(DataType::Fp32, Shape::new(vec![2, 0]), Bytes::new()).unwrap();
        assert_eq!(empty.split(&[1, 1]).unwrap()[1].shape().dims(), [1, 0]);
    }
}
