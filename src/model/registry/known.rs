//! What is known of one model and its versions.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::super::repository::Fingerprint;
use super::super::version::Version;
use crate::error::Error;

/// One model, from when it was first heard of.
#[derive(Default)]
pub(super) struct Model {
    pub versions: BTreeMap<u64, Known>,
    /// Why nothing of it could be loaded at all.
    pub reason: String,
    /// What lay on disk when it was last loaded.
    pub loaded: Option<Fingerprint>,
    /// The version that answers where none is asked for, if a client has chosen one.
    pub default: Option<u64>,
    /// Of a model that is there since calls asked for it: when that was last, among all such uses.
    pub demanded: Option<u64>,
    /// One load at a time.
    pub busy: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of one version.
#[derive(Default)]
pub(super) struct Known {
    pub ready: Option<Arc<Version>>,
    pub loading: bool,
    pub reason: String,
    /// Versions that were replaced or unloaded, and finish what they were asked.
    pub leaving: Vec<Weak<Version>>,
    /// A client has registered it, and no repository knows of it. When it is gone it is forgotten.
    pub registered: bool,
}

/// Why a version is not there that was.
const UNLOADED: &str = "unloaded";

/// The state of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being loaded and warmed up.
    Loading,
    /// It answers.
    Ready,
    /// It was unloaded, and finishes what it was asked.
    Unloading,
    /// It is not there.
    Unavailable,
}

/// A line of the registry's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// Its version; `None` for a model that was never loaded.
    pub version: Option<u64>,
    /// How it is; `None` for a model that was never loaded.
    pub state: Option<State>,
    /// Why it is so, or empty.
    pub reason: String,
}

impl Model {
    /// Whether anything is to be said of it, but that it was there once.
    pub fn is_known(&self) -> bool {
        let ready = self.versions.values().any(|known| known.ready.is_some());
        ready || self.loaded.is_some() || !self.reason.is_empty()
    }

    /// Whether it was loaded, or failed to, and is not just being loaded.
    pub fn was_loaded(&self) -> bool {
        let heard = self.loaded.is_some() || !self.reason.is_empty();
        heard && !self.versions.values().any(|known| known.loading)
    }

    /// Whether there is more of it than what clients have registered.
    pub fn is_of_repository(&self) -> bool {
        let ready = self.versions.values().any(|known| known.ready.is_some() && !known.registered);
        ready || self.loaded.is_some() || !self.reason.is_empty()
    }

    /// Whether all that there was of it were versions that clients have registered, and have unregistered again.
    pub fn is_unregistered(&self) -> bool {
        let unregistered = |known: &Known| known.registered && known.ready.is_none() && !known.loading;
        !self.versions.is_empty() && self.versions.values().all(unregistered) && !self.is_of_repository()
    }

    /// The version that answers where none is asked for.
    pub fn default_version(&self) -> Option<&Known> {
        let chosen = self.default.and_then(|number| self.versions.get(&number));
        let chosen = chosen.filter(|known| known.ready.is_some());
        let newest = || self.versions.values().rev().find(|known| known.usable().is_some());
        // One that has no instance may still be described, where there is no better one.
        chosen.or_else(newest).or_else(|| self.versions.values().rev().find(|known| known.ready.is_some()))
    }

    /// Forgets versions that were registered and are gone.
    pub fn forget_gone(&mut self) {
        self.versions.retain(|_, known| !known.registered || !known.is_gone());
    }

    /// Its lines of the list.
    pub fn entries(&self, name: &str) -> Vec<IndexEntry> {
        let entry = |version, state, reason| IndexEntry { name: name.into(), version, state, reason };
        if self.versions.is_empty() {
            let state = (!self.reason.is_empty()).then_some(State::Unavailable);
            return vec![entry(None, state, self.reason.clone())];
        }
        let version = |(number, known): (&u64, &Known)| {
            let (state, mut reason) = known.state();
            if reason.is_empty() {
                reason.clone_from(&self.reason);
            }
            entry(Some(*number), Some(state), reason)
        };
        self.versions.iter().map(version).collect()
    }
}

impl Known {
    /// The version, if it can be asked.
    pub fn usable(&self) -> Option<Arc<Version>> {
        self.ready.as_ref().filter(|version| version.condition().is_ok()).map(Arc::clone)
    }

    /// Whether there is nothing of it any more, not even what it was asked.
    fn is_gone(&self) -> bool {
        self.ready.is_none()
            && !self.loading
            && self.leaving.iter().all(|version| version.strong_count() == 0)
    }

    /// Whether another version may have its number.
    pub fn is_free(&self) -> bool {
        self.ready.is_none() && !self.loading && (self.registered || self.reason == UNLOADED)
    }

    /// How it is, and why.
    pub fn state(&self) -> (State, String) {
        match &self.ready {
            Some(version) => match version.condition() {
                Ok(note) => (State::Ready, if self.reason.is_empty() { note } else { self.reason.clone() }),
                Err(reason) => (State::Unavailable, reason),
            },
            None if self.loading => (State::Loading, String::new()),
            None if self.leaving.iter().any(|version| version.strong_count() > 0) => {
                (State::Unloading, String::new())
            }
            None => (State::Unavailable, self.reason.clone()),
        }
    }

    /// Takes it out of service. What it was asked it still answers, and is then gone.
    pub fn retire(&mut self) -> Option<Arc<Version>> {
        let retired = self.ready.take();
        self.leaving.retain(|version| version.strong_count() > 0);
        if let Some(version) = &retired {
            self.leaving.push(Arc::downgrade(version));
            self.reason = UNLOADED.into();
        }
        retired
    }

    /// Notes that it could not be loaded, or not anew.
    pub fn fail(&mut self, error: &Error) {
        self.loading = false;
        self.reason = match &self.ready {
            Some(_) => format!("it serves on, but could not be loaded anew: {error}"),
            None => error.to_string(),
        };
    }
}
