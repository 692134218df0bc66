//! What a server is configured with, made of its settings.

use std::collections::BTreeMap;
use std::time::Duration;

use frameserve::Error;
use frameserve::config::{Application, Config, Models, SharedMemory, TlsFiles, TorchServe, Transport};
use frameserve::frame::{PixelFormat, Size};
use frameserve::limits::Limits;
use frameserve::model::Control;
use frameserve::pipeline::names::Names;

use super::{ModelControl, NamedPipeline, POLL_SECONDS, Parts, Settings, SharedMemoryFor};

impl Settings {
    /// The configuration that these settings make; what they don't say has its default.
    pub fn config(&self) -> Result<Config, Error> {
        let default = Config::default();
        let limits = default.limits;
        let transport = default.transport;
        let mut pipelines = Names::default();
        // A name may be used by another one: those that are not known yet are tried again.
        let mut rest: Vec<_> = self.pipelines.iter().collect();
        while !rest.is_empty() {
            let before = rest.len();
            let mut failed = None;
            rest.retain(|(name, named)| match named.insert(name, &mut pipelines) {
                Ok(()) => false,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            });
            if let (Some(error), true) = (failed, rest.len() == before) {
                return Err(error);
            }
        }
        Ok(Config {
            listen: if self.listen.is_empty() { default.listen } else { self.listen.clone() },
            tls: self.tls()?,
            limits: Limits {
                max_window: self.max_window.unwrap_or(limits.max_window),
                max_queue: self.max_queue.unwrap_or(limits.max_queue),
                max_pixels: self.max_pixels.unwrap_or(limits.max_pixels),
                max_message_bytes: self.max_message_bytes.unwrap_or(limits.max_message_bytes),
                max_streams: self.max_streams.unwrap_or(limits.max_streams),
                max_stages: self.max_stages.unwrap_or(limits.max_stages),
                max_jobs: self.max_jobs.unwrap_or(limits.max_jobs),
                max_job_bytes: self.max_job_bytes.unwrap_or(limits.max_job_bytes),
                max_stream_bytes: self.max_stream_bytes.unwrap_or(limits.max_stream_bytes),
            },
            threads: self.threads.unwrap_or(default.threads),
            default_window: self.window.unwrap_or(default.default_window),
            default_pipeline: self.default_pipeline.clone().unwrap_or(default.default_pipeline),
            raw_size: self.raw_size.as_deref().map(raw_size).transpose()?,
            raw_format: self.raw_format.as_deref().map(raw_format).transpose()?,
            pipelines,
            models: self.models()?,
            torchserve: self.torchserve()?,
            applications: self.applications(),
            name: self.server_name.clone().unwrap_or(default.name),
            shared_memory: match self.shared_memory {
                None => default.shared_memory,
                Some(SharedMemoryFor::Nowhere) => SharedMemory::Nowhere,
                Some(SharedMemoryFor::ThisMachine) => SharedMemory::ThisMachine,
                Some(SharedMemoryFor::Everywhere) => SharedMemory::Everywhere,
            },
            transport: Transport {
                stream_window: self.stream_window_bytes.unwrap_or(transport.stream_window),
                streams_per_connection: self
                    .streams_per_connection
                    .unwrap_or(transport.streams_per_connection),
                max_connections: self.max_connections.unwrap_or(transport.max_connections),
                keepalive: seconds("--keepalive", self.keepalive, transport.keepalive)?,
                keepalive_timeout: seconds(
                    "--keepalive-timeout",
                    self.keepalive_timeout,
                    transport.keepalive_timeout,
                )?,
            },
            drain_timeout: seconds("--drain-timeout", self.drain_timeout, default.drain_timeout)?,
            drain_least: seconds("--drain-least", self.drain_least, default.drain_least)?,
        })
    }

    fn applications(&self) -> BTreeMap<String, Application> {
        let application = |(name, Parts { models, pipelines }): (&String, &Parts)| {
            (name.clone(), Application { models: models.clone(), pipelines: pipelines.clone() })
        };
        self.applications.iter().map(application).collect()
    }

    fn tls(&self) -> Result<Option<TlsFiles>, Error> {
        match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (None, None, None) => Ok(None),
            (None, None, Some(_)) => {
                Err(Error::Incomplete("--tls-client-ca goes with --tls-cert and --tls-key only"))
            }
            (Some(certificate), Some(key), authority) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authority: authority.clone(),
            })),
            (Some(_), None, _) => Err(Error::Incomplete("--tls-cert needs the certificate's --tls-key")),
            (None, Some(_), _) => Err(Error::Incomplete("--tls-key needs the key's --tls-cert")),
        }
    }

    fn models(&self) -> Result<Models, Error> {
        let every = seconds("--poll-interval", self.poll_interval, Duration::from_secs_f64(POLL_SECONDS))?;
        let control = match self.model_control.unwrap_or(ModelControl::None) {
            ModelControl::None => Control::None,
            ModelControl::Poll => Control::Poll(every),
            ModelControl::Explicit => Control::Explicit(self.load_model.clone()),
        };
        if !self.load_model.is_empty() && !matches!(control, Control::Explicit(_)) {
            return Err(Error::Incomplete("--load-model goes with --model-control explicit only"));
        }
        let default = Models::default();
        Ok(Models {
            repositories: self.model_repository.clone(),
            control,
            device: self.device.as_deref().unwrap_or("auto").parse()?,
            precision: self.precision.as_deref().unwrap_or("fp32").parse()?,
            max_multiplexed: self.max_multiplexed.unwrap_or(default.max_multiplexed),
            ..default
        })
    }

    fn torchserve(&self) -> Result<Option<TorchServe>, Error> {
        let default = TorchServe::default();
        let terms = TorchServe {
            inference: self.torchserve_inference_address.unwrap_or(default.inference),
            management: self.torchserve_management_address.unwrap_or(default.management),
            model_store: self.torchserve_model_store.clone(),
            allowed_urls: self.torchserve_allowed_urls.clone(),
            load_models: self.torchserve_load_models.clone(),
            model_api: self.enable_model_api.unwrap_or_default(),
            key_file: match self.disable_token_auth {
                Some(true) => None,
                _ => self.torchserve_key_file.clone().or(default.key_file),
            },
        };
        if self.torchserve.unwrap_or_default() {
            return Ok(Some(terms));
        }
        let given = [
            self.torchserve_inference_address.is_some() || self.torchserve_management_address.is_some(),
            self.torchserve_model_store.is_some() || self.torchserve_key_file.is_some(),
            !self.torchserve_allowed_urls.is_empty() || !self.torchserve_load_models.is_empty(),
            self.enable_model_api == Some(true) || self.disable_token_auth == Some(true),
        ];
        if given.contains(&true) {
            return Err(Error::Incomplete(
                "--torchserve-..., --enable-model-api and --disable-token-auth go with --torchserve only",
            ));
        }
        Ok(None)
    }
}

impl NamedPipeline {
    fn insert(&self, name: &str, names: &mut Names) -> Result<(), Error> {
        match self {
            NamedPipeline::Text(pipeline) => names.insert(name, pipeline, ""),
            NamedPipeline::Documented { pipeline, doc } => names.insert(name, pipeline, doc),
        }
    }
}

fn raw_size(text: &str) -> Result<Size, Error> {
    let side = |side: &str| side.parse().ok().filter(|side| *side > 0);
    let size = text.split_once('x').and_then(|(width, height)| Some(Size::new(side(width)?, side(height)?)));
    let range = "WIDTHxHEIGHT in pixels, as in 1280x720".into();
    size.ok_or(Error::Range { what: "--raw-size", value: format!("`{text}`"), range })
}

fn raw_format(name: &str) -> Result<PixelFormat, Error> {
    PixelFormat::from_name(name).ok_or_else(|| PixelFormat::unknown("--raw-format", name))
}

fn seconds(what: &'static str, value: Option<f64>, default: Duration) -> Result<Duration, Error> {
    match value {
        None => Ok(default),
        Some(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(seconds) => {
            Err(Error::Range { what, value: seconds.to_string(), range: "0 to 86400 seconds".into() })
        }
    }
}
