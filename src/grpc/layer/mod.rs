//! What is the same for the calls of every service: what their metadata say, how long they are waited for, how much
//! unary ones may hold over all clients, and the statuses that tonic itself answers.

mod context;
mod reply;
mod request;
mod streams;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};
use tower_layer::Layer;
use tracing::Instrument;

use super::peer::Peer;
use super::status;
use crate::error::Error;
use crate::limits::{Budget, Limits};
pub use context::CallContext;
use reply::ReplyBody;
use request::{RequestBody, Room};
pub use streams::Streams;

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
    /// The other calls. Those that carry tensors and frames admit them one by one; the others' messages are small.
    streams: Arc<Streams>,
}

/// A service whose calls are looked at before and after.
#[derive(Debug, Clone)]
pub struct Looked<S> {
    service: S,
    calls: Calls,
}

impl Calls {
    /// With as much room for requests, and for replies, as jobs have. All calls but `streams` are unary.
    pub fn new(limits: &Limits, streams: Streams) -> Self {
        Calls {
            requests: Budget::new(limits.max_job_bytes),
            replies: Budget::new(limits.max_job_bytes),
            streams: Arc::new(streams),
        }
    }

    /// The calls that stream.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// With those of these services besides; gives the services' names.
    pub fn know(&mut self, descriptors: &[u8]) -> Result<Vec<String>, Error> {
        Arc::make_mut(&mut self.streams).add(descriptors)
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
    S::Error: Send + 'static,
{
    type Response = http::Response<ReplyBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (call, read) = CallContext::read(request.headers());
        let span = call.span();
        if let Err(error) = read {
            let refused = Status::from(error).into_http::<Body>().map(ReplyBody::of_stream);
            return Box::pin(async move { Ok(finished(refused, call, span)) });
        }
        request.extensions_mut().insert(call.clone());
        if let Some(ends) = request.extensions().get().and_then(Peer::tcp) {
            request.extensions_mut().insert(ends);
        }
        let _inside = span.clone().entered();
        if self.calls.streams.contains(request.uri().path()) {
            let response = self.service.call(request.map(RequestBody::of_stream));
            let response = in_time(call.clone(), response).instrument(span.clone());
            return Box::pin(
                async move { Ok(finished(response.await?.map(ReplyBody::of_stream), call, span)) },
            );
        }
        let room = Room::new(self.calls.requests.clone());
        let response = self.service.call(request.map(|body| RequestBody::counted(body, Arc::clone(&room))));
        let replies = self.calls.replies.clone();
        let response = in_time(call.clone(), response);
        let counted = async move {
            let (parts, body) = response.await?.into_parts();
            drop(room);
            Ok(match ReplyBody::counted(body, &replies).await {
                Ok(body) => http::Response::from_parts(parts, body),
                Err(error) => Status::from(error).into_http::<Body>().map(ReplyBody::of_stream),
            })
        };
        let counted = counted.instrument(span.clone());
        Box::pin(async move { Ok(finished(counted.await?, call, span)) })
    }
}

/// The response, unless the client's time is over before. tonic, too, knows that time, and would say of it that
/// somebody had cancelled the call; this looks first.
async fn in_time<E>(
    call: CallContext,
    response: impl Future<Output = Result<http::Response<Body>, E>>,
) -> Result<http::Response<Body>, E> {
    let Some((deadline, patience)) = call.deadline().zip(call.patience()) else { return response.await };
    tokio::select! {
        biased;
        response = response => response,
        () = tokio::time::sleep_until(deadline.into()) => {
            Ok(timed_out(patience).into_http())
        }
    }
}

/// What a call is told that has taken so long.
pub(super) fn timed_out(after: Duration) -> Status {
    Status::deadline_exceeded(format!("Request timed out after {}s.", after.as_secs_f64()))
}

/// A response with what follows it: behind the reply, or among the headers where those are all.
fn finished(
    mut response: http::Response<ReplyBody>,
    call: CallContext,
    span: tracing::Span,
) -> http::Response<ReplyBody> {
    let headers = response.headers_mut();
    if headers.contains_key(Status::GRPC_STATUS) {
        correct(headers);
        call.finish(headers);
        return response;
    }
    response.map(|body| body.of(call, span))
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A service that never answers.
    struct Silent;

    impl Service<http::Request<RequestBody>> for Silent {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<http::Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<RequestBody>) -> Self::Future {
            std::future::pending()
        }
    }

    async fn status(path: &str, headers: &[(&str, &str)]) -> (Status, http::HeaderMap) {
        let mut streams = Streams::default();
        streams.add(crate::proto::DESCRIPTORS).unwrap();
        let mut service = Calls::new(&Limits::default(), streams).layer(Silent);
        let mut request = http::Request::post(path);
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
        (Status::from_header_map(response.headers()).unwrap(), response.headers().clone())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_when_its_client_stops_waiting_and_has_its_id() {
        for path in ["/ImageTest/Analyse", "/ImageTest/Describe"] {
            let (status, headers) = status(path, &[("grpc-timeout", "1500m"), ("request_id", "mine")]).await;
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(status.message(), "Request timed out after 1.5s.");
            assert_eq!(headers["request_id"], "mine");
        }
        let (status, headers) = status("/", &[("application", &"x".repeat(300))]).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(headers["request_id"].len(), 36);
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
