//! What a model takes and gives.

use std::sync::Arc;

use crate::tensor::{DataType, Dims, Shape};

/// The inputs and outputs of a model: the one source of what every protocol says of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// Rows of one batch: the first dimension of every tensor, which [`Port::dims`] leaves out. 0 for a model
    /// whose tensors have no such dimension.
    pub max_batch: usize,
    /// What it takes, in the order in which it takes it.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub datatype: DataType,
    /// Its dimensions, without that of the batch.
    pub dims: Dims,
    /// What the model itself takes or gives in place of `dims`: as many elements in another shape.
    pub reshape: Option<Dims>,
    /// An input that may be left out.
    pub optional: bool,
    /// An output whose elements are scores: the name of each class.
    pub labels: Option<Arc<[String]>>,
}

impl Signature {
    /// A port's dimensions as clients see them: with that of the batch, if there is one.
    pub fn client_dims(&self, port: &Port) -> Dims {
        if self.max_batch > 0 { port.dims.batched() } else { port.dims.clone() }
    }

    /// Bytes of the outputs of so many rows. Those whose dimensions vary are each taken to have `varying` bytes.
    pub fn output_bytes(&self, rows: usize, varying: usize) -> usize {
        let outputs = self.outputs.iter().map(|port| {
            let row = port.dims.fixed().and_then(|shape| shape.elements()).zip(port.datatype.size());
            row.and_then(|(elements, size)| elements.checked_mul(size)?.checked_mul(rows))
        });
        outputs.map(|bytes| bytes.unwrap_or(varying)).fold(0, usize::saturating_add)
    }

    /// Which input has this name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|port| port.name == name)
    }

    /// Which output has this name.
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|port| port.name == name)
    }

    /// The shape in which the model itself takes an input that came as `shape`; the first dimension is that of
    /// the batch, if there is one.
    pub fn inner_shape(&self, port: &Port, shape: &Shape) -> Shape {
        self.through(shape, &port.dims, port.reshape.as_ref())
    }

    /// The shape in which a client gets an output that the model gave as `shape`.
    pub fn outer_shape(&self, port: &Port, shape: &Shape) -> Shape {
        match &port.reshape {
            Some(reshape) => self.through(shape, reshape, Some(&port.dims)),
            None => shape.clone(),
        }
    }

    /// Puts the dimensions that vary in `from` in the place of those that vary in `to`, in their order.
    fn through(&self, shape: &Shape, from: &Dims, to: Option<&Dims>) -> Shape {
        let Some(to) = to else { return shape.clone() };
        let (batch, rest) = shape.dims().split_at(usize::from(self.max_batch > 0).min(shape.dims().len()));
        let mut varying =
            from.dims().iter().zip(rest).filter(|(dim, _)| dim.is_none()).map(|(_, have)| *have);
        let dims = to.dims().iter().map(|dim| dim.or_else(|| varying.next()).unwrap_or(1));
        Shape::new(batch.iter().copied().chain(dims).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_keeps_the_batch_and_what_varies() {
        let port = Port {
            name: "x".into(),
            datatype: DataType::Fp32,
            dims: Dims::new(&[4, 4, -1]).unwrap(),
            reshape: Some(Dims::new(&[16, -1]).unwrap()),
            optional: false,
            labels: None,
        };
        let signature = Signature { max_batch: 8, ..Signature::default() };
        let inner = signature.inner_shape(&port, &Shape::new(vec![2, 4, 4, 7]));
        assert_eq!(inner.dims(), [2, 16, 7]);
        assert_eq!(signature.outer_shape(&port, &inner).dims(), [2, 4, 4, 7]);
        let alone = Signature::default();
        assert_eq!(alone.inner_shape(&port, &Shape::new(vec![4, 4, 7])).dims(), [16, 7]);
    }
}
