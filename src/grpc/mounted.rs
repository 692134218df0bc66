//! A service of somebody else's among ours: the server waits for its calls before it ends, and they end if they take too
//! long or panic.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::layer::{CallContext, timed_out};
use super::status;
use crate::engine::{Engine, OpenCall, panic_text};

/// The service with this around it.
#[derive(Clone)]
pub struct Mounted<S> {
    service: S,
    engine: Arc<Engine>,
    /// How long a call may take, to the end of its reply.
    timeout: Option<Duration>,
}

/// A call from when it came until its reply has ended.
struct Open {
    call: CallContext,
    ended: bool,
    _open: OpenCall,
}

/// A reply, as far as it goes.
struct Reply {
    body: Body,
    open: Open,
    late: Option<Late>,
}

/// When a reply has to have ended.
struct Late {
    timeout: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Mounted<S> {
    /// Serves this too.
    pub fn new(service: S, engine: Arc<Engine>, timeout: Option<Duration>) -> Self {
        Mounted { service, engine, timeout }
    }
}

impl<S> Service<http::Request<Body>> for Mounted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = CallContext::of(request.extensions());
        let mut open = Open { call, ended: false, _open: self.engine.begin_call() };
        let mut late = self.timeout.map(Late::after);
        let mut response = Box::pin(AssertUnwindSafe(self.service.call(request)).catch_unwind());
        Box::pin(async move {
            let response = std::future::poll_fn(|cx| match response.poll_unpin(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(response),
                Poll::Ready(Err(panic)) => Poll::Ready(Ok(panicked(&*panic).into_http())),
                Poll::Pending => Late::poll(&mut late, cx).map(|status| Ok(status.into_http())),
            });
            let response = response.await?;
            // It is a status alone.
            open.ended = response.headers().contains_key(Status::GRPC_STATUS);
            Ok(response.map(|body| Body::new(Reply { body, open, late })))
        })
    }
}

impl<S: NamedService> NamedService for Mounted<S> {
    const NAME: &'static str = S::NAME;
}

impl Late {
    fn after(timeout: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(Instant::now() + timeout));
        Late { timeout, deadline }
    }

    fn poll(late: &mut Option<Self>, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(Late { timeout, deadline }) = late else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(timed_out(*timeout))
    }
}

impl Reply {
    /// In place of what is still to come.
    fn end(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.open.ended = true;
        self.body = Body::empty();
        let mut trailers = http::HeaderMap::new();
        Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.open.ended {
            return Poll::Ready(None);
        }
        let body = Pin::new(&mut this.body);
        let frame = match std::panic::catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(Poll::Ready(frame)) => frame,
            Ok(Poll::Pending) => {
                let status = ready!(Late::poll(&mut this.late, cx));
                return Poll::Ready(this.end(status));
            }
            Err(panic) => return Poll::Ready(this.end(panicked(&*panic))),
        };
        let has_more = matches!(&frame, Some(Ok(frame)) if !frame.is_trailers());
        this.open.ended = !has_more;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.open.ended || self.body.is_end_stream()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            tracing::debug!("Client for request {} disconnected.", self.call.request_id());
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic_text(panic);
    tracing::error!(text, "a service panicked");
    status::of(Code::Internal, text.to_owned())
}
