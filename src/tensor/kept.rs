//! Tensors that may lie elsewhere than in the memory of this program, until they are worked on.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{DataType, Shape, Tensor};
use crate::error::Error;

/// Where the bytes of one tensor lie or are to be put. They are copied on the thread that asks for it.
pub trait Place: fmt::Debug + Send + Sync {
    /// Copies them out of it: numbers as they lie in a tensor.
    fn read(&self) -> Result<Bytes, Error>;

    /// Copies a tensor to it.
    fn write(&self, tensor: Tensor) -> Result<(), Error>;
}

/// A tensor, of which at least type and shape are here.
#[derive(Debug, Clone)]
pub enum Kept {
    /// All of it.
    Here(Tensor),
    /// One whose bytes are not.
    Elsewhere(Elsewhere),
}

/// A tensor whose bytes lie elsewhere.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    datatype: DataType,
    shape: Shape,
    place: Arc<dyn Place>,
}

impl Elsewhere {
    /// A tensor of numbers that lie there, as many as the shape takes.
    pub fn new(datatype: DataType, shape: Shape, place: Arc<dyn Place>) -> Self {
        Elsewhere { datatype, shape, place }
    }
}

impl Kept {
    /// The type of its elements.
    pub fn datatype(&self) -> DataType {
        match self {
            Kept::Here(tensor) => tensor.datatype(),
            Kept::Elsewhere(elsewhere) => elsewhere.datatype,
        }
    }

    /// Its dimensions.
    pub fn shape(&self) -> &Shape {
        match self {
            Kept::Here(tensor) => tensor.shape(),
            Kept::Elsewhere(elsewhere) => &elsewhere.shape,
        }
    }

    /// Bytes of memory that it takes, or will once it is here.
    pub fn memory(&self) -> usize {
        match self {
            Kept::Here(tensor) => tensor.memory(),
            Kept::Elsewhere(Elsewhere { datatype, shape, .. }) => {
                let size = datatype.size().unwrap_or(0);
                shape.elements().and_then(|elements| elements.checked_mul(size)).unwrap_or(usize::MAX)
            }
        }
    }

    /// The tensor, if all of it is here.
    pub fn here(&self) -> Option<&Tensor> {
        match self {
            Kept::Here(tensor) => Some(tensor),
            Kept::Elsewhere(_) => None,
        }
    }

    /// Brings it here.
    pub fn fetch(self) -> Result<Tensor, Error> {
        match self {
            Kept::Here(tensor) => Ok(tensor),
            Kept::Elsewhere(Elsewhere { datatype, shape, place }) => {
                Tensor::raw(datatype, shape, place.read()?)
            }
        }
    }
}

impl Tensor {
    /// Puts it there, if that is said, and keeps nothing of its elements then.
    pub fn put(self, place: Option<Arc<dyn Place>>) -> Result<Kept, Error> {
        let Some(place) = place else { return Ok(Kept::Here(self)) };
        let (datatype, shape) = (self.datatype(), self.shape().clone());
        place.write(self)?;
        Ok(Kept::Elsewhere(Elsewhere { datatype, shape, place }))
    }
}
