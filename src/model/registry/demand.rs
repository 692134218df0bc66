//! Models that are loaded since a call asked for them, and unloaded again for the sake of others.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::task::JoinError;
use tracing::Instrument;

use super::super::version::Version;
use super::known::{Known, Model};
use super::loading::Brought;
use super::{Control, Registry};
use crate::error::{Error, ModelUnknown};
use crate::exec::pool::panic_text;

/// Loads that calls wait for.
#[derive(Default)]
pub(super) struct Demands {
    /// By the model's name. All who ask for it wait for the same one, and are told the same.
    under_way: Mutex<HashMap<String, Shared<Demanded>>>,
    /// Only who has it makes room and loads, so that there are never more than there may be.
    turn: tokio::sync::Mutex<()>,
    /// Grows with every use.
    uses: AtomicU64,
}

/// The versions of a model that are ready, the lowest first. Who has them can ask them, whatever becomes of the model.
type Versions = Arc<[Arc<Version>]>;

type Demanded = Pin<Box<dyn Future<Output = Result<Versions, Error>> + Send>>;

impl Registry {
    /// The version of this number, or the highest that is ready, of a model that is loaded if it is not there and is one of
    /// the repository. Of those that were loaded so there are at most `most`; where there would be more, the one that was
    /// asked for least recently is unloaded, and finishes what it was asked. Models that were loaded in any other way
    /// are not counted, and stay.
    pub async fn demand(
        self: &Arc<Self>,
        name: &str,
        version: Option<u64>,
        most: usize,
    ) -> Result<Arc<Version>, Error> {
        // Where the repository is polled everything of it is there, or was found to be no good.
        if most == 0 || matches!(self.control(), Control::Poll(_)) {
            return self.find(name, version);
        }
        let versions = match self.used(name) {
            Some(versions) => versions,
            None => self.under_way(name, most).await?,
        };
        self.find(name, version).or_else(|error| {
            // It may have had to make room already.
            let wanted = |loaded: &&Arc<Version>| version.is_none_or(|number| loaded.number() == number);
            versions.iter().rev().find(wanted).map(Arc::clone).ok_or(error)
        })
    }

    /// The load of this model that others wait for too, or a new one.
    fn under_way(self: &Arc<Self>, name: &str, most: usize) -> Shared<Demanded> {
        let mut under_way = self.demands.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.entry(name.into()).or_insert_with(|| Arc::clone(self).begin(name.into(), most)).clone()
    }

    /// Begins to load it; that goes on even if all who wait for it go away.
    fn begin(self: Arc<Self>, name: String, most: usize) -> Shared<Demanded> {
        let load = async move {
            let load = AssertUnwindSafe(self.load_demanded(&name, most)).catch_unwind().await;
            self.demands.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            load.unwrap_or_else(|panic| Err(Error::Internal(format!("panic: {}", panic_text(&*panic)))))
        };
        let load = tokio::spawn(load.in_current_span());
        let given_up = |error: JoinError| Err(Error::Internal(error.to_string()));
        let load: Demanded = Box::pin(async move { load.await.unwrap_or_else(given_up) });
        load.shared()
    }

    async fn load_demanded(self: &Arc<Self>, name: &str, most: usize) -> Result<Versions, Error> {
        let _turn = self.demands.turn.lock().await;
        // Somebody else may have loaded it meanwhile.
        if let Some(versions) = self.used(name) {
            return Ok(versions);
        }
        if !self.is_on_disk(name).await? {
            return Err(ModelUnknown::Model(name.into()).into());
        }
        while let Some((last, idle)) = self.least_recent(most) {
            tracing::info!(model = idle, most, "a model makes room for another (--max-multiplexed)");
            // Meanwhile it may have been asked again, or loaded by somebody who wants it to stay.
            let still = |model: &Model| model.demanded == Some(last);
            self.retire_if(&idle, still, |known| !known.registered).await;
        }
        Arc::clone(self).load_from(name.into(), Brought::default()).await?;
        if let Some(model) = self.models().get_mut(name) {
            model.demanded = Some(self.next_use());
        }
        self.used(name).ok_or_else(|| ModelUnknown::NoneReady(name.into()).into())
    }

    /// What there is of a model, if it can be asked; that counts as its last use.
    fn used(&self, name: &str) -> Option<Versions> {
        let mut models = self.models();
        let model = models.get_mut(name)?;
        let usable: Versions = model.versions.values().filter_map(Known::usable).collect();
        if let (Some(last), false) = (&mut model.demanded, usable.is_empty()) {
            *last = self.next_use();
        }
        (!usable.is_empty()).then_some(usable)
    }

    fn next_use(&self) -> u64 {
        self.demands.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// The model that has to go so that there is room for one more, and when it was used last.
    fn least_recent(&self, most: usize) -> Option<(u64, String)> {
        let models = self.models();
        let demanded = models.iter().filter_map(|(name, model)| Some((model.demanded?, name)));
        let (last, least) = demanded.clone().min()?;
        (demanded.count() >= most).then(|| (last, least.clone()))
    }

    async fn is_on_disk(&self, name: &str) -> Result<bool, Error> {
        let (repository, name) = (Arc::clone(&self.repository), name.to_owned());
        let found = self.looks.submit(move |(), _| repository.find(&name)).await??;
        Ok(found.is_some())
    }
}
