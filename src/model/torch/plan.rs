//! How requests become the arguments of a graph, and its values the outputs of the requests.

use std::ffi::CString;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::kinds;
use super::module::{Input, Mode, Output, Values};
use super::names::{Graph, Inward, Outward};
use super::pixels::{self, Picture};
use crate::error::Error;
use crate::model::backend::{Inputs, Outputs, Pixels};
use crate::model::pictures::Pictures;
use crate::model::precision::Precision;
use crate::model::settings::{INSTANCE_THREADS, Settings};
use crate::model::signature::{Port, Signature};
use crate::tensor::{DataType, Shape, Tensor};

/// What was found out about a model when it was opened.
#[derive(Debug)]
pub struct Plan {
    pub settings: Arc<Settings>,
    /// Whether the graph may be optimised.
    pub optimized: bool,
    inward: Inward,
    outward: Outward,
    /// The inputs' names, as C has them, and libtorch's numbers of their types.
    inputs: Vec<(CString, i32)>,
    /// The output that is a picture.
    picture: Option<Picture>,
    threads: i32,
    inference: bool,
}

/// Threads of one operator.
const THREADS: RangeInclusive<i32> = 1..=1024;

impl Plan {
    pub fn new(settings: &Arc<Settings>, graph: &Graph) -> Result<Self, Error> {
        let signature = &settings.signature;
        let inputs = signature.inputs.iter().map(|port| {
            let name = CString::new(port.name.as_str());
            let name =
                name.map_err(|_| Error::Load(format!("a NUL in the name `{}`", port.name.escape_debug())))?;
            Ok((name, number(port)?))
        });
        let inputs = inputs.collect::<Result<_, Error>>()?;
        for output in &signature.outputs {
            number(output)?;
        }
        let outward = graph.outward(signature)?;
        Ok(Plan {
            settings: Arc::clone(settings),
            picture: picture(settings, &outward)?,
            optimized: !flag(settings, "DISABLE_OPTIMIZED_EXECUTION")?.unwrap_or(false),
            inward: graph.inward(signature)?,
            outward,
            inputs,
            threads: threads(settings)?,
            inference: flag(settings, "INFERENCE_MODE")?.unwrap_or(true),
        })
    }

    /// How to run the graph; the stream is the instance's.
    pub fn mode(&self) -> Mode {
        Mode {
            takes: self.inward.takes,
            threads: self.threads,
            stream: 0,
            inference: self.inference,
            optimized: self.optimized,
        }
    }

    /// The arguments of the graph for these requests together.
    pub fn inputs<'a>(&'a self, batch: &'a [Inputs], pixels: Pixels) -> Result<Vec<Input<'a>>, Error> {
        let pictures = self.settings.pictures.as_ref().filter(|_| pixels.input);
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for at in 0..self.inputs.len() {
            let tensors: Vec<&Tensor> =
                batch.iter().filter_map(|request| request.get(at)?.as_ref()).collect();
            if tensors.len() == batch.len() {
                let pictures = pictures.filter(|pictures| pictures.input == at);
                inputs.push(self.input(at, &tensors, pictures)?);
            } else if !tensors.is_empty() {
                let name = &self.signature().inputs[at].name;
                return Err(Error::Internal(format!("a batch in which not all requests have `{name}`")));
            }
        }
        Ok(inputs)
    }

    /// The output that is to come back as pixels.
    pub fn picture(&self, pixels: Pixels) -> Result<Option<&Picture>, Error> {
        match &self.picture {
            _ if !pixels.output => Ok(None),
            None => Err(Error::Internal("pixels are wanted of a model that gives no picture".into())),
            picture => Ok(picture.as_ref()),
        }
    }

    /// Each request's outputs, of which this one came back as pixels.
    pub fn outputs(
        &self,
        batch: &[Inputs],
        given: &[Output],
        picture: Option<&Picture>,
    ) -> Result<Vec<Outputs>, Error> {
        let rows = self.rows(batch)?;
        let mut outputs: Vec<Outputs> = batch.iter().map(|_| Outputs::new()).collect();
        for (at, port) in self.signature().outputs.iter().enumerate() {
            let output = self.find(at, port, given)?;
            let values = self.checked(port, output, rows.as_deref())?;
            let tensor = match picture.filter(|picture| picture.output.output == at) {
                Some(picture) => as_pixels(picture, values)?,
                None => self.as_tensor(port, values)?,
            };
            let parts = match &rows {
                Some(rows) => tensor.split(rows)?,
                None => vec![tensor],
            };
            outputs.iter_mut().zip(parts).for_each(|(outputs, part)| outputs.push(part));
        }
        Ok(outputs)
    }

    fn signature(&self) -> &Signature {
        &self.settings.signature
    }

    /// Rows of each request; `None` for a model without batches.
    fn rows(&self, batch: &[Inputs]) -> Result<Option<Vec<usize>>, Error> {
        if self.signature().max_batch == 0 {
            let reason = || format!("{} requests for a model that takes them one by one", batch.len());
            return if batch.len() == 1 { Ok(None) } else { Err(Error::Internal(reason())) };
        }
        let rows = |request: &Inputs| request.iter().flatten().next()?.shape().dims().first().copied();
        let rows: Option<Vec<usize>> = batch.iter().map(rows).collect();
        rows.map(Some).ok_or_else(|| Error::Internal("a request without rows".into()))
    }

    /// `pictures` are given where the tensors are pixels.
    fn input<'a>(
        &'a self,
        at: usize,
        tensors: &[&'a Tensor],
        pictures: Option<&Pictures>,
    ) -> Result<Input<'a>, Error> {
        let parts = tensors.iter().map(|tensor| tensor.bytes().map(|bytes| bytes.as_ref()));
        let parts: Option<Vec<&[u8]>> = parts.collect();
        let (Some(parts), Some(first)) = (parts, tensors.first()) else {
            return Err(Error::Internal("a tensor of byte strings for a model of numbers".into()));
        };
        let port = &self.signature().inputs[at];
        let mut dims = first.shape().dims().to_vec();
        if let Some(rows) = dims.first_mut().filter(|_| self.signature().max_batch > 0) {
            *rows = tensors.iter().filter_map(|tensor| tensor.shape().dims().first()).sum();
        }
        let mut shape = Shape::new(dims);
        let mut conversion = None;
        if let Some(pictures) = pictures {
            let dims = numbers(&shape)?.try_into();
            let dims = dims.map_err(|_| Error::Internal(format!("pixels of shape {shape}")))?;
            conversion = Some(pixels::conversion(pictures, port.datatype, dims));
            shape = pictures.shape_of_pixels(&shape)?;
        }
        let dims = numbers(&self.signature().inner_shape(port, &shape))?;
        let (name, kind) = &self.inputs[at];
        let argument = self.inward.arguments[at];
        Ok(Input { argument, name, kind: *kind, dims, parts, pixels: conversion })
    }

    /// The value that is this output.
    fn find<'a>(&self, at: usize, port: &Port, given: &'a [Output]) -> Result<&'a Output, Error> {
        let wrong = |reason: String| Error::Model(format!("{reason}; it gave {}", list(given)));
        let named = given.iter().any(|output| output.name.is_some());
        let place = match &self.outward {
            Outward::Places(places) => places[at],
            Outward::Given if !named => {
                let count = self.signature().outputs.len();
                if given.len() != count {
                    return Err(wrong(format!("the model should have given {count} tensors")));
                }
                at
            }
            Outward::Names | Outward::Given => {
                let mut found = given.iter().filter(|output| output.name.as_ref() == Some(&port.name));
                return match (found.next(), found.next()) {
                    (Some(output), None) => Ok(output),
                    (Some(_), Some(_)) => {
                        Err(wrong(format!("the model gave `{}` more than once", port.name)))
                    }
                    (None, _) => Err(wrong(format!("the model did not give `{}`", port.name))),
                };
            }
        };
        let missing = || wrong(format!("the model did not give `{}`, which is number {place}", port.name));
        given.get(place).ok_or_else(missing)
    }

    /// What an output holds, if it is what the configuration says.
    fn checked<'a>(
        &self,
        port: &Port,
        output: &'a Output,
        rows: Option<&[usize]>,
    ) -> Result<&'a Values, Error> {
        let wrong = |should: String, given: String| {
            let name = &port.name;
            Error::Model(format!("output `{name}` should {should}, and the model gave {given}"))
        };
        let datatype = output.tensor.as_ref().map(|values| kinds::datatype(values.kind));
        let Some(values @ Values { dims, .. }) = &output.tensor else {
            return Err(wrong("be a tensor".into(), output.type_name.clone()));
        };
        if datatype.flatten() != Some(port.datatype) {
            let given = datatype.flatten().map_or(output.type_name.clone(), |given| given.name().into());
            return Err(wrong(format!("be of type {} by the configuration", port.datatype), given));
        }
        let shape = Shape::new(dims.clone());
        let inner = port.reshape.as_ref().unwrap_or(&port.dims);
        let inner = if rows.is_some() { inner.batched() } else { inner.clone() };
        if !inner.admit(dims) {
            return Err(wrong(format!("have the shape {inner} by the configuration"), shape.to_string()));
        }
        let total = rows.map(|rows| rows.iter().sum());
        if total.is_some_and(|total: usize| dims.first() != Some(&total)) {
            let should = format!("have a row for each of the batch's {}", total.unwrap_or(0));
            return Err(wrong(should, format!("the shape {shape}")));
        }
        Ok(values)
    }

    fn as_tensor(&self, port: &Port, values: &Values) -> Result<Tensor, Error> {
        let shape = Shape::new(values.dims.clone());
        let outer = self.signature().outer_shape(port, &shape);
        Tensor::raw(port.datatype, shape, values.bytes.clone())?.reshape(outer)
    }
}

fn as_pixels(picture: &Picture, values: &Values) -> Result<Tensor, Error> {
    let given = Shape::new(values.dims.clone());
    if !values.are_pixels {
        return Err(pixels::no_picture(&given));
    }
    Tensor::raw(DataType::Uint8, picture.shape(&given)?, values.bytes.clone())
}

/// How the output that is a picture is found.
fn picture(settings: &Settings, outward: &Outward) -> Result<Option<Picture>, Error> {
    let Some(output) = settings.pictures.as_ref().and_then(Pictures::picture_output) else { return Ok(None) };
    let name = CString::new(settings.signature.outputs[output.output].name.as_str());
    let name = name.map_err(|_| Error::Load("a NUL in the name of an output".into()))?;
    let (place, name) = match outward {
        Outward::Places(places) => (places[output.output], None),
        Outward::Names | Outward::Given => (output.output, Some(name)),
    };
    Ok(Some(Picture { output: output.clone(), place, name }))
}

/// Dimensions as libtorch counts them.
fn numbers(shape: &Shape) -> Result<Vec<i64>, Error> {
    let numbers = shape.dims().iter().map(|dim| i64::try_from(*dim));
    numbers.collect::<Result<_, _>>().map_err(|error| Error::Internal(error.to_string()))
}

/// What was given, for an error.
fn list(given: &[Output]) -> String {
    if given.is_empty() {
        return "nothing".into();
    }
    let one = |output: &Output| match (&output.name, &output.tensor) {
        (Some(name), _) => format!("`{name}`"),
        (None, Some(values)) => format!("{} {}", output.type_name, Shape::new(values.dims.clone())),
        (None, None) => output.type_name.clone(),
    };
    given.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// libtorch's number of a port's type.
fn number(port: &Port) -> Result<i32, Error> {
    let reason = || {
        format!("`{}` is of type {}, which no TorchScript program takes or gives", port.name, port.datatype)
    };
    kinds::kind(port.datatype).ok_or_else(|| Error::Load(reason()))
}

/// What the model computes with: what it says itself, else `usual`, unless it takes or gives such numbers already. TF32 is
/// for a whole server.
pub fn precision(settings: &Settings, usual: Precision) -> Result<Precision, Error> {
    let full = if usual == Precision::Tf32 { usual } else { Precision::Fp32 };
    if let Some(value) = settings.parameters.get("PRECISION") {
        let wrong = || Error::Load(format!("the parameter PRECISION is `{value}`, not fp32, fp16 or bf16"));
        return match value.parse() {
            Ok(Precision::Fp32) => Ok(full),
            Ok(Precision::Tf32) | Err(_) => Err(wrong()),
            Ok(narrow) => Ok(narrow),
        };
    }
    let Signature { inputs, outputs, .. } = &settings.signature;
    let own = |port: &Port| matches!(port.datatype, DataType::Fp16 | DataType::Bf16 | DataType::Fp64);
    Ok(if inputs.iter().chain(outputs).any(own) { full } else { usual })
}

fn threads(settings: &Settings) -> Result<i32, Error> {
    let key = "INTRA_OP_THREAD_COUNT";
    let Some(value) = settings.parameters.get(key) else { return Ok(INSTANCE_THREADS as i32) };
    let count = value.parse().ok().filter(|count| THREADS.contains(count));
    let range = || {
        format!(
            "the parameter {key} is `{value}`, not a number from {} to {}",
            THREADS.start(),
            THREADS.end()
        )
    };
    count.ok_or_else(|| Error::Load(range()))
}

fn flag(settings: &Settings, key: &str) -> Result<Option<bool>, Error> {
    match settings.parameters.get(key).map(|value| (value, value.parse())) {
        None => Ok(None),
        Some((_, Ok(value))) => Ok(Some(value)),
        Some((value, Err(_))) => {
            Err(Error::Load(format!("the parameter {key} is `{value}`, neither true nor false")))
        }
    }
}
