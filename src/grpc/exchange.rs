//! Requests on a stream, answered in their order, as more than one protocol has them.
//!
//! Several are in flight at a time, so that they can be part of one batch. A stream whose replies are not read is
//! not read either. What a request that fails is told is the protocol's affair; the stream goes on.

use futures_util::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument;

use super::status;
use crate::engine::Engine;
use crate::limits::{Budget, Share};
use crate::session::{self, Admission, End, Input, Options, Outcome, Pressure, Processor, Work};

/// What a protocol does with its requests.
pub trait Exchange: Clone + Send + Sync + 'static {
    /// What comes.
    type Request: Send + 'static;
    /// What goes back.
    type Reply: Send + 'static;

    /// Bytes that a request takes.
    fn request_bytes(request: &Self::Request) -> usize;

    /// Bytes that a reply takes.
    fn reply_bytes(reply: &Self::Reply) -> usize;

    /// The reply to a request.
    fn reply(&self, request: Self::Request) -> impl Future<Output = Self::Reply> + Send + 'static;

    /// What is told behind the last reply where the server goes down.
    fn going_down(&self) -> Status;
}

struct Message<E: Exchange>(E::Request);

struct Requests<E> {
    exchange: E,
    /// What the stream may hold in requests and in replies that were not read.
    held: Budget,
}

struct Answer<E: Exchange> {
    reply: E::Reply,
    /// Is held until the reply has left.
    _share: Share,
}

/// The replies to a stream of requests.
pub fn replies<E: Exchange>(
    engine: &Engine,
    exchange: E,
    requests: impl Stream<Item = Result<E::Request, Status>> + Send + 'static,
) -> impl Stream<Item = Result<E::Reply, Status>> + Send {
    let limits = engine.limits();
    let options = Options {
        window: limits.max_window,
        waiting_bytes: limits.max_stream_bytes,
        pressure: Pressure::Lossless,
        max_fps: None,
    };
    let held = Budget::new(limits.max_stream_bytes);
    let messages = requests.map(|request| request.map(Message::<E>));
    let processor = Requests { exchange: exchange.clone(), held };
    let outcomes = session::run(messages, processor, options, engine.drain().clone());
    outcomes.filter_map(move |outcome| {
        let answered = match outcome {
            Ok(Outcome::Done(Answer { reply, .. })) => Some(Ok(reply)),
            // Nothing is dropped under this pressure.
            Ok(Outcome::Dropped(_)) => None,
            Err(End::Source(error)) => Some(Err(status::of_stream(error))),
            Err(End::Drained) => Some(Err(exchange.going_down())),
        };
        std::future::ready(answered)
    })
}

impl<E: Exchange> Input for Message<E> {
    fn sequence(&self) -> Option<u64> {
        None
    }

    fn bytes(&self) -> usize {
        E::request_bytes(&self.0)
    }

    fn without_frame(self) -> Option<Self> {
        Some(self)
    }
}

impl<E: Exchange> Processor for Requests<E> {
    type Input = Message<E>;
    type Output = Answer<E>;
    type Ticket = Share;

    fn admit(&self, message: &Message<E>) -> Admission<Share> {
        let (held, bytes) = (self.held.clone(), message.bytes());
        Box::pin(async move { held.take(bytes).await })
    }

    fn process(&mut self, Message(request): Message<E>, mut share: Share) -> Work<Answer<E>> {
        let reply = self.exchange.reply(request);
        let work = async move {
            let reply = reply.await;
            share.shrink(E::reply_bytes(&reply));
            Answer { reply, _share: share }
        };
        Work::Running(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())))
    }
}
