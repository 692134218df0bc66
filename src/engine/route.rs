//! Who answers a call: applications, which are sets of models and pipelines, and models that come when they are asked
//! for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::infer::{self, Served};
use crate::error::{ApplicationUnknown, Error};

/// Where a call's metadata want it to be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// One of the applications: nothing outside of it answers.
    pub application: Option<String>,
    /// The model that answers, whatever the call itself names. It is loaded if it is not there.
    pub model_id: Option<String>,
}

/// What an application consists of.
struct Parts {
    application: String,
    models: BTreeSet<String>,
    pipelines: BTreeSet<String>,
}

impl Engine {
    /// Names of all applications: those of the configuration, and every model that is ready and every named pipeline,
    /// each of which is one of its own.
    pub fn applications(&self) -> Vec<String> {
        let ready = self.models.ready();
        let ready = ready.iter().map(|version| version.settings().name.clone());
        let named = self.config.applications.keys().chain(self.piped.keys()).cloned();
        let all: BTreeSet<String> = named.chain(ready).collect();
        all.into_iter().collect()
    }

    /// What answers a call that names this model, or a named pipeline, and that its metadata route.
    ///
    /// With [`Route::model_id`] that model answers in place of the named one; the version counts for it. With
    /// [`Route::application`], whoever answers has to be a part of that; a call that names nobody is answered by the
    /// application's only part. Without either this is [`Engine::served`], but that a call that names nobody is answered
    /// by the server's only application, if there is only one.
    pub async fn routed(self: &Arc<Self>, route: &Route, name: &str, version: &str) -> Result<Served, Error> {
        let named = route.model_id.as_deref().or(Some(name).filter(|name| !name.is_empty()));
        let name = match (&route.application, named) {
            (None, Some(name)) if route.model_id.is_none() => return self.served(name, version),
            (None, Some(name)) => name.to_owned(),
            (None, None) => self.parts(&self.only_application()?)?.one("model", None)?,
            (Some(application), named) => self.parts(application)?.one("model", named)?,
        };
        if route.model_id.is_none() || self.piped.contains_key(&name) {
            return self.served(&name, version);
        }
        let (version, most) = (infer::version_number(version)?, self.config.models.max_multiplexed);
        self.models.demand(&name, version, most).await.map(Served::Model)
    }

    /// The pipeline of a stream of frames that asks for this one: any, unless its metadata name an application. Then it
    /// has to be one of those by its name, and is the only one where the stream asks for none.
    pub fn routed_pipeline(&self, route: &Route, asked: Option<&str>) -> Result<String, Error> {
        match &route.application {
            Some(application) => self.parts(application)?.one("pipeline", asked),
            None => Ok(asked.unwrap_or(&self.config.default_pipeline).to_owned()),
        }
    }

    /// Whether the application that a call's metadata name is there, if they name one.
    pub fn check_application(&self, route: &Route) -> Result<(), Error> {
        route.application.as_deref().map_or(Ok(()), |application| self.parts(application).map(drop))
    }

    fn only_application(&self) -> Result<String, Error> {
        match <[String; 1]>::try_from(self.applications()) {
            Ok([only]) => Ok(only),
            Err(_) => Err(ApplicationUnknown::NotSet.into()),
        }
    }

    fn parts(&self, application: &str) -> Result<Parts, Error> {
        let mut parts = Parts {
            application: application.to_owned(),
            models: BTreeSet::new(),
            pipelines: BTreeSet::new(),
        };
        if let Some(configured) = self.config.applications.get(application) {
            parts.models.extend(configured.models.iter().cloned());
            parts.pipelines.extend(configured.pipelines.iter().cloned());
        } else if self.piped.contains_key(application) {
            parts.pipelines.insert(application.to_owned());
        } else if self.models.find(application, None).is_ok() {
            parts.models.insert(application.to_owned());
        } else {
            return Err(ApplicationUnknown::Name(application.to_owned()).into());
        }
        Ok(parts)
    }
}

impl Parts {
    /// The part of this name, or the only one. Where a model is wanted a pipeline will do, since those are models too.
    fn one(self, what: &'static str, name: Option<&str>) -> Result<String, Error> {
        let Parts { application, models, pipelines } = self;
        let mut parts = pipelines;
        if what == "model" {
            parts.extend(models);
        }
        let has = || {
            let quoted: Vec<_> = parts.iter().map(|part| format!("'{part}'")).collect();
            if quoted.is_empty() { "none".into() } else { quoted.join(", ") }
        };
        match name {
            Some(name) if parts.contains(name) => Ok(name.to_owned()),
            Some(name) => {
                let (name, has) = (name.to_owned(), has());
                Err(ApplicationUnknown::Part { application, what, name, has }.into())
            }
            None if parts.len() == 1 => Ok(parts.into_iter().next().unwrap_or_default()),
            None => {
                let has = has();
                Err(ApplicationUnknown::Several { application, what, has }.into())
            }
        }
    }
}
