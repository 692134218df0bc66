//! Frames that wait their turn where newer ones replace older ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::pace::{self, Pace};
use super::{DropReason, Input, Item, MOST_FLIGHTS, Run};

/// A bounded queue between the task that reads a stream and the stream's session.
pub struct Inbox<I, E> {
    queue: Mutex<Queue<I, E>>,
    room: Room,
    /// Something was put in.
    filled: Notify,
    /// Something was taken out.
    taken: Notify,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Frames.
    pub frames: usize,
    /// Bytes, besides those of the newest frame.
    pub bytes: usize,
}

struct Queue<I, E> {
    items: VecDeque<Item<I>>,
    frames: usize,
    bytes: usize,
    end: Option<Option<E>>,
}

impl<I: Input, E: Send + 'static> Inbox<I, E> {
    /// Reads `source` as fast as it comes. As many of its frames wait as there is room for, the newest.
    pub fn read(
        source: impl Stream<Item = Result<I, E>> + Send + 'static,
        room: Room,
        pace: Option<Pace>,
    ) -> impl Stream<Item = Result<Item<I>, E>> + Send {
        let queue = Queue { items: VecDeque::new(), frames: 0, bytes: 0, end: None };
        let (filled, taken) = (Notify::new(), Notify::new());
        let room = Room { frames: room.frames.max(1), ..room };
        let inbox = Arc::new(Inbox { queue: Mutex::new(queue), room, filled, taken });
        let reader = Arc::clone(&inbox).fill(source, pace);
        stream! {
            let _reader = AbortOnDropHandle::new(tokio::spawn(reader.in_current_span()));
            while let Some(item) = inbox.take().await {
                yield item;
            }
        }
    }

    async fn fill(self: Arc<Self>, source: impl Stream<Item = Result<I, E>> + Send, mut pace: Option<Pace>) {
        let _closing = Closing(Arc::clone(&self));
        let mut source = std::pin::pin!(source);
        while let Some(input) = source.next().await {
            for item in pace::keep(&mut pace, input) {
                match item {
                    Ok(item) => self.with(|queue| queue.put(item, self.room)),
                    Err(error) => return self.with(|queue| queue.end = Some(Some(error))),
                }
            }
            self.filled.notify_one();
            while self.with(|queue| queue.is_overfull(self.room)) {
                self.taken.notified().await;
            }
        }
    }

    async fn take(&self) -> Option<Result<Item<I>, E>> {
        loop {
            let (item, end) = self.with(|queue| {
                let item = queue.items.pop_front();
                queue.discount(item.as_ref());
                let end = if item.is_none() { queue.end.as_mut().map(Option::take) } else { None };
                (item, end)
            });
            match (item, end) {
                (Some(item), _) => {
                    self.taken.notify_one();
                    return Some(Ok(item));
                }
                (None, Some(error)) => return error.map(Err),
                (None, None) => self.filled.notified().await,
            }
        }
    }

    fn with<R>(&self, operation: impl FnOnce(&mut Queue<I, E>) -> R) -> R {
        operation(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Closes an inbox when its reader is done, however that comes: nobody is to wait for what can't come.
struct Closing<I: Input, E: Send + 'static>(Arc<Inbox<I, E>>);

impl<I: Input, E: Send + 'static> Drop for Closing<I, E> {
    fn drop(&mut self) {
        self.0.with(|queue| _ = queue.end.get_or_insert(None));
        self.0.filled.notify_one();
    }
}

impl<I: Input, E> Queue<I, E> {
    fn put(&mut self, item: Item<I>, room: Room) {
        self.frames += usize::from(carries_frame(&item));
        self.bytes += bytes(&item);
        let last = self.items.back_mut().and_then(Item::dropped);
        let merged = match (&item, last) {
            (Item::Dropped(run), Some(last)) => last.extend(*run),
            _ => false,
        };
        if !merged {
            self.items.push_back(item);
        }
        while self.frames > room.frames || (self.frames > 1 && self.bytes > room.bytes) {
            self.drop_oldest();
        }
    }

    /// What can't be dropped may also be too much: then the source has to wait.
    fn is_overfull(&self, room: Room) -> bool {
        self.items.len() > room.frames + MOST_FLIGHTS
            || (self.items.len() > self.frames && self.bytes > room.bytes)
    }

    fn discount(&mut self, item: Option<&Item<I>>) {
        self.frames -= usize::from(item.is_some_and(carries_frame));
        self.bytes -= item.map_or(0, bytes);
    }

    /// Puts the report of the loss in the place of the oldest frame.
    fn drop_oldest(&mut self) {
        let Some(at) = self.items.iter().position(carries_frame) else { return };
        let item = self.items.remove(at);
        self.discount(item.as_ref());
        let Some(Item::Input(input)) = item else { return };
        let Some(sequence) = input.sequence() else { return };
        if let Some(rest) = input.without_frame().map(Item::Input) {
            self.bytes += bytes(&rest);
            self.items.insert(at, rest);
        }
        let run = Run::of(sequence, DropReason::Replaced);
        let last = at.checked_sub(1).and_then(|before| self.items.get_mut(before)).and_then(Item::dropped);
        if !last.is_some_and(|last| last.extend(run)) {
            self.items.insert(at, Item::Dropped(run));
        }
    }
}

fn bytes<I: Input>(item: &Item<I>) -> usize {
    match item {
        Item::Input(input) => input.bytes(),
        Item::Dropped(_) => 0,
    }
}

fn carries_frame<I: Input>(item: &Item<I>) -> bool {
    matches!(item, Item::Input(input) if input.sequence().is_some())
}
