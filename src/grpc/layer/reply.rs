//! The body of a reply: that of a unary call takes room until its bytes have left.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::FREE_BYTES;
use crate::error::Error;
use crate::limits::{Budget, Share};

/// A reply's body.
#[derive(Debug)]
pub struct ReplyBody {
    /// What was taken out of the body already.
    first: Option<Result<Frame<Bytes>, Status>>,
    body: Body,
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
        if body.is_end_stream() {
            return Ok(ReplyBody::of_stream(body));
        }
        let first = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => Poll::Ready(None),
        });
        let first = match first.await {
            Some(Ok(frame)) => Some(Ok(hold(frame, budget)?)),
            other => other,
        };
        Ok(ReplyBody { first, body })
    }

    /// The replies of a stream, which bounds them itself.
    pub fn of_stream(body: Body) -> Self {
        ReplyBody { first: None, body }
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
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut this.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
