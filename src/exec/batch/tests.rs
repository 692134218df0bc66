//! The rules, by a clock that stands still.

use super::*;

/// A request by its number; 0 is one that nobody waits for.
impl Wanted for u32 {
    fn is_wanted(&self) -> bool {
        *self != 0
    }
}

struct Clock(Instant);

impl Clock {
    fn at(&self, milliseconds: u64) -> Instant {
        self.0 + Duration::from_millis(milliseconds)
    }

    fn entry(&self, job: u32, came: u64) -> Entry<u32, &'static str> {
        Entry {
            job,
            rows: 1,
            cost: 1,
            kind: "small",
            level: 0,
            came: self.at(came),
            expires: None,
            stream: None,
        }
    }
}

fn clock() -> Clock {
    Clock(Instant::now())
}

fn run(jobs: &[u32]) -> Next<u32> {
    Next { expired: Vec::new(), turn: Turn::Run(jobs.to_vec()) }
}

const IDLE: Next<u32> = Next { expired: Vec::new(), turn: Turn::Idle };

#[test]
fn what_waits_is_run_together_up_to_the_largest_batch() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(3));
    for job in 1..=4 {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    assert_eq!(queue.next(clock.at(0), false), run(&[1, 2, 3]));
    assert_eq!(queue.next(clock.at(0), false), run(&[4]));
    assert_eq!(queue.next(clock.at(0), false), IDLE);
}

#[test]
fn what_waits_is_shared_out_among_the_threads() {
    let clock = clock();
    let mut queue = Queue::new(Policy { threads: 2, ..Policy::eager(8) });
    for job in 1..=5 {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    for jobs in [&[1, 2, 3][..], &[4], &[5]] {
        assert_eq!(queue.next(clock.at(0), false), run(jobs));
    }
    let mut queue = Queue::new(Policy { threads: 2, preferred: vec![4], ..Policy::eager(8) });
    for job in 1..=4 {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    assert_eq!(queue.next(clock.at(0), false), run(&[1, 2, 3, 4]), "who asks for a size gets it");
}

#[test]
fn rows_are_counted_and_not_requests() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(4));
    for (job, rows) in [(1, 2), (2, 3), (3, 1), (4, 9)] {
        queue.push(Entry { rows, ..clock.entry(job, 0) }).unwrap();
    }
    assert_eq!(queue.next(clock.at(0), false), run(&[1]), "2 would make it 5 rows, and is not passed over");
    assert_eq!(queue.next(clock.at(0), false), run(&[2, 3]));
    assert_eq!(queue.next(clock.at(0), false), run(&[4]), "what is larger than a batch is run alone");
}

#[test]
fn kinds_are_not_mixed_and_the_oldest_is_first() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(8));
    for (job, kind) in [(1, "small"), (2, "large"), (3, "small"), (4, "large")] {
        queue.push(Entry { kind, ..clock.entry(job, 0) }).unwrap();
    }
    assert_eq!(queue.next(clock.at(0), false), run(&[1, 3]));
    assert_eq!(queue.next(clock.at(0), false), run(&[2, 4]));
}

#[test]
fn a_batch_waits_for_others_no_longer_than_it_may() {
    let clock = clock();
    let mut queue = Queue::new(Policy { max_delay: Duration::from_millis(5), ..Policy::eager(3) });
    queue.push(clock.entry(1, 0)).unwrap();
    queue.push(clock.entry(2, 2)).unwrap();
    assert_eq!(queue.next(clock.at(4), false).turn, Turn::WaitUntil(clock.at(5)));
    assert_eq!(queue.next(clock.at(5), false), run(&[1, 2]));
    for job in 3..=5 {
        queue.push(clock.entry(job, 6)).unwrap();
    }
    assert_eq!(queue.next(clock.at(6), false), run(&[3, 4, 5]), "a full one does not wait");
    queue.push(clock.entry(6, 7)).unwrap();
    assert_eq!(queue.next(clock.at(7), true), run(&[6]), "nor does one that is hurried");
}

#[test]
fn a_preferred_size_is_run_at_once() {
    let clock = clock();
    let delay = Duration::from_millis(5);
    let mut queue = Queue::new(Policy { max_delay: delay, preferred: vec![2, 4], ..Policy::eager(8) });
    for job in 1..=5 {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    assert_eq!(queue.next(clock.at(0), false), run(&[1, 2, 3, 4]));
    assert_eq!(queue.next(clock.at(0), false).turn, Turn::WaitUntil(clock.at(5)));
}

#[test]
fn priorities_come_first_and_have_their_own_queues() {
    let clock = clock();
    let one = QueuePolicy { max_size: 1, ..Policy::eager(1).queue };
    let mut queue =
        Queue::new(Policy { levels: 3, default_level: 2, queues: [(3, one)].into(), ..Policy::eager(1) });
    for (job, level) in [(1, 3), (2, 0), (3, 1), (4, 7)] {
        queue.push(Entry { level, ..clock.entry(job, 0) }).unwrap();
    }
    assert_eq!(queue.push(Entry { level: 3, ..clock.entry(5, 0) }), Err(Full(1)));
    for job in [3, 2, 4, 1] {
        assert_eq!(queue.next(clock.at(0), false), run(&[job]));
    }
}

#[test]
fn a_stream_gets_no_more_than_its_share_while_others_wait() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(1));
    let of = |stream, job| Entry { stream, ..clock.entry(job, 0) };
    for job in 11..=18 {
        queue.push(of(Some(1), job)).unwrap();
    }
    for job in 21..=22 {
        queue.push(of(Some(2), job)).unwrap();
    }
    queue.push(of(None, 31)).unwrap();
    queue.push(of(None, 32)).unwrap();
    let mut taken = Vec::new();
    while let Turn::Run(jobs) = queue.next(clock.at(0), false).turn {
        taken.extend(jobs);
    }
    assert_eq!(taken, [11, 21, 31, 32, 12, 22, 13, 14, 15, 16, 17, 18]);
    // What it had while nobody else waited is not held against it.
    for (stream, job) in [(1, 19), (2, 23), (1, 20), (2, 24)] {
        queue.push(of(Some(stream), job)).unwrap();
    }
    let four: Vec<_> = (0..4).map(|_| queue.next(clock.at(0), false)).collect();
    assert_eq!(four, [run(&[19]), run(&[23]), run(&[20]), run(&[24])]);
    assert!(queue.turns.remembered() <= 2);
}

#[test]
fn a_stream_of_large_frames_gets_no_more_of_the_model_than_one_of_small_frames() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(1));
    for job in 0..8 {
        queue.push(Entry { stream: Some(1), cost: 900, ..clock.entry(900 + job, 0) }).unwrap();
    }
    for job in 0..60 {
        queue.push(Entry { stream: Some(2), cost: 100, ..clock.entry(100 + job, 0) }).unwrap();
    }
    let taken: Vec<_> = (0..40)
        .map(|_| match queue.next(clock.at(0), false).turn {
            Turn::Run(jobs) => jobs[0],
            other => panic!("{other:?}"),
        })
        .collect();
    let large: Vec<_> = taken.iter().enumerate().filter(|(_, job)| **job >= 900).map(|(at, _)| at).collect();
    assert_eq!(large, [0, 10, 20, 30], "one large frame for nine small ones: {taken:?}");
}

#[test]
fn a_crowd_of_single_requests_does_not_keep_a_stream_waiting() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(1));
    let mut taken = Vec::new();
    for round in 1..=40 {
        queue.push(Entry { stream: Some(1), ..clock.entry(1000 + round, 0) }).unwrap();
        for _ in 0..3 {
            queue.push(clock.entry(1, 0)).unwrap();
        }
        for _ in 0..2 {
            let Turn::Run(jobs) = queue.next(clock.at(0), false).turn else { panic!("there is work") };
            taken.extend(jobs);
        }
    }
    let of_stream = taken.iter().filter(|job| **job > 1000).count();
    // 80 turns, and ever more who wait alone: from 1 in 4 to 1 in 80.
    assert!((2..20).contains(&of_stream), "{of_stream}");
}

#[test]
fn who_waited_for_too_long_is_refused_or_delayed() {
    let clock = clock();
    let ten = Some(Duration::from_millis(10));
    for action in [TimeoutAction::Reject, TimeoutAction::Delay] {
        let waits = QueuePolicy { timeout: ten, action, ..Policy::eager(1).queue };
        let mut queue = Queue::new(Policy { queue: waits, ..Policy::eager(1) });
        for (job, wants) in
            [(1, None), (2, Some(Duration::from_millis(3))), (3, Some(Duration::from_millis(99)))]
        {
            let came = if job == 3 { 5 } else { 0 };
            let expires = queue.policy().timeout(0, wants).map(|timeout| clock.at(came) + timeout);
            queue.push(Entry { expires, ..clock.entry(job, came) }).unwrap();
        }
        assert_eq!(queue.policy().timeout(0, Some(Duration::from_secs(1))), ten);
        let next = queue.next(clock.at(10), false);
        match action {
            TimeoutAction::Reject => assert_eq!(next, Next { expired: vec![1, 2], ..run(&[3]) }),
            TimeoutAction::Delay => {
                assert_eq!(next, run(&[3]));
                assert_eq!(queue.next(clock.at(99), false), run(&[1]));
                assert_eq!(queue.next(clock.at(99), false), run(&[2]));
            }
        }
        assert_eq!(queue.next(clock.at(99), false), IDLE);
    }
}

#[test]
fn what_nobody_waits_for_is_neither_run_nor_in_the_way() {
    let clock = clock();
    let two = QueuePolicy { max_size: 2, ..Policy::eager(4).queue };
    let mut queue = Queue::new(Policy { queue: two, ..Policy::eager(4) });
    for job in [0, 1, 2] {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    assert_eq!(queue.push(clock.entry(3, 0)), Err(Full(2)));
    assert_eq!(queue.next(clock.at(0), false), run(&[1, 2]));
}

#[test]
fn what_nobody_waits_for_does_not_pile_up() {
    let clock = clock();
    let mut queue = Queue::new(Policy::eager(1));
    for job in [1; 100].into_iter().chain([0; 10_000]) {
        queue.push(clock.entry(job, 0)).unwrap();
    }
    let held: usize = queue.levels.values().map(VecDeque::len).sum();
    assert!(held <= 200 && queue.waiting() == 100, "{held}");
}
