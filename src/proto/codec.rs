//! How messages are read: requests whose parts take far more memory than they have bytes are counted first.
//!
//! An input of two bytes is hundreds in memory, so that a message that keeps to the bound in bytes could still ask
//! for gigabytes. Texts and tensors take about what they have, and are left to that bound.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::inference::{ModelInferRequest, RepositoryModelLoadRequest};

/// The most parts that a message may have: its fields, and those of the inputs and outputs in it.
pub const MOST_PARTS: usize = 1 << 16;

/// Reads and writes the messages of a call.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Reads messages.
#[derive(Debug)]
pub struct Counting<U>(ProstDecoder<U>);

/// What is counted of a message: its fields, and the fields in those of these numbers.
#[derive(Debug, Clone, Copy)]
struct Parts(&'static [u64]);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Counting<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Counting<U> {
        Counting(ProstCodec::<T, U>::default().decoder())
    }
}

impl<U: Message + Default + 'static> Decoder for Counting<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message lies in one piece.
        count::<U>(buf.chunk())?;
        self.0.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Reads a message where it lies: its texts are copied, and its bytes are parts of it.
pub fn read<U: Message + Default + 'static>(message: Bytes) -> Result<U, Status> {
    count::<U>(&message)?;
    U::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// Fails if a message of this type has too many parts.
fn count<U: 'static>(message: &[u8]) -> Result<(), Status> {
    match Parts::of::<U>() {
        Some(parts) if parts.count(message) > MOST_PARTS => Err(Status::resource_exhausted(format!(
            "the message has more than {MOST_PARTS} inputs, outputs, parameters and other fields, which is the limit"
        ))),
        _ => Ok(()),
    }
}

impl Parts {
    /// Of messages of this type; `None` where all parts are what they seem.
    fn of<U: 'static>() -> Option<Self> {
        const INPUTS: u64 = 5;
        const OUTPUTS: u64 = 6;
        let this = TypeId::of::<U>();
        if this == TypeId::of::<ModelInferRequest>() {
            return Some(Parts(&[INPUTS, OUTPUTS]));
        }
        (this == TypeId::of::<RepositoryModelLoadRequest>()).then_some(Parts(&[]))
    }

    /// How many there are; counting ends soon after the limit. What is malformed is left to who reads it: nothing
    /// behind it is read.
    fn count(self, message: &[u8]) -> usize {
        let mut count = 0;
        for Field { number, bytes } in fields(message) {
            count += 1;
            if self.0.contains(&number) {
                count += fields(bytes).take(MOST_PARTS + 1).count();
            }
            if count > MOST_PARTS {
                break;
            }
        }
        count
    }
}

/// A field as it lies in a message; without bytes if it is a number.
struct Field<'a> {
    number: u64,
    bytes: &'a [u8],
}

/// The fields of a message, up to its end or to what is none.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            // The begin or the end of a group, whose fields are counted like the others.
            3 | 4 => 0,
            5 => 4,
            _ => return None,
        };
        let bytes = rest.split_off(..length)?;
        Some(Field { number: key >> 3, bytes })
    })
}

/// A number of up to 64 bits, seven in each byte.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let byte = rest.split_off_first()?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use crate::proto::inference::{InferParameter, InferTensorContents};

    fn parts(message: &ModelInferRequest) -> usize {
        Parts::of::<ModelInferRequest>().unwrap().count(&message.encode_to_vec())
    }

    #[test]
    fn what_takes_more_memory_than_bytes_is_counted() {
        let parameter = ("key".to_string(), InferParameter::default());
        let contents = InferTensorContents { fp32_contents: vec![1.5; 1000], ..Default::default() };
        let input = InferInputTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![1; 100_000],
            parameters: [parameter.clone()].into(),
            contents: Some(contents),
        };
        let output = InferRequestedOutputTensor { name: "y".into(), parameters: [parameter.clone()].into() };
        let request = ModelInferRequest {
            model_name: "m".into(),
            parameters: [parameter].into(),
            inputs: vec![input.clone(), input],
            outputs: vec![output],
            // What looks like fields in it is none.
            raw_input_contents: vec![vec![0x2a, 0, 0x2a, 0].into(); 2],
            ..Default::default()
        };
        // The name, a parameter, two inputs of five, an output of two, two of raw contents.
        assert_eq!(parts(&request), 1 + 1 + 2 * (1 + 5) + (1 + 2) + 2);
        let many = ModelInferRequest { inputs: vec![Default::default(); 100_000], ..Default::default() };
        assert_eq!(parts(&many), MOST_PARTS + 1);
        let InferInputTensor { parameters, .. } = &mut InferInputTensor::default();
        parameters.extend((0..100_000).map(|key: u32| (key.to_string(), InferParameter::default())));
        let input = InferInputTensor { parameters: parameters.clone(), ..Default::default() };
        assert!(parts(&ModelInferRequest { inputs: vec![input], ..Default::default() }) > MOST_PARTS);
        assert!(
            Parts::of::<RepositoryModelLoadRequest>().is_some() && Parts::of::<InferParameter>().is_none()
        );
    }

    #[test]
    fn counting_ends_where_reading_does() {
        let count = |message: &[u8]| Parts(&[]).count(message);
        // A length beyond the end, a wire type that there is not, a number without an end, one of eleven bytes.
        for malformed in [&[0x0a, 5, 1][..], &[0x0e], &[0x08, 0x80], &[0x80; 11]] {
            assert_eq!(count(malformed), 0, "{malformed:?}");
            assert_eq!(count(&[&[0x0a, 1, b'm'], malformed].concat()), 1, "{malformed:?}");
        }
        assert_eq!(count(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0, 0x0b, 0x08, 1, 0x0c]), 5);
    }
}
