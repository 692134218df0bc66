//! The body of a request of a unary call: what has come of it takes room, and more has to come soon.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::FREE_BYTES;
use crate::error::Error;
use crate::grpc::status;
use crate::limits::{Budget, Share};

/// How long a client may take for [`PACE_BYTES`] more, or for the end of its request.
const PACE_TIME: Duration = Duration::from_secs(30);

/// A client that sends no more than a little now and then would otherwise keep its room for ever.
const PACE_BYTES: usize = 256 << 10;

/// The room that a request takes from its first bytes until it is answered. Its body and its call both hold it.
#[derive(Debug)]
pub struct Room {
    budget: Budget,
    share: Mutex<Option<Share>>,
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    body: Body,
    /// None for the body of a stream.
    count: Option<Count>,
}

/// What has come of a body.
#[derive(Debug)]
struct Count {
    room: Arc<Room>,
    bytes: usize,
    pace: Option<Pace>,
}

/// How far a request has to get, and until when.
#[derive(Debug)]
struct Pace {
    goal: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Room {
    /// Room in this budget, of which nothing is taken yet.
    pub fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Room { budget, share: Mutex::default() })
    }

    /// Makes it so large, unless too much is in use.
    fn grow(&self, bytes: usize) -> Result<(), Error> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = match &mut *share {
            Some(share) => share.try_grow(&self.budget, bytes),
            none => {
                *none = self.budget.try_take(bytes);
                none.is_some()
            }
        };
        if fits { Ok(()) } else { Err(self.budget.full("bytes of requests", "--max-job-bytes")) }
    }
}

impl RequestBody {
    /// A body that is counted.
    pub fn counted(body: Body, room: Arc<Room>) -> Self {
        RequestBody { body, count: Some(Count { room, bytes: 0, pace: None }) }
    }

    /// The body of a stream, whose messages are counted where they are read.
    pub fn of_stream(body: Body) -> Self {
        RequestBody { body, count: None }
    }
}

impl Count {
    fn add(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        if self.bytes > FREE_BYTES {
            self.room.grow(self.bytes)?;
        }
        Ok(frame)
    }

    /// Whether the client was too slow. What takes no room may take its time, and costs no timer.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.bytes <= FREE_BYTES {
            return false;
        }
        let pace = match self.pace.take() {
            Some(pace) if self.bytes < pace.goal => pace,
            _ => Pace::from(self.bytes),
        };
        self.pace.insert(pace).deadline.as_mut().poll(cx).is_ready()
    }

    fn late(&self) -> Status {
        let (came, seconds) = (self.bytes, PACE_TIME.as_secs());
        let text = format!(
            "the request stopped after {came} bytes: within {seconds} s {PACE_BYTES} bytes more have to come, or its end"
        );
        status::of(Code::DeadlineExceeded, text)
    }
}

impl Pace {
    fn from(bytes: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a deadline, which is polled beside what it is for")]
        let deadline = Box::pin(tokio::time::sleep(PACE_TIME));
        Pace { goal: bytes + PACE_BYTES, deadline }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let RequestBody { body, count } = self.get_mut();
        let frame = Pin::new(body).poll_frame(cx);
        let Some(count) = count else { return frame };
        match frame {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(count.add(frame).map_err(Status::from))),
            Poll::Pending if count.is_late(cx) => Poll::Ready(Some(Err(count.late()))),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;

    /// Gives a piece each time that its pause is over.
    struct Dripping {
        piece: usize,
        pause: tokio::time::Interval,
    }

    impl Dripping {
        fn body(piece: usize, pause: Duration) -> Body {
            Body::new(Dripping { piece, pause: tokio::time::interval(pause) })
        }
    }

    impl HttpBody for Dripping {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let data = Bytes::from(vec![0; self.piece]);
            self.pause.poll_tick(cx).map(|_| Some(Ok(Frame::data(data))))
        }
    }

    async fn next(body: &mut RequestBody) -> Result<Frame<Bytes>, Status> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.expect("it never ends")
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_takes_room_until_there_is_none_and_gives_it_back() {
        let budget = Budget::new(1 << 20);
        let _other = budget.try_take(100 << 10).unwrap();
        let free = budget.free_bytes();
        let room = Room::new(budget.clone());
        let mut body =
            RequestBody::counted(Dripping::body(300 << 10, Duration::from_secs(1)), Arc::clone(&room));
        for pieces in 1..=3 {
            next(&mut body).await.unwrap();
            assert_eq!(budget.free_bytes(), free - pieces * (300 << 10));
        }
        let status = next(&mut body).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("1024000") && status.message().contains("--max-job-bytes"),
            "{status}"
        );
        drop(body);
        assert_ne!(budget.free_bytes(), free, "its call is still worked on");
        drop(room);
        assert_eq!(budget.free_bytes(), free);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_to_get_on_unless_it_takes_no_room() {
        let pause = Duration::from_secs(20);
        let began = Instant::now();
        let mut slow = RequestBody::counted(Dripping::body(8 << 10, pause), Room::new(Budget::new(1 << 20)));
        next(&mut slow).await.unwrap();
        next(&mut slow).await.unwrap();
        let status = next(&mut slow).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("16384"), "{status}");
        assert!(began.elapsed() < PACE_TIME + pause);

        let mut fast =
            RequestBody::counted(Dripping::body(PACE_BYTES, pause), Room::new(Budget::new(64 << 20)));
        let mut small = RequestBody::counted(Dripping::body(1, pause), Room::new(Budget::new(64 << 20)));
        let mut stream = RequestBody::of_stream(Dripping::body(8 << 10, 2 * PACE_TIME));
        for _ in 0..20 {
            for body in [&mut fast, &mut small, &mut stream] {
                next(body).await.unwrap();
            }
        }
    }
}
