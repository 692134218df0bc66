//! Which models there are, which versions of them are loaded, and how that changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::MissedTickBehavior;

use super::backend::Names;
use super::config::{self, Source};
use super::repository::{self, Fingerprint, Repository, Upload};
use super::settings::Settings;
use super::statistics::Snapshot;
use super::version::{Means, Stored, Version};
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
    /// The models that are to be there from the start were loaded, or failed to.
    opened: watch::Sender<bool>,
}

/// One model, from when it was first heard of.
#[derive(Default)]
struct Model {
    versions: BTreeMap<u64, Known>,
    /// Why nothing of it could be loaded at all.
    reason: String,
    /// What lay on disk when it was last loaded.
    loaded: Option<Fingerprint>,
    /// One load at a time.
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of one version.
#[derive(Default)]
struct Known {
    ready: Option<Arc<Version>>,
    loading: bool,
    reason: String,
    /// Versions that were replaced or unloaded, and finish what they were asked.
    leaving: Vec<Weak<Version>>,
}

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

/// What a client wants in place of what lies on disk.
#[derive(Default)]
struct Brought {
    config: Option<String>,
    files: Vec<(String, Bytes)>,
}

/// A model that can be loaded.
struct Described {
    settings: Arc<Settings>,
    folder: PathBuf,
    numbers: Vec<u64>,
    before: Fingerprint,
    upload: Option<Arc<Upload>>,
}

/// Loads that may go on at a time.
const LOADERS: usize = 2;

/// A file that was written to so recently may still be, where the repository is polled.
const SETTLED: Duration = Duration::from_secs(1);

impl Registry {
    /// A registry that has loaded nothing yet.
    pub fn new(repository: Repository, control: Control, means: Means) -> Result<Self, Error> {
        let pool = |name, threads| {
            Pool::new(name, threads, 1 << 16, || Ok(()))
                .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))
        };
        let (loaders, looks) = (pool("loads", LOADERS)?, pool("looks", 1)?);
        let (repository, models) = (Arc::new(repository), Mutex::default());
        let opened = watch::Sender::new(false);
        Ok(Registry { repository, control, means, loaders, looks, models, opened })
    }

    /// Loads what is to be there from the start.
    pub async fn open(self: Arc<Self>) {
        let first = match &self.control {
            Control::Explicit(names) if !names.iter().any(|name| name == "*") => names.clone(),
            _ => self.names().await,
        };
        let loads = first.into_iter().map(|name| Arc::clone(&self).load_logged(name));
        futures_util::future::join_all(loads).await;
        self.opened.send_replace(true);
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
        *self.opened.borrow()
    }

    /// Waits for that.
    pub async fn opened(&self) {
        let mut opened = self.opened.subscribe();
        let _always_there = opened.wait_for(|opened| *opened).await;
    }

    /// How models come and go.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What models are loaded with.
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// The version of this number, or the highest that is ready.
    pub fn find(&self, name: &str, version: Option<u64>) -> Result<Arc<Version>, Error> {
        let models = self.models();
        let model = models.get(name).ok_or_else(|| ModelUnknown::Model(name.into()))?;
        let Some(number) = version else {
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
        let models = self.models();
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
        self.retire_all(name).await;
        Ok(())
    }

    fn controlled(&self) -> Result<(), Error> {
        match self.control {
            Control::Explicit(_) => Ok(()),
            Control::None | Control::Poll(_) => Err(Error::NotExplicit),
        }
    }

    async fn load_logged(self: Arc<Self>, name: String) {
        if let Err(error) = Arc::clone(&self).load_from(name.clone(), Brought::default()).await {
            tracing::error!(model = name, %error, "a model could not be loaded");
        }
    }

    async fn load_from(self: Arc<Self>, name: String, brought: Brought) -> Result<(), Error> {
        if !repository::is_name(&name) {
            return Err(not_there(&name));
        }
        let busy = Arc::clone(&self.models().entry(name.clone()).or_default().busy);
        let alone = busy.lock_owned().await;
        // It goes on even if the client that asked for it goes away: half a load is no use to anybody. Nor may
        // another one begin before it has ended.
        let load = tokio::spawn(async move {
            let (named, loading) = (name.clone(), Arc::clone(&self));
            let loaded = self.loaders.submit(move |(), _| loading.load_now(&named, &brought)).await;
            self.settle(&name, alone);
            loaded.unwrap_or_else(Err)
        });
        load.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
    }

    /// Loads the versions of a model that its configuration names; those that are not to be served any more go
    /// once the others are there.
    fn load_now(&self, name: &str, brought: &Brought) -> Result<(), Error> {
        let described = self.describe(name, brought).inspect_err(|error| {
            self.change(name, |model| model.reason = error.to_string());
        })?;
        let Described { settings, folder, numbers, before, upload } =
            described.ok_or_else(|| not_there(name))?;
        self.change(name, |model| {
            model.reason.clear();
            model.loaded = Some(before.clone());
            for number in &numbers {
                model.versions.entry(*number).or_default().loading = true;
            }
        });
        let mut failed = None;
        for number in &numbers {
            let path = folder.join(number.to_string());
            let stored = Stored { number: *number, folder: &path, upload: upload.clone() };
            let loaded = Version::load(Arc::clone(&settings), stored, &self.means);
            let whole = loaded.and_then(|version| match Fingerprint::of(&folder)? == before {
                true => Ok(version),
                false => Err(Error::Load("its files changed while they were read".into())),
            });
            match whole {
                Ok(version) => self.publish(name, version),
                Err(error) => {
                    self.change(name, |model| {
                        model.versions.entry(*number).or_default().fail(&error);
                    });
                    failed.get_or_insert((*number, error));
                }
            }
        }
        match failed {
            None => {
                let retired: Vec<_> = self.change(name, |model| {
                    let others = model.versions.iter_mut().filter(|(number, _)| !numbers.contains(number));
                    others.map(|(_, known)| known.retire()).collect()
                });
                drop(retired);
                Ok(())
            }
            Some((number, error)) => {
                Err(Error::Load(format!("version {number} is at UNAVAILABLE state: {error}")))
            }
        }
    }

    /// Finds a model and reads its configuration. `None`: there is no such model.
    fn describe(&self, name: &str, brought: &Brought) -> Result<Option<Described>, Error> {
        if self.means.taken.iter().any(|taken| taken == name) {
            return Err(Error::Load(
                "a pipeline of this name is served: one of them has to be renamed".into(),
            ));
        }
        let upload = match &brought.files[..] {
            [] => None,
            files => Some(Arc::new(Upload::new(files.iter().map(|(key, bytes)| (key.as_str(), bytes)))?)),
        };
        let found = match &upload {
            Some(upload) => Some(upload.folder().to_owned()),
            None => self.repository.find(name)?,
        };
        let Some(folder) = found else { return Ok(None) };
        let before = Fingerprint::of(&folder)?;
        let given = brought.config.as_deref();
        let source = Source { name, folder: &folder, version: None, given, backends: &self.means.backends };
        let settings = Settings::read(&source)?.ok_or_else(|| self.undescribed(name, &folder))?;
        let numbers = repository::chosen(&folder, &settings.versions)?;
        Ok(Some(Described { settings: Arc::new(settings), folder, numbers, before, upload }))
    }

    /// Why a model can't be served that nobody has described; or why it could not be even so.
    fn undescribed(&self, name: &str, folder: &Path) -> Error {
        let newest = || repository::versions(folder).ok()?.pop();
        let file = newest().map(|number| folder.join(number.to_string()).join(config::TORCHSCRIPT));
        let backend = self.means.backends.find(config::PYTORCH);
        match file.zip(backend).map(|(file, backend)| backend.names(&file)) {
            Some(Err(error)) => error,
            Some(Ok(Names { inputs, outputs })) => config::undescribed(name, &inputs, outputs),
            None => config::undescribed(name, &[], 0),
        }
    }

    /// Nothing of a model is being loaded any more. One of which nothing was found is forgotten again, so that
    /// names that clients make up do not gather.
    fn settle(&self, name: &str, alone: OwnedMutexGuard<()>) {
        let mut models = self.models();
        let Some(model) = models.get_mut(name) else { return };
        model.versions.values_mut().for_each(|known| known.loading = false);
        drop(alone);
        // Whoever waits for its turn has to find the same lock as those after it.
        let wanted = Arc::strong_count(&model.busy) > 1;
        if !wanted && !model.is_known() && model.versions.is_empty() {
            models.remove(name);
        }
    }

    fn publish(&self, name: &str, version: Version) {
        let number = version.number();
        let devices: Vec<_> = version.instances().iter().map(ToString::to_string).collect();
        tracing::info!(model = name, version = number, instances = devices.join(","), "a model is ready");
        let version = Arc::new(version);
        let replaced = self.change(name, |model| {
            let known = model.versions.entry(number).or_default();
            let replaced = known.retire();
            (known.loading, known.reason, known.ready) = (false, String::new(), Some(version));
            replaced
        });
        // Its threads may end now, and that is not to be waited for with the registry locked.
        drop(replaced);
    }

    async fn retire_all(&self, name: &str) {
        let busy = self.models().get(name).map(|model| Arc::clone(&model.busy));
        let Some(busy) = busy else { return };
        let alone = busy.lock_owned().await;
        let retired: Vec<_> = self.change(name, |model| {
            (model.loaded, model.reason) = (None, String::new());
            model.versions.values_mut().map(Known::retire).collect()
        });
        drop(retired);
        self.settle(name, alone);
        tracing::info!(model = name, "a model was unloaded");
    }

    /// Loads what is new or has changed in the repository, once it has stopped changing, and unloads what is gone.
    async fn poll(self: Arc<Self>, every: Duration) -> Infallible {
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
                let gone = models.iter().filter(|(name, model)| model.is_known() && !now.contains_key(*name));
                gone.map(|(name, _)| name.clone()).collect()
            };
            for name in gone {
                self.retire_all(&name).await;
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
        change(self.models().entry(name.into()).or_default())
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies on disk of every model; of one that can't be served, nothing.
fn fingerprints(repository: &Repository) -> Result<BTreeMap<String, Fingerprint>, Error> {
    let models = repository.models()?.into_iter();
    let look = |folder: Result<PathBuf, Error>| folder.and_then(|folder| Fingerprint::of(&folder));
    Ok(models.map(|(name, folder)| (name, look(folder).unwrap_or_default())).collect())
}

fn not_there(name: &str) -> Error {
    Error::Load(format!("failed to load '{name}', failed to poll from model repository"))
}

impl Model {
    /// Whether anything is to be said of it, but that it was there once.
    fn is_known(&self) -> bool {
        let ready = self.versions.values().any(|known| known.ready.is_some());
        ready || self.loaded.is_some() || !self.reason.is_empty()
    }

    fn entries(&self, name: &str) -> Vec<IndexEntry> {
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
    fn usable(&self) -> Option<Arc<Version>> {
        self.ready.as_ref().filter(|version| version.condition().is_ok()).map(Arc::clone)
    }

    fn state(&self) -> (State, String) {
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
    fn retire(&mut self) -> Option<Arc<Version>> {
        let retired = self.ready.take();
        self.leaving.retain(|version| version.strong_count() > 0);
        if let Some(version) = &retired {
            self.leaving.push(Arc::downgrade(version));
            self.reason = "unloaded".into();
        }
        retired
    }

    fn fail(&mut self, error: &Error) {
        self.loading = false;
        self.reason = match &self.ready {
            Some(_) => format!("it serves on, but could not be loaded anew: {error}"),
            None => error.to_string(),
        };
    }
}
