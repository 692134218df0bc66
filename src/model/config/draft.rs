//! A configuration to begin with, for a model that has none.

use std::fmt::Write;

use super::FILE;
use crate::error::Error;

/// A config.pbtxt with the names that the graph knows; types and dims have to be filled in. A graph does not
/// name its outputs, so those get the names that stand for their order.
pub fn draft(name: &str, inputs: &[String], outputs: usize) -> String {
    let mut text = format!("name: {}\nplatform: \"pytorch_libtorch\"\n", quoted(name));
    text += "# Rows of the largest batch; 0 if the first dimension of each tensor is not that of a batch.\n\
             max_batch_size: 8\n";
    let numbered = |kind: &str, count: usize| (0..count).map(|index| format!("{kind}__{index}")).collect();
    let default_names: Vec<String> = numbered("INPUT", 1);
    let inputs = if inputs.is_empty() { &default_names } else { inputs };
    text += "# Without the dimension of the batch; -1 is one that varies.\n";
    for input in inputs {
        port(&mut text, "input", input, "3, 224, 224");
    }
    let outputs: Vec<String> = numbered("OUTPUT", outputs.max(1));
    for output in &outputs {
        port(&mut text, "output", output, "-1");
    }
    text
}

/// Why a model without any configuration can't be served, and what would help. `inputs` are the graph's names.
pub fn undescribed(name: &str, inputs: &[String], outputs: usize) -> Error {
    Error::Load(format!(
        "`{name}` has neither a {FILE} nor an extra/frameserve.json in its archive, and a TorchScript file does not \
         say of what types and dims its inputs and outputs are; fill in this draft, and put it beside the version \
         folders as {name}/{FILE}:\n\n{}",
        draft(name, inputs, outputs)
    ))
}

fn port(text: &mut String, kind: &str, name: &str, dims: &str) {
    let name = quoted(name);
    let _ = writeln!(text, "{kind} {{\n  name: {name}\n  data_type: TYPE_FP32\n  dims: [ {dims} ]\n}}");
}

/// A string of the text format.
fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        c if c.is_control() => c.to_string().bytes().map(|byte| format!("\\{byte:03o}")).collect::<String>(),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}
