//! `frameserve-client pipelines`: what a server's pipelines can be made of, as the server itself describes it.

use std::fmt::Write as _;

use frameserve::grpc::image_test;
use frameserve::proto::{DescribeReply, NamedPipeline, Parameter, Stage};

use crate::args::PipelinesArgs;
use crate::failure::Failure;

/// In the order of a pipeline that uses them all.
const GROUPS: [(&str, &str); 7] = [
    ("geometry", "Size and shape"),
    ("color", "Color"),
    ("filter", "Filters"),
    ("edges", "Edges and shapes"),
    ("find", "Finding things"),
    ("draw", "Drawing"),
    ("time", "From frame to frame"),
];

/// The text to print.
pub async fn pipelines(args: &PipelinesArgs) -> Result<String, Failure> {
    let described = if args.offline {
        DescribeReply { stages: image_test::stages(), ..DescribeReply::default() }
    } else {
        args.server.connect().await?.describe().await?
    };
    describe(&described, args.name.as_deref().unwrap_or_default())
}

fn describe(described: &DescribeReply, name: &str) -> Result<String, Failure> {
    let named: Vec<_> = described.named_pipelines.iter().filter(|named| named.name.contains(name)).collect();
    let stages: Vec<_> = described.stages.iter().filter(|stage| stage.name.contains(name)).collect();
    if named.is_empty() && stages.is_empty() && !name.is_empty() {
        let all = described.stages.iter().map(|stage| &stage.name);
        let all: Vec<&str> = all
            .chain(described.named_pipelines.iter().map(|named| &named.name))
            .map(String::as_str)
            .collect();
        return Err(Failure::usage(format!(
            "no stage or pipeline has '{name}' in its name; there are {}",
            all.join(", ")
        )));
    }
    let mut text = String::new();
    if name.is_empty() {
        text += "A pipeline is stages with `|` between them, each with its parameters after `=`:\n";
        text += "  --pipeline 'resize=640x360 | canny=50,150'\n";
    }
    write_named(&mut text, &named);
    for (group, title) in GROUPS {
        let members: Vec<_> = stages.iter().filter(|stage| stage.group == group).collect();
        write_group(&mut text, title, &members);
    }
    let others: Vec<_> =
        stages.iter().filter(|stage| GROUPS.iter().all(|(group, _)| stage.group != *group)).collect();
    write_group(&mut text, "More", &others);
    if name.is_empty() {
        let default =
            if described.default_pipeline.is_empty() { "none" } else { &described.default_pipeline };
        let _ = writeln!(text, "\nWithout --pipeline: {default}");
    }
    Ok(text.trim_start().to_string())
}

fn write_named(text: &mut String, named: &[&NamedPipeline]) {
    if named.is_empty() {
        return;
    }
    text.push_str("\nNamed pipelines\n");
    for NamedPipeline { name, pipeline, doc } in named {
        let _ = writeln!(text, "\n  {name}  {doc}\n      = {pipeline}");
    }
}

fn write_group(text: &mut String, title: &str, stages: &[&&Stage]) {
    if stages.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for stage in stages {
        let _ = writeln!(text, "\n  {}  {}{}", stage.name, stage.doc, order(stage));
        let width = stage.parameters.iter().map(|parameter| parameter.name.len()).max().unwrap_or(0);
        for parameter in &stage.parameters {
            let _ = writeln!(text, "      {:width$}  {}", parameter.name, describe_parameter(parameter));
        }
        if !stage.example.is_empty() {
            let _ = writeln!(text, "      example: {}", stage.example);
        }
    }
}

/// Whether frames go through a stage in order, and what that depends on.
fn order(stage: &Stage) -> String {
    if !stage.stateful {
        return String::new();
    }
    let deciding = stage.parameters.iter().filter(|parameter| parameter.keeps_state);
    let deciding: Vec<_> = deciding.map(|parameter| format!("`{}`", parameter.name)).collect();
    let when = if deciding.is_empty() { String::new() } else { format!(", by {}", deciding.join(", ")) };
    format!(" (keeps state{when}: frames go through it one by one)")
}

fn describe_parameter(parameter: &Parameter) -> String {
    let Parameter { r#type, range, required, default_value, doc, choices, .. } = parameter;
    let range = if range.is_empty() { choices.join(", ") } else { range.clone() };
    let mut text = r#type.clone();
    if !range.is_empty() {
        let _ = write!(text, ", {range}");
    }
    match (required, default_value.as_str()) {
        (true, _) => text.push_str("; must be given"),
        (false, "") => text.push_str("; can be left out"),
        (false, value) => {
            let _ = write!(text, "; {value} if not given");
        }
    }
    if !doc.is_empty() {
        let _ = write!(text, ". {doc}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> DescribeReply {
        let parameter = Parameter {
            name: "low".into(),
            r#type: "number".into(),
            default_value: "50".into(),
            range: "0 to 255".into(),
            doc: "Weak edges.".into(),
            ..Parameter::default()
        };
        let stage = |name: &str, group: &str| Stage {
            name: name.into(),
            group: group.into(),
            parameters: vec![parameter.clone()],
            ..Stage::default()
        };
        DescribeReply {
            stages: vec![stage("canny", "edges"), stage("warp", "unheard-of")],
            ..Default::default()
        }
    }

    #[test]
    fn every_stage_is_listed_with_its_range_and_default() {
        let text = describe(&described(), "").unwrap();
        assert!(text.contains("low  number, 0 to 255; 50 if not given. Weak edges."), "{text}");
        assert!(text.contains("Edges and shapes") && text.contains("  warp"), "{text}");
    }

    #[test]
    fn a_name_chooses() {
        let text = describe(&described(), "can").unwrap();
        assert!(text.contains("canny") && !text.contains("warp"));
        assert!(describe(&described(), "nothing").unwrap_err().message.contains("canny, warp"));
    }
}
