//! One level: so many requests under way at a time, for so long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frameserve::client::{ClientError, InferenceClient, code_name};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::expected::Expected;

/// After the end of a level a request that is still under way is waited for so long.
const GRACE: Duration = Duration::from_secs(10);
/// A reply that came and is not like the first one.
pub const WRONG_REPLY: &str = "WRONG_REPLY";

/// Keeps one request under way.
#[derive(Debug)]
pub struct Worker {
    pub client: InferenceClient,
    pub message: Bytes,
    pub expected: Arc<Expected>,
}

/// How long a level runs before it counts, and while it counts.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub warmup: Duration,
    pub window: Duration,
}

/// What was counted.
#[derive(Debug)]
pub struct Level {
    pub concurrency: usize,
    /// How long it counted.
    pub seconds: f64,
    pub counts: Counts,
    /// Requests that got no answer at all.
    pub unanswered: usize,
    /// Processor time of this program for the whole level, with its warm-up.
    pub cpu: Duration,
    /// Requests in all of that time.
    pub all_requests: u64,
}

#[derive(Debug, Clone)]
pub struct Counts {
    pub ok: u64,
    /// By status code.
    pub errors: BTreeMap<&'static str, u64>,
    pub first_error: Option<String>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Microseconds.
    pub latency: Histogram<u32>,
}

/// When it counts.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    end: Instant,
}

impl Default for Counts {
    fn default() -> Counts {
        // It grows as it must, and so stays small where there are many.
        let latency = Histogram::new(3).expect("three digits are a precision");
        Counts { ok: 0, errors: BTreeMap::new(), first_error: None, bytes_up: 0, bytes_down: 0, latency }
    }
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.ok += other.ok;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        for (code, count) in &other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.latency.add(&other.latency).expect("it grows as it must");
    }

    fn failed(&mut self, code: &'static str, message: impl FnOnce() -> String) {
        *self.errors.entry(code).or_default() += 1;
        self.first_error.get_or_insert_with(message);
    }

    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Level {
    /// Runs the workers. Interrupted, it counts what came until then.
    pub async fn measure(workers: &[Arc<Worker>], times: Times, stop: &CancellationToken) -> Level {
        let cpu = processor_time();
        let start = Instant::now() + times.warmup;
        let window = Window { start, end: start + times.window };
        let mut running = JoinSet::new();
        for worker in workers {
            running.spawn(Arc::clone(worker).run(window, stop.clone()));
        }
        let mut counts = Counts::default();
        let mut all_requests = 0;
        let mut ended = None;
        // Dropping what is still running cancels it.
        while let Ok(Some(done)) = timeout_at(window.end + GRACE, running.join_next()).await {
            if let Ok((worker, requests)) = done {
                counts.add(&worker);
                all_requests += requests;
                ended = Some(Instant::now());
            }
        }
        let ended = ended.unwrap_or(window.end).min(window.end);
        Level {
            concurrency: workers.len(),
            seconds: ended.saturating_duration_since(window.start).as_secs_f64(),
            counts,
            unanswered: running.len(),
            cpu: processor_time().saturating_sub(cpu),
            all_requests,
        }
    }

    pub fn requests_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.counts.ok as f64 / self.seconds } else { 0.0 }
    }

    /// In milliseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.counts.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Said when it is over.
    pub fn line(&self) -> String {
        let rate = self.requests_per_second();
        let (concurrency, p50) = (self.concurrency, self.quantile(0.5));
        let failures = match self.counts.failures() + self.unanswered as u64 {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        format!("{concurrency} under way: {rate:.1} requests/s, p50 {p50:.3} ms{failures}")
    }
}

impl Worker {
    /// The counts of the window, and the number of all requests.
    async fn run(self: Arc<Worker>, window: Window, stop: CancellationToken) -> (Counts, u64) {
        let mut counts = Counts::default();
        let mut requests = 0;
        let mut begun = Instant::now();
        while begun < window.end {
            let reply = tokio::select! {
                biased;
                reply = self.client.infer_encoded(self.message.clone()) => reply,
                () = stop.cancelled() => break,
            };
            let now = Instant::now();
            requests += 1;
            let lost = matches!(reply, Err(ClientError::Lost { .. }));
            if now >= window.start && now < window.end {
                self.count(&mut counts, reply, now - begun);
            }
            // The next one would fail at once, and the one after it, and so on.
            if lost {
                break;
            }
            begun = now;
        }
        (counts, requests)
    }

    fn count(&self, counts: &mut Counts, reply: Result<Bytes, ClientError>, took: Duration) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                let code = error.code().map_or("CONNECTION_LOST", code_name);
                return counts.failed(code, || error.to_string());
            }
        };
        if let Err(wrong) = self.expected.check(&reply) {
            return counts.failed(WRONG_REPLY, || wrong);
        }
        counts.ok += 1;
        counts.bytes_up += self.message.len() as u64;
        counts.bytes_down += reply.len() as u64;
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // It grows with what is recorded, up to any number.
        let _ = counts.latency.record(microseconds.max(1));
    }
}

/// What this program's threads have taken of the processors so far.
fn processor_time() -> Duration {
    // SAFETY: the struct holds numbers only, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: it writes to the struct that it is given, and keeps nothing.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Duration::ZERO;
    }
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
