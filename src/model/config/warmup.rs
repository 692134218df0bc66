//! What a model runs before it counts as ready, by its configuration.

use std::cell::Cell;
use std::path::Path;

use bytes::Bytes;

use super::ports::datatype;
use super::{inside, quoted, refused};
use crate::error::Error;
use crate::model::settings::Warmup;
use crate::model::signature::{Port, Signature};
use crate::proto::inference::model_warmup::Input;
use crate::proto::inference::model_warmup::input::InputDataType;
use crate::proto::inference::{ModelConfig, ModelWarmup};
use crate::tensor::{DataType, Dims, Shape, Tensor};

/// Folder of the files that warm-up requests are read from.
const FOLDER: &str = "warmup";

/// Bytes of all the inputs of a model's requests, which stay in memory for the next time it is loaded.
const MAX_BYTES: usize = 1 << 30;

/// How often a model's requests are run, all together: loading waits for them.
const MAX_RUNS: usize = 10_000;

/// Requests with the shapes that clients send. Without `model_warmup` it is one request of zeros, or none where a
/// dimension varies, since nobody knows then what the model takes.
pub fn requests(config: &ModelConfig, signature: &Signature, folder: &Path) -> Result<Vec<Warmup>, Error> {
    if config.model_warmup.is_empty() {
        return zeros(signature);
    }
    let left = Cell::new(MAX_BYTES);
    let mut runs = 0_usize;
    let mut request = |given: &ModelWarmup| {
        let rows = Rows { signature, count: row_count(given, signature)?, left: &left };
        let warmup = request(given, &rows, &folder.join(FOLDER))?;
        runs = runs.saturating_add(warmup.count);
        if runs > MAX_RUNS {
            let rule = format!("all requests together may be run {MAX_RUNS} times");
            return Err(refused("count", warmup.count, rule));
        }
        Ok(warmup)
    };
    let requests = config.model_warmup.iter().enumerate().map(|(index, given)| {
        let named = match given.name.as_str() {
            "" => format!("model_warmup[{index}]"),
            name => format!("model_warmup `{name}`"),
        };
        let request = request(given).map_err(|error| Error::Load(format!("{named}: {error}")))?;
        Ok(Warmup { name: named, ..request })
    });
    requests.collect()
}

fn zeros(signature: &Signature) -> Result<Vec<Warmup>, Error> {
    let needed = signature.inputs.iter().filter(|port| !port.optional);
    let mut bytes = needed.map(|port| bytes(port, &port.dims.fixed()?));
    let all = bytes.try_fold(0_usize, |all, bytes| all.checked_add(bytes?));
    if all.is_none_or(|all| all > MAX_BYTES) {
        return Ok(Vec::new());
    }
    let rows = Rows { signature, count: 1, left: &Cell::new(MAX_BYTES) };
    let inputs = signature.inputs.iter().map(|port| {
        let row = (!port.optional).then(|| port.dims.fixed()).flatten();
        row.map(|row| rows.tensor(port, &row, Fill::Zero)).transpose()
    });
    Ok(vec![Warmup { name: "zeros".into(), count: 1, inputs: inputs.collect::<Result<_, _>>()? }])
}

fn request(given: &ModelWarmup, rows: &Rows, folder: &Path) -> Result<Warmup, Error> {
    let mut unknown: Vec<_> =
        given.inputs.keys().filter(|name| rows.signature.input(name).is_none()).collect();
    unknown.sort();
    if let Some(name) = unknown.first() {
        return Err(refused("inputs", quoted(name), "the model has no such input"));
    }
    let inputs = rows.signature.inputs.iter().map(|port| match given.inputs.get(&port.name) {
        Some(input) => self::input(input, port, rows, folder)
            .map(Some)
            .map_err(|error| Error::Load(format!("input `{}`: {error}", port.name))),
        None if port.optional => Ok(None),
        None => Err(refused("inputs", quoted(&port.name), "this input is missing, and it is not optional")),
    });
    let inputs = inputs.collect::<Result<_, _>>()?;
    let count = usize::try_from(given.count.max(1)).unwrap_or(usize::MAX);
    Ok(Warmup { name: String::new(), count, inputs })
}

fn input(given: &Input, port: &Port, rows: &Rows, folder: &Path) -> Result<Tensor, Error> {
    if datatype(given.data_type) != Some(port.datatype) {
        let found = datatype(given.data_type).map_or("TYPE_INVALID", DataType::name);
        return Err(refused("data_type", found, format!("the model takes {}", port.datatype)));
    }
    let row = Dims::new(&given.dims).and_then(|dims| dims.fixed()).filter(|row| port.dims.admit(row.dims()));
    let row = row.ok_or_else(|| {
        let rule = format!("it must be one shape of the input's dims, which are {}", port.dims);
        refused("dims", format!("{:?}", given.dims), rule)
    })?;
    match &given.input_data_type {
        Some(InputDataType::ZeroData(true)) => rows.tensor(port, &row, Fill::Zero),
        Some(InputDataType::RandomData(true)) => rows.tensor(port, &row, Fill::Random),
        Some(InputDataType::InputDataFile(file)) => {
            let path = folder.join(inside("input_data_file", file)?);
            rows.tensor(port, &row, Fill::File(&path))
                .map_err(|error| refused("input_data_file", quoted(file), error))
        }
        _ => Err(Error::Load("it needs one of zero_data, random_data and input_data_file".into())),
    }
}

/// Rows of a request; one if it does not say.
fn row_count(given: &ModelWarmup, signature: &Signature) -> Result<usize, Error> {
    let most = signature.max_batch.max(1);
    match usize::try_from(given.batch_size.max(1)) {
        Ok(count) if count <= most => Ok(count),
        _ => Err(refused("batch_size", given.batch_size, format!("it may be up to {most}"))),
    }
}

/// Bytes that a tensor of this shape keeps, if they can be counted.
fn bytes(port: &Port, shape: &Shape) -> Option<usize> {
    shape.elements()?.checked_mul(port.datatype.size().unwrap_or(size_of::<Bytes>()))
}

/// How many rows a request has, and of what.
struct Rows<'a> {
    signature: &'a Signature,
    count: usize,
    /// Bytes that may still be made up.
    left: &'a Cell<usize>,
}

/// What the elements of a tensor are.
#[derive(Clone, Copy)]
enum Fill<'a> {
    Zero,
    Random,
    File(&'a Path),
}

impl Rows<'_> {
    /// Behind the dimension of the batch, if there is one.
    fn batch(&self, row: &Shape) -> Shape {
        let batch = (self.signature.max_batch > 0).then_some(self.count);
        Shape::new(batch.into_iter().chain(row.dims().iter().copied()).collect())
    }

    /// A tensor of which each row is the same.
    fn tensor(&self, port: &Port, row: &Shape, fill: Fill) -> Result<Tensor, Error> {
        let shape = self.batch(row);
        let left = bytes(port, &shape).and_then(|bytes| self.left.get().checked_sub(bytes));
        let (Some(row_bytes), Some(left)) = (bytes(port, row), left) else {
            let rule = format!("all inputs together may have up to {MAX_BYTES} bytes");
            return Err(refused("a warm-up of shape", shape, rule));
        };
        self.left.set(left);
        if port.datatype == DataType::Bytes {
            let elements = row.elements().unwrap_or_default();
            let elements = match fill {
                Fill::Zero | Fill::Random => vec![Bytes::new(); elements],
                Fill::File(path) => strings(read(path)?, elements)?,
            };
            let all = vec![elements; self.count].concat();
            return Tensor::elements(shape, all);
        }
        let row = match fill {
            Fill::Zero => vec![0; row_bytes],
            Fill::Random => random(port.datatype, row_bytes),
            Fill::File(path) => {
                let found = read(path)?;
                if found.len() != row_bytes {
                    let found = found.len();
                    return Err(Error::Load(format!(
                        "it has {found} bytes, and the input takes {row_bytes}"
                    )));
                }
                found
            }
        };
        Tensor::raw(port.datatype, shape, Bytes::from(row.repeat(self.count)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Error::Load(format!("it can't be read from {FOLDER}/: {error}"));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_BYTES as u64 {
        return Err(Error::Load(format!("it has {length} bytes, and the limit is {MAX_BYTES}")));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Byte strings as they travel: each behind its length, a little-endian number of four bytes.
fn strings(bytes: Vec<u8>, count: usize) -> Result<Vec<Bytes>, Error> {
    let wrong = || Error::Load(format!("it does not hold {count} byte strings, each behind its length"));
    let mut rest = Bytes::from(bytes);
    let mut found = Vec::new();
    while !rest.is_empty() && found.len() < count {
        let (length, _) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| wrong())?;
        let mut element = rest.split_off(4);
        if length > element.len() {
            return Err(wrong());
        }
        rest = element.split_off(length);
        found.push(element);
    }
    if found.len() == count && rest.is_empty() { Ok(found) } else { Err(wrong()) }
}

/// The same numbers at each start: floats from 0 to 1, integers from 0 to 127, which every type can hold.
fn random(datatype: DataType, bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    // Vigna's xorshift64*: its upper bits are good, and nothing else is asked of it.
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40
    };
    let mut made = Vec::with_capacity(bytes);
    while made.len() < bytes {
        let number = next();
        // 24 bits are as many as an FP32 holds.
        let fraction = number as f32 / (1 << 24) as f32;
        let small = number >> 17;
        match datatype {
            DataType::Fp64 => made.extend(f64::from(fraction).to_le_bytes()),
            DataType::Fp32 => made.extend(fraction.to_le_bytes()),
            DataType::Bf16 => made.extend(&fraction.to_le_bytes()[2..]),
            // From 1/2 to 1, so that ten random bits are all it takes.
            DataType::Fp16 => made.extend((0x3800 | (number >> 14) as u16).to_le_bytes()),
            DataType::Bool => made.push((small & 1) as u8),
            datatype => made.extend(&small.to_le_bytes()[..datatype.size().unwrap_or(1)]),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_fill_every_type_and_are_the_same_each_time() {
        for datatype in DataType::ALL.into_iter().filter(|datatype| datatype.size().is_some()) {
            let bytes = datatype.size().unwrap() * 100;
            let numbers = random(datatype, bytes);
            assert_eq!((numbers.len(), &numbers), (bytes, &random(datatype, bytes)), "{datatype}");
            assert!(
                numbers.chunks(datatype.size().unwrap()).any(|number| number.iter().any(|byte| *byte > 0))
            );
        }
        let floats: Vec<f32> = random(DataType::Fp32, 4000)
            .chunks_exact(4)
            .map(|number| f32::from_le_bytes(number.try_into().unwrap()))
            .collect();
        let mean = floats.iter().sum::<f32>() / 1000.0;
        assert!(
            (0.45..0.55).contains(&mean) && floats.iter().all(|number| (0.0..1.0).contains(number)),
            "{mean}"
        );
        let halves = random(DataType::Fp16, 2000);
        assert!(halves.chunks_exact(2).all(|half| (0x38..=0x3b).contains(&half[1])));
        assert!(random(DataType::Bool, 100).iter().all(|value| *value < 2));
        assert!(random(DataType::Int8, 100).iter().all(|value| *value < 128));
    }

    #[test]
    fn byte_strings_stand_behind_their_lengths() {
        let bytes = b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc".to_vec();
        assert_eq!(strings(bytes.clone(), 3).unwrap(), [&b"a"[..], b"", b"bc"]);
        for (bytes, count) in [(bytes.clone(), 2), (bytes.clone(), 4), (bytes[..12].to_vec(), 3)] {
            assert!(strings(bytes, count).is_err());
        }
        assert!(strings(vec![255, 255, 255, 255], 1).is_err());
    }
}
