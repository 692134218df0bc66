//! Names of classes: index_to_name.json, in the three forms that it is written in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Error;

/// The file in an archive.
pub const FILE: &str = "index_to_name.json";

/// Bytes of the longest one.
pub const LONGEST: u64 = 16 << 20;

/// The highest number of a class.
const MOST_CLASSES: usize = 1 << 20;

/// The key of the form that is a list.
const LIST: &str = "object_type_names";

/// One name a line, that of class 0 first. A class without a name has its number for one.
pub fn lines(json: &[u8]) -> Result<String, Error> {
    let mapping: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|error| wrong(format!("it is no mapping of numbers to names: {error}")))?;
    let mut names = BTreeMap::new();
    if let Some(Value::Array(list)) = mapping.get(LIST) {
        for (index, value) in list.iter().enumerate() {
            names.insert(index, name(LIST, value)?);
        }
    } else {
        for (key, value) in &mapping {
            match key.parse::<usize>() {
                // TorchServe looks for a class by its number, as it is usually written.
                Ok(index) if index.to_string() == *key => names.insert(index, name(key, value)?),
                _ => {
                    tracing::warn!("{FILE}: `{}` is no number of a class, and not used", key.escape_debug());
                    None
                }
            };
        }
    }
    let Some(last) = names.last_key_value().map(|(index, _)| *index) else {
        return Err(wrong("it names no class".into()));
    };
    if last > MOST_CLASSES {
        return Err(wrong(format!("it has a class {last}, and the highest may be {MOST_CLASSES}")));
    }
    let line = |index: usize| names.get(&index).map_or_else(|| index.to_string(), |name| (*name).to_owned());
    Ok((0..=last).map(|index| line(index) + "\n").collect())
}

/// A name, or the last one of a list of them.
fn name<'a>(key: &str, value: &'a Value) -> Result<&'a str, Error> {
    let last = value.as_array().map_or(Some(value), |names| names.last());
    let key = key.escape_debug();
    let name = last
        .and_then(Value::as_str)
        .ok_or_else(|| wrong(format!("what stands for `{key}` is neither a name nor a list of names")))?;
    if name.contains(['\n', '\r']) {
        return Err(wrong(format!("the name for `{key}` has more than one line")));
    }
    Ok(name)
}

fn wrong(reason: String) -> Error {
    Error::Load(format!("{FILE}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms() {
        for json in [
            r#"{"0": "cat", "1": "dog"}"#,
            r#"{"1": ["n2", "dog"], "0": ["n1", "cat"]}"#,
            r#"{"object_type_names": ["cat", "dog"]}"#,
        ] {
            assert_eq!(lines(json.as_bytes()).unwrap(), "cat\ndog\n");
        }
        assert_eq!(lines(r#"{"3": "é", "1": "a", "x": "b", "01": "c"}"#.as_bytes()).unwrap(), "0\na\n2\né\n");
    }

    #[test]
    fn what_it_can_not_be_is_refused() {
        for (json, says) in [
            ("[]", "no mapping"),
            ("{", "no mapping"),
            ("{}", "it names no class"),
            (r#"{"0": 1}"#, "`0` is neither a name nor a list of names"),
            (r#"{"0": []}"#, "`0` is neither"),
            (r#"{"0": ["a", 2]}"#, "`0` is neither"),
            (r#"{"object_type_names": [1]}"#, "`object_type_names` is neither"),
            (r#"{"0": "a\nb"}"#, "`0` has more than one line"),
            (r#"{"99999999": "a"}"#, "the highest may be 1048576"),
        ] {
            let error = lines(json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("index_to_name.json: ") && error.contains(says), "{json}: {error}");
        }
    }
}
