//! How requests wait, by a configuration.

use std::time::Duration;

use super::refused;
use crate::error::Error;
use crate::exec::batch::{Policy, QueuePolicy, TimeoutAction};
use crate::proto::inference::model_config::SchedulingChoice;
use crate::proto::inference::model_queue_policy;
use crate::proto::inference::{ModelConfig, ModelDynamicBatching, ModelQueuePolicy};

/// How requests of the model wait and are put together. Without `dynamic_batching` nobody waits for others to
/// join, but what has queued while the model was busy is still run together, as far as `max_batch_size` allows.
pub fn policy(config: &ModelConfig, unused: &mut Vec<String>) -> Result<Policy, Error> {
    let max_batch = usize::try_from(config.max_batch_size).unwrap_or_default().max(1);
    match &config.scheduling_choice {
        Some(SchedulingChoice::DynamicBatching(dynamic)) => {
            if config.max_batch_size == 0 && dynamic.max_queue_delay_microseconds > 0 {
                let delay = dynamic.max_queue_delay_microseconds;
                let reason = "max_batch_size is 0, so no request waits for others";
                unused.push(format!("dynamic_batching.max_queue_delay_microseconds `{delay}`: {reason}"));
            }
            dynamic_policy(config, dynamic, max_batch)
        }
        // The others were refused before.
        _ => Ok(Policy::eager(max_batch)),
    }
}

fn dynamic_policy(
    config: &ModelConfig,
    dynamic: &ModelDynamicBatching,
    max_batch: usize,
) -> Result<Policy, Error> {
    let preferred = dynamic.preferred_batch_size.iter().map(|&size| {
        let fits = usize::try_from(size).ok().filter(|size| (1..=max_batch).contains(size));
        let rule = || format!("it must be from 1 to max_batch_size, which is {}", config.max_batch_size);
        fits.ok_or_else(|| refused("dynamic_batching.preferred_batch_size", size, rule()))
    });
    let mut preferred = preferred.collect::<Result<Vec<_>, _>>()?;
    preferred.sort_unstable();
    preferred.dedup();
    let levels = u32::try_from(dynamic.priority_levels).map_err(|_| {
        refused(
            "dynamic_batching.priority_levels",
            dynamic.priority_levels,
            format!("it may be up to {}", u32::MAX),
        )
    })?;
    let queues = dynamic.priority_queue_policy.iter().map(|(&level, given)| {
        Ok((within(level, levels, "dynamic_batching.priority_queue_policy")?, queue(given)?))
    });
    let default_queue = dynamic.default_queue_policy.as_ref();
    Ok(Policy {
        max_batch,
        preferred,
        max_delay: match config.max_batch_size {
            0 => Duration::ZERO,
            _ => Duration::from_micros(dynamic.max_queue_delay_microseconds),
        },
        levels,
        default_level: default_level(dynamic.default_priority_level, levels)?,
        // Who says nothing of timeouts forbids none either. One that is written out has its own rule.
        queue: default_queue.map(queue).transpose()?.unwrap_or(Policy::eager(max_batch).queue),
        queues: queues.collect::<Result<_, Error>>()?,
        threads: 1,
    })
}

/// Level 0 is none, and a model that has levels needs one for those that don't say.
fn default_level(level: u64, levels: u32) -> Result<u32, Error> {
    if levels == 0 && level == 0 {
        return Ok(0);
    }
    within(level, levels, "dynamic_batching.default_priority_level")
}

fn within(level: u64, levels: u32, field: &str) -> Result<u32, Error> {
    let known = u32::try_from(level).ok().filter(|level| (1..=levels).contains(level));
    known.ok_or_else(|| match levels {
        0 => refused(field, level, "priority_levels is 0, so there are no priorities"),
        levels => refused(field, level, format!("it must be from 1 to priority_levels, which is {levels}")),
    })
}

fn queue(given: &ModelQueuePolicy) -> Result<QueuePolicy, Error> {
    let action = match model_queue_policy::TimeoutAction::try_from(given.timeout_action) {
        Ok(model_queue_policy::TimeoutAction::Reject) => TimeoutAction::Reject,
        Ok(model_queue_policy::TimeoutAction::Delay) => TimeoutAction::Delay,
        Err(_) => return Err(refused("timeout_action", given.timeout_action, "it must be REJECT or DELAY")),
    };
    let timeout = Duration::from_micros(given.default_timeout_microseconds);
    Ok(QueuePolicy {
        max_size: usize::try_from(given.max_queue_size).unwrap_or(usize::MAX),
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        allow_override: given.allow_timeout_override,
        action,
    })
}
