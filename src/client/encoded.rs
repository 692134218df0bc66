//! Messages that go out and come in as bytes, for who encodes them once and sends them many times. They go out from
//! where they lie.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

/// Larger than tonic's own: a tensor goes into it in few steps.
const BUFFER: usize = 64 << 10;

/// Before each message of gRPC: whether it is compressed, and its length.
const HEADER: usize = 5;

/// A message to be sent, among the extensions of its request: a codec could only copy it.
#[derive(Debug, Clone)]
pub(super) struct Message(pub Bytes);

/// Sends the [`Message`] of a request in place of what tonic has encoded, which is nothing.
#[derive(Debug, Clone)]
pub(super) struct Sending(pub Channel);

/// What is still to be sent of a request.
struct Pieces(VecDeque<Bytes>);

impl Message {
    fn body(self) -> Body {
        let mut header = BytesMut::with_capacity(HEADER);
        header.put_u8(0);
        header.put_u32(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        Body::new(Pieces([header.freeze(), self.0].into()))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

impl Service<http::Request<Body>> for Sending {
    type Response = <Channel as Service<http::Request<Body>>>::Response;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(message) = request.extensions_mut().remove::<Message>() {
            *request.body_mut() = message.body();
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
