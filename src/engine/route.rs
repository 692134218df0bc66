//! Who answers a call: applications, which are sets of models and pipelines, and models that come when they are asked
//! for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::infer::{self, Served};
use crate::config::Application;
use crate::error::{ApplicationUnknown, Error};

/// Where a call's metadata want it to be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// One of the applications: nothing outside of it answers.
    pub application: Option<String>,
    /// The model that answers, whatever the call itself names. It is loaded if it is not there.
    pub model_id: Option<String>,
}

/// Those parts of an application that can answer a call.
struct Parts {
    application: String,
    sought: Sought,
    names: BTreeSet<String>,
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq)]
enum Sought {
    /// A model; a pipeline will do, since those are models too.
    Model,
    Pipeline,
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
            (None, None) => self.parts(&self.only_application()?, Sought::Model)?.one(None)?,
            (Some(application), named) => self.parts(application, Sought::Model)?.one(named)?,
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
            Some(application) => self.parts(application, Sought::Pipeline)?.one(asked),
            None => Ok(asked.unwrap_or(&self.config.default_pipeline).to_owned()),
        }
    }

    /// Whether the application that a call's metadata name is there, if they name one.
    pub fn check_application(&self, route: &Route) -> Result<(), Error> {
        let Some(application) = &route.application else { return Ok(()) };
        self.parts(application, Sought::Model).map(drop)
    }

    fn only_application(&self) -> Result<String, Error> {
        if !self.models.is_open() {
            return Err(Error::Starting);
        }
        match <[String; 1]>::try_from(self.applications()) {
            Ok([only]) => Ok(only),
            Err(_) => Err(ApplicationUnknown::NotSet.into()),
        }
    }

    fn parts(&self, application: &str, sought: Sought) -> Result<Parts, Error> {
        let (models, pipelines) = match self.config.applications.get(application) {
            Some(Application { models, pipelines }) => (models.clone(), pipelines.clone()),
            None if self.piped.contains_key(application) => (Vec::new(), vec![application.to_owned()]),
            None => match self.models.find(application, None) {
                Ok(_) => (vec![application.to_owned()], Vec::new()),
                Err(Error::Starting) => return Err(Error::Starting),
                Err(_) => return Err(ApplicationUnknown::Name(application.to_owned()).into()),
            },
        };
        let models = models.into_iter().filter(|_| sought == Sought::Model);
        let names = models.chain(pipelines).collect();
        Ok(Parts { application: application.to_owned(), sought, names })
    }
}

impl Parts {
    /// The part of this name, or the only one.
    fn one(self, name: Option<&str>) -> Result<String, Error> {
        let Parts { application, sought, names } = self;
        match name {
            Some(name) if names.contains(name) => return Ok(name.to_owned()),
            None if names.len() == 1 => return Ok(names.into_iter().next().unwrap_or_default()),
            _ => {}
        }
        let what = match sought {
            Sought::Model => "model",
            Sought::Pipeline => "pipeline",
        };
        let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        let has = if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") };
        Err(match name.map(String::from) {
            Some(name) => ApplicationUnknown::Part { application, what, name, has }.into(),
            None => ApplicationUnknown::Several { application, what, has }.into(),
        })
    }
}
