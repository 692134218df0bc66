//! A repository that is looked at now and then, and followed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::super::repository::{Fingerprint, Repository};
use super::Registry;
use crate::error::Error;

/// A file that was written to so recently may still be, where the repository is polled.
const SETTLED: Duration = Duration::from_secs(1);

impl Registry {
    /// Loads what is new or has changed in the repository, once it has stopped changing, and unloads what is gone.
    pub(super) async fn poll(self: Arc<Self>, every: Duration) -> Infallible {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = BTreeMap::new();
        loop {
            ticks.tick().await;
            let repository = Arc::clone(&self.repository);
            let looked = self.looks.submit(move |(), _| fingerprints(&repository)).await;
            let now = match looked.unwrap_or_else(Err) {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(%error, "the model repository can't be looked at");
                    continue;
                }
            };
            let age = every.min(SETTLED);
            let settled =
                now.iter().filter(|(name, now)| now.settled(last.get(*name), age, SystemTime::now()));
            let changed: Vec<String> = {
                let models = self.models();
                let differs = |name: &String, fingerprint: &Fingerprint| {
                    models.get(name).and_then(|model| model.loaded.as_ref()) != Some(fingerprint)
                };
                settled.filter(|(name, now)| differs(name, now)).map(|(name, _)| name.clone()).collect()
            };
            let gone: Vec<String> = {
                let models = self.models();
                let gone = models
                    .iter()
                    .filter(|(name, model)| model.is_of_repository() && !now.contains_key(*name));
                gone.map(|(name, _)| name.clone()).collect()
            };
            for name in gone {
                self.retire(&name, |known| !known.registered).await;
            }
            for name in &changed {
                if let Some(fingerprint) = now.get(name) {
                    // Also where it can't be read at all, so that this is tried once for each change.
                    self.change(name, |model| model.loaded = Some(fingerprint.clone()));
                }
            }
            let loads = changed.into_iter().map(|name| Arc::clone(&self).load_logged(name));
            futures_util::future::join_all(loads).await;
            last = now;
        }
    }
}

/// What lies on disk of every model; of one that can't be served, nothing.
fn fingerprints(repository: &Repository) -> Result<BTreeMap<String, Fingerprint>, Error> {
    let models = repository.models()?.into_iter();
    let look = |folder: Result<PathBuf, Error>| folder.and_then(|folder| Fingerprint::of(&folder));
    Ok(models.map(|(name, folder)| (name, look(folder).unwrap_or_default())).collect())
}
