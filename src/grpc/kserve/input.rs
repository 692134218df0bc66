//! The inputs of a request, from what came on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::raw::{self, Of};
use super::refusal::Refusal;
use super::typed;
use crate::model::Signature;
use crate::model::check::Given;
use crate::proto::inference::ModelInferRequest;
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::tensor::{DataType, Elsewhere, Kept, Place, Shape};

/// Those inputs that came in shared memory, by their place among the inputs.
pub type Shared = BTreeMap<usize, Source>;

/// What an input's elements are taken from.
#[derive(Debug)]
pub enum Source {
    /// Bytes that are here.
    Bytes(Bytes),
    /// So many bytes of numbers that stay where they are, until the model runs.
    Place(u64, Arc<dyn Place>),
}

/// Dimensions of a tensor; the libraries that compute with them take no more either.
const MOST_DIMS: usize = 64;

/// Takes the inputs out of a request. Plain bytes are not copied. What its model makes of names, types and
/// shapes is the engine's to check.
pub fn read(
    request: &mut ModelInferRequest,
    signature: &Signature,
    mut shared: Shared,
) -> Result<Vec<Given>, Refusal> {
    let model = request.model_name.as_str();
    let inputs = std::mem::take(&mut request.inputs);
    let raw = std::mem::take(&mut request.raw_input_contents);
    let (count, in_messages) = (raw.len(), inputs.len() - shared.len().min(inputs.len()));
    let is_raw = !raw.is_empty();
    let mut raw = raw.into_iter();
    let mut given = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate() {
        let InferInputTensor { name, datatype, shape, contents, .. } = input;
        let of = Of { input: &name, model };
        let source = match (shared.remove(&index), contents.is_some()) {
            (Some(_), true) => {
                return Err(Refusal::invalid(format!(
                    "unexpected 'content' provided when using shared memory for input tensor '{name}' for model \
                     '{model}'"
                )));
            }
            (None, true) if is_raw => {
                return Err(Refusal::invalid(format!(
                    "contents field must not be specified when using raw_input_contents for '{name}' for model \
                     '{model}'"
                )));
            }
            (None, false) => {
                let missing = || {
                    let text = format!(
                        "unable to find data for input tensor '{name}' for model '{model}' in request."
                    );
                    Refusal::invalid(text)
                };
                Some(Source::Bytes(raw.next().ok_or_else(missing)?))
            }
            (source, _) => source,
        };
        let datatype = self::datatype(of, &datatype, signature)?;
        let shape = self::shape(of, &shape)?;
        let tensor = match source {
            Some(Source::Bytes(bytes)) => Kept::Here(raw::tensor(of, datatype, shape, bytes)?),
            Some(Source::Place(bytes, place)) => {
                raw::check_size(of, datatype, &shape, bytes)?;
                Kept::Elsewhere(Elsewhere::new(datatype, shape, place))
            }
            None => Kept::Here(typed::tensor(of, datatype, shape, contents.unwrap_or_default())?),
        };
        given.push(Given { name, tensor });
    }
    if raw.next().is_some() {
        return Err(Refusal::invalid(format!(
            "the number of inputs ({in_messages}) does not match the expected number of raw input contents ({count}) \
             for model '{model}'."
        )));
    }
    Ok(given)
}

fn datatype(of: Of<'_>, name: &str, signature: &Signature) -> Result<DataType, Refusal> {
    let Of { input, model } = of;
    DataType::from_name(name).ok_or_else(|| {
        Refusal::Request(match signature.input(input) {
            Some(index) => {
                let expected = signature.inputs[index].datatype;
                format!("inference input '{input}' data-type is '{name}', but model '{model}' expects '{expected}'")
            }
            None => format!("unexpected inference input '{input}' for model '{model}'"),
        })
    })
}

fn shape(of: Of<'_>, dims: &[i64]) -> Result<Shape, Refusal> {
    if dims.len() > MOST_DIMS {
        let text = format!("{of} has {} dimensions, and the limit is {MOST_DIMS}", dims.len());
        return Err(Refusal::Request(text));
    }
    let open = |_| {
        let dims: Vec<_> = dims.iter().map(i64::to_string).collect();
        let dims = dims.join(",");
        Refusal::Request(format!("All input dimensions should be specified for {of}, got [{dims}]"))
    };
    dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().map(Shape::new).map_err(open)
}
