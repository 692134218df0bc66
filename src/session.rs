//! One stream: ordered, windowed, paced, draining. It knows nothing of what its frames are.
//!
//! Frames are admitted in the order in which they come, worked on at the same time (at most a window of them),
//! and leave in the same order. What happens to frames that come too fast is a [`Pressure`]: a lossless
//! stream is read only when there is room, so that its sender waits; otherwise a task of its own reads
//! the stream into an [`Inbox`](inbox), where newer frames replace older ones.

mod inbox;
mod pace;

use std::collections::VecDeque;
use std::pin::Pin;

use async_stream::stream;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use inbox::{Inbox, Room};
use pace::Pace;

/// How a stream is to be run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Frames in flight: read, and their replies not yet taken. At least 1; 0 is taken for 1.
    pub window: usize,
    /// Bytes of the frames that wait where newer ones replace older ones, besides the newest.
    pub waiting_bytes: usize,
    /// What happens to frames that come faster than that.
    pub pressure: Pressure,
    /// Frames a second; those that are read faster are dropped.
    pub max_fps: Option<f64>,
}

/// What happens to frames that come faster than they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// The sender waits.
    Lossless,
    /// So many wait; when one more comes, the oldest of them is dropped.
    DropOldest(usize),
}

/// What comes in on a stream.
pub trait Input: Send + 'static {
    /// The number of the frame that it carries; `None` if it carries none.
    fn sequence(&self) -> Option<u64>;

    /// Memory that it takes while it waits.
    fn bytes(&self) -> usize;

    /// What remains to be done when its frame is dropped.
    fn without_frame(self) -> Option<Self>
    where
        Self: Sized;
}

/// What is done with it.
pub trait Processor: Send + 'static {
    /// What comes in.
    type Input: Input;
    /// What goes out, one for each input.
    type Output: Send + 'static;

    /// What has to be there before the work can begin, such as room for it.
    type Ticket: Send + 'static;

    /// Waits until the work can begin. It is asked in the order of the stream, for one input at a time.
    fn admit(&self, input: &Self::Input) -> Admission<Self::Ticket>;

    /// Begins the work, and does not wait for it. It is called in the order of the stream.
    fn process(&mut self, input: Self::Input, ticket: Self::Ticket) -> Work<Self::Output>;
}

/// A ticket, once there is one.
pub type Admission<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that was begun.
#[derive(Debug)]
pub enum Work<O> {
    /// It is done already.
    Done(O),
    /// It goes on by itself, and stops when it is dropped.
    Running(AbortOnDropHandle<O>),
}

/// What comes out of a stream, in the order of what came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<O> {
    /// The result of one input.
    Done(O),
    /// Frames that were dropped.
    Dropped(Run),
}

/// Frames that were dropped one after the other, with sequence numbers one apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Sequence number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: DropReason,
}

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// A newer one took its place.
    Replaced,
    /// It came sooner than the stream's greatest rate allows.
    Rate,
}

/// Why a stream ended before its sender ended it.
#[derive(Debug, Clone, PartialEq)]
pub enum End<E> {
    /// What the source said.
    Source(E),
    /// The server goes down. All that was read before has been answered.
    Drained,
}

impl Run {
    fn of(sequence: u64, reason: DropReason) -> Self {
        Run { first: sequence, count: 1, reason }
    }

    /// Takes the other in, if it follows on this one.
    fn extend(&mut self, next: Run) -> bool {
        let follows = self.reason == next.reason && self.first.checked_add(self.count) == Some(next.first);
        if follows {
            self.count += next.count;
        }
        follows
    }
}

/// An input, or what became of some.
enum Item<I> {
    Input(I),
    Dropped(Run),
}

/// Something that leaves in its turn.
enum Flight<O> {
    Work(Work<O>),
    Dropped(Run),
}

impl<I> Item<I> {
    fn dropped(&mut self) -> Option<&mut Run> {
        match self {
            Item::Dropped(run) => Some(run),
            Item::Input(_) => None,
        }
    }
}

impl<O> Flight<O> {
    fn dropped(&mut self) -> Option<&mut Run> {
        match self {
            Flight::Dropped(run) => Some(run),
            Flight::Work(_) => None,
        }
    }
}

/// What a turn of the loop in [`run`] has to deal with.
enum Step<I, T, O, E> {
    Leaves(Outcome<O>),
    Admitted(T),
    Came(Option<Result<Item<I>, End<E>>>),
}

/// Runs a stream: `source` gives its inputs; the result gives their outcomes, and is to be read at leisure.
/// When `drain` is cancelled nothing more is read, and the stream ends once all that was is answered.
pub fn run<S, P, E>(
    source: S,
    mut processor: P,
    options: Options,
    drain: CancellationToken,
) -> impl Stream<Item = Result<Outcome<P::Output>, End<E>>> + Send
where
    S: Stream<Item = Result<P::Input, E>> + Send + 'static,
    P: Processor + Sync,
    E: Send + 'static,
{
    stream! {
        let mut items = read(source, options, drain);
        let mut flights: VecDeque<Flight<P::Output>> = VecDeque::new();
        let mut working = 0;
        let mut waiting: Option<(P::Input, Admission<P::Ticket>)> = None;
        let mut open = true;
        let mut end = None;
        while open || waiting.is_some() || !flights.is_empty() {
            // A stream whose every message is answered at once must not keep others from the runtime.
            tokio::task::consume_budget().await;
            let room = open && waiting.is_none() && working < options.window.max(1) && flights.len() < MOST_FLIGHTS;
            let step = tokio::select! {
                biased;
                outcome = leave(&mut flights), if !flights.is_empty() => Step::Leaves(outcome),
                ticket = admitted(&mut waiting), if waiting.is_some() => Step::Admitted(ticket),
                item = items.next(), if room => Step::Came(item),
            };
            match step {
                Step::Leaves(outcome) => {
                    working -= usize::from(matches!(outcome, Outcome::Done(_)));
                    yield Ok(outcome);
                }
                Step::Came(Some(Ok(Item::Input(input)))) => {
                    let admission = processor.admit(&input);
                    waiting = Some((input, admission));
                }
                Step::Came(Some(Ok(Item::Dropped(run)))) => {
                    let last = flights.back_mut().and_then(Flight::dropped);
                    if !last.is_some_and(|last| last.extend(run)) {
                        flights.push_back(Flight::Dropped(run));
                    }
                }
                Step::Came(Some(Err(why))) => {
                    open = false;
                    end = Some(why);
                }
                Step::Came(None) => open = false,
                Step::Admitted(ticket) => {
                    if let Some((input, _)) = waiting.take() {
                        working += 1;
                        flights.push_back(Flight::Work(processor.process(input, ticket)));
                    }
                }
            }
        }
        if let Some(end) = end {
            yield Err(end);
        }
    }
}

/// Runs of dropped frames whose numbers do not follow on each other can't be told in one; a stream with more
/// of them than this waits until they are reported.
const MOST_FLIGHTS: usize = 1024;

type Items<I, E> = Pin<Box<dyn Stream<Item = Result<Item<I>, End<E>>> + Send>>;

/// The inputs of a stream under its pressure and rate.
fn read<S, I, E>(source: S, options: Options, drain: CancellationToken) -> Items<I, E>
where
    S: Stream<Item = Result<I, E>> + Send + 'static,
    I: Input,
    E: Send + 'static,
{
    let source = until_drained(source, drain);
    let mut pace = options.max_fps.map(Pace::new);
    match options.pressure {
        Pressure::Lossless => Box::pin(stream! {
            for await input in source {
                for item in pace::keep(&mut pace, input) {
                    yield item;
                }
            }
        }),
        Pressure::DropOldest(capacity) => {
            Box::pin(Inbox::read(source, Room { frames: capacity, bytes: options.waiting_bytes }, pace))
        }
    }
}

/// The source until the order to drain comes; then the end says so, unless the source had ended by itself.
fn until_drained<I, E>(
    source: impl Stream<Item = Result<I, E>> + Send,
    drain: CancellationToken,
) -> impl Stream<Item = Result<I, End<E>>> + Send
where
    I: Send,
    E: Send,
{
    stream! {
        let mut source = std::pin::pin!(source);
        while let Some(next) = drain.run_until_cancelled(source.next()).await {
            match next {
                Some(input) => yield input.map_err(End::Source),
                None => return,
            }
        }
        // What was read already is answered, and a stream that is complete needs no excuse.
        if let Some(next) = source.next().now_or_never() {
            match next {
                Some(input) => yield input.map_err(End::Source),
                None => return,
            }
        }
        yield Err(End::Drained);
    }
}

/// Waits for the first of what is in flight. If it is given up, nothing is lost.
async fn leave<O: Send + 'static>(flights: &mut VecDeque<Flight<O>>) -> Outcome<O> {
    let ready = match flights.front_mut() {
        Some(Flight::Work(Work::Running(task))) => match task.await {
            Ok(output) => Some(output),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // The runtime is being shut down, and this with it.
            Err(_) => std::future::pending().await,
        },
        _ => None,
    };
    match (ready, flights.pop_front()) {
        (Some(output), _) | (None, Some(Flight::Work(Work::Done(output)))) => Outcome::Done(output),
        (None, Some(Flight::Dropped(run))) => Outcome::Dropped(run),
        // Nothing in flight, or work that is not done: `run` asks for neither.
        (None, _) => std::future::pending().await,
    }
}

async fn admitted<I, T>(waiting: &mut Option<(I, Admission<T>)>) -> T {
    match waiting {
        Some((_, admission)) => admission.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
