//! What a model takes and gives.

use std::fmt::Write as _;

use frameserve::proto::inference::ModelConfig;
use frameserve::proto::inference::model_instance_group::Kind;
use frameserve::proto::inference::model_metadata_response::TensorMetadata;
use serde_json::{Value, json};

use super::Said;
use crate::infer::model::Model;
use crate::table::Align::Left;
use crate::table::Table;

pub fn said(model: &Model) -> Said {
    let metadata = &model.metadata;
    let mut text = format!("{}\n", metadata.name);
    let mut row = |label: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {label:<9} {value}");
        }
    };
    row("platform", metadata.platform.clone());
    row("versions", metadata.versions.join(", "));
    row("task", model.parameter("task").unwrap_or_default().into());
    row("device", model.config.as_ref().map(device).unwrap_or_default());
    row("batch", model.config.as_ref().map(batch).unwrap_or_default());
    let mut table = Table::new(&[("", Left), ("name", Left), ("type", Left), ("shape", Left), ("", Left)]);
    for (direction, tensors) in [("input", &metadata.inputs), ("output", &metadata.outputs)] {
        for tensor in tensors {
            let pictures = direction == "input" && takes_pictures(model, &tensor.name);
            let note = if pictures { "pictures" } else { "" };
            table.row([
                direction.into(),
                tensor.name.clone(),
                tensor.datatype.clone(),
                shape(tensor),
                note.into(),
            ]);
        }
    }
    if metadata.inputs.is_empty() && metadata.outputs.is_empty() {
        text += "  the server doesn't tell what it takes and gives\n";
    } else {
        text += &table.to_string();
    }
    Said { text, json: as_json(model) }
}

/// Where its instances run, as far as the configuration says.
pub fn device(config: &ModelConfig) -> String {
    let groups = config.instance_group.iter().map(|group| {
        let place = match group.kind() {
            Kind::Cpu => "CPU".to_string(),
            Kind::Gpu if group.gpus.is_empty() => "GPU".to_string(),
            Kind::Gpu => {
                let gpus: Vec<String> = group.gpus.iter().map(i32::to_string).collect();
                format!("GPU {}", gpus.join(", "))
            }
            Kind::Auto => "a GPU if there is one, else CPU".to_string(),
            Kind::Model => "as the model chooses".to_string(),
        };
        if group.count > 1 { format!("{} on {place}", group.count) } else { place }
    });
    groups.collect::<Vec<_>>().join("; ")
}

fn batch(config: &ModelConfig) -> String {
    match config.max_batch_size {
        ..=0 => "none: tensors have no dimension for it".into(),
        most => format!("up to {most}"),
    }
}

fn takes_pictures(model: &Model, input: &str) -> bool {
    model.takes_pictures() && model.picture_input(&[]).is_ok_and(|pictures| pictures.name == input)
}

fn shape(tensor: &TensorMetadata) -> String {
    let dims: Vec<String> = tensor.shape.iter().map(i64::to_string).collect();
    format!("[{}]", dims.join(","))
}

fn as_json(model: &Model) -> Value {
    let tensor = |tensor: &TensorMetadata| json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape });
    let metadata = &model.metadata;
    json!({
        "name": metadata.name,
        "platform": metadata.platform,
        "versions": metadata.versions,
        "task": model.parameter("task"),
        "inputs": metadata.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": metadata.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::model::tests::model;

    #[test]
    fn inputs_and_outputs_are_listed() {
        let text = said(&model(&[("task", "classification"), ("input", "x")])).text;
        for part in [
            "task      classification",
            "input   x     FP32   [-1,3,8,8]  pictures",
            "output  b     FP32   [-1,2]",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
