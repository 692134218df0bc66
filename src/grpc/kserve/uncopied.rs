//! Requests and replies whose tensors stay where they lie. A codec could only copy them: tonic gathers what comes in
//! a buffer of its own, and encodes what goes out into another.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response};

use crate::proto::codec;
use crate::proto::framing::{First, begin_with, first, header};
use crate::proto::inference::{ModelInferRequest, ModelInferResponse};

/// A reply with less than this is copied sooner than passed on.
const WORTH_IT: usize = 16 << 10;
/// And a request. It keeps in memory what came with it in one piece, which is up to a frame of HTTP/2: a short one
/// could keep many times its length.
const WORTH_KEEPING: usize = 256 << 10;
/// The number of `raw_output_contents` in the protocol's description of a reply.
const FIELD: u32 = 6;
/// The call whose requests these are.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The service with this around it, which puts in place what [`received`] and [`set_aside`] are about.
#[derive(Debug, Clone)]
pub struct Uncopied<S> {
    service: S,
    /// Bytes of the longest message.
    longest: usize,
}

/// A request that has been read, among the extensions of one that is empty.
#[derive(Debug, Clone)]
struct Read(ModelInferRequest);

/// Plain bytes that are missing in a reply, among the extensions of its response.
#[derive(Debug, Clone)]
struct Tensors(Vec<Bytes>);

/// The message of a request, wherever it is.
pub fn received(mut request: Request<ModelInferRequest>) -> ModelInferRequest {
    match request.extensions_mut().remove() {
        Some(Read(message)) => message,
        None => request.into_inner(),
    }
}

/// Makes a response, of which large tensors are no part yet. It must not be compressed.
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

impl<S> Uncopied<S> {
    /// The service, which takes messages up to so many bytes.
    pub fn new(service: S, longest: usize) -> Self {
        Uncopied { service, longest }
    }
}

impl<S> Service<http::Request<Body>> for Uncopied<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != INFER {
            return Box::pin(self.service.call(request));
        }
        // The one that said that it is ready.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        let longest = self.longest;
        Box::pin(async move {
            let mut response = service.call(read(request, longest).await).await?;
            Ok(match response.extensions_mut().remove() {
                Some(Tensors(tensors)) => put_back(response, tensors).await,
                None => response,
            })
        })
    }
}

impl<S: NamedService> NamedService for Uncopied<S> {
    const NAME: &'static str = S::NAME;
}

/// Reads a request, if it came in one piece. What is wrong with it is left to tonic to say.
async fn read(request: http::Request<Body>, longest: usize) -> http::Request<Body> {
    let (mut head, body) = request.into_parts();
    let body = match first(body, WORTH_KEEPING..=longest).await {
        First::Other(body) => body,
        First::Whole(bytes, rest) => match codec::read(bytes.clone()) {
            Err(_) => begin_with([header(bytes.len()), bytes], rest),
            Ok(message) => {
                head.extensions.insert(Read(message));
                begin_with([header(0)], rest)
            }
        },
    };
    http::Request::from_parts(head, body)
}

/// The response with tensors that were set aside.
async fn put_back(response: http::Response<Body>, tensors: Vec<Bytes>) -> http::Response<Body> {
    let (head, body) = response.into_parts();
    let body = match first(body, 0..=usize::MAX).await {
        First::Whole(message, rest) => begin_with(complete(&message, tensors), rest),
        // It has no message, but only says what went wrong.
        First::Other(body) => body,
    };
    http::Response::from_parts(head, body)
}

/// The message with its header, and the tensors as the last field of it.
fn complete(message: &[u8], tensors: Vec<Bytes>) -> Vec<Bytes> {
    let added = |bytes: &Bytes| key_len(FIELD) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    let length = message.len() + tensors.iter().map(added).sum::<usize>();
    let mut head = BytesMut::from(header(length));
    head.extend_from_slice(message);
    let mut pieces = Vec::with_capacity(2 * tensors.len());
    for tensor in tensors {
        encode_key(FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(tensor.len() as u64, &mut head);
        pieces.push(head.split().freeze());
        pieces.push(tensor);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::framing::HEADER;

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
        let sent: Vec<u8> = complete(&rest, tensors).into_iter().flatten().collect();
        assert_eq!(sent[..HEADER], [&[0][..], &((sent.len() - HEADER) as u32).to_be_bytes()].concat());
        assert_eq!(ModelInferResponse::decode(&sent[HEADER..]).unwrap(), whole);
        let small = ModelInferResponse { raw_output_contents: vec![Bytes::from_static(b"x")], ..whole };
        assert_eq!(set_aside(small.clone()).into_inner(), small);
    }
}
