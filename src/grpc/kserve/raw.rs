//! Tensors as plain bytes: row by row, little-endian, strings behind their lengths.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::refusal::Refusal;
use crate::error::Error;
use crate::tensor::{Data, DataType, Shape, Tensor};

/// Bytes before each string that say how long it is.
const LENGTH: usize = size_of::<u32>();

/// Which input something is about, as errors name it.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The input's name.
    pub input: &'a str,
    /// The model's name.
    pub model: &'a str,
}

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input '{}' for model '{}'", self.input, self.model)
    }
}

/// Bytes as a tensor, which shares them.
pub fn tensor(of: Of<'_>, datatype: DataType, shape: Shape, bytes: Bytes) -> Result<Tensor, Refusal> {
    if datatype == DataType::Bytes {
        return strings(of, shape, bytes);
    }
    check_size(of, datatype, &shape, bytes.len() as u64)?;
    if datatype == DataType::Bool {
        check_bool(of, &bytes)?;
    }
    Ok(Tensor::raw(datatype, shape, bytes)?)
}

/// Numbers have as many bytes as their shape takes.
pub fn check_size(of: Of<'_>, datatype: DataType, shape: &Shape, found: u64) -> Result<(), Refusal> {
    let bytes = datatype.size().and_then(|size| shape.elements()?.checked_mul(size));
    if bytes.is_some_and(|bytes| bytes as u64 == found) {
        return Ok(());
    }
    let expected = bytes.map_or_else(|| format!("those of shape {shape}"), |bytes| bytes.to_string());
    Err(Refusal::Request(format!("input byte size mismatch for {of}. Expected {expected}, got {found}")))
}

/// A BOOL that is neither is not defined anywhere, least of all in what a model was compiled to.
fn check_bool(of: Of<'_>, bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.iter().position(|byte| *byte > 1) {
        None => Ok(()),
        Some(at) => {
            let byte = bytes[at];
            let text = format!("element {at} of {of} is {byte}, and a BOOL is 0 or 1");
            Err(Refusal::Request(text))
        }
    }
}

fn strings(of: Of<'_>, shape: Shape, mut bytes: Bytes) -> Result<Tensor, Refusal> {
    let expected = elements(of, &shape)?;
    // Each takes its length at least, so that a shape alone can't ask for memory.
    let mut strings = Vec::with_capacity(expected.min(bytes.len() / LENGTH));
    while !bytes.is_empty() {
        if bytes.len() < LENGTH {
            let found = bytes.len();
            return Err(Refusal::Request(format!(
                "incomplete string length indicator for inference {of}, expecting {LENGTH} bytes but only {found} \
                 bytes available. Please make sure the string length indicator is in one buffer."
            )));
        }
        let length = bytes.get_u32_le() as usize;
        if strings.len() == expected {
            let found = expected + 1;
            return Err(Refusal::Request(format!(
                "unexpected number of string elements {found} for inference {of}, expecting {expected}"
            )));
        }
        if bytes.len() < length {
            let found = bytes.len();
            return Err(Refusal::Request(format!(
                "incomplete string data for inference {of}, expecting string of length {length} but only {found} \
                 bytes available"
            )));
        }
        strings.push(bytes.split_to(length));
    }
    tensor_of_strings(of, shape, strings)
}

/// Strings as a tensor.
pub fn tensor_of_strings(of: Of<'_>, shape: Shape, strings: Vec<Bytes>) -> Result<Tensor, Refusal> {
    let (expected, found) = (elements(of, &shape)?, strings.len());
    if found != expected {
        let text = format!("expected {expected} string elements for inference {of}, got {found}");
        return Err(Refusal::Request(text));
    }
    Ok(Tensor::elements(shape, strings)?)
}

fn elements(of: Of<'_>, shape: &Shape) -> Result<usize, Refusal> {
    let many =
        || Refusal::Request(format!("{of} has shape {shape}, which has more elements than can be counted"));
    shape.elements().ok_or_else(many)
}

/// A tensor as bytes: its own where it has numbers.
pub fn bytes(tensor: Tensor) -> Result<Bytes, Error> {
    let strings = match tensor.into_data() {
        Data::Raw(bytes) => return Ok(bytes),
        Data::Elements(strings) => strings,
    };
    let size = strings.iter().map(|string| LENGTH + string.len()).sum();
    let mut bytes = BytesMut::with_capacity(size);
    for string in strings {
        let length = string.len();
        let long = |_| {
            Error::Unsupported(format!("a string of {length} bytes is longer than this protocol can say"))
        };
        bytes.put_u32_le(u32::try_from(length).map_err(long)?);
        bytes.put(string);
    }
    Ok(bytes.freeze())
}
