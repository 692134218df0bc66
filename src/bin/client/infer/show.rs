//! Results in words.

use std::fmt::Write as _;

use frameserve::tensor::{Data, Tensor};
use opencv::core::Mat;
use opencv::prelude::*;
use serde_json::Value;

use super::found::{Class, Detection, Findings, Found};
use crate::codec::{Codec, sniff};
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::tensors::{Named, shown};

/// Of each output.
const FIRST_VALUES: usize = 8;

/// What a person wants to know of it.
pub fn text(found: &Found) -> String {
    match found {
        Found::Classes(classes) => classes_text(classes),
        Found::Detections(things) => things_text(things),
        Found::Tensors(outputs) => outputs.iter().map(tensor_text).collect(),
        Found::Picture { picture, findings } => {
            let mut text = picture.as_ref().map(picture_text).unwrap_or_default();
            if let Some(Findings { things, others }) = findings {
                if !things.is_empty() || (picture.is_none() && others.is_empty()) {
                    text += &things_text(things);
                }
                others.iter().filter(|(_, value)| !is_empty(value)).for_each(|(name, value)| {
                    let _ = writeln!(text, "  {name} {value}");
                });
            }
            text
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn classes_text(classes: &[Class]) -> String {
    if classes.is_empty() {
        return "  no class scores as much\n".into();
    }
    let mut text = String::new();
    let outputs = classes.chunk_by(|one, next| one.output == next.output);
    for classes in outputs {
        if let Some(output) = classes.first().and_then(|class| class.output.as_ref()) {
            let _ = writeln!(text, "  output {output}");
        }
        let mut table = Table::new(&[("score", Right), ("index", Right), ("label", Left)]);
        for Class { score, index, label, .. } in classes {
            table.row([format!("{score:.4}"), index.to_string(), label.clone().unwrap_or_default()]);
        }
        text += &table.to_string();
    }
    text
}

fn things_text(things: &[Detection]) -> String {
    if things.is_empty() {
        return "  nothing was found\n".into();
    }
    let columns =
        [("score", Right), ("label", Left), ("x", Right), ("y", Right), ("width", Right), ("height", Right)];
    let mut table = Table::new(&columns);
    for thing in things {
        let score = thing.score.map_or_else(|| "-".into(), |score| format!("{score:.4}"));
        let label = match (thing.label.as_str(), thing.class) {
            ("", Some(class)) => format!("class {class}"),
            (label, _) => label.into(),
        };
        let [x, y, width, height] = thing.place.map(|pixels| format!("{pixels:.0}"));
        table.row([score, label, x, y, width, height]);
    }
    table.to_string()
}

fn tensor_text(output: &Named) -> String {
    let Named { name, tensor } = output;
    let more = match tensor.shape().elements() {
        Some(elements) if elements > FIRST_VALUES => ", ...",
        _ => "",
    };
    let values = shown(tensor, FIRST_VALUES).join(", ");
    format!("  {name}  {} {}  {values}{more}\n", tensor.datatype(), tensor.shape())
}

fn picture_text(picture: &Tensor) -> String {
    let Data::Elements(elements) = picture.data() else {
        return format!("  picture {} {}\n", picture.datatype(), picture.shape());
    };
    let Some(bytes) = elements.first() else { return "  no picture\n".into() };
    let encoding = sniff(bytes);
    let name = encoding.map_or("of an unknown kind", |encoding| encoding.as_str_name());
    let mut decoded = Mat::default();
    let size = Codec::new().ok().zip(encoding).and_then(|(mut codec, encoding)| {
        codec.decode(encoding, bytes, &mut decoded).ok()?;
        Some(format!("{}x{}, ", decoded.cols(), decoded.rows()))
    });
    format!("  picture {}{name}, {} bytes\n", size.unwrap_or_default(), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use frameserve::tensor::{DataType, Shape};

    #[test]
    fn tensors_show_their_first_values() {
        let values: Vec<u8> = (0..10_u8).collect();
        let tensor = Tensor::raw(DataType::Uint8, Shape::new(vec![2, 5]), Bytes::from(values)).unwrap();
        let text = text(&Found::Tensors(vec![Named { name: "y".into(), tensor }]));
        assert_eq!(text, "  y  UINT8 [2,5]  0, 1, 2, 3, 4, 5, 6, 7, ...\n");
    }

    #[test]
    fn classes_of_several_outputs_are_apart() {
        let class = |output: Option<&str>| Class {
            index: 3,
            label: Some("cat".into()),
            score: 0.5,
            output: output.map(str::to_string),
        };
        assert_eq!(classes_text(&[class(None)]), "   score  index  label\n  0.5000      3  cat\n");
        let two = classes_text(&[class(Some("a")), class(Some("b"))]);
        assert!(two.contains("output a") && two.contains("output b"), "{two}");
    }
}
