//! Messages that go out and come in as bytes, for who encodes them once and sends them many times. They go out from
//! where they lie.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

use crate::proto::framing::{begin_with, header};

/// Larger than tonic's own: a tensor goes into it in few steps.
const BUFFER: usize = 64 << 10;

/// A message to be sent, among the extensions of its request: a codec could only copy it.
#[derive(Debug, Clone)]
pub(super) struct Message(pub Bytes);

/// Sends the [`Message`] of a request in place of what tonic has encoded, which is nothing.
#[derive(Debug, Clone)]
pub(super) struct Sending(pub Channel);

impl Service<http::Request<Body>> for Sending {
    type Response = <Channel as Service<http::Request<Body>>>::Response;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(Message(message)) = request.extensions_mut().remove() {
            *request.body_mut() = begin_with([header(message.len()), message], Body::empty());
        }
        self.0.call(request)
    }
}

/// Leaves the bytes of replies as they are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Encoded;

impl Codec for Encoded {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Split off without a copy.
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, BUFFER)
    }
}
