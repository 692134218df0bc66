//! The results, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::level::{Level, WRONG_REPLY};
use super::load::{Load, describe};
use crate::args::BenchArgs;
use crate::failure::Exit;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::tensors::Named;

const MIB: f64 = 1_048_576.0;

/// All levels of one model on one server.
pub struct Report {
    target: String,
    connections: u16,
    warmup: f64,
    shared_memory: bool,
    load: Load,
    levels: Vec<Level>,
    /// Somebody ended it before its time.
    interrupted: bool,
}

impl Report {
    pub fn new(args: &BenchArgs, load: Load, levels: Vec<Level>) -> Report {
        Report {
            target: args.target.shown.clone(),
            connections: args.connections,
            warmup: args.warmup,
            shared_memory: args.shared_memory,
            load,
            levels,
            interrupted: false,
        }
    }

    /// The same of a measurement that was ended before its time.
    pub fn interrupted(self) -> Report {
        Report { interrupted: true, ..self }
    }

    pub fn text(&self) -> String {
        let mut table = Table::new(&[
            ("under way", Right),
            ("requests/s", Right),
            ("p50 ms", Right),
            ("p95 ms", Right),
            ("p99 ms", Right),
            ("max ms", Right),
            ("MiB/s up", Right),
            ("MiB/s down", Right),
            ("client µs", Right),
            ("failed", Left),
        ]);
        for level in &self.levels {
            let rate = |bytes: u64| format!("{:.1}", per_second(level, bytes as f64 / MIB));
            table.row([
                level.concurrency.to_string(),
                format!("{:.1}", level.requests_per_second()),
                format!("{:.3}", level.quantile(0.5)),
                format!("{:.3}", level.quantile(0.95)),
                format!("{:.3}", level.quantile(0.99)),
                format!("{:.3}", level.quantile(1.0)),
                rate(level.counts.bytes_up),
                rate(level.counts.bytes_down),
                format!("{:.0}", client_microseconds(level)),
                failures(level),
            ]);
        }
        let mut text = table.to_string();
        for level in &self.levels {
            if let Some(error) = &level.counts.first_error {
                let _ = writeln!(text, "  {} under way, first error: {error}", level.concurrency);
            }
        }
        text
    }

    pub fn json(&self) -> String {
        let tensor = |Named { name, tensor }: &Named| json!({ "name": name, "datatype": tensor.datatype().name(), "shape": tensor.shape().dims() });
        let load = &self.load;
        let report = json!({
            "target": self.target,
            "model": load.model,
            "version": load.version,
            "connections": self.connections,
            "shared_memory": self.shared_memory,
            "warmup_seconds": self.warmup,
            "inputs": load.inputs.iter().map(tensor).collect::<Vec<_>>(),
            "outputs": load.outputs.iter().map(tensor).collect::<Vec<_>>(),
            "request_bytes": load.message.len(),
            "reply_bytes": load.reply_bytes,
            "levels": self.levels.iter().map(level_json).collect::<Vec<_>>(),
            "exit_code": self.exit() as u8,
        });
        format!("{report:#}\n")
    }

    pub fn exit(&self) -> Exit {
        if self.interrupted {
            return Exit::Interrupted;
        }
        let wrong = self.levels.iter().any(|level| level.counts.errors.contains_key(WRONG_REPLY));
        let failed = self.levels.iter().any(|level| level.counts.failures() > 0 || level.unanswered > 0);
        match (wrong, failed) {
            (true, _) => Exit::BadReply,
            (false, true) => Exit::FramesFailed,
            (false, false) => Exit::AllCameBack,
        }
    }
}

/// What is about to be measured.
pub fn header(args: &BenchArgs, load: &Load) -> String {
    let list = |tensors: &[Named]| tensors.iter().map(describe).collect::<Vec<_>>().join(", ");
    let way = if args.shared_memory { ", through shared memory" } else { "" };
    let connections = if args.connections == 1 { "connection" } else { "connections" };
    let version = if load.version.is_empty() { String::new() } else { format!(" {}", load.version) };
    format!(
        "{}{version} on {}: {} -> {}; {} bytes up, {} down{way}; {} {connections}, {} s each after {} s",
        load.model,
        args.target.shown,
        list(&load.inputs),
        list(&load.outputs),
        load.message.len(),
        load.reply_bytes,
        args.connections,
        args.seconds,
        args.warmup
    )
}

fn level_json(level: &Level) -> Value {
    let counts = &level.counts;
    json!({
        "concurrency": level.concurrency,
        "seconds": level.seconds,
        "requests": counts.ok,
        "all_requests": level.all_requests,
        "requests_per_second": level.requests_per_second(),
        "errors": counts.errors,
        "unanswered": level.unanswered,
        "first_error": counts.first_error,
        "latency_ms": {
            "mean": counts.latency.mean() / 1e3,
            "p50": level.quantile(0.5),
            "p95": level.quantile(0.95),
            "p99": level.quantile(0.99),
            "max": level.quantile(1.0),
        },
        "bytes_up": counts.bytes_up,
        "bytes_down": counts.bytes_down,
        "client_cpu_us_per_request": client_microseconds(level),
    })
}

fn per_second(level: &Level, value: f64) -> f64 {
    if level.seconds > 0.0 { value / level.seconds } else { 0.0 }
}

/// Processor time that one request takes of this program, so that it can be seen whether it is in the way.
fn client_microseconds(level: &Level) -> f64 {
    if level.all_requests == 0 { 0.0 } else { level.cpu.as_secs_f64() * 1e6 / level.all_requests as f64 }
}

fn failures(level: &Level) -> String {
    let codes = level.counts.errors.iter().map(|(code, count)| format!("{count} {code}"));
    let unanswered = (level.unanswered > 0).then(|| format!("{} without an answer", level.unanswered));
    let all: Vec<String> = codes.chain(unanswered).collect();
    if all.is_empty() { "0".into() } else { all.join(", ") }
}
