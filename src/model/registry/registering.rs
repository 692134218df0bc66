//! Versions that clients register one by one, beside those of the repository: how they come, grow, shrink and go.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::archive::{self, ModelArchive};
use super::super::config::Source;
use super::super::registered::Registered;
use super::super::repository;
use super::super::settings::Settings;
use super::super::version::{Origin, Stored, Version};
use super::Registry;
use super::known::Model;
use crate::error::{Error, ModelUnknown};

/// An archive that is to be registered, and on what terms.
#[derive(Debug)]
pub struct Package {
    /// The archive.
    pub path: PathBuf,
    /// What is wanted in place of what it says.
    pub wanted: archive::Wanted,
    /// Where it came from, as who registers it writes it.
    pub url: String,
    /// It is there from the start.
    pub at_start: bool,
    /// How long an answer may take, where the archive does not say.
    pub response_timeout: Duration,
    /// How long its instances may take to be ready, where the archive does not say.
    pub startup_timeout: Duration,
}

/// A version that can be asked, or could if it had an instance.
#[derive(Debug, Clone)]
pub struct Held {
    /// The version.
    pub version: Arc<Version>,
    /// Whether it answers where none is asked for.
    pub is_default: bool,
}

impl Held {
    /// What its packager calls it; those of a repository are told by their numbers.
    pub fn text(&self) -> String {
        match self.version.registered() {
            Some(registered) => registered.archive.version.clone(),
            None => format!("{}.0", self.version.number()),
        }
    }

    /// Whether a client means it by this text.
    pub fn is_called(&self, text: &str) -> bool {
        match self.version.registered() {
            Some(registered) => registered.archive.version == text,
            None => text.strip_suffix(".0").unwrap_or(text) == self.version.number().to_string(),
        }
    }
}

impl Registry {
    /// All versions that are held of one model, by their numbers.
    pub fn held(&self, name: &str) -> Vec<Held> {
        self.models().get(name).map(held).unwrap_or_default()
    }

    /// All versions that are held of all models, by name and number.
    pub fn all_held(&self) -> Vec<Held> {
        self.models().values().flat_map(held).collect()
    }

    /// Registers the version that an archive holds. It has no instance yet, and answers nothing. The first version of a
    /// model is its default one. It goes on even if the client goes away that asked for it.
    pub async fn register(self: Arc<Self>, package: Package) -> Result<Arc<Version>, Error> {
        let registering = tokio::spawn(async move {
            let (path, wanted) = (package.path.clone(), package.wanted.clone());
            let archive = self.loaders.submit(move |(), _| ModelArchive::open(&path, &wanted)).await??;
            let name = archive.name.clone();
            self.check_name(&name)?;
            let busy = Arc::clone(&self.models().entry(name.clone()).or_default().busy);
            let alone = busy.lock_owned().await;
            let (registry, named) = (Arc::clone(&self), name.clone());
            let registered =
                self.loaders.submit(move |(), _| registry.register_now(&named, archive, package)).await;
            self.settle(&name, alone);
            registered.unwrap_or_else(Err)
        });
        registering.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
    }

    /// Changes how many instances a version has, at least and at most, while it works. It goes on even if the client
    /// goes away that asked for it.
    pub async fn scale(
        self: Arc<Self>,
        version: Arc<Version>,
        wanted: RangeInclusive<usize>,
    ) -> Result<(), Error> {
        let name = version.settings().name.clone();
        let busy = self.models().get(&name).map(|model| Arc::clone(&model.busy));
        let scaling = tokio::spawn(async move {
            let _alone = match busy {
                Some(busy) => Some(busy.lock_owned().await),
                None => None,
            };
            let registry = Arc::clone(&self);
            let scale =
                move |(): &mut (), _: crate::exec::pool::Wanted<'_>| version.scale(wanted, &registry.means);
            self.loaders.submit(scale).await.unwrap_or_else(Err)
        });
        scaling.await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
    }

    /// Makes this version the one that answers where none is asked for.
    pub fn set_default(&self, name: &str, number: u64) -> Result<(), Error> {
        if self.held(name).is_empty() {
            return Err(ModelUnknown::Model(name.into()).into());
        }
        self.change(name, |model| {
            let there = model.versions.get(&number).is_some_and(|known| known.ready.is_some());
            let unknown = ModelUnknown::Version { model: name.into(), version: number };
            model.default = Some(there.then_some(number).ok_or(unknown)?);
            Ok(())
        })
    }

    /// Takes a version out of service. It finishes what it was asked. The default version goes last.
    pub async fn unregister(&self, name: &str, number: u64) -> Result<(), Error> {
        let busy = self.models().get(name).map(|model| Arc::clone(&model.busy));
        let busy = busy.ok_or_else(|| ModelUnknown::Model(name.into()))?;
        let alone = busy.lock_owned().await;
        let retired = self.change(name, |model| {
            let held = held(model);
            let this = held.iter().find(|held| held.version.number() == number);
            match this {
                None => Err(ModelUnknown::Version { model: name.into(), version: number }.into()),
                Some(Held { is_default: true, .. }) if held.len() > 1 => {
                    Err(Error::DefaultVersion(name.into()))
                }
                Some(_) => {
                    model.default = model.default.filter(|default| *default != number);
                    Ok(model.versions.get_mut(&number).and_then(|known| known.retire()))
                }
            }
        });
        let retired = retired.map(drop);
        self.settle(name, alone);
        if retired.is_ok() {
            tracing::info!(model = name, version = number, "a version was unregistered");
        }
        retired
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        if self.means.taken.iter().any(|taken| taken == name) {
            let reason = format!("a pipeline named {name} is served: one of them has to be renamed");
            return Err(Error::Load(reason));
        }
        if !repository::is_name(name) {
            return Err(Error::Load(format!("`{name}` is no name for a model")));
        }
        Ok(())
    }

    fn register_now(
        &self,
        name: &str,
        archive: ModelArchive,
        package: Package,
    ) -> Result<Arc<Version>, Error> {
        let text = archive.version.clone();
        let number = self.change(name, |model| {
            model.forget_gone();
            if held(model).iter().any(|held| held.is_called(&text)) {
                return Err(Error::AlreadyRegistered { model: name.into(), version: text });
            }
            // The default stays what it was, as clients of this protocol expect it.
            let before = model
                .default_version()
                .and_then(|known| known.ready.as_ref())
                .map(|version| version.number());
            let number =
                number(&text, |number| model.versions.get(&number).is_none_or(|known| known.is_free()));
            model.default = model.default.or(before).or(Some(number));
            let known = model.versions.entry(number).or_default();
            (known.loading, known.registered) = (true, true);
            Ok(number)
        })?;
        let made = self.idle(name, number, archive, package);
        match made {
            Ok(version) => {
                self.publish(name, version);
                let held = self.held(name).into_iter().find(|held| held.version.number() == number);
                held.map(|held| held.version)
                    .ok_or_else(|| Error::Internal(format!("{name} {number} is gone")))
            }
            Err(error) => {
                self.change(name, |model| {
                    model.default = model.default.filter(|default| *default != number);
                    model.versions.entry(number).or_default().loading = false;
                    model.forget_gone();
                });
                Err(error)
            }
        }
    }

    fn idle(
        &self,
        name: &str,
        number: u64,
        archive: ModelArchive,
        package: Package,
    ) -> Result<Version, Error> {
        let (folder, given) = (archive.folder.folder().to_owned(), Some(archive.config.as_str()));
        let source = Source { name, folder: &folder, version: None, given, backends: &self.means.backends };
        let settings = Settings::read(&source)?
            .ok_or_else(|| Error::Internal(format!("the configuration of {name}'s archive is none")))?;
        let registered = Registered {
            response_timeout: archive.options.response_timeout.unwrap_or(package.response_timeout),
            startup_timeout: archive.options.startup_timeout.unwrap_or(package.startup_timeout),
            url: package.url,
            at_start: package.at_start,
            archive,
        };
        let origin = Origin::Registered(Arc::new(registered));
        let stored = Stored { number, folder: &folder.join("1"), origin };
        Version::idle(Arc::new(settings), stored, &self.means)
    }
}

/// The versions of a model that are held.
fn held(model: &Model) -> Vec<Held> {
    let default = model.default_version().and_then(|known| known.ready.as_ref());
    let default = default.map(|version| version.number());
    let versions = model.versions.values().filter_map(|known| known.ready.clone());
    versions.map(|version| Held { is_default: Some(version.number()) == default, version }).collect()
}

/// A number for a version that is called so: the one that the text begins with, or the next that is free.
fn number(text: &str, is_free: impl Fn(u64) -> bool) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let first = digits.parse().ok().filter(|number| (1..=u64::from(u32::MAX)).contains(number)).unwrap_or(1);
    (first..).find(|number| is_free(*number)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_numbered_by_what_it_is_called() {
        let taken = |taken: &'static [u64]| move |number| !taken.contains(&number);
        assert_eq!(number("1.0", taken(&[])), 1);
        assert_eq!(number("2.0", taken(&[1])), 2);
        assert_eq!(number("1.1", taken(&[1, 2])), 3);
        assert_eq!(number("0.3", taken(&[1])), 2);
        assert_eq!(number("beta", taken(&[])), 1);
        assert_eq!(number("20261121", taken(&[])), 20_261_121);
        assert_eq!(number("99999999999999999999", taken(&[])), 1);
    }
}
