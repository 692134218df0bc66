//! Inputs and outputs of a configuration, to a model's signature.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::text::read_file;
use super::{inside, quoted, refused};
use crate::error::Error;
use crate::model::signature::{Port, Signature};
use crate::proto::inference::model_input::Format;
use crate::proto::inference::{DataType as Type, ModelConfig, ModelTensorReshape};
use crate::tensor::{DataType, Dims, Shape};

/// Bytes of the longest file of labels that is read.
const MAX_LABELS: u64 = 16 << 20;

/// What a model takes and gives, by its configuration.
pub fn signature(config: &ModelConfig, folder: &Path) -> Result<Signature, Error> {
    let max_batch = usize::try_from(config.max_batch_size)
        .map_err(|_| refused("max_batch_size", config.max_batch_size, "it must be 0 or more"))?;
    let inputs = config.input.iter().map(|input| {
        let given = Given { kind: "input", name: &input.name, data_type: input.data_type, dims: &input.dims };
        format_fits(&given, input.format)?;
        Ok(Port { optional: input.optional, ..given.port(input.reshape.as_ref())? })
    });
    let outputs = config.output.iter().map(|output| {
        let given =
            Given { kind: "output", name: &output.name, data_type: output.data_type, dims: &output.dims };
        let port = given.port(output.reshape.as_ref())?;
        let labels = match output.label_filename.as_str() {
            "" => None,
            file => Some(labels(folder, "label_filename", file)?),
        };
        Ok(Port { labels, ..port })
    });
    let signature = Signature {
        max_batch,
        inputs: inputs.collect::<Result<_, Error>>()?,
        outputs: outputs.collect::<Result<_, Error>>()?,
    };
    all_differ("input", &signature.inputs)?;
    all_differ("output", &signature.outputs)?;
    Ok(signature)
}

/// The names of classes, one a line, from a file in the model's folder, which `field` names.
pub fn labels(folder: &Path, field: &str, file: &str) -> Result<Arc<[String]>, Error> {
    let wrong = |error: Error| refused(field, quoted(file), error);
    let text = read_file(&folder.join(inside(field, file)?), MAX_LABELS).map_err(wrong)?;
    let text =
        text.ok_or_else(|| refused(field, quoted(file), "there is no such file in the model's folder"))?;
    Ok(text.lines().map(|line| line.trim_end().into()).collect())
}

/// The type that a number of a configuration stands for.
pub fn datatype(number: i32) -> Option<DataType> {
    Some(match Type::try_from(number).ok()? {
        Type::TypeInvalid => return None,
        Type::TypeBool => DataType::Bool,
        Type::TypeUint8 => DataType::Uint8,
        Type::TypeUint16 => DataType::Uint16,
        Type::TypeUint32 => DataType::Uint32,
        Type::TypeUint64 => DataType::Uint64,
        Type::TypeInt8 => DataType::Int8,
        Type::TypeInt16 => DataType::Int16,
        Type::TypeInt32 => DataType::Int32,
        Type::TypeInt64 => DataType::Int64,
        Type::TypeFp16 => DataType::Fp16,
        Type::TypeFp32 => DataType::Fp32,
        Type::TypeFp64 => DataType::Fp64,
        Type::TypeString => DataType::Bytes,
        Type::TypeBf16 => DataType::Bf16,
    })
}

/// What inputs and outputs have in common.
struct Given<'a> {
    kind: &'static str,
    name: &'a str,
    data_type: i32,
    dims: &'a [i64],
}

impl Given<'_> {
    /// How an error calls one of its fields.
    fn field(&self, field: &str) -> String {
        format!("{} `{}`: {field}", self.kind, self.name)
    }

    fn port(&self, reshape: Option<&ModelTensorReshape>) -> Result<Port, Error> {
        if self.name.is_empty() {
            return Err(Error::Load(format!("an {} has no name", self.kind)));
        }
        let datatype = datatype(self.data_type).ok_or_else(|| {
            let name = Type::try_from(self.data_type)
                .map_or(self.data_type.to_string(), |it| it.as_str_name().into());
            refused(&self.field("data_type"), name, "it must be one of TYPE_BOOL to TYPE_BF16")
        })?;
        if self.dims.is_empty() {
            let rule = "there must be at least one; for a single value it is [1], with an empty reshape";
            return Err(refused(&self.field("dims"), "[]", rule));
        }
        let dims = self.checked("dims", self.dims)?;
        let reshape = reshape.map(|reshape| self.reshaped(&reshape.shape)).transpose()?;
        Ok(Port { name: self.name.into(), datatype, dims, reshape, optional: false, labels: None })
    }

    fn checked(&self, field: &str, dims: &[i64]) -> Result<Dims, Error> {
        let shown = || format!("{dims:?}");
        if dims.iter().any(|dim| *dim < 1 && *dim != -1) {
            let rule = "each must be 1 or more, or -1 for one that varies";
            return Err(refused(&self.field(field), shown(), rule));
        }
        let known =
            dims.iter().filter(|dim| **dim > 0).map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX));
        // Sixteen bytes for each element leave room for the largest type there is.
        let countable = Shape::new(known.collect()).elements().is_some_and(|count| count <= usize::MAX >> 4);
        let dims = Dims::new(dims).filter(|_| countable);
        dims.ok_or_else(|| refused(&self.field(field), shown(), "it has more elements than can be counted"))
    }

    /// The dims that the model takes in place of the client's: between those that vary, as many elements.
    fn reshaped(&self, shape: &[i64]) -> Result<Dims, Error> {
        let dims = self.checked("reshape", shape)?;
        let counts = |dims: &[i64]| -> Vec<i64> {
            dims.split(|dim| *dim == -1).map(|part| part.iter().product()).collect()
        };
        if counts(self.dims) != counts(shape) {
            let rule = format!("it must have as many elements as dims {:?}", self.dims);
            return Err(refused(&self.field("reshape"), format!("{shape:?}"), rule));
        }
        Ok(dims)
    }
}

/// A format that names the dimensions of a picture needs three of them.
fn format_fits(given: &Given, format: i32) -> Result<(), Error> {
    let field = given.field("format");
    let known = Format::try_from(format).map_err(|_| refused(&field, format, "it is unknown"))?;
    if known == Format::None || given.dims.len() == 3 {
        return Ok(());
    }
    Err(refused(&field, known.as_str_name(), format!("it needs 3 dims, and they are {:?}", given.dims)))
}

fn all_differ(kind: &str, ports: &[Port]) -> Result<(), Error> {
    if ports.is_empty() {
        return Err(Error::Load(format!("there is no {kind}, and a model has at least one")));
    }
    let mut names = BTreeSet::new();
    match ports.iter().find(|port| !names.insert(&port.name)) {
        Some(port) => Err(refused(kind, quoted(&port.name), "there are two of this name")),
        None => Ok(()),
    }
}
