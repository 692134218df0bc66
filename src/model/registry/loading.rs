//! How models come: what is read of them, and how a version takes the place of another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tracing::Instrument;

use super::super::backend::Names;
use super::super::config::{self, Source};
use super::super::repository::{self, Fingerprint, Upload};
use super::super::settings::Settings;
use super::super::version::{Origin, Stored, Version};
use super::Registry;
use crate::error::Error;

/// What a client wants in place of what lies on disk.
#[derive(Default)]
pub(super) struct Brought {
    pub config: Option<String>,
    pub files: Vec<(String, Bytes)>,
}

/// A model that can be loaded.
struct Described {
    settings: Arc<Settings>,
    folder: PathBuf,
    numbers: Vec<u64>,
    before: Fingerprint,
    upload: Option<Arc<Upload>>,
}

impl Registry {
    pub(super) async fn load_logged(self: Arc<Self>, name: String) {
        if let Err(error) = Arc::clone(&self).load_from(name.clone(), Brought::default()).await {
            tracing::error!(model = name, %error, "a model could not be loaded");
        }
    }

    pub(super) async fn load_from(self: Arc<Self>, name: String, brought: Brought) -> Result<(), Error> {
        if !repository::is_name(&name) {
            return Err(not_there(&name));
        }
        let busy = Arc::clone(&self.models().entry(name.clone()).or_default().busy);
        let alone = busy.lock_owned().await;
        // Who loads it so wants it to stay.
        self.change(&name, |model| model.demanded = None);
        // It goes on even if the client that asked for it goes away: half a load is no use to anybody. Nor may
        // another one begin before it has ended.
        let load = async move {
            let (named, loading) = (name.clone(), Arc::clone(&self));
            let loaded = self.loaders.submit(move |(), _| loading.load_now(&named, &brought)).await;
            self.settle(&name, alone);
            loaded.unwrap_or_else(Err)
        };
        let load = tokio::spawn(load.in_current_span());
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
        self.check_unregistered(name, &numbers)?;
        self.change(name, |model| {
            model.reason.clear();
            model.loaded = Some(before.clone());
            for number in &numbers {
                let known = model.versions.entry(*number).or_default();
                (known.loading, known.registered) = (true, false);
            }
        });
        let mut failed = None;
        for number in &numbers {
            let path = folder.join(number.to_string());
            let origin = upload.clone().map_or(Origin::Repository, Origin::Upload);
            let stored = Stored { number: *number, folder: &path, origin };
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
                    let others = model
                        .versions
                        .iter_mut()
                        .filter(|(number, known)| !numbers.contains(number) && !known.registered);
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

    /// No client has registered another version under one of these numbers.
    fn check_unregistered(&self, name: &str, numbers: &[u64]) -> Result<(), Error> {
        let registered = self.change(name, |model| {
            let known = |number: &&u64| {
                model.versions.get(number).is_some_and(|known| !known.is_free() && known.registered)
            };
            numbers.iter().find(known).copied()
        });
        registered.map_or(Ok(()), |number| {
            Err(Error::Load(format!(
                "a client has registered another version {number} of it, which has to go first"
            )))
        })
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
            Some(Ok(Names { inputs, outputs, .. })) => config::undescribed(name, &inputs, outputs),
            None => config::undescribed(name, &[], 0),
        }
    }

    /// Nothing of a model is being loaded any more. One of which nothing was found is forgotten again, so that
    /// names that clients make up do not gather.
    pub(super) fn settle(&self, name: &str, alone: OwnedMutexGuard<()>) {
        let mut models = self.models();
        let Some(model) = models.get_mut(name) else { return };
        model.versions.values_mut().for_each(|known| known.loading = false);
        drop(alone);
        // Whoever waits for its turn has to find the same lock as those after it.
        let wanted = Arc::strong_count(&model.busy) > 1;
        model.forget_gone();
        if !wanted && !model.is_known() && model.versions.is_empty() {
            models.remove(name);
        }
    }

    pub(super) fn publish(&self, name: &str, version: Version) {
        let number = version.number();
        let devices: Vec<_> = version.instances().iter().map(ToString::to_string).collect();
        if devices.is_empty() {
            tracing::info!(model = name, version = number, "a model is registered, and has no instance yet");
        } else {
            tracing::info!(model = name, version = number, instances = devices.join(","), "a model is ready");
        }
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
}

fn not_there(name: &str) -> Error {
    Error::Load(format!("failed to load '{name}', failed to poll from model repository"))
}
