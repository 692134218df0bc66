//! Carries what threads have computed to the tasks that wait for it.
//!
//! A thread outside of an async runtime that wakes one of its tasks goes through a queue that is made for rare
//! guests: the worker that it wakes wakes the next one, to look for more work, and all of them are in the way of
//! whoever is to read the answer. A readable pipe is what the runtime waits for anyway.

use std::io::{self, PipeWriter, Write};
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One for all threads of an engine. The default one does without: who sends wakes.
#[derive(Debug, Clone, Default)]
pub struct Courier(Option<Arc<Post>>);

#[derive(Debug)]
struct Post {
    letters: Arc<Letters>,
    /// A byte in it says that there are letters. Its end is that of the task that reads it.
    bell: PipeWriter,
}

#[derive(Default)]
struct Letters(Mutex<Vec<Letter>>);

type Letter = Box<dyn FnOnce() + Send>;

impl Courier {
    /// Starts one in the runtime that this is called in; outside of one it is the default one.
    pub fn start() -> io::Result<Self> {
        let Ok(runtime) = Handle::try_current() else { return Ok(Courier::default()) };
        let (rings, bell) = io::pipe()?;
        let rings = Receiver::from_owned_fd(OwnedFd::from(rings))?;
        let letters = Arc::<Letters>::default();
        runtime.spawn(deliver(rings, Arc::clone(&letters)));
        Ok(Courier(Some(Arc::new(Post { letters, bell }))))
    }

    /// Sends a value, if anybody still waits for it.
    pub fn send<T: Send + 'static>(&self, to: oneshot::Sender<T>, value: T) {
        let letter = move || {
            let _nobody_waits = to.send(value);
        };
        match &self.0 {
            Some(post) => post.take(Box::new(letter)),
            None => letter(),
        }
    }
}

impl Post {
    fn take(&self, letter: Letter) {
        // What waits already has rung.
        if self.letters.add(letter) == 1 && (&self.bell).write(&[1]).is_err() {
            self.letters.hand_over();
        }
    }
}

impl Letters {
    /// How many there are now.
    fn add(&self, letter: Letter) -> usize {
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push(letter);
        letters.len()
    }

    fn hand_over(&self) {
        let letters = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        letters.into_iter().for_each(|letter| letter());
    }
}

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Letters").finish_non_exhaustive()
    }
}

/// Until the last courier is gone.
async fn deliver(rings: Receiver, letters: Arc<Letters>) {
    while rings.readable().await.is_ok() {
        match rings.try_read(&mut [0; 16]) {
            Ok(0) => break,
            Ok(_) => letters.hand_over(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::error!(%error, "answers can't be waited for");
                break;
            }
        }
    }
    letters.hand_over();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_that_threads_send_arrives() {
        let courier = Courier::start().unwrap();
        let (senders, answers): (Vec<_>, Vec<_>) = (0..1000).map(|_| oneshot::channel()).unzip();
        let mut senders = senders.into_iter().enumerate();
        let (even, odd): (Vec<_>, Vec<_>) = senders.by_ref().partition(|(index, _)| index % 2 == 0);
        for part in [even, odd] {
            let courier = courier.clone();
            std::thread::spawn(move || part.into_iter().for_each(|(index, to)| courier.send(to, index)));
        }
        drop(courier);
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await, Ok(index));
        }
    }

    #[test]
    fn outside_of_a_runtime_it_does_without() {
        let (to, mut answer) = oneshot::channel();
        Courier::start().unwrap().send(to, 7);
        assert_eq!(answer.try_recv(), Ok(7));
    }
}
