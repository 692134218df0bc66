//! Replies whose tensors go out from where they lie. A codec could only copy them into the message.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Response, Status};

use crate::proto::inference::ModelInferResponse;

/// Less than this is copied sooner than passed on.
const WORTH_IT: usize = 16 << 10;
/// The number of `raw_output_contents` in the protocol's description of a reply.
const FIELD: u32 = 6;
/// Before each message of gRPC: whether it is compressed, and its length.
const HEADER: usize = 5;

/// The service with this around it, which knows what to do with what [`set_aside`] takes out of a reply.
#[derive(Debug, Clone)]
pub struct Uncopied<S>(pub S);

/// Plain bytes that are missing in a reply, among the extensions of its response.
#[derive(Debug, Clone)]
struct Tensors(Vec<Bytes>);

/// The body of a response into which tensors are put back.
struct Whole {
    /// As it was encoded without them.
    rest: Body,
    tensors: Vec<Bytes>,
    /// What is to be sent before more of the rest is.
    pieces: VecDeque<Bytes>,
}

/// Makes a response, of which large tensors are no part yet.
pub fn set_aside(mut reply: ModelInferResponse) -> Response<ModelInferResponse> {
    let tensors = std::mem::take(&mut reply.raw_output_contents);
    if tensors.iter().map(Bytes::len).sum::<usize>() < WORTH_IT {
        reply.raw_output_contents = tensors;
        return Response::new(reply);
    }
    let mut response = Response::new(reply);
    response.extensions_mut().insert(Tensors(tensors));
    response
}

impl<S> Service<http::Request<Body>> for Uncopied<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            let tensors = response.extensions_mut().remove::<Tensors>();
            Ok(match tensors {
                Some(Tensors(tensors)) => {
                    response.map(|rest| Body::new(Whole { rest, tensors, pieces: VecDeque::new() }))
                }
                None => response,
            })
        })
    }
}

impl<S: NamedService> NamedService for Uncopied<S> {
    const NAME: &'static str = S::NAME;
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let frame = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            // One message is one piece of data, and what comes behind it are the trailers.
            Ok(message) if !self.tensors.is_empty() => {
                let tensors = std::mem::take(&mut self.tensors);
                self.pieces = complete(&message, tensors);
                self.pieces.pop_front().map_or_else(|| Frame::data(message), Frame::data)
            }
            Ok(message) => Frame::data(message),
            Err(trailers) => trailers,
        })))
    }
}

/// The message with its header, and the tensors as the last field of it.
fn complete(message: &[u8], tensors: Vec<Bytes>) -> VecDeque<Bytes> {
    let added = |bytes: &Bytes| key_len(FIELD) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    let length = message.len() - HEADER + tensors.iter().map(added).sum::<usize>();
    let mut head = BytesMut::with_capacity(message.len() + 2 * HEADER);
    head.put_slice(&message[..1]);
    // A reply that is longer was refused before.
    head.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    head.put_slice(&message[HEADER..]);
    let mut pieces = VecDeque::with_capacity(2 * tensors.len());
    for tensor in tensors {
        encode_key(FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(tensor.len() as u64, &mut head);
        pieces.push_back(head.split().freeze());
        if !tensor.is_empty() {
            pieces.push_back(tensor);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_put_back_is_as_if_it_had_not_been_taken_out() {
        let tensors = vec![Bytes::from(vec![7; WORTH_IT]), Bytes::new(), Bytes::from_static(b"end")];
        let whole = ModelInferResponse {
            model_name: "m".into(),
            raw_output_contents: tensors.clone(),
            ..ModelInferResponse::default()
        };
        let response = set_aside(whole.clone());
        let rest = response.get_ref().encode_to_vec();
        let message = [&[0][..], &u32::try_from(rest.len()).unwrap().to_be_bytes(), &rest].concat();
        let sent: Vec<u8> = complete(&message, tensors).into_iter().flatten().collect();
        assert_eq!(sent[..HEADER], [&[0][..], &((sent.len() - HEADER) as u32).to_be_bytes()].concat());
        assert_eq!(ModelInferResponse::decode(&sent[HEADER..]).unwrap(), whole);
        let small = ModelInferResponse { raw_output_contents: vec![Bytes::from_static(b"x")], ..whole };
        assert_eq!(set_aside(small.clone()).into_inner(), small);
    }
}
