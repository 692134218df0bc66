//! `LogSettings`: what is logged, while the server runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Code;
use tracing::level_filters::LevelFilter;

use super::refusal::Refusal;
use crate::proto::inference::log_settings_request::SettingValue as AskedValue;
use crate::proto::inference::log_settings_request::setting_value::ParameterChoice as Asked;
use crate::proto::inference::log_settings_response::SettingValue;
use crate::proto::inference::log_settings_response::setting_value::ParameterChoice;

/// Changes what the program logs, and says why if it can't.
pub type SetLevel = Arc<dyn Fn(LevelFilter) -> Result<(), String> + Send + Sync>;

/// A way to change the level at which the program logs, and what it is at first.
#[derive(Clone)]
pub struct Levels {
    /// What is logged now.
    pub level: LevelFilter,
    /// Changes it.
    pub set: SetLevel,
}

/// The settings of one server.
#[derive(Debug)]
pub struct Log {
    set: Option<Setter>,
    settings: Mutex<Settings>,
}

struct Setter(SetLevel);

#[derive(Debug, Clone, PartialEq)]
struct Settings {
    info: bool,
    warning: bool,
    error: bool,
    /// 0: nothing more; 1: DEBUG; more: TRACE.
    verbose: u32,
    /// "default" or "ISO8601". Times are written as ISO 8601 has them in either.
    format: String,
}

impl Log {
    /// Settings that work if there is a way to change the level.
    pub fn new(levels: Option<Levels>) -> Self {
        let level = levels.as_ref().map_or(LevelFilter::INFO, |levels| levels.level);
        let verbose = match level {
            LevelFilter::TRACE => 2,
            LevelFilter::DEBUG => 1,
            _ => 0,
        };
        let settings = Settings {
            info: level >= LevelFilter::INFO,
            warning: level >= LevelFilter::WARN,
            error: level >= LevelFilter::ERROR,
            verbose,
            format: "default".into(),
        };
        Log { set: levels.map(|levels| Setter(levels.set)), settings: Mutex::new(settings) }
    }

    /// Changes what is asked for, all of it or nothing, and says how things stand.
    pub fn update(
        &self,
        asked: HashMap<String, AskedValue>,
    ) -> Result<HashMap<String, SettingValue>, Refusal> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = settings.clone();
        for (key, value) in asked {
            wanted.set(&key, value.parameter_choice)?;
        }
        if wanted != *settings {
            let none =
                || Refusal::Other(Code::Unavailable, "the server does not support dynamic logging".into());
            let set = self.set.as_ref().ok_or_else(none)?;
            let failed = |reason| Refusal::Other(Code::FailedPrecondition, reason);
            (set.0)(wanted.level()).map_err(failed)?;
            *settings = wanted;
        }
        Ok(settings.message())
    }
}

impl Settings {
    fn set(&mut self, key: &str, value: Option<Asked>) -> Result<(), Refusal> {
        let wrong = |expected: &str| Err(Refusal::invalid(format!("expect {expected} for '{key}'")));
        match (key, value) {
            ("log_info", Some(Asked::BoolParam(on))) => self.info = on,
            ("log_warning", Some(Asked::BoolParam(on))) => self.warning = on,
            ("log_error", Some(Asked::BoolParam(on))) => self.error = on,
            ("log_info" | "log_warning" | "log_error", _) => return wrong("boolean"),
            ("log_verbose_level", Some(Asked::Uint32Param(level))) => self.verbose = level,
            ("log_verbose_level", _) => return wrong("uint32"),
            ("log_format", Some(Asked::StringParam(format)))
                if ["default", "ISO8601"].contains(&&*format) =>
            {
                self.format = format;
            }
            ("log_format", Some(Asked::StringParam(format))) => {
                return Err(Refusal::invalid(format!("invalid argument for log_format, got: {format}")));
            }
            ("log_file", Some(Asked::StringParam(file))) if file.is_empty() => {}
            ("log_file", Some(Asked::StringParam(_))) => {
                let text = "log file location can not be updated through network protocol: the server logs to its \
                            standard error";
                return Err(Refusal::unsupported(text));
            }
            ("log_format" | "log_file", _) => return wrong("string"),
            (unknown, _) => return Err(Refusal::invalid(format!("unknown log setting '{unknown}'"))),
        }
        Ok(())
    }

    /// Levels here include those above them: the lowest that is on counts.
    fn level(&self) -> LevelFilter {
        match self {
            Settings { verbose: 2.., .. } => LevelFilter::TRACE,
            Settings { verbose: 1, .. } => LevelFilter::DEBUG,
            Settings { info: true, .. } => LevelFilter::INFO,
            Settings { warning: true, .. } => LevelFilter::WARN,
            Settings { error: true, .. } => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }

    fn message(&self) -> HashMap<String, SettingValue> {
        [
            ("log_file", ParameterChoice::StringParam(String::new())),
            ("log_info", ParameterChoice::BoolParam(self.info)),
            ("log_warning", ParameterChoice::BoolParam(self.warning)),
            ("log_error", ParameterChoice::BoolParam(self.error)),
            ("log_verbose_level", ParameterChoice::Uint32Param(self.verbose)),
            ("log_format", ParameterChoice::StringParam(self.format.clone())),
        ]
        .into_iter()
        .map(|(key, value)| (key.into(), SettingValue { parameter_choice: Some(value) }))
        .collect()
    }
}

impl fmt::Debug for Setter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setter")
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Levels").field("level", &self.level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (Log, Arc<Mutex<Vec<LevelFilter>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let set: SetLevel = {
            let seen = Arc::clone(&seen);
            Arc::new(move |level| {
                seen.lock().unwrap().push(level);
                Ok(())
            })
        };
        (Log::new(Some(Levels { level: LevelFilter::INFO, set })), seen)
    }

    fn one(key: &str, value: Asked) -> HashMap<String, AskedValue> {
        HashMap::from([(key.to_string(), AskedValue { parameter_choice: Some(value) })])
    }

    #[test]
    fn the_level_is_set_and_told() {
        let (log, seen) = log();
        log.update(one("log_verbose_level", Asked::Uint32Param(1))).unwrap();
        log.update(one("log_verbose_level", Asked::Uint32Param(0))).unwrap();
        let told = log.update(one("log_info", Asked::BoolParam(false))).unwrap();
        assert_eq!(told["log_info"].parameter_choice, Some(ParameterChoice::BoolParam(false)));
        assert_eq!(*seen.lock().unwrap(), [LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN]);
        assert_eq!(log.update(HashMap::new()).unwrap(), told);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let (log, seen) = log();
        for asked in [
            one("log_info", Asked::Uint32Param(1)),
            one("log_file", Asked::StringParam("/etc/passwd".into())),
            one("log_format", Asked::StringParam("loud".into())),
            one("log_color", Asked::BoolParam(true)),
        ] {
            assert!(log.update(asked).is_err());
        }
        assert!(seen.lock().unwrap().is_empty());
        assert!(Log::new(None).update(one("log_info", Asked::BoolParam(false))).is_err());
    }
}
