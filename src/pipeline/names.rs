//! Pipelines that have a name.

use std::collections::BTreeMap;

use super::spec::{self, StageSpec};
use crate::error::Error;

/// The named pipelines of a server.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<String, Named>);

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its stages.
    pub stages: Vec<StageSpec>,
    /// One sentence, or nothing.
    pub doc: String,
}

impl Names {
    /// Gives a pipeline a name. Its text may use the names that were given before.
    pub fn insert(&mut self, name: &str, text: &str, doc: &str) -> Result<(), Error> {
        self.insert_stages(name, spec::parse(text, self)?, doc)
    }

    /// The same with stages that were put together in code, among which may be some that have no text.
    pub fn insert_stages(&mut self, name: &str, stages: Vec<StageSpec>, doc: &str) -> Result<(), Error> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(valid) {
            return Err(Error::Name {
                name: name.into(),
                rule: "a letter comes first, then letters, digits, - and _",
            });
        }
        if super::stages::find(name).is_some() || self.0.contains_key(name) {
            return Err(Error::Name { name: name.into(), rule: "a stage or another pipeline is called so" });
        }
        self.0.insert(name.into(), Named { stages, doc: doc.into() });
        Ok(())
    }

    /// What this name stands for.
    pub fn find(&self, name: &str) -> Option<&Named> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Named)> {
        self.0.iter().map(|(name, named)| (name.as_str(), named))
    }
}
