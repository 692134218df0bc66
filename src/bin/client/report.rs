//! What happened: counted while a stream runs, told at its end.

use std::fmt::Write as _;
use std::time::Duration;

use frameserve::proto::{StepTime, Timing};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Exit;

/// Microseconds: no reply is later than ten minutes.
const LATEST: u64 = 600_000_000;
const BAR: usize = 24;

/// What one stream counts, or several together.
#[derive(Debug, Clone)]
pub struct Tally {
    pub frames_in: u64,
    pub frames_out: u64,
    pub dropped: u64,
    pub failed: u64,
    /// Changes of the pipeline that the server refused apart from any frame.
    pub changes_refused: u64,
    /// Sent, and neither answered nor reported as dropped: the stream ended before.
    pub unanswered: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub elapsed: Duration,
    pub reading: Duration,
    pub encoding: Duration,
    pub decoding: Duration,
    pub writing: Duration,
    pub server: ServerTime,
    latency: Histogram<u64>,
    latency_sum: Duration,
}

/// Where the time of all frames went in the server.
#[derive(Debug, Clone, Default)]
pub struct ServerTime {
    pub decode: Duration,
    pub encode: Duration,
    /// In the order in which the stages first came up.
    pub stages: Vec<(String, Duration)>,
}

/// A summary as programs read it. Times are milliseconds, means over the frames that came back.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub frames_in: u64,
    pub frames_out: u64,
    pub dropped: u64,
    pub failed: u64,
    pub changes_refused: u64,
    pub unanswered: u64,
    pub seconds: f64,
    pub fps: f64,
    pub latency_ms: LatencySummary,
    pub megabytes_up: f64,
    pub megabytes_down: f64,
    pub time_ms: TimeSummary,
}

#[derive(Debug, Clone, Serialize)]
pub struct LatencySummary {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct TimeSummary {
    pub read: f64,
    pub encode: f64,
    pub wire_and_queue: f64,
    pub server_decode: f64,
    pub server_stages: Vec<StageSummary>,
    pub server_encode: f64,
    pub decode: f64,
    pub write: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct StageSummary {
    pub stage: String,
    pub ms: f64,
}

/// One stream of a report.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    pub source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    pub exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub summary: Summary,
    pub written: Vec<String>,
}

/// Everything, as `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub exit_code: u8,
    /// What went wrong before any stream began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub total: Summary,
    pub streams: Vec<StreamReport>,
}

impl Default for Tally {
    fn default() -> Tally {
        let latency = Histogram::new_with_bounds(1, LATEST, 3).expect("constant bounds that hold");
        Tally {
            frames_in: 0,
            frames_out: 0,
            dropped: 0,
            failed: 0,
            changes_refused: 0,
            unanswered: 0,
            bytes_up: 0,
            bytes_down: 0,
            elapsed: Duration::ZERO,
            reading: Duration::ZERO,
            encoding: Duration::ZERO,
            decoding: Duration::ZERO,
            writing: Duration::ZERO,
            server: ServerTime::default(),
            latency,
            latency_sum: Duration::ZERO,
        }
    }
}

impl Tally {
    /// Counts a frame that came back.
    pub fn came_back(&mut self, latency: Duration, timing: Option<&Timing>) {
        self.frames_out += 1;
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATEST).max(1));
        self.latency_sum += latency;
        if let Some(timing) = timing {
            self.server.add(timing);
        }
    }

    /// The median so far.
    pub fn median_latency(&self) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(0.5))
    }

    /// Adds another stream that ran at the same time.
    pub fn merge(&mut self, other: &Tally) {
        self.frames_in += other.frames_in;
        self.frames_out += other.frames_out;
        self.dropped += other.dropped;
        self.failed += other.failed;
        self.changes_refused += other.changes_refused;
        self.unanswered += other.unanswered;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.reading += other.reading;
        self.encoding += other.encoding;
        self.decoding += other.decoding;
        self.writing += other.writing;
        self.latency_sum += other.latency_sum;
        self.latency.add(&other.latency).expect("the same bounds");
        self.server.decode += other.server.decode;
        self.server.encode += other.server.encode;
        for (stage, time) in &other.server.stages {
            *self.server.stage(stage) += *time;
        }
    }

    pub fn summary(&self) -> Summary {
        let per = |time: Duration, frames: u64| if frames == 0 { 0.0 } else { ms(time) / frames as f64 };
        let back = |time| per(time, self.frames_out);
        let stages = self.server.stages.iter();
        let in_stages: Duration = stages.clone().map(|(_, time)| *time).sum();
        let in_server = self.server.decode + in_stages + self.server.encode;
        let quantile = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let seconds = self.elapsed.as_secs_f64();
        Summary {
            frames_in: self.frames_in,
            frames_out: self.frames_out,
            dropped: self.dropped,
            failed: self.failed,
            changes_refused: self.changes_refused,
            unanswered: self.unanswered,
            seconds,
            fps: if seconds > 0.0 { self.frames_out as f64 / seconds } else { 0.0 },
            latency_ms: LatencySummary {
                p50: quantile(0.5),
                p95: quantile(0.95),
                p99: quantile(0.99),
                max: self.latency.max() as f64 / 1000.0,
            },
            megabytes_up: self.bytes_up as f64 / 1e6,
            megabytes_down: self.bytes_down as f64 / 1e6,
            time_ms: TimeSummary {
                read: per(self.reading, self.frames_in),
                encode: per(self.encoding, self.frames_in),
                wire_and_queue: back(self.latency_sum.saturating_sub(in_server)),
                server_decode: back(self.server.decode),
                server_stages: stages
                    .map(|(stage, time)| StageSummary { stage: stage.clone(), ms: back(*time) })
                    .collect(),
                server_encode: back(self.server.encode),
                decode: back(self.decoding),
                write: back(self.writing),
            },
        }
    }

    /// What the numbers alone say about the outcome.
    pub fn exit(&self) -> Exit {
        if self.failed > 0 || self.changes_refused > 0 { Exit::FramesFailed } else { Exit::AllCameBack }
    }
}

impl ServerTime {
    fn add(&mut self, timing: &Timing) {
        self.decode += Duration::from_nanos(timing.decode);
        self.encode += Duration::from_nanos(timing.encode);
        for StepTime { stage, nanoseconds } in &timing.stages {
            *self.stage(stage) += Duration::from_nanos(*nanoseconds);
        }
    }

    fn stage(&mut self, name: &str) -> &mut Duration {
        let at = self.stages.iter().position(|(stage, _)| stage == name).unwrap_or_else(|| {
            self.stages.push((name.to_string(), Duration::ZERO));
            self.stages.len() - 1
        });
        &mut self.stages[at].1
    }
}

impl Summary {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut counts = format!("{} in, {} out", self.frames_in, self.frames_out);
        for (count, what) in
            [(self.dropped, "dropped"), (self.failed, "failed"), (self.unanswered, "unanswered")]
        {
            if count > 0 || what != "unanswered" {
                let _ = write!(counts, ", {count} {what}");
            }
        }
        let _ = writeln!(text, "  frames   {counts}");
        if self.changes_refused > 0 {
            let _ = writeln!(text, "  changes  {} refused", self.changes_refused);
        }
        let _ = writeln!(text, "  speed    {:.1} fps, {:.2} s in all", self.fps, self.seconds);
        let LatencySummary { p50, p95, p99, max } = self.latency_ms;
        let _ =
            writeln!(text, "  latency  p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
        let _ =
            writeln!(text, "  wire     {:.1} MB up, {:.1} MB down", self.megabytes_up, self.megabytes_down);
        if self.frames_out > 0 {
            let _ = writeln!(text, "  time     mean for each frame; the steps overlap");
            self.time_ms.write(&mut text);
        }
        text
    }
}

impl TimeSummary {
    fn write(&self, text: &mut String) {
        let mut steps: Vec<(String, f64)> = vec![
            ("read".into(), self.read),
            ("encode".into(), self.encode),
            ("wire and queue".into(), self.wire_and_queue),
            ("server: decode".into(), self.server_decode),
        ];
        steps.extend(self.server_stages.iter().map(|stage| (format!("server: {}", stage.stage), stage.ms)));
        steps.push(("server: encode".into(), self.server_encode));
        steps.push(("decode".into(), self.decode));
        steps.push(("write".into(), self.write));
        let longest = steps.iter().map(|(_, ms)| *ms).fold(0.001, f64::max);
        let width = steps.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(40);
        for (name, ms) in steps {
            let shown: String = name.chars().take(width).collect();
            let bar = "\u{2588}".repeat((ms / longest * BAR as f64).round() as usize);
            let _ = writeln!(text, "    {shown:width$} {ms:9.2} ms  {bar}");
        }
    }
}

/// Minutes and seconds, as players show them.
pub fn clock(seconds: f64) -> String {
    let hundredths = (seconds.max(0.0) * 100.0).round() as u64;
    let (minutes, seconds) = (hundredths / 6000, (hundredths % 6000) as f64 / 100.0);
    if minutes < 60 {
        return format!("{minutes}:{seconds:05.2}");
    }
    format!("{}:{:02}:{seconds:05.2}", minutes / 60, minutes % 60)
}

/// A number with as many decimals as it needs, three at most.
pub fn short(number: f64) -> String {
    format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_string()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(decode: u64, stage: u64, encode: u64) -> Timing {
        let stages = vec![StepTime { stage: "canny=50,150".into(), nanoseconds: stage }];
        Timing { decode, stages, encode, ..Timing::default() }
    }

    #[test]
    fn the_parts_add_up_to_the_latency() {
        let mut tally = Tally { frames_in: 2, elapsed: Duration::from_secs(1), ..Tally::default() };
        tally.came_back(Duration::from_millis(10), Some(&timing(1_000_000, 2_000_000, 3_000_000)));
        tally.came_back(Duration::from_millis(20), Some(&timing(3_000_000, 4_000_000, 5_000_000)));
        let Summary { time_ms: time, fps, .. } = tally.summary();
        let stages: f64 = time.server_stages.iter().map(|stage| stage.ms).sum();
        let sum = time.wire_and_queue + time.server_decode + stages + time.server_encode;
        assert!((sum - 15.0).abs() < 1e-9 && (fps - 2.0).abs() < 1e-9, "{time:?}");
        assert!((time.server_decode - 2.0).abs() < 1e-9 && (stages - 3.0).abs() < 1e-9);
    }

    #[test]
    fn streams_merge() {
        let mut one = Tally { frames_in: 3, elapsed: Duration::from_secs(2), ..Tally::default() };
        one.came_back(Duration::from_millis(5), Some(&timing(1, 2, 3)));
        let mut other =
            Tally { frames_in: 4, failed: 1, elapsed: Duration::from_secs(3), ..Tally::default() };
        other.came_back(Duration::from_millis(50), Some(&timing(1, 2, 3)));
        one.merge(&other);
        let summary = one.summary();
        assert_eq!((summary.frames_in, summary.frames_out, summary.failed), (7, 2, 1));
        assert_eq!(summary.time_ms.server_stages.len(), 1);
        assert!(summary.latency_ms.max > 49.0 && (summary.seconds - 3.0).abs() < 1e-9);
        assert_eq!(one.exit(), Exit::FramesFailed);
    }

    #[test]
    fn nothing_divides_by_zero() {
        let summary = Tally::default().summary();
        assert!(summary.fps == 0.0 && summary.time_ms.read == 0.0);
        assert!(!summary.text().contains("NaN"));
        let mut odd = Tally::default();
        // A server whose clock is coarser than the wire.
        odd.came_back(Duration::ZERO, Some(&timing(5_000_000, 0, 0)));
        assert_eq!(odd.summary().time_ms.wire_and_queue, 0.0);
    }

    #[test]
    fn times_and_numbers_are_short() {
        assert_eq!([clock(0.0), clock(61.239), clock(3661.5)], ["0:00.00", "1:01.24", "1:01:01.50"]);
        assert_eq!([short(25.0), short(29.97), short(2.2972)], ["25", "29.97", "2.297"]);
    }
}
