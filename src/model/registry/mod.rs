//! Which models there are, which versions of them are loaded, and how that changes.

mod demand;
mod known;
mod loading;
mod polling;
mod registering;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use demand::Demands;
pub use known::{IndexEntry, State};
use known::{Known, Model};
use loading::Brought;
pub use registering::{Held, Package};

use super::repository::{self, Repository};
use super::statistics::Snapshot;
use super::version::{Means, Version};
use crate::error::{Error, ModelUnknown};
use crate::exec::pool::Pool;

/// How models come and go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Control {
    /// All of the repository are loaded at the start, and stay.
    #[default]
    None,
    /// The repository is looked at so often, and what changed there is loaded anew.
    Poll(Duration),
    /// Those named are loaded at the start, `*` for all, and clients load and unload others.
    Explicit(Vec<String>),
}

/// The models of a server.
pub struct Registry {
    repository: Arc<Repository>,
    control: Control,
    means: Means,
    /// Reads and loads models, which takes as long as it takes.
    loaders: Pool<()>,
    /// Looks at what lies on disk, which must not wait behind that.
    looks: Pool<()>,
    models: Mutex<BTreeMap<String, Model>>,
    /// Goes up with every change of them.
    changes: AtomicU64,
    demands: Demands,
    start: watch::Sender<Start>,
}

/// How far the models are that are to be there from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Which they are is not known yet.
    Begun,
    /// They are being loaded.
    Loading,
    /// They were loaded, or failed to.
    Done,
}

/// Loads that may go on at a time.
const LOADERS: usize = 2;

impl Registry {
    /// A registry that has loaded nothing yet.
    pub fn new(repository: Repository, control: Control, means: Means) -> Result<Self, Error> {
        let pool = |name, threads| {
            Pool::new(name, threads, 1 << 16, || Ok(()))
                .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))
        };
        let (loaders, looks) = (pool("loads", LOADERS)?, pool("looks", 1)?);
        let (repository, models, changes) = (Arc::new(repository), Mutex::default(), AtomicU64::new(0));
        let start = watch::Sender::new(Start::Begun);
        let demands = Demands::default();
        Ok(Registry { repository, control, means, loaders, looks, models, changes, demands, start })
    }

    /// Loads what is to be there from the start.
    pub async fn open(self: Arc<Self>) {
        self.open_with(std::future::ready(())).await;
    }

    /// The same, and then `more`, which belongs to it.
    pub async fn open_with(self: Arc<Self>, more: impl Future<Output = ()>) {
        let first = match &self.control {
            Control::Explicit(names) if !names.iter().any(|name| name == "*") => names.clone(),
            _ => self.names().await,
        };
        for name in first.iter().filter(|name| repository::is_name(name)) {
            self.models().entry(name.clone()).or_default();
        }
        self.start.send_replace(Start::Loading);
        let loads = first.into_iter().map(|name| Arc::clone(&self).load_logged(name));
        futures_util::future::join_all(loads).await;
        more.await;
        self.start.send_replace(Start::Done);
    }

    /// Follows what changes in the repository, for as long as it is polled, where the control says so.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        match self.control {
            Control::Poll(every) => self.poll(every).await,
            Control::None | Control::Explicit(_) => std::future::pending().await,
        }
    }

    /// Versions that are ready, with where their instances run.
    pub fn ready(&self) -> Vec<Arc<Version>> {
        self.models().values().flat_map(|model| model.versions.values().filter_map(Known::usable)).collect()
    }

    /// Whether what is to be there from the start was loaded, or failed to.
    pub fn is_open(&self) -> bool {
        *self.start.borrow() == Start::Done
    }

    /// Whether there may be a model of this name once all is loaded that is to be there from the start.
    pub fn is_awaited(&self, name: &str) -> bool {
        match *self.start.borrow() {
            Start::Begun => true,
            Start::Loading => self.models().get(name).is_some_and(|model| !model.was_loaded()),
            Start::Done => false,
        }
    }

    /// Waits for that.
    pub async fn opened(&self) {
        let mut start = self.start.subscribe();
        let _always_there = start.wait_for(|start| *start == Start::Done).await;
    }

    /// How models come and go.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What models are loaded with.
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// How often something changed. What was found since the last time is found again, as long as it can be used.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The version of this number; or the default one, which is the highest that is ready where no client has chosen
    /// another. Who asks for one that is not there while the server still loads what is to be there from the start is
    /// told that, unless the model was loaded already.
    pub fn find(&self, name: &str, version: Option<u64>) -> Result<Arc<Version>, Error> {
        let found = self.find_now(name, version);
        if found.is_ok() || self.is_open() {
            return found;
        }
        let was_loaded = self.models().get(name).is_some_and(Model::was_loaded);
        if was_loaded { found } else { Err(Error::Starting) }
    }

    fn find_now(&self, name: &str, version: Option<u64>) -> Result<Arc<Version>, Error> {
        let models = self.models();
        let model = models.get(name).filter(|model| !model.is_unregistered());
        let model = model.ok_or_else(|| ModelUnknown::Model(name.into()))?;
        let chosen = || {
            model
                .default
                .filter(|number| model.versions.get(number).is_some_and(|known| known.ready.is_some()))
        };
        let Some(number) = version.or_else(chosen) else {
            let newest = model.versions.values().rev().find_map(Known::usable);
            return newest.ok_or_else(|| ModelUnknown::NoneReady(name.into()).into());
        };
        let unknown = || ModelUnknown::Version { model: name.into(), version: number };
        let known = model.versions.get(&number).ok_or_else(unknown)?;
        known.usable().ok_or_else(|| Error::ModelNotReady { model: name.into(), version: number })
    }

    /// Numbers of a model's versions that are ready.
    pub fn ready_versions(&self, name: &str) -> Vec<u64> {
        let models = self.models();
        let versions = models.get(name).into_iter().flat_map(|model| &model.versions);
        versions.filter(|(_, known)| known.usable().is_some()).map(|(number, _)| *number).collect()
    }

    /// All models and versions, by name and number; or only those that are ready.
    pub async fn index(&self, only_ready: bool) -> Vec<IndexEntry> {
        let on_disk = if only_ready { Vec::new() } else { self.names().await };
        let mut models = self.models();
        models.retain(|_, model| {
            model.forget_gone();
            // Nor is a name kept of which nothing is known.
            !model.versions.is_empty() || model.is_known() || Arc::strong_count(&model.busy) > 1
        });
        let mut entries: Vec<IndexEntry> =
            models.iter().flat_map(|(name, model)| model.entries(name)).collect();
        entries.retain(|entry| !only_ready || entry.state == Some(State::Ready));
        let unheard = on_disk.into_iter().filter(|name| !models.contains_key(name));
        entries.extend(unheard.map(|name| IndexEntry {
            name,
            version: None,
            state: None,
            reason: String::new(),
        }));
        entries.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        entries
    }

    /// What versions did so far: all, those of one model, or one of them.
    pub fn statistics(
        &self,
        name: &str,
        version: Option<u64>,
    ) -> Result<Vec<(String, u64, Snapshot)>, Error> {
        if !name.is_empty() {
            self.find(name, version)?;
        }
        let models = self.models();
        let wanted = models.iter().filter(|(model, _)| name.is_empty() || *model == name);
        let versions = wanted.flat_map(|(name, model)| {
            let ready = model.versions.values().filter_map(|known| known.ready.as_ref());
            ready.map(move |version| (name.clone(), version.number(), version.statistics().snapshot()))
        });
        Ok(versions.filter(|(_, number, _)| version.is_none_or(|version| version == *number)).collect())
    }

    /// Loads a model at a client's wish, anew if it is loaded; with another configuration, as JSON, or other files
    /// than those on disk, if there are any.
    pub async fn load(
        self: Arc<Self>,
        name: &str,
        config: Option<String>,
        files: Vec<(String, Bytes)>,
    ) -> Result<(), Error> {
        self.controlled()?;
        self.load_from(name.into(), Brought { config, files }).await
    }

    /// Unloads a model at a client's wish. It finishes what it was asked.
    pub async fn unload(&self, name: &str) -> Result<(), Error> {
        self.controlled()?;
        self.retire(name, |_| true).await;
        Ok(())
    }

    fn controlled(&self) -> Result<(), Error> {
        match self.control {
            Control::Explicit(_) => Ok(()),
            Control::None | Control::Poll(_) => Err(Error::NotExplicit),
        }
    }

    /// Unloads these versions of a model.
    async fn retire(&self, name: &str, which: impl Fn(&Known) -> bool) {
        self.retire_if(name, |_| true, which).await;
    }

    /// The same, if the model is still so once nobody loads it.
    async fn retire_if(&self, name: &str, still: impl Fn(&Model) -> bool, which: impl Fn(&Known) -> bool) {
        let busy = self.models().get(name).map(|model| Arc::clone(&model.busy));
        let Some(busy) = busy else { return };
        let alone = busy.lock_owned().await;
        if !self.models().get(name).is_some_and(still) {
            return;
        }
        let retired: Vec<_> = self.change(name, |model| {
            (model.loaded, model.demanded, model.reason) = (None, None, String::new());
            model.versions.values_mut().filter(|known| which(known)).map(Known::retire).collect()
        });
        drop(retired);
        self.settle(name, alone);
        tracing::info!(model = name, "a model was unloaded");
    }

    /// Names of the models on disk. Looking may take a while on a disk that is far away.
    async fn names(&self) -> Vec<String> {
        let repository = Arc::clone(&self.repository);
        let models = self.looks.submit(move |(), _| repository.models()).await.unwrap_or_else(Err);
        models.map(|models| models.into_keys().collect()).unwrap_or_else(|error| {
            tracing::error!(%error, "the model repository can't be looked at");
            Vec::new()
        })
    }

    fn change<R>(&self, name: &str, change: impl FnOnce(&mut Model) -> R) -> R {
        let mut models = self.models();
        let changed = change(models.entry(name.into()).or_default());
        self.changes.fetch_add(1, Ordering::Release);
        changed
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
