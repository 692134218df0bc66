//! `TraceSetting`: settings that are kept and given back. Nothing is traced by them: what a request's time went
//! into is in the statistics.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use tonic::Code;

use super::refusal::Refusal;
use crate::proto::inference::trace_setting_request::SettingValue as Asked;
use crate::proto::inference::trace_setting_response::SettingValue;

/// The settings that there are, and what each is when nobody set it.
const DEFAULTS: [(&str, &str); 6] = [
    ("trace_level", "OFF"),
    ("trace_rate", "1000"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_file", ""),
    ("trace_mode", "triton"),
];

/// Models with settings of their own. A pipeline's text is a model's name too, and there is no end to those.
const MOST_MODELS: usize = 1024;

/// The settings of one server.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Kept>);

/// What was set, for all models and for some.
#[derive(Debug, Default)]
struct Kept {
    server: Settings,
    models: BTreeMap<String, Settings>,
}

type Settings = BTreeMap<&'static str, Vec<String>>;

impl Trace {
    /// Changes the settings of the server, or of a model if one is named; all that is asked, or nothing. A setting
    /// without a value is forgotten. Says what is in force then.
    pub fn update(
        &self,
        model: &str,
        asked: HashMap<String, Asked>,
    ) -> Result<HashMap<String, SettingValue>, Refusal> {
        let changes: Vec<_> =
            asked.into_iter().map(|(key, asked)| change(&key, asked.value)).collect::<Result<_, _>>()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.is_empty() {
            if !model.is_empty() && !kept.models.contains_key(model) && kept.models.len() >= MOST_MODELS {
                let text =
                    format!("{MOST_MODELS} models have trace settings of their own, and there can't be more");
                return Err(Refusal::Other(Code::ResourceExhausted, text));
            }
            let settings = match model {
                "" => &mut kept.server,
                model => kept.models.entry(model.into()).or_default(),
            };
            for (key, values) in changes {
                if values.is_empty() {
                    settings.remove(key);
                } else {
                    settings.insert(key, values);
                }
            }
            kept.models.retain(|_, settings| !settings.is_empty());
        }
        let own = kept.models.get(model);
        let in_force = DEFAULTS.map(|(key, default)| {
            let set = own.and_then(|own| own.get(key)).or_else(|| kept.server.get(key));
            let value = set.cloned().unwrap_or_else(|| vec![default.into()]);
            (key.to_string(), SettingValue { value })
        });
        Ok(in_force.into())
    }
}

fn change(key: &str, values: Vec<String>) -> Result<(&'static str, Vec<String>), Refusal> {
    let Some((key, _)) = DEFAULTS.into_iter().find(|(known, _)| *known == key) else {
        return Err(Refusal::invalid(format!("unknown trace setting '{key}'")));
    };
    let one = || match values.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        _ => Err(Refusal::invalid(format!("expect only 1 value for '{key}'"))),
    };
    let number = |least: i64, most: i64| {
        let Some(text) = one()? else { return Ok(()) };
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(Refusal::invalid(format!(
                "Unable to parse '{key}', value is out of range [ {least}, {most} ], got: {text}"
            ))),
            Err(_) => Err(Refusal::invalid(format!("Unable to parse '{key}', got: {text}"))),
        }
    };
    match key {
        "trace_level" => level(&values)?,
        "trace_rate" | "log_frequency" => number(0, u32::MAX.into())?,
        "trace_count" => number(-1, i32::MAX.into())?,
        "trace_mode" if one()?.is_none_or(|mode| mode == "triton") => {}
        "trace_mode" => return Err(Refusal::unsupported("'trace_mode' is triton, and can't be another")),
        _ => {
            let text = "trace file location can not be updated through network protocol";
            return Err(Refusal::unsupported(text));
        }
    }
    Ok((key, values))
}

fn level(values: &[String]) -> Result<(), Refusal> {
    if let Some(unknown) =
        values.iter().find(|value| !["OFF", "TIMESTAMPS", "TENSORS"].contains(&value.as_str()))
    {
        return Err(Refusal::invalid(format!("unknown trace level '{unknown}': OFF, TIMESTAMPS or TENSORS")));
    }
    if (1..values.len()).any(|at| values[..at].contains(&values[at])) {
        return Err(Refusal::invalid("a trace level stands there twice"));
    }
    if values.len() > 1 && values.iter().any(|value| value == "OFF") {
        return Err(Refusal::invalid("Expect only one trace level 'OFF' is specified"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, values: &[&str]) -> HashMap<String, Asked> {
        let value = values.iter().map(|value| value.to_string()).collect();
        HashMap::from([(key.to_string(), Asked { value })])
    }

    #[test]
    fn a_model_has_the_servers_settings_until_it_has_its_own() {
        let trace = Trace::default();
        trace.update("", one("trace_rate", &["7"])).unwrap();
        assert_eq!(trace.update("m", HashMap::new()).unwrap()["trace_rate"].value, ["7"]);
        trace.update("m", one("trace_rate", &["9"])).unwrap();
        assert_eq!(trace.update("m", HashMap::new()).unwrap()["trace_rate"].value, ["9"]);
        assert_eq!(trace.update("", HashMap::new()).unwrap()["trace_rate"].value, ["7"]);
        trace.update("m", one("trace_rate", &[])).unwrap();
        assert_eq!(trace.update("m", HashMap::new()).unwrap()["trace_rate"].value, ["7"]);
        assert_eq!(trace.update("", one("trace_rate", &[])).unwrap()["trace_rate"].value, ["1000"]);
    }

    #[test]
    fn models_with_settings_are_bounded() {
        let trace = Trace::default();
        for model in 0..MOST_MODELS {
            trace.update(&model.to_string(), one("trace_rate", &["7"])).unwrap();
        }
        assert!(trace.update("m", one("trace_rate", &["7"])).is_err());
        trace.update("0", one("trace_rate", &[])).unwrap();
        trace.update("m", one("trace_rate", &["7"])).unwrap();
    }

    #[test]
    fn settings_have_their_ranges() {
        let trace = Trace::default();
        for (key, values) in [
            ("trace_level", ["OFF", "TENSORS"].as_slice()),
            ("trace_level", &["LOUD"]),
            ("trace_level", &["TENSORS", "TENSORS"]),
            ("trace_rate", &["-1"]),
            ("trace_rate", &["x"]),
            ("trace_count", &["-2"]),
            ("log_frequency", &["1", "2"]),
            ("trace_file", &["x"]),
            ("trace_mode", &["opentelemetry"]),
            ("trace_colour", &["red"]),
        ] {
            assert!(trace.update("", one(key, values)).is_err(), "{key} {values:?}");
        }
    }
}
