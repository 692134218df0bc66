//! Sessions whose work is done when the test says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::*;

/// A frame, or something else in the stream, by its number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Note {
    sequence: u64,
    frame: bool,
    order: bool,
}

impl Input for Note {
    fn sequence(&self) -> Option<u64> {
        self.frame.then_some(self.sequence)
    }

    fn bytes(&self) -> usize {
        1
    }

    fn without_frame(self) -> Option<Self> {
        self.order.then_some(Note { frame: false, ..self })
    }
}

/// Begins every frame, and ends it when its sender says so.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Vec<Option<oneshot::Sender<()>>>>>);

impl Gate {
    fn begun(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Lets the frame through that was the nth to be begun.
    fn open(&self, nth: usize) {
        let sender = self.0.lock().unwrap()[nth].take();
        sender.expect("it was opened before").send(()).expect("its work was given up");
    }

    fn given_up(&self, nth: usize) -> bool {
        self.0.lock().unwrap()[nth].as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

impl Processor for Gate {
    type Input = Note;
    type Output = Note;
    type Ticket = ();

    fn admit(&self, _: &Note) -> Admission<()> {
        Box::pin(std::future::ready(()))
    }

    fn process(&mut self, input: Note, (): ()) -> Work<Note> {
        if !input.frame {
            return Work::Done(input);
        }
        let (open, opened) = oneshot::channel();
        self.0.lock().unwrap().push(Some(open));
        Work::Running(AbortOnDropHandle::new(tokio::spawn(async move {
            let _never_opened = opened.await;
            input
        })))
    }
}

fn frame(sequence: u64) -> Note {
    Note { sequence, frame: true, order: false }
}

fn lossless(window: usize) -> Options {
    Options { window, waiting_bytes: 1000, pressure: Pressure::Lossless, max_fps: None }
}

fn dropping(window: usize, queue: usize) -> Options {
    Options { pressure: Pressure::DropOldest(queue), ..lossless(window) }
}

type Outcomes = BoxStream<'static, Result<Outcome<Note>, End<&'static str>>>;

/// A session, its gate, and how much of what is sent to it was read.
struct Running {
    send: Option<mpsc::Sender<Result<Note, &'static str>>>,
    read: Arc<AtomicUsize>,
    gate: Gate,
    drain: CancellationToken,
    outcomes: Outcomes,
}

impl Running {
    fn new(options: Options) -> Self {
        let (send, mut receive) = mpsc::channel(64);
        let (read, gate, drain) = (Arc::new(AtomicUsize::new(0)), Gate::default(), CancellationToken::new());
        let count = Arc::clone(&read);
        let source = stream! {
            while let Some(note) = receive.recv().await {
                count.fetch_add(1, Ordering::SeqCst);
                yield note;
            }
        };
        let outcomes = run(source, gate.clone(), options, drain.clone()).boxed();
        Running { send: Some(send), read, gate, drain, outcomes }
    }

    fn send(&self, notes: impl IntoIterator<Item = Note>) {
        let send = self.send.as_ref().expect("the source was closed");
        notes.into_iter().for_each(|note| send.try_send(Ok(note)).expect("the test sends too much at once"));
    }

    /// Runs until nothing moves any more, and returns what came out.
    async fn settle(&mut self) -> Vec<Outcome<Note>> {
        let mut came = Vec::new();
        let mut quiet = 0;
        while quiet < 20 {
            tokio::task::yield_now().await;
            match futures_util::poll!(self.outcomes.next()) {
                std::task::Poll::Ready(Some(Ok(outcome))) => {
                    came.push(outcome);
                    quiet = 0;
                }
                _ => quiet += 1,
            }
        }
        came
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }
}

fn done(sequence: u64) -> Outcome<Note> {
    Outcome::Done(frame(sequence))
}

fn replaced(first: u64, count: u64) -> Outcome<Note> {
    Outcome::Dropped(Run { first, count, reason: DropReason::Replaced })
}

#[tokio::test]
async fn no_more_than_a_window_is_read_and_begun() {
    let mut running = Running::new(lossless(3));
    running.send((0..10).map(frame));
    assert_eq!(running.settle().await, []);
    assert_eq!((running.gate.begun(), running.read()), (3, 3));
    running.gate.open(1);
    assert_eq!(running.settle().await, [], "the first frame is not through");
    running.gate.open(0);
    assert_eq!(running.settle().await, [done(0), done(1)]);
    assert_eq!((running.gate.begun(), running.read()), (5, 5));
}

#[tokio::test]
async fn a_frame_that_waits_is_replaced_by_the_newest() {
    let mut running = Running::new(dropping(1, 1));
    running.send([frame(0)]);
    assert_eq!(running.settle().await, []);
    running.send((1..=9).map(frame));
    assert_eq!(running.settle().await, []);
    assert_eq!(running.read(), 10, "a stream that drops is read whatever its session does");
    running.gate.open(0);
    assert_eq!(running.settle().await, [done(0), replaced(1, 8)]);
    running.gate.open(1);
    assert_eq!(running.settle().await, [done(9)]);
}

#[tokio::test]
async fn the_oldest_go_where_some_may_wait() {
    let mut running = Running::new(dropping(1, 3));
    running.send([frame(0)]);
    running.settle().await;
    running.send((1..=6).map(frame));
    running.settle().await;
    running.gate.open(0);
    assert_eq!(running.settle().await, [done(0), replaced(1, 3)]);
    for nth in 1..=3 {
        running.gate.open(nth);
        assert_eq!(running.settle().await, [done(3 + nth as u64)]);
    }
}

#[tokio::test]
async fn what_a_dropped_frame_ordered_is_done_all_the_same() {
    let mut running = Running::new(dropping(1, 1));
    running.send([frame(0)]);
    running.settle().await;
    let order = Note { sequence: 1, frame: true, order: true };
    running.send([order, frame(2), frame(3)]);
    running.settle().await;
    running.gate.open(0);
    let came = running.settle().await;
    let ordered = Outcome::Done(Note { frame: false, ..order });
    assert_eq!(came, [done(0), replaced(1, 1), ordered, replaced(2, 1)]);
}

#[tokio::test]
async fn drops_that_can_not_be_told_in_one_are_bounded() {
    let mut running = Running::new(dropping(1, 1));
    let sent = 4 * MOST_FLIGHTS;
    for number in 0..sent as u64 {
        while running.send.as_ref().unwrap().try_send(Ok(frame(number * 2))).is_err() {
            if running.settle().await.is_empty() {
                assert!(running.read() < sent, "all of them were read");
                return;
            }
        }
    }
    panic!("nothing held the sender back");
}

#[tokio::test]
async fn a_drained_stream_answers_what_it_has_read_and_reads_no_more() {
    for options in [lossless(2), dropping(2, 4)] {
        let mut running = Running::new(options);
        running.send((0..2).map(frame));
        running.settle().await;
        running.drain.cancel();
        running.settle().await;
        let late = running.send.take().unwrap();
        // The one that is there when the order is seen is taken for read.
        let read_at_most = 3;
        for number in 2..9 {
            let _nobody_reads_it = late.try_send(Ok(frame(number)));
        }
        let mut came = Vec::new();
        for nth in 0..read_at_most {
            if nth < running.gate.begun() {
                running.gate.open(nth);
            }
            came.extend(running.settle().await);
        }
        let begun = running.gate.begun();
        assert!(begun <= read_at_most, "{begun} frames were begun");
        assert_eq!(came, (0..begun as u64).map(done).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_end_says_why() {
    let mut running = Running::new(lossless(2));
    running.send([frame(0)]);
    running.settle().await;
    running.drain.cancel();
    running.gate.open(0);
    assert_eq!(running.outcomes.next().await, Some(Ok(done(0))));
    assert_eq!(running.outcomes.next().await, Some(Err(End::Drained)));
    assert_eq!(running.outcomes.next().await, None);

    let mut running = Running::new(dropping(2, 2));
    running.send([frame(0)]);
    let send = running.send.take().unwrap();
    send.try_send(Err("broken")).unwrap();
    running.settle().await;
    running.gate.open(0);
    assert_eq!(running.outcomes.next().await, Some(Ok(done(0))));
    assert_eq!(running.outcomes.next().await, Some(Err(End::Source("broken"))));
    assert_eq!(running.outcomes.next().await, None);

    let mut running = Running::new(lossless(2));
    drop(running.send.take());
    assert_eq!(running.outcomes.next().await, None);
}

#[tokio::test]
async fn a_stream_that_goes_away_takes_its_work_along() {
    let mut running = Running::new(lossless(4));
    running.send((0..4).map(frame));
    running.settle().await;
    let Running { outcomes, gate, .. } = running;
    drop(outcomes);
    tokio::task::yield_now().await;
    assert!((0..4).all(|nth| gate.given_up(nth)));
}

#[tokio::test(start_paused = true)]
async fn a_greatest_rate_drops_what_comes_too_soon() {
    for pressure in [Pressure::Lossless, Pressure::DropOldest(8)] {
        let mut running = Running::new(Options { pressure, max_fps: Some(10.0), ..lossless(8) });
        let mut came = Vec::new();
        for number in 0..30 {
            running.send([frame(number)]);
            came.extend(running.settle().await);
            if running.gate.begun() > 0 {
                let mut gates = running.gate.0.lock().unwrap();
                gates.iter_mut().filter_map(Option::take).for_each(|gate| gate.send(()).unwrap());
            }
            came.extend(running.settle().await);
            tokio::time::advance(std::time::Duration::from_millis(50)).await;
        }
        let done = came.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
        let dropped: u64 = came
            .iter()
            .map(|outcome| match outcome {
                Outcome::Dropped(Run { count, reason: DropReason::Rate, .. }) => *count,
                _ => 0,
            })
            .sum();
        assert_eq!((done, dropped), (15, 15), "{came:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_holds_whatever_is_done_first(window in 1..12_usize, picks in proptest::collection::vec(0..64_usize, 60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let came = runtime.block_on(async {
            let mut running = Running::new(lossless(window));
            running.send((0..40).map(frame));
            drop(running.send.take());
            let mut came = Vec::new();
            let mut pending: Vec<usize> = Vec::new();
            let mut seen = 0;
            for pick in picks.iter().cycle() {
                came.extend(running.settle().await);
                if came.len() == 40 {
                    break;
                }
                pending.extend(seen..running.gate.begun());
                seen = running.gate.begun();
                prop_assert!(pending.len() <= window);
                let nth = pending.swap_remove(pick % pending.len());
                running.gate.open(nth);
            }
            Ok(came)
        })?;
        prop_assert_eq!(came, (0..40).map(done).collect::<Vec<_>>());
    }
}
