//! The body of a reply: that of a unary call takes room until its bytes have left, and the call's own metadata follow.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::{CallContext, FREE_BYTES};
use crate::error::Error;
use crate::limits::{Budget, Share};

/// A reply's body.
#[derive(Debug)]
pub struct ReplyBody {
    /// What was taken out of the body already.
    ready: VecDeque<Result<Frame<Bytes>, Status>>,
    /// The body has no more.
    ended: bool,
    body: Body,
    call: Option<Call>,
}

/// The call that a reply answers, and where it is worked on.
#[derive(Debug)]
struct Call {
    context: CallContext,
    span: tracing::Span,
}

/// Bytes with the room that they take. HTTP/2 holds them until the client has let it send them.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ReplyBody {
    /// Takes room for the one message of a unary call, which is encoded for that before the client lets it be sent.
    pub async fn counted(mut body: Body, budget: &Budget) -> Result<Self, Error> {
        let mut ready = VecDeque::new();
        let ended = loop {
            let frame = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
            match frame {
                Poll::Ready(Some(Ok(frame))) => ready.push_back(Ok(hold(frame, budget)?)),
                Poll::Ready(Some(Err(status))) => ready.push_back(Err(status)),
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        Ok(ReplyBody { ready, ended, body, call: None })
    }

    /// The replies of a stream, which bounds them itself.
    pub fn of_stream(body: Body) -> Self {
        ReplyBody { ready: VecDeque::new(), ended: false, body, call: None }
    }

    /// The reply to this call: what streams is made in the call's span, and its trailers get the call's.
    pub fn of(self, context: CallContext, span: tracing::Span) -> Self {
        ReplyBody { call: Some(Call { context, span }), ..self }
    }
}

fn hold(frame: Frame<Bytes>, budget: &Budget) -> Result<Frame<Bytes>, Error> {
    match frame.into_data() {
        Ok(bytes) if bytes.len() > FREE_BYTES => {
            let share = budget.try_take(bytes.len());
            let share =
                share.ok_or_else(|| budget.full("bytes of replies that were not read", "--max-job-bytes"))?;
            Ok(Frame::data(Bytes::from_owner(Held { bytes, _share: share })))
        }
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(frame) => Ok(frame),
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let ReplyBody { ready, ended, body, call } = self.get_mut();
        let mut frame = match ready.pop_front() {
            Some(ready) => Some(ready),
            None if *ended => None,
            None => {
                let _inside = call.as_ref().map(|call| call.span.enter());
                std::task::ready!(Pin::new(body).poll_frame(cx))
            }
        };
        if let (Some(call), Some(Ok(frame))) = (call, &mut frame)
            && let Some(trailers) = frame.trailers_mut()
        {
            call.context.finish(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.ready.is_empty() && !self.ended { self.body.size_hint() } else { SizeHint::default() }
    }
}
