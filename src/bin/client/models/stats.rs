//! What models have done since they were loaded.

use std::fmt::Write as _;

use frameserve::proto::inference::{InferStatistics, MemoryUsage, ModelStatistics, StatisticDuration};
use serde_json::{Value, json};

use super::Said;
use crate::report::short;
use crate::table::Align::{Left, Right};
use crate::table::Table;

pub fn said(models: &[ModelStatistics]) -> Said {
    if models.is_empty() {
        return Said { text: "no model has statistics\n".into(), json: json!([]) };
    }
    let mut table = Table::new(&[
        ("model", Left),
        ("version", Left),
        ("requests", Right),
        ("failed", Right),
        ("rows", Right),
        ("runs", Right),
        ("ms: all", Right),
        ("queue", Right),
        ("input", Right),
        ("infer", Right),
        ("output", Right),
    ]);
    for model in models {
        let times = model.inference_stats.unwrap_or_default();
        let mean = |time: Option<StatisticDuration>| {
            mean_ms(time).map_or_else(|| "-".into(), |ms| format!("{ms:.3}"))
        };
        table.row([
            model.name.clone(),
            model.version.clone(),
            count(times.success).to_string(),
            count(times.fail).to_string(),
            model.inference_count.to_string(),
            model.execution_count.to_string(),
            mean(times.success),
            mean(times.queue),
            mean(times.compute_input),
            mean(times.compute_infer),
            mean(times.compute_output),
        ]);
    }
    let mut text = table.to_string();
    for model in models {
        batches(&mut text, model);
    }
    Said { text, json: models.iter().map(as_json).collect() }
}

/// How large the batches were, and where the model lies in memory.
fn batches(text: &mut String, model: &ModelStatistics) {
    let sizes = model.batch_stats.iter().map(|batch| {
        let ms = mean_ms(batch.compute_infer).map_or_else(String::new, |ms| format!(", {} ms", short(ms)));
        match count(batch.compute_infer) {
            1 => format!("{} (1 run{ms})", batch.batch_size),
            runs => format!("{} ({runs} runs{ms})", batch.batch_size),
        }
    });
    let sizes: Vec<String> = sizes.collect();
    if !sizes.is_empty() {
        let _ = writeln!(text, "  {} {}: batches of {}", model.name, model.version, sizes.join(", "));
    }
    let memory: Vec<String> = model.memory_usage.iter().map(memory).collect();
    if !memory.is_empty() {
        let _ = writeln!(text, "  {} {}: memory {}", model.name, model.version, memory.join(", "));
    }
}

fn memory(usage: &MemoryUsage) -> String {
    format!("{} {}: {} MiB", usage.r#type, usage.id, short(usage.byte_size as f64 / 1_048_576.0))
}

fn count(time: Option<StatisticDuration>) -> u64 {
    time.map_or(0, |time| time.count)
}

fn mean_ms(time: Option<StatisticDuration>) -> Option<f64> {
    time.filter(|time| time.count > 0).map(|time| time.ns as f64 / time.count as f64 / 1e6)
}

fn as_json(model: &ModelStatistics) -> Value {
    let InferStatistics { success, fail, queue, compute_input, compute_infer, compute_output, .. } =
        model.inference_stats.unwrap_or_default();
    let batches = model.batch_stats.iter().map(|batch| {
        json!({
            "batch_size": batch.batch_size,
            "count": count(batch.compute_infer),
            "infer_ms": mean_ms(batch.compute_infer),
        })
    });
    json!({
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_inference,
        "requests": count(success),
        "failed": count(fail),
        "rows": model.inference_count,
        "runs": model.execution_count,
        "mean_ms": {
            "all": mean_ms(success),
            "queue": mean_ms(queue),
            "input": mean_ms(compute_input),
            "infer": mean_ms(compute_infer),
            "output": mean_ms(compute_output),
        },
        "batches": batches.collect::<Vec<_>>(),
        "memory": model.memory_usage.iter().map(|usage| {
            json!({ "type": usage.r#type, "id": usage.id, "bytes": usage.byte_size })
        }).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameserve::proto::inference::InferBatchStatistics;

    #[test]
    fn means_are_in_milliseconds() {
        let time = |count, ns| Some(StatisticDuration { count, ns });
        let model = ModelStatistics {
            name: "m".into(),
            version: "1".into(),
            inference_count: 8,
            execution_count: 2,
            inference_stats: Some(InferStatistics {
                success: time(4, 10_000_000),
                queue: time(4, 2_000_000),
                ..InferStatistics::default()
            }),
            batch_stats: vec![InferBatchStatistics {
                batch_size: 4,
                compute_infer: time(2, 3_000_000),
                ..InferBatchStatistics::default()
            }],
            ..ModelStatistics::default()
        };
        let Said { text, json } = said(&[model]);
        assert!(
            text.contains("2.500")
                && text.contains("0.500")
                && text.contains("batches of 4 (2 runs, 1.5 ms)")
        );
        assert_eq!((&json[0]["mean_ms"]["all"], &json[0]["mean_ms"]["infer"]), (&2.5.into(), &Value::Null));
        assert_eq!(said(&[]).text, "no model has statistics\n");
    }
}
