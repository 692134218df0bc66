//! Registering a model: from the archive to its first instances.

use std::sync::Arc;
use std::time::Duration;

use super::TorchServe;
use super::management::{IN_PROGRESS, behind, positive};
use super::refusal::{self, Refusal};
use crate::error::Error;
use crate::model::Version;
use crate::model::archive::Wanted;
use crate::model::registry::Package;
use crate::model::staff::MOST;
use crate::proto::torchserve::management::RegisterModelRequest;

/// The runtimes that TorchServe knows. What they run is run here without them, where it can be.
const RUNTIMES: [&str; 3] = ["python", "python3", "LSP"];

/// How long an answer may take, and instances to be ready, where nobody says.
const USUAL_TIMEOUT: Duration = Duration::from_secs(120);

impl TorchServe {
    /// Registers a model at a client's wish, and says how that went.
    pub(super) async fn register(&self, request: RegisterModelRequest) -> Result<String, Refusal> {
        self.check_model_api()?;
        let url = request.url.clone();
        if url.is_empty() {
            return Err(refusal::bad_request("Parameter url is required."));
        }
        if !request.runtime.is_empty() && !RUNTIMES.contains(&request.runtime.as_str()) {
            let text = format!("Invalid RuntimeType value: {}", request.runtime);
            return Err(refusal::bad_request(text));
        }
        if request.s3_sse_kms {
            return Err(refusal::bad_request("s3_sse_kms is not supported: requests are not signed for S3"));
        }
        let workers = positive(request.initial_workers);
        if let Some(workers) = workers.filter(|workers| *workers > MOST) {
            return Err(refusal::bad_request(format!(
                "initial_workers {workers} is out of range: 0 to {MOST}"
            )));
        }
        let version = self.take(&request).await?;
        let (name, text) = (version.settings().name.clone(), text(&version));
        let range = archived_workers(&version).or(workers.map(|workers| (workers, workers)));
        let Some((min, max)) = range else {
            return Ok(format!(
                "Model \"{name}\" Version: {text} registered with 0 initial workers. Use scale workers API to add \
                 workers for the model."
            ));
        };
        let starting = Arc::clone(self.engine().models()).scale(Arc::clone(&version), min..=max);
        if !request.synchronous {
            behind(version, starting);
            return Ok(IN_PROGRESS.into());
        }
        if let Err(error) = in_time(&version, starting).await {
            // What was begun can't be stopped, and this waits for its end, which the client need not do.
            let (service, number) = (self.clone(), version.number());
            let name = name.clone();
            tokio::spawn(async move {
                let _another_was_faster = service.engine().models().unregister(&name, number).await;
                service.discard(&url);
            });
            return Err(refusal::no_workers_started(&version.settings().name, &text, &error.to_string()));
        }
        Ok(format!("Model \"{name}\" Version: {text} registered with {min} initial workers"))
    }

    /// Registers an archive of the store from the start, with the instances that it would have in a repository.
    pub(super) async fn load_at_start(&self, name: Option<&str>, file: &str) -> Result<(), Refusal> {
        let path = self.0.store.archive(file).await?;
        let package = Package {
            path,
            wanted: Wanted { name: name.map(String::from), ..Wanted::default() },
            url: file.into(),
            at_start: true,
            response_timeout: USUAL_TIMEOUT,
            startup_timeout: USUAL_TIMEOUT,
        };
        let models = self.engine().models();
        let version = Arc::clone(models).register(package).await.map_err(Refusal::of_registration)?;
        let usual = models.means().places(version.settings()).map_or(1, |places| places.len());
        let (min, max) = archived_workers(&version).unwrap_or((usual, usual));
        let started = in_time(&version, Arc::clone(models).scale(Arc::clone(&version), min..=max)).await;
        started.map_err(|error| {
            refusal::no_workers_started(&version.settings().name, &text(&version), &error.to_string())
        })
    }

    /// Takes an archive and registers what it holds, with no instance yet.
    async fn take(&self, request: &RegisterModelRequest) -> Result<Arc<Version>, Refusal> {
        let path = self.0.store.archive(&request.url).await?;
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let seconds =
            |seconds| positive(seconds).map_or(USUAL_TIMEOUT, |seconds| Duration::from_secs(seconds as u64));
        let wanted = Wanted {
            name: given(&request.model_name),
            handler: given(&request.handler),
            batch_size: positive(request.batch_size).and_then(|size| u32::try_from(size).ok()),
            max_batch_delay: positive(request.max_batch_delay)
                .map(|delay| Duration::from_millis(delay as u64)),
        };
        let package = Package {
            path,
            wanted,
            url: request.url.clone(),
            at_start: false,
            response_timeout: seconds(request.response_timeout),
            startup_timeout: seconds(request.startup_timeout),
        };
        let registered = Arc::clone(self.engine().models()).register(package).await;
        if registered.is_err() {
            // So that it can be tried again, perhaps with a better one.
            self.discard(&request.url);
        }
        registered.map_err(Refusal::of_registration)
    }

    /// Removes what was fetched for a model.
    pub(super) fn discard(&self, url: &str) {
        self.0.store.discard(url);
    }
}

/// Waits for instances to be ready, for as long as they may take.
async fn in_time(version: &Version, starting: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let limit = version.registered().map_or(USUAL_TIMEOUT, |registered| registered.startup_timeout);
    let late = |_| Error::Timeout { what: "the workers", seconds: limit.as_secs() };
    tokio::time::timeout(limit, starting).await.map_err(late)?
}

/// How many instances a version's archive asks for, at least and at most.
fn archived_workers(version: &Version) -> Option<(usize, usize)> {
    let options = &version.registered()?.archive.options;
    let min = options.min_workers.filter(|min| *min > 0)? as usize;
    let max = options.max_workers.map_or(0, |max| max as usize);
    // TorchServe takes both or none.
    (max >= min).then_some((min, max))
}

/// What a version's packager calls it.
fn text(version: &Version) -> String {
    version
        .registered()
        .map_or_else(|| version.number().to_string(), |registered| registered.archive.version.clone())
}
