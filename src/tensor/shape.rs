//! Shapes of tensors, and what a model says of the shapes that it takes.

use std::fmt;

/// The dimensions of a tensor. None at all is a single element.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

/// Dimensions of which some may vary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dims(Vec<Option<usize>>);

impl Shape {
    /// A shape of these dimensions.
    pub fn new(dims: Vec<usize>) -> Self {
        Shape(dims)
    }

    /// Its dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// How many elements it has; `None` if that can't be counted.
    pub fn elements(&self) -> Option<usize> {
        // A dimension of zero leaves nothing, however large the others are.
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1_usize, |all, dim| all.checked_mul(*dim))
    }
}

impl Dims {
    /// From a protocol's numbers, where -1 stands for any. `None` if another number is negative.
    pub fn new(dims: &[i64]) -> Option<Self> {
        let dim = |dim: &i64| match dim {
            -1 => Some(None),
            dim => usize::try_from(*dim).ok().map(Some),
        };
        dims.iter().map(dim).collect::<Option<_>>().map(Dims)
    }

    /// Its dimensions; `None` for those that vary.
    pub fn dims(&self) -> &[Option<usize>] {
        &self.0
    }

    /// As a protocol's numbers, where -1 stands for any.
    pub fn to_i64(&self) -> Vec<i64> {
        self.0.iter().map(|dim| dim.map_or(-1, |dim| i64::try_from(dim).unwrap_or(i64::MAX))).collect()
    }

    /// The same behind a dimension that varies: that of a batch.
    pub fn batched(&self) -> Self {
        Dims([&[None], self.0.as_slice()].concat())
    }

    /// Whether this shape is one of them.
    pub fn admit(&self, shape: &[usize]) -> bool {
        self.0.len() == shape.len()
            && self.0.iter().zip(shape).all(|(dim, have)| dim.is_none_or(|dim| dim == *have))
    }

    /// The one shape that it admits, if no dimension varies.
    pub fn fixed(&self) -> Option<Shape> {
        self.0.iter().copied().collect::<Option<_>>().map(Shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter())
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.to_i64().iter())
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, dims: impl Iterator<Item = T>) -> fmt::Result {
    f.write_str("[")?;
    for (index, dim) in dims.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(f, "{comma}{dim}")?;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_admit_what_they_leave_open() {
        let dims = Dims::new(&[-1, 3]).unwrap();
        assert!(dims.admit(&[7, 3]) && dims.admit(&[0, 3]));
        assert!(!dims.admit(&[7, 4]) && !dims.admit(&[3]));
        assert_eq!(dims.batched().to_string(), "[-1,-1,3]");
        assert_eq!(Dims::new(&[-2]), None);
        assert_eq!((dims.fixed(), Dims::default().fixed()), (None, Some(Shape::default())));
    }

    #[test]
    fn elements_do_not_overflow() {
        assert_eq!(Shape::new(vec![usize::MAX, 2]).elements(), None);
        assert_eq!(Shape::new(vec![usize::MAX, 2, 0]).elements(), Some(0));
        assert_eq!(Shape::default().elements(), Some(1));
    }
}
