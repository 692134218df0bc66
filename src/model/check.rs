//! Holds a request against the signature of its model, before it may meet those of others in a batch.

use super::pictures::Pictures;
use super::signature::{Port, Signature};
use crate::error::{Error, RequestError};
use crate::tensor::{DataType, Kept, Shape};

/// An input as a client sends it.
#[derive(Debug, Clone)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// What it is, wherever its bytes lie.
    pub tensor: Kept,
}

/// What a request is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// Name of the model, for the errors.
    pub model: &'a str,
    /// What the model takes.
    pub signature: &'a Signature,
    /// Whether one of the inputs takes pictures.
    pub pictures: Option<&'a Pictures>,
}

/// A request whose inputs fit.
#[derive(Debug)]
pub struct Checked {
    /// They, in the order of the signature; `None` for an optional one that was left out.
    pub inputs: Vec<Option<Kept>>,
    /// Rows of the batch; 1 where there are no batches.
    pub rows: usize,
}

const BATCH_NOTE: &str = "NOTE: this model's max_batch_size is not zero, so the first dimension of each input is \
                          that of the batch.";

impl Check<'_> {
    /// Puts the inputs into the order of the signature, if they are what the model takes. Encoded pictures
    /// pass where the model takes pictures, and are still to be prepared.
    pub fn inputs(&self, given: Vec<Given>) -> Result<Checked, Error> {
        let Signature { inputs: ports, max_batch, .. } = self.signature;
        let mut inputs: Vec<Option<Kept>> = vec![None; ports.len()];
        let names: Vec<String> = given.iter().map(|given| given.name.clone()).collect();
        for Given { name, tensor } in given {
            let model = || self.model.to_owned();
            let Some(index) = self.signature.input(&name) else {
                return Err(RequestError::UnknownInput { input: name, model: model() }.into());
            };
            if inputs[index].replace(tensor).is_some() {
                return Err(RequestError::Duplicate { what: "input", name }.into());
            }
        }
        self.complete(&inputs, &names)?;
        let mut rows = None;
        for (index, (port, tensor)) in ports.iter().zip(&inputs).enumerate() {
            let Some(tensor) = tensor else { continue };
            let have = self.input(index, port, tensor)?;
            let others = *rows.get_or_insert(have);
            if *max_batch > 0 && have != others {
                let (input, model) = (port.name.clone(), self.model.into());
                return Err(RequestError::BatchMismatch { input, model, rows: have, others }.into());
            }
        }
        let rows = rows.unwrap_or(1);
        let model = || self.model.to_owned();
        match *max_batch {
            0 => {}
            _ if rows == 0 => return Err(RequestError::EmptyBatch { model: model() }.into()),
            max if rows > max => return Err(RequestError::BatchTooLarge { max, model: model() }.into()),
            _ => {}
        }
        Ok(Checked { inputs, rows: rows.max(1) })
    }

    /// Nothing that is needed is missing.
    fn complete(&self, inputs: &[Option<Kept>], given: &[String]) -> Result<(), RequestError> {
        let ports = &self.signature.inputs;
        let missing: Vec<_> =
            ports.iter().zip(inputs).filter(|(port, have)| have.is_none() && !port.optional).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(RequestError::MissingInputs {
            expected: ports.len(),
            got: given.len(),
            model: self.model.into(),
            given: quoted(given.iter().map(String::as_str)),
            missing: quoted(missing.iter().map(|(port, _)| port.name.as_str())),
        })
    }

    /// Type and shape are right; how many rows it has.
    fn input(&self, index: usize, port: &Port, tensor: &Kept) -> Result<usize, RequestError> {
        let pictures = self.pictures.filter(|pictures| pictures.input == index);
        if let Some(pictures) = pictures
            && port.datatype != DataType::Bytes
            && tensor.datatype() == DataType::Bytes
        {
            return self.pictures_given(pictures, port, tensor.shape());
        }
        if tensor.datatype() != port.datatype {
            return Err(RequestError::DataType {
                input: port.name.clone(),
                found: tensor.datatype().to_string(),
                model: self.model.into(),
                expected: port.datatype.to_string(),
            });
        }
        let expected = self.signature.client_dims(port);
        if !expected.admit(tensor.shape().dims()) {
            return Err(self.wrong_shape(port, expected.to_string(), tensor.shape()));
        }
        let first = tensor.shape().dims().first().copied();
        Ok(if self.signature.max_batch > 0 { first.unwrap_or(1) } else { 1 })
    }

    /// Encoded pictures are a list, or a column, of as many as make one tensor.
    fn pictures_given(&self, pictures: &Pictures, port: &Port, shape: &Shape) -> Result<usize, RequestError> {
        let count = match shape.dims() {
            [] => 1,
            [count] | [count, 1] => *count,
            _ => return Err(self.wrong_shape(port, "[-1] or [-1,1] of encoded pictures".into(), shape)),
        };
        if self.signature.max_batch > 0 {
            return Ok(count);
        }
        match pictures.count() {
            Some(expected) if expected != count => {
                let expected = format!("[{expected}], the number of encoded pictures");
                Err(self.wrong_shape(port, expected, shape))
            }
            None if count == 0 => {
                Err(self.wrong_shape(port, "[-1], at least one encoded picture".into(), shape))
            }
            // A dimension of the tensor counts them, and none of a batch.
            _ => Ok(1),
        }
    }

    fn wrong_shape(&self, port: &Port, expected: String, got: &Shape) -> RequestError {
        RequestError::Shape {
            input: port.name.clone(),
            model: self.model.into(),
            expected,
            got: got.to_string(),
            note: if self.signature.max_batch > 0 { BATCH_NOTE } else { "" },
        }
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",")
}
