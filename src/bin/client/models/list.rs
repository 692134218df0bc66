//! The index of a server's models, as a table.

use frameserve::proto::inference::repository_index_response::ModelIndex;
use serde_json::{Value, json};

use crate::table::Align::Left;
use crate::table::Table;

pub fn text(index: &[ModelIndex]) -> String {
    if index.is_empty() {
        return "the server has no models\n".into();
    }
    let mut table = Table::new(&[("name", Left), ("version", Left), ("state", Left), ("reason", Left)]);
    for ModelIndex { name, version, state, reason } in index {
        let or_dash = |text: &str| if text.is_empty() { "-".into() } else { text.to_string() };
        table.row([name.clone(), or_dash(version), or_dash(state), one_line(reason)]);
    }
    table.to_string()
}

/// A reason of several lines would tear a table apart.
pub fn one_line(reason: &str) -> String {
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn json(model: &ModelIndex) -> Value {
    let ModelIndex { name, version, state, reason } = model;
    json!({ "name": name, "version": version, "state": state, "reason": reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        let broken = ModelIndex {
            name: "m".into(),
            version: String::new(),
            state: "UNAVAILABLE".into(),
            reason: "no file\nat all".into(),
        };
        let text = text(&[broken]);
        assert!(text.ends_with("  m     -        UNAVAILABLE  no file at all\n"), "{text}");
    }
}
