//! Messages from bytes, and bytes from messages, with a bound on what a message of few bytes may become.
//!
//! A part of a message can be two bytes long, and takes some hundred once it is read: the bound on a message's
//! bytes alone would let one message take hundreds of times as much memory.

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Parts of one message that are not parts of its parts: inputs, outputs, and so on.
const MOST_PARTS: usize = 1 << 14;

/// prost's codec, for messages that do not have too many parts.
#[derive(Debug)]
pub struct Bounded<T, U>(ProstCodec<T, U>);

/// Its half that reads.
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Bounded(ProstCodec::new())
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for Bounded<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(self.0.decoder())
    }
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic holds a message in one piece.
        if has_too_many(buffer.chunk()) {
            let text = format!("a message may have {MOST_PARTS} parts, and this one has more");
            return Err(Status::resource_exhausted(text));
        }
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Whether a message has more parts than it may. Where it can't be read on, prost says what is wrong with it.
fn has_too_many(mut message: &[u8]) -> bool {
    for _ in 0..MOST_PARTS {
        match after_part(message) {
            Some(rest) => message = rest,
            None => return false,
        }
    }
    !message.is_empty()
}

/// What comes behind the first part, by protobuf's "Encoding": a number, in whose last three bits stands how long
/// the part is.
fn after_part(mut message: &[u8]) -> Option<&[u8]> {
    let number = |message: &mut &[u8]| prost::encoding::decode_varint(message).ok();
    let length = match number(&mut message)? & 7 {
        0 => number(&mut message).map(|_| 0)?,
        1 => 8,
        2 => number(&mut message)?,
        5 => 4,
        // Groups, of which each end is taken for a part.
        _ => 0,
    };
    message.get(usize::try_from(length).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::inference::ModelInferRequest;
    use crate::proto::inference::model_infer_request::InferInputTensor;

    #[test]
    fn parts_are_counted_whatever_they_are() {
        let with = |inputs: usize| {
            let input = InferInputTensor { shape: vec![1; 100], ..InferInputTensor::default() };
            let raw_input_contents = vec![vec![7; 1 << 20].into()];
            let inputs = vec![input; inputs];
            let message = ModelInferRequest { inputs, raw_input_contents, ..ModelInferRequest::default() };
            message.encode_to_vec()
        };
        assert!(!has_too_many(&with(MOST_PARTS - 1)));
        assert!(has_too_many(&with(MOST_PARTS)));
        for part in [&[0x08, 0x80, 0x01][..], &[0x09, 0, 0, 0, 0, 0, 0, 0, 0], &[0x0d, 0, 0, 0, 0], &[0x0b]] {
            assert!(!has_too_many(&part.repeat(MOST_PARTS)), "{part:?}");
            assert!(has_too_many(&part.repeat(MOST_PARTS + 1)), "{part:?}");
        }
        assert!(!has_too_many(&[0x2a, 0xff, 0xff, 0xff]), "what is cut off is left to prost");
    }
}
