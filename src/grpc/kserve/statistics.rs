//! A model's counts as a message.

use super::refusal::Refusal;
use crate::model::statistics::{BatchTimes, Snapshot, Tally};
use crate::proto::inference::{InferBatchStatistics, InferStatistics, ModelStatistics, StatisticDuration};

/// The counts of one version.
pub fn message(name: String, version: u64, counts: Snapshot) -> ModelStatistics {
    ModelStatistics {
        name,
        version: version.to_string(),
        last_inference: counts.last_inference_ms,
        inference_count: counts.inference_count,
        execution_count: counts.execution_count,
        inference_stats: Some(InferStatistics {
            success: duration(counts.success),
            fail: duration(counts.fail),
            queue: duration(counts.queue),
            compute_input: duration(counts.compute_input),
            compute_infer: duration(counts.compute_infer),
            compute_output: duration(counts.compute_output),
            // There is no cache.
            cache_hit: duration(Tally::default()),
            cache_miss: duration(Tally::default()),
        }),
        batch_stats: counts.batches.into_iter().map(|(rows, times)| batch(rows, times)).collect(),
        ..ModelStatistics::default()
    }
}

/// Of what is not there; by the code that this call alone has for it.
pub fn none(name: &str, version: &str) -> Refusal {
    Refusal::invalid(match version {
        "" => format!("requested model '{name}' is not available"),
        _ => format!("requested model version is not available for model '{name}'"),
    })
}

fn batch(rows: usize, times: BatchTimes) -> InferBatchStatistics {
    InferBatchStatistics {
        batch_size: rows as u64,
        compute_input: duration(times.compute_input),
        compute_infer: duration(times.compute_infer),
        compute_output: duration(times.compute_output),
    }
}

fn duration(tally: Tally) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: tally.count, ns: tally.ns })
}
