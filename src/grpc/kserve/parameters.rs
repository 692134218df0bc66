//! What stands in a request's parameters: those that are defined, each of its type, and those for the model.

use std::collections::HashMap;
use std::time::Duration;

use super::refusal::Refusal;
use crate::engine::Asked;
use crate::frame::codec::{Chroma, DEFAULT_QUALITY};
use crate::frame::{Codec, Encoding};
use crate::proto::inference::InferParameter;
use crate::proto::inference::infer_parameter::ParameterChoice;

/// Parameters as they come.
pub type Parameters = HashMap<String, InferParameter>;

/// The parameters of a whole request.
#[derive(Debug, Default, PartialEq)]
pub struct Wishes {
    /// 0 for the model's own default.
    pub priority: u32,
    /// How long it may wait.
    pub timeout: Option<Duration>,
    /// Whether outputs are to come as plain bytes, where that is said.
    pub raw_outputs: Option<bool>,
    /// How the picture that comes back is to be encoded, where no output says.
    pub codec: Option<Encoding>,
}

/// Where in shared memory a tensor lies, or is to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Name of a region that was registered.
    pub region: String,
    /// Bytes from the region's begin.
    pub offset: u64,
    /// Bytes of the tensor, or room for it.
    pub bytes: u64,
}

/// Reads the parameters of a request.
///
/// Parameters that are defined nowhere are fine, of whatever value: clients send what they like along.
pub fn of_request(mut parameters: Parameters) -> Result<Wishes, Refusal> {
    let codec = encoding("the request", &mut parameters)?;
    let mut wishes = Wishes { codec, ..Wishes::default() };
    for (key, parameter) in parameters {
        match (key.as_str(), parameter.parameter_choice) {
            ("priority", value) => wishes.priority = priority(value)?,
            ("timeout", Some(ParameterChoice::Int64Param(us))) => wishes.timeout = timeout(us)?,
            ("timeout", _) => return Err(wrong_type(&key, "int64_param")),
            // It is about models that give any number of replies. Ours give one, and it is the final one.
            ("triton_enable_empty_final_response", Some(ParameterChoice::BoolParam(_))) => {}
            ("binary_data_output", Some(ParameterChoice::BoolParam(raw))) => wishes.raw_outputs = Some(raw),
            ("triton_enable_empty_final_response" | "binary_data_output", _) => {
                return Err(wrong_type(&key, "bool_param"));
            }
            // No model here keeps anything from request to request, so that it is all the same what they are part of.
            ("sequence_id", Some(ParameterChoice::Int64Param(_) | ParameterChoice::StringParam(_))) => {}
            ("sequence_id", _) => return Err(wrong_type(&key, "int64_param or string_param")),
            ("sequence_start" | "sequence_end", Some(ParameterChoice::BoolParam(_))) => {}
            ("sequence_start" | "sequence_end", _) => return Err(wrong_type(&key, "bool_param")),
            (reserved, _) if reserved.starts_with("triton_") => {
                return Err(Refusal::invalid(
                    "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys \
                     starting with 'triton_' are allowed: triton_enable_empty_final_response",
                ));
            }
            (_, Some(_)) => {}
            (_, None) => {
                return Err(wrong_type(
                    &key,
                    "int64_param, uint64_param, double_param, bool_param, or string_param",
                ));
            }
        }
    }
    Ok(wishes)
}

fn priority(value: Option<ParameterChoice>) -> Result<u32, Refusal> {
    match value {
        Some(ParameterChoice::Uint64Param(priority)) => Ok(u32::try_from(priority).unwrap_or(u32::MAX)),
        Some(ParameterChoice::Int64Param(priority)) => u64::try_from(priority)
            .map(|priority| u32::try_from(priority).unwrap_or(u32::MAX))
            .map_err(|_| Refusal::invalid("invalid value for 'priority', expected value >= 0.")),
        _ => Err(wrong_type("priority", "int64_param or uint64_param")),
    }
}

fn timeout(us: i64) -> Result<Option<Duration>, Refusal> {
    let us = u64::try_from(us)
        .map_err(|_| Refusal::invalid("invalid value for 'timeout', expected microseconds >= 0."))?;
    Ok((us > 0).then(|| Duration::from_micros(us)))
}

fn wrong_type(key: &str, expected: &str) -> Refusal {
    Refusal::invalid(format!("invalid value type for '{key}' parameter, expected {expected}."))
}

/// Reads what is asked of an output, and where it is to be put if not into the reply.
pub fn of_output(name: String, mut parameters: Parameters) -> Result<(Asked, Option<Window>), Refusal> {
    let window = window(&name, &mut parameters)?;
    let classification = match value(&mut parameters, "classification") {
        None => 0,
        Some(Some(ParameterChoice::Int64Param(classes))) => {
            let text = "invalid value for 'classification' parameter, expected > 0";
            usize::try_from(classes)
                .ok()
                .filter(|classes| *classes > 0)
                .ok_or_else(|| Refusal::invalid(text))?
        }
        Some(_) => {
            let text = "invalid value type for 'classification' parameter, expected int64_param";
            return Err(Refusal::invalid(text));
        }
    };
    if classification > 0 && window.is_some() {
        let text = "output can't set both 'shared_memory_region' and 'classification'";
        return Err(Refusal::invalid(text));
    }
    let codec = encoding(&format!("output '{name}'"), &mut parameters)?;
    Ok((Asked { name, classification, codec, place: None }, window))
}

fn encoding(of: &str, parameters: &mut Parameters) -> Result<Option<Encoding>, Refusal> {
    let quality = match value(parameters, "quality") {
        None => None,
        Some(Some(ParameterChoice::Int64Param(quality))) => {
            let valid = u8::try_from(quality).ok().filter(|quality| (1..=100).contains(quality));
            let text = || format!("'quality' of {of} is {quality}, expected 1 to 100");
            Some(valid.ok_or_else(|| Refusal::invalid(text()))?)
        }
        Some(_) => return Err(wrong_type("quality", "int64_param")),
    };
    let codec = match value(parameters, "codec") {
        None if quality.is_some() => {
            return Err(Refusal::invalid(format!("{of} has a 'quality' and no 'codec'")));
        }
        None => return Ok(None),
        Some(Some(ParameterChoice::StringParam(codec))) => match codec.as_str() {
            "jpeg" => Codec::Jpeg,
            "png" => Codec::Png,
            "webp" => Codec::Webp,
            other => {
                let text = format!("'codec' of {of} is '{other}', expected jpeg, png or webp");
                return Err(Refusal::invalid(text));
            }
        },
        Some(_) => return Err(wrong_type("codec", "string_param")),
    };
    Ok(Some(Encoding { codec, quality: quality.unwrap_or(DEFAULT_QUALITY), chroma: Chroma::default() }))
}

/// Reads where in shared memory a tensor lies; `None` for one that does not.
pub fn window(tensor: &str, parameters: &mut Parameters) -> Result<Option<Window>, Refusal> {
    let wrong = |key: &str, expected: &str| {
        let text =
            format!("invalid value type for '{key}' parameter for tensor '{tensor}', expected {expected}.");
        Refusal::invalid(text)
    };
    let region = match value(parameters, "shared_memory_region") {
        None => None,
        Some(Some(ParameterChoice::StringParam(region))) => Some(region),
        Some(_) => return Err(wrong("shared_memory_region", "string_param")),
    };
    let mut number = |key: &str| match (value(parameters, key), &region) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(Refusal::invalid(format!(
            "'{key}' can not be specified without 'shared_memory_region' parameter for tensor '{tensor}'"
        ))),
        (Some(Some(ParameterChoice::Int64Param(number))), Some(region)) => {
            let text = || format!("Invalid offset + byte size for shared memory region: '{region}'");
            u64::try_from(number).map(Some).map_err(|_| Refusal::invalid(text()))
        }
        (Some(_), Some(_)) => Err(wrong(key, "int64_param")),
    };
    let (offset, bytes) = (number("shared_memory_offset")?, number("shared_memory_byte_size")?);
    match (region, bytes) {
        (None, _) => Ok(None),
        (Some(region), Some(bytes)) => Ok(Some(Window { region, offset: offset.unwrap_or(0), bytes })),
        (Some(_), None) => Err(Refusal::invalid(format!(
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor \
             '{tensor}'"
        ))),
    }
}

/// `None`: the key is not there. `Some(None)`: it has no value, which is a value of the wrong type.
fn value(parameters: &mut Parameters, key: &str) -> Option<Option<ParameterChoice>> {
    parameters.remove(key).map(|parameter| parameter.parameter_choice)
}
