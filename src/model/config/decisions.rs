//! What becomes of each field of a configuration: used, refused, or logged as a hint that is not used.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost_reflect::{DynamicMessage, FieldDescriptor, Value};

use super::{refused, shown};
use crate::error::Error;

use Decision::{Hint, Refused, Used};

/// What becomes of a field that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It is read here, and so are the fields of its messages unless they are decided on otherwise.
    Used,
    /// It would change results, and can't be had.
    Refused(&'static str),
    /// It changes at most how fast results come.
    Hint(&'static str),
}

/// Fields of each message; those of messages that are refused or not used need no line.
const DECISIONS: &[(&str, &[(&str, Decision)])] = &[
    (
        "ModelConfig",
        &[
            ("name", Used),
            ("platform", Used),
            ("backend", Used),
            ("runtime", Refused("a backend has one runtime here, and the field has to be left out")),
            ("version_policy", Used),
            ("max_batch_size", Used),
            ("input", Used),
            ("output", Used),
            ("batch_input", Refused("inputs that describe the batch are not made here")),
            ("batch_output", Refused("outputs are cut by rows alone")),
            ("optimization", Hint("the backend decides how it runs a model")),
            ("dynamic_batching", Used),
            ("sequence_batching", Refused("requests are not kept together as sequences")),
            (
                "ensemble_scheduling",
                Refused("ensembles are not run; pipelines of the server put stages together"),
            ),
            ("instance_group", Used),
            ("default_model_filename", Used),
            (
                "cc_model_filenames",
                Refused("a version has one file for every GPU: name it in default_model_filename"),
            ),
            ("metric_tags", Hint("metrics have a closed set of labels")),
            ("parameters", Used),
            ("model_warmup", Used),
            ("model_operations", Used),
            ("model_transaction_policy", Used),
            ("model_repository_agents", Used),
            ("response_cache", Used),
            ("model_metrics", Hint("which metrics there are is the same for all models")),
        ],
    ),
    ("ModelVersionPolicy", &[("latest", Used), ("all", Used), ("specific", Used)]),
    ("ModelVersionPolicy.Latest", &[("num_versions", Used)]),
    ("ModelVersionPolicy.All", &[]),
    ("ModelVersionPolicy.Specific", &[("versions", Used)]),
    (
        "ModelInput",
        &[
            ("name", Used),
            ("data_type", Used),
            ("format", Used),
            ("dims", Used),
            ("reshape", Used),
            ("is_shape_tensor", Refused(SHAPE_TENSOR)),
            ("allow_ragged_batch", Refused("requests of one batch have the same shape")),
            ("optional", Used),
            ("is_non_linear_format_io", Refused(NON_LINEAR)),
        ],
    ),
    (
        "ModelOutput",
        &[
            ("name", Used),
            ("data_type", Used),
            ("dims", Used),
            ("reshape", Used),
            ("label_filename", Used),
            ("is_shape_tensor", Refused(SHAPE_TENSOR)),
            ("is_non_linear_format_io", Refused(NON_LINEAR)),
        ],
    ),
    ("ModelTensorReshape", &[("shape", Used)]),
    (
        "ModelDynamicBatching",
        &[
            ("preferred_batch_size", Used),
            ("max_queue_delay_microseconds", Used),
            ("preserve_ordering", Hint("replies of a stream leave in the order of its requests in any case")),
            ("priority_levels", Used),
            ("default_priority_level", Used),
            ("default_queue_policy", Used),
            ("priority_queue_policy", Used),
        ],
    ),
    (
        "ModelQueuePolicy",
        &[
            ("timeout_action", Used),
            ("default_timeout_microseconds", Used),
            ("allow_timeout_override", Used),
            ("max_queue_size", Used),
        ],
    ),
    (
        "ModelInstanceGroup",
        &[
            ("name", Used),
            ("kind", Used),
            ("count", Used),
            ("rate_limiter", Hint("instances run whenever there is work for them")),
            ("gpus", Used),
            ("secondary_devices", Refused("models run on CPUs and GPUs alone")),
            ("profile", Hint("profiles are for TensorRT")),
            ("passive", Hint("every instance takes requests")),
            ("host_policy", Hint("threads run on any core")),
        ],
    ),
    ("ModelParameter", &[("string_value", Used)]),
    ("ModelWarmup", &[("name", Used), ("batch_size", Used), ("inputs", Used), ("count", Used)]),
    (
        "ModelWarmup.Input",
        &[
            ("data_type", Used),
            ("dims", Used),
            ("zero_data", Used),
            ("random_data", Used),
            ("input_data_file", Used),
        ],
    ),
    ("ModelOperations", &[("op_library_filename", Refused("libraries of operators are not loaded"))]),
    ("ModelTransactionPolicy", &[("decoupled", Refused("each request has one response"))]),
    (
        "ModelRepositoryAgents",
        &[("agents", Refused("agents are not run, and what they check would go unchecked"))],
    ),
    ("ModelResponseCache", &[("enable", Hint("every request is computed"))]),
];

const SHAPE_TENSOR: &str = "shape tensors are for TensorRT";
const NON_LINEAR: &str = "tensors are taken and given in row-major order";

/// Refuses a configuration with a field that can't be had, and lists what is set and not used.
pub fn check(config: &DynamicMessage) -> Result<Vec<String>, Error> {
    let mut unused = Vec::new();
    walk(config, "", &mut unused)?;
    Ok(unused)
}

fn walk(message: &DynamicMessage, path: &str, unused: &mut Vec<String>) -> Result<(), Error> {
    for (field, value) in message.fields() {
        let path = format!("{path}{}", field.name());
        match decision(&field) {
            Some(Used) => {
                for (index, message) in messages(value) {
                    walk(message, &format!("{path}{index}."), unused)?;
                }
            }
            Some(Hint(reason)) => unused.push(format!("{path} {}: {reason}", shown(value))),
            Some(Refused(reason)) => return Err(refused(&path, shown(value), reason)),
            None => return Err(refused(&path, shown(value), "this server does not know the field")),
        }
    }
    Ok(())
}

fn decision(field: &FieldDescriptor) -> Option<Decision> {
    static TABLE: LazyLock<BTreeMap<String, Decision>> = LazyLock::new(|| {
        let fields = DECISIONS.iter().flat_map(|(message, fields)| {
            fields.iter().map(move |(field, decision)| (format!("inference.{message}.{field}"), *decision))
        });
        fields.collect()
    });
    TABLE.get(field.full_name()).copied()
}

/// The messages in a value, each with what its path goes on with.
fn messages(value: &Value) -> Vec<(String, &DynamicMessage)> {
    match value {
        Value::Message(message) => vec![(String::new(), message)],
        Value::List(values) => {
            let all = values.iter().enumerate();
            all.filter_map(|(index, value)| Some((format!("[{index}]"), value.as_message()?))).collect()
        }
        Value::Map(values) => {
            let all = values.iter();
            all.filter_map(|(key, value)| Some((format!("[{key:?}]"), value.as_message()?))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{Kind, MessageDescriptor};

    use super::super::text::{Parsed, description};
    use super::*;

    fn messages_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
        let message = match field.kind() {
            Kind::Message(message) => message,
            _ => return None,
        };
        if !field.is_map() {
            return Some(message);
        }
        match message.map_entry_value_field().kind() {
            Kind::Message(message) => Some(message),
            _ => None,
        }
    }

    #[test]
    fn every_field_is_decided_on_and_every_decision_has_a_field() {
        let mut open = vec![description()];
        let mut known = 0;
        while let Some(message) = open.pop() {
            for field in message.fields() {
                let name = field.full_name();
                match decision(&field) {
                    None => panic!("nobody has decided what becomes of {name}: add it to DECISIONS"),
                    Some(Used) => open.extend(messages_of(&field)),
                    Some(Refused(reason) | Hint(reason)) => assert!(!reason.is_empty()),
                }
            }
        }
        for (message, fields) in DECISIONS {
            let pool = description().parent_pool().clone();
            let found = pool.get_message_by_name(&format!("inference.{message}"));
            let found = found.unwrap_or_else(|| panic!("there is no message {message}"));
            for (field, _) in *fields {
                assert!(found.get_field_by_name(field).is_some(), "{message} has no {field}");
                known += 1;
            }
        }
        assert!(known > 60);
    }

    #[test]
    fn what_is_refused_names_field_and_value() {
        for (text, field) in [
            ("sequence_batching { max_sequence_idle_microseconds: 5 }", "sequence_batching `{max_seq"),
            ("ensemble_scheduling { step { model_name: 'a' } }", "ensemble_scheduling `{step"),
            ("input { name: 'x' is_shape_tensor: true }", "input[0].is_shape_tensor `true`"),
            ("input {} input { allow_ragged_batch: true }", "input[1].allow_ragged_batch `true`"),
            ("output { is_non_linear_format_io: true }", "output[0].is_non_linear_format_io `true`"),
            ("batch_input { kind: BATCH_ITEM_SHAPE }", "batch_input `["),
            ("batch_output {}", "batch_output"),
            ("model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled `true`"),
            ("model_repository_agents { agents { name: 'checksum' } }", "model_repository_agents.agents"),
            ("model_operations { op_library_filename: 'libops.so' }", "model_operations.op_library_filename"),
            ("cc_model_filenames { key: '8.0' value: 'm.pt' }", "cc_model_filenames"),
            ("runtime: 'model.py'", "runtime `\"model.py\"`"),
            ("instance_group { secondary_devices { device_id: 1 } }", "instance_group[0].secondary_devices"),
        ] {
            let error = check(&Parsed::from_text(text).unwrap().tree).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
            assert!(error.contains(": "), "{error}");
        }
    }

    #[test]
    fn hints_are_listed_and_what_is_off_is_nothing() {
        let text = "optimization { cuda { graphs: true } } response_cache { enable: true } metric_tags { key: 'a' \
                    value: 'b' } instance_group { count: 2 passive: true host_policy: 'a' profile: 'b' rate_limiter \
                    { priority: 1 } } model_metrics {} dynamic_batching { preserve_ordering: true }";
        let unused = check(&Parsed::from_text(text).unwrap().tree).unwrap();
        for field in [
            "optimization `{cuda{graphs:true}}`",
            "response_cache.enable `true`",
            "metric_tags",
            "instance_group[0].passive",
            "instance_group[0].host_policy",
            "instance_group[0].profile",
            "instance_group[0].rate_limiter",
            "model_metrics",
            "dynamic_batching.preserve_ordering",
        ] {
            assert_eq!(
                unused.iter().filter(|line| line.starts_with(field)).count(),
                1,
                "{field}: {unused:?}"
            );
        }
        assert_eq!(unused.len(), 9);
        let off = "model_transaction_policy { decoupled: false } response_cache {} model_operations {} \
                   model_repository_agents {} input { is_shape_tensor: false }";
        assert_eq!(check(&Parsed::from_text(off).unwrap().tree).unwrap(), Vec::<String>::new());
    }
}
