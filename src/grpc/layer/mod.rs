//! What is the same for the calls of every service: when they came, how much unary ones may hold over all clients,
//! and the statuses that tonic itself answers.

mod reply;
mod request;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};
use tower_layer::Layer;

use super::status;
use crate::limits::{Budget, Limits};
use reply::ReplyBody;
use request::{RequestBody, Room};

/// The calls in which a stream goes one way or both. Those that carry tensors and frames admit them one by one;
/// the others' messages are small.
pub const STREAMS: [&str; 7] = [
    "/ImageTest/Analyse",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions",
    "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions2",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Messages up to this size take no room, so that health and metadata are told however much is in use.
const FREE_BYTES: usize = 4 << 10;

/// Wraps all services of a server.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Bytes of the requests of unary calls, from when they come until they are answered.
    pub requests: Budget,
    /// Bytes of the replies to them, until they have left. They are apart, so that who does not read replies
    /// leaves requests their room.
    pub replies: Budget,
}

/// A service whose calls are looked at before and after.
#[derive(Debug, Clone)]
pub struct Looked<S> {
    service: S,
    calls: Calls,
}

/// When a call came: its headers, not yet its message. Among a request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Came(pub Instant);

impl Calls {
    /// With as much room for requests, and for replies, as jobs have.
    pub fn new(limits: &Limits) -> Self {
        Calls { requests: Budget::new(limits.max_job_bytes), replies: Budget::new(limits.max_job_bytes) }
    }
}

impl<S> Layer<S> for Calls {
    type Service = Looked<S>;

    fn layer(&self, service: S) -> Looked<S> {
        Looked { service, calls: self.clone() }
    }
}

impl<S> Service<http::Request<Body>> for Looked<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<ReplyBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.extensions_mut().insert(Came(Instant::now()));
        if STREAMS.contains(&request.uri().path()) {
            let response = self.service.call(request.map(RequestBody::of_stream));
            return Box::pin(async move {
                let mut response = response.await?;
                correct(response.headers_mut());
                Ok(response.map(ReplyBody::of_stream))
            });
        }
        let room = Room::new(self.calls.requests.clone());
        let response = self.service.call(request.map(|body| RequestBody::counted(body, Arc::clone(&room))));
        let replies = self.calls.replies.clone();
        Box::pin(async move {
            let (mut parts, body) = response.await?.into_parts();
            drop(room);
            correct(&mut parts.headers);
            Ok(match ReplyBody::counted(body, &replies).await {
                Ok(body) => http::Response::from_parts(parts, body),
                Err(error) => Status::from(error).into_http::<Body>().map(ReplyBody::of_stream),
            })
        })
    }
}

/// A unary call that tonic refuses has its status among the headers.
fn correct(headers: &mut http::HeaderMap) {
    let Some(status) = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok) else {
        return;
    };
    let (code, length) = (status.code(), status.message().len());
    let corrected = status::of_stream(status);
    if (corrected.code(), corrected.message().len()) != (code, length) {
        let _what_tonic_said_remains = corrected.add_header(headers);
    }
}

/// Until when the client waits for the answer to a call.
pub fn deadline(extensions: &Extensions, metadata: &MetadataMap) -> Option<Instant> {
    let timeout = timeout(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    let came = extensions.get::<Came>().map_or_else(Instant::now, |came| came.0);
    came.checked_add(timeout)
}

/// Reads at most eight digits and a unit, as gRPC over HTTP/2 has it. tonic, too, reads it, and does not wait
/// for answers that come later.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(3600 * number),
        "M" => Duration::from_secs(60 * number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(3600 * 99_999_999)));
        for wrong in ["", "m", "999999999S", "5x", "-1S", "5é"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_tonic_says_of_a_message_gets_the_code_that_others_give() {
        let corrected = |status: Status| {
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            correct(&mut headers);
            Status::from_header_map(&headers).unwrap()
        };
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        let status = corrected(Status::out_of_range(large));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().ends_with("(the server's --max-message-bytes raises it)"), "{status}");
        let malformed = "failed to decode Protobuf message: buffer underflow";
        assert_eq!(corrected(Status::internal(malformed)).code(), Code::InvalidArgument);
        assert_eq!(corrected(Status::out_of_range("page 7 of 5")).code(), Code::OutOfRange);
        assert_eq!(corrected(Status::internal("else")).message(), "else");
    }
}
