use super::*;

type Numbers = Line<u32, u32, ()>;

fn request(input: u32) -> Request<u32, ()> {
    Request { input, rows: 1, cost: 1, kind: (), level: 0, timeout: None, deadline: None, stream: None }
}

fn inputs(jobs: &[Job<u32, u32>]) -> Vec<u32> {
    jobs.iter().map(|job| job.input).collect()
}

#[tokio::test]
async fn each_gets_its_own_answer() {
    let line = Numbers::new(Policy::eager(4), Courier::default());
    let answers: Vec<_> = (1..=3).map(|input| line.send(request(input)).unwrap()).collect();
    for job in line.next(&Dismissal::default()).unwrap() {
        let double = job.input * 2;
        job.answer(Ok(double));
    }
    for (answer, expected) in answers.into_iter().zip([2, 4, 6]) {
        assert_eq!(answer.wait().await, Ok(expected));
    }
}

#[tokio::test]
async fn nobody_waits_for_the_company_of_who_has_gone_away() {
    let policy = Policy { max_delay: Duration::from_secs(3600), ..Policy::eager(4) };
    let line = Arc::new(Numbers::new(policy, Courier::default()));
    let alone = line.send(request(1)).unwrap();
    let worker = Arc::clone(&line);
    let thread = thread::spawn(move || inputs(&worker.next(&Dismissal::default()).unwrap()));
    let rests = || {
        while line.rest.count() == 0 {
            thread::yield_now();
        }
    };
    rests();
    // A whole batch, which the one that waits does not fit into. It is looked at while that one is still wanted.
    let whole = line.send(Request { rows: 4, ..request(2) }).unwrap();
    rests();
    drop(alone);
    assert_eq!(thread.join().unwrap(), [2]);
    drop(whole);
}

#[tokio::test]
async fn the_thread_that_worked_last_is_woken_first() {
    let line = Arc::new(Numbers::new(Policy::eager(1), Courier::default()));
    let threads: Vec<_> = (1..=3)
        .map(|number| {
            let worker = Arc::clone(&line);
            let thread = thread::spawn(move || {
                while let Some(jobs) = worker.next(&Dismissal::default()) {
                    jobs.into_iter().for_each(|job| job.answer(Ok(number)));
                }
            });
            while line.rest.count() < number as usize {
                thread::yield_now();
            }
            thread
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(line.send(request(0)).unwrap().wait().await, Ok(3));
        while line.rest.count() < threads.len() {
            thread::yield_now();
        }
    }
    line.close(Error::Cancelled);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test]
async fn who_goes_away_is_never_worked_on() {
    let line = Numbers::new(Policy::eager(4), Courier::default());
    let (gone, stays) = (line.send(request(1)).unwrap(), line.send(request(2)).unwrap());
    drop(gone);
    let jobs = line.next(&Dismissal::default()).unwrap();
    assert_eq!(inputs(&jobs), [2]);
    drop(jobs);
    assert!(matches!(stays.wait().await, Err(Error::Internal(_))));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_waits_for_its_turn_too() {
    let mut policy = Policy::eager(1);
    policy.queue.timeout = Some(Duration::from_millis(5));
    let line = Numbers::new(policy, Courier::default());
    let patient = line.enter(request(1), WhenFull::Wait).await.unwrap();
    let other = line.enter(request(2), WhenFull::Refuse).await.unwrap();
    assert_eq!(other.wait().await, Err(Error::QueueTimeout));
    let mut answer = std::pin::pin!(patient.wait());
    tokio::time::timeout(Duration::from_secs(3600), &mut answer).await.unwrap_err();
    for job in line.next(&Dismissal::default()).unwrap() {
        job.answer(Ok(1));
    }
    assert_eq!(answer.await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_counts_in_the_line_and_not_behind_it() {
    let line = Numbers::new(Policy::eager(1), Courier::default());
    let soon = || Some(Duration::from_millis(5));
    let waiting = line.send(Request { timeout: soon(), ..request(1) }).unwrap();
    assert_eq!(waiting.wait().await, Err(Error::QueueTimeout));
    let deadline = Some(Instant::now() + Duration::from_millis(5));
    let taken = line.send(Request { deadline, ..request(2) }).unwrap();
    let job = line.next(&Dismissal::default()).unwrap().remove(0);
    let answered = async {
        tokio::time::advance(Duration::from_secs(1)).await;
        job.answer(Ok(7));
    };
    assert_eq!(tokio::join!(taken.wait(), answered).0, Ok(7));
}

/// A line in which no more than so many wait.
fn bounded(max_size: usize) -> Numbers {
    let mut policy = Policy::eager(1);
    policy.queue.max_size = max_size;
    Line::new(policy, Courier::default())
}

#[tokio::test]
async fn who_waits_for_a_place_has_one_that_is_left() {
    let line = bounded(1);
    let first = line.send(request(1)).unwrap();
    assert!(matches!(line.send(request(2)).err(), Some(Error::QueueFull { count: 1, max: 1 })));
    let mut second = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
    let mut third = std::pin::pin!(line.enter(request(3), WhenFull::Wait));
    assert!(futures_util::poll!(&mut second).is_pending() && futures_util::poll!(&mut third).is_pending());
    assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [1]);
    let second = second.await.unwrap();
    assert!(futures_util::poll!(&mut third).is_pending());
    // One that is given up leaves its place, too.
    drop(second);
    let third = third.await.unwrap();
    assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [3]);
    drop((first, third));
}

#[tokio::test]
async fn a_place_that_its_finder_does_not_want_any_more_is_for_the_next() {
    let line = bounded(1);
    let _first = line.send(request(1)).unwrap();
    let mut last = std::pin::pin!(line.enter(request(3), WhenFull::Wait));
    {
        let mut gone = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
        assert!(futures_util::poll!(&mut gone).is_pending() && futures_util::poll!(&mut last).is_pending());
        line.next(&Dismissal::default()).unwrap();
    }
    let _last = last.await.unwrap();
    assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [3]);
}

#[tokio::test]
async fn who_waits_for_a_place_in_a_line_that_ends_is_told() {
    for end in [Numbers::close, Numbers::fail] {
        let line = bounded(1);
        let _first = line.send(request(1)).unwrap();
        let mut second = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
        assert!(futures_util::poll!(&mut second).is_pending());
        end(&line, Error::Cancelled);
        assert_eq!(second.await.err(), Some(Error::Cancelled));
    }
}

#[tokio::test]
async fn a_thread_that_is_dismissed_leaves_the_work_to_others_if_there_are_any() {
    let line = Numbers::new(Policy::eager(1), Courier::default());
    let (dismissal, _waiting) = (Dismissal::default(), line.send(request(1)).unwrap());
    line.dismiss(&dismissal);
    assert!(line.next(&dismissal).is_none());
    line.close(Error::Cancelled);
    assert_eq!(inputs(&line.next(&dismissal).unwrap()), [1]);
    assert!(line.next(&dismissal).is_none());
    line.open(1);
    let _waiting = line.send(request(2)).unwrap();
    assert!(line.next(&dismissal).is_none());
    assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [2]);
}

#[tokio::test]
async fn a_closed_line_is_worked_off_and_a_failed_one_is_not() {
    let line = Numbers::new(Policy::eager(1), Courier::default());
    let waiting = line.send(request(1)).unwrap();
    line.close(Error::Cancelled);
    assert_eq!(line.send(request(2)).err(), Some(Error::Cancelled));
    assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [1]);
    assert!(line.next(&Dismissal::default()).is_none());
    drop(waiting);
    let line = Numbers::new(Policy::eager(1), Courier::default());
    let waiting = line.send(request(1)).unwrap();
    line.fail(Error::Cancelled);
    assert!(line.next(&Dismissal::default()).is_none());
    assert_eq!(waiting.wait().await, Err(Error::Cancelled));
}
