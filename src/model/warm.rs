//! What stands in for a warm-up's request where clients send the same in another form.

use super::backend::{Inputs, Pixels};
use super::settings::Settings;
use crate::error::Error;
use crate::tensor::Tensor;

/// Runs of a batch of each size: the first looks at what comes, the second compiles for it, the third runs that.
pub const RUNS: usize = 3;

/// Batches up to this one are of every size, and larger ones of some.
const EVERY: usize = 16;

/// The request with pixels in place of the input that takes pictures, where requests come so.
pub fn pixels(settings: &Settings, inputs: &Inputs, pixels: Pixels) -> Result<Option<Inputs>, Error> {
    let Some(pictures) = settings.pictures.as_ref().filter(|_| pixels.input) else { return Ok(None) };
    let Some(Some(tensor)) = inputs.get(pictures.input) else { return Ok(None) };
    let mut inputs = inputs.clone();
    inputs[pictures.input] = Some(pictures.blank_pixels(tensor.shape())?);
    Ok(Some(inputs))
}

/// The first row of a request, where the model has batches.
pub fn row(settings: &Settings, inputs: &Inputs) -> Result<Option<Inputs>, Error> {
    if settings.signature.max_batch == 0 {
        return Ok(None);
    }
    let first = |tensor: &Tensor| {
        let rows = tensor.shape().dims().first().copied().unwrap_or(0);
        let mut parts = tensor.clone().split(&vec![1; rows])?.into_iter();
        parts.next().ok_or_else(|| Error::Load("it has no row".into()))
    };
    inputs.iter().map(|input| input.as_ref().map(first).transpose()).collect::<Result<_, _>>().map(Some)
}

/// The sizes of batches to run: all of them, if they are not many.
pub fn sizes(most: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(EVERY), |size| size.checked_mul(2)).skip(1);
    let some = powers.take_while(move |size| *size < most).chain((most > EVERY).then_some(most));
    (1..=most.min(EVERY)).chain(some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_of_every_size_up_to_some() {
        let sizes = |most: usize| sizes(most).collect::<Vec<_>>();
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(8), (1..=8).collect::<Vec<_>>());
        assert_eq!(sizes(16), (1..=16).collect::<Vec<_>>());
        assert_eq!(sizes(17)[14..], [15, 16, 17]);
        assert_eq!(sizes(64)[15..], [16, 32, 64]);
        assert_eq!(sizes(100)[15..], [16, 32, 64, 100]);
    }
}
