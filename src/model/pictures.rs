//! What a model needs to take pictures, and what its outputs mean.

/// Read from the `frameserve.` parameters of a model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// Which input takes them.
    pub input: usize,
}
