//! The items of an instance: what a method takes, and nothing else.

use super::fault::{Fault, Of};
use super::tensor;
use crate::proto::mindspore::Instance;
use crate::tensor::Tensor;

/// What a method takes, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    pub optional: bool,
}

/// The items that the inputs name, in their order; `None` for one that may be missing, and is. Others are left out.
pub fn read(of: Of<'_>, inputs: &[Input], mut instance: Instance) -> Result<Vec<Option<Tensor>>, Fault> {
    if let Some(output) = instance.output_buffers.keys().next() {
        return Err(Fault::invalid(format!(
            "The output shared memory of output {output} is not supported: outputs come in the reply"
        )));
    }
    let read = |Input { name, optional }: &Input| match instance.items.remove(name) {
        Some(item) => tensor::read(item).map(Some).map_err(|fault| fault.of_input(name)),
        None if *optional => Ok(None),
        None => Err(of.no_input(name)),
    };
    inputs.iter().map(read).collect()
}
