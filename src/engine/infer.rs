//! A request for a model, from when it came to its outputs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::Span;

use super::Engine;
use super::outputs::{self, Gave};
use super::piped::PipedModel;
use crate::error::{Error, ModelUnknown, RequestError};
use crate::frame::Encoding;
use crate::limits::Credit;
use crate::model::Pixels;
use crate::model::check::{Checked, Given};
use crate::model::pictures::Pictures;
use crate::model::registry::{IndexEntry, State};
use crate::model::settings::Settings;
use crate::model::signature::Signature;
use crate::model::statistics::{Compute, Snapshot, Success};
use crate::model::version::{Treatment, Version, Work};
use crate::pipeline::spec;
use crate::proto::inference::ModelConfig;
use crate::tensor::image::Geometry;
use crate::tensor::{Data, DataType, Kept, Place};

/// Something that answers requests: a version of a model, or a named pipeline.
#[derive(Debug, Clone)]
pub enum Served {
    /// A version of a model of the repository.
    Model(Arc<Version>),
    /// A named pipeline.
    Pipeline(Arc<PipedModel>),
}

/// What a client asks of a model.
#[derive(Debug, Default)]
pub struct InferRequest {
    /// The inputs, in any order.
    pub inputs: Vec<Given>,
    /// The outputs that are wanted; none for all.
    pub outputs: Vec<Asked>,
    /// When it has its turn, and for how long it is wanted.
    pub treatment: Treatment,
    /// How the picture is encoded that comes back, where no output says. Without it a pipeline's comes as it went, and a
    /// model's as the tensor that it is.
    pub codec: Option<Encoding>,
}

/// An output that a client wants.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// In place of scores, so many of the best classes; 0 for the scores.
    pub classification: usize,
    /// In place of pixels, an encoded picture.
    pub codec: Option<Encoding>,
    /// Where it is to be put, if not into the reply.
    pub place: Option<Arc<dyn Place>>,
}

/// What a model answers.
#[derive(Debug, Clone)]
pub struct InferReply {
    /// Names and values, in the order in which they were asked for. What was to be put elsewhere is there.
    pub outputs: Vec<(String, Kept)>,
}

impl Served {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Served::Model(version) => &version.settings().name,
            Served::Pipeline(piped) => piped.name(),
        }
    }

    /// Its number; pipelines have only one.
    pub fn version(&self) -> u64 {
        match self {
            Served::Model(version) => version.number(),
            Served::Pipeline(_) => 1,
        }
    }

    /// What kind of model it is, in the words of its configuration.
    pub fn platform(&self) -> &str {
        let config = match self {
            Served::Model(version) => &version.settings().config,
            Served::Pipeline(piped) => piped.config(),
        };
        match config {
            ModelConfig { platform, backend, .. } if platform.is_empty() => backend,
            ModelConfig { platform, .. } => platform,
        }
    }

    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        match self {
            Served::Model(version) => version.listed(),
            Served::Pipeline(piped) => piped.signature(),
        }
    }

    /// Its whole configuration, as it is now.
    pub fn config(&self) -> ModelConfig {
        match self {
            Served::Model(version) => version.config(),
            Served::Pipeline(piped) => piped.config().clone(),
        }
    }

    /// Whether this output can be had as an encoded picture.
    pub fn gives_picture(&self, output: usize) -> bool {
        match self {
            Served::Model(version) => {
                version.settings().pictures.as_ref().is_some_and(|pictures| pictures.gives_picture(output))
            }
            Served::Pipeline(_) => output == 0,
        }
    }

    /// Whether this input takes encoded pictures too.
    pub fn takes_pictures(&self, input: usize) -> bool {
        match self {
            Served::Model(version) => {
                version.settings().pictures.as_ref().is_some_and(|pictures| pictures.input == input)
            }
            Served::Pipeline(_) => true,
        }
    }
}

impl Asked {
    /// An output as the model gives it, in the reply.
    pub fn whole(name: &str) -> Self {
        Asked { name: name.into(), classification: 0, codec: None, place: None }
    }
}

/// A request with what it needs on its way.
struct Way<'a> {
    engine: &'a Engine,
    version: &'a Version,
    began: Instant,
}

/// Inputs that are as the model takes them.
struct Ready {
    inputs: Vec<Option<Kept>>,
    rows: usize,
    /// Whether the pictures among them are still pixels.
    are_pixels: bool,
    /// How the pictures lie in the tensors that were made of them.
    geometry: Vec<Geometry>,
    credit: Arc<Credit>,
}

impl Engine {
    /// What answers to this name: the version of this number, or the highest that is ready where that is empty.
    /// A name may also be that of a pipeline, or the text of one.
    pub fn served(&self, name: &str, version: &str) -> Result<Served, Error> {
        let version = version_number(version)?;
        let piped = match self.piped.get(name) {
            Some(piped) => Arc::clone(piped),
            None => match self.models.find(name, version) {
                Err(unknown @ (Error::ModelUnknown(ModelUnknown::Model(_)) | Error::Starting))
                    if !self.models.is_awaited(name) =>
                {
                    Arc::new(self.piped_by_text(name, unknown)?)
                }
                found => return found.map(Served::Model),
            },
        };
        match version {
            None | Some(1) => Ok(Served::Pipeline(piped)),
            Some(version) => Err(ModelUnknown::Version { model: name.into(), version }.into()),
        }
    }

    fn piped_by_text(&self, text: &str, unknown: Error) -> Result<PipedModel, Error> {
        match spec::parse(text, &self.config.pipelines) {
            Ok(stages) if !stages.is_empty() => Ok(PipedModel::of_text(text, spec::print(&stages))),
            // Whoever writes this means a pipeline, and wants to know what is wrong with it.
            Err(error) if text.contains(['|', '=']) => Err(error),
            _ => Err(unknown),
        }
    }

    /// All models and versions that are known, and the named pipelines; or only those that are ready.
    pub async fn index(self: &Arc<Self>, only_ready: bool) -> Vec<IndexEntry> {
        let mut entries = self.models.index(only_ready).await;
        for piped in self.piped.values() {
            let (state, reason) = match self.check_piped(piped).await {
                Ok(()) => (State::Ready, String::new()),
                Err(_) if only_ready => continue,
                Err(error) => (State::Unavailable, error.to_string()),
            };
            let name = piped.name().to_owned();
            entries.push(IndexEntry { name, version: Some(1), state: Some(state), reason });
        }
        entries
    }

    /// What versions and pipelines did so far: all that have a name, or one of them. Of a model it may be only one version.
    pub fn statistics(&self, name: &str, version: &str) -> Result<Vec<(String, u64, Snapshot)>, Error> {
        let number = version_number(version)?;
        let of_pipeline = |piped: &PipedModel| (piped.name().to_owned(), 1, piped.counts(&self.tallies));
        if name.is_empty() {
            let mut counted = self.models.statistics(name, number)?;
            counted.extend(self.piped.values().map(|piped| of_pipeline(piped)));
            return Ok(counted);
        }
        match self.served(name, version)? {
            Served::Model(_) => self.models.statistics(name, number),
            Served::Pipeline(piped) => Ok(vec![of_pipeline(&piped)]),
        }
    }

    /// Answers a request. Dropping the future takes the request out of the queue that it waits in.
    pub async fn infer(
        self: &Arc<Self>,
        served: &Served,
        request: InferRequest,
    ) -> Result<InferReply, Error> {
        let _open = self.requests.token();
        outputs::check(served, &request)?;
        match served {
            Served::Pipeline(piped) => self.infer_piped(piped, request).await,
            Served::Model(version) => {
                let way = Way { engine: self, version, began: Instant::now() };
                let InferRequest { inputs, outputs, treatment, codec } = request;
                // What the model does not take is none of its failures.
                let checked = version.check().inputs(inputs)?;
                let asked = outputs::asked(served, outputs, codec);
                let answered = way.answer(checked, asked, treatment).await;
                if answered.is_err() {
                    version.statistics().failed(way.began.elapsed());
                }
                answered
            }
        }
    }
}

impl Way<'_> {
    async fn answer(
        &self,
        checked: Checked,
        asked: Vec<Asked>,
        treatment: Treatment,
    ) -> Result<InferReply, Error> {
        let ready = self.prepare(checked).await?;
        let input = self.began.elapsed();
        let Ready { inputs, rows, are_pixels, geometry, credit } = ready;
        let pixels = Pixels { input: are_pixels, output: self.wants_pixels(&asked) };
        let plain = self.plain(&asked);
        let places = plain.as_deref().map_or_else(Vec::new, |plain| self.places(plain, &asked));
        let (span, held) = (Span::current(), Arc::clone(&credit));
        let work = Work { inputs, rows, pixels, places, span, credit: held };
        let done = self.version.infer(work, treatment).await?;
        let begin = Instant::now();
        let outputs = match plain {
            Some(plain) => {
                let output = |(asked, index): (Asked, usize)| (asked.name, done.outputs[index].clone());
                asked.into_iter().zip(plain).map(output).collect()
            }
            None => {
                // Nothing was put elsewhere, since something is made of it first.
                let outputs = done.outputs.into_iter().map(Kept::fetch).collect::<Result<_, _>>()?;
                let gave = Gave { outputs, geometry, as_pixels: pixels.output };
                self.finish(gave, asked, &credit).await?
            }
        };
        let (input, output) = (input + done.fetched, begin.elapsed() + done.put);
        let compute = Compute { input, infer: done.ran, output };
        let total = self.began.elapsed();
        self.version.statistics().succeeded(Success { rows, queue: done.queued, compute, total });
        Ok(InferReply { outputs })
    }

    /// Takes room for the request, and makes tensors of its pictures.
    async fn prepare(&self, checked: Checked) -> Result<Ready, Error> {
        let Checked { mut inputs, rows } = checked;
        let Settings { signature, .. } = &**self.version.settings();
        let pictures = self.pictures(&inputs);
        let mut bytes: usize = inputs.iter().flatten().map(Kept::memory).sum();
        if let Some((pictures, encoded)) = &pictures {
            bytes = bytes.saturating_add(pictures.memory(encoded, self.engine.limits())?);
        }
        // Where outputs vary, they are taken to be as large as the inputs.
        let outputs = signature.output_bytes(rows, bytes);
        let credit = Arc::new(self.engine.credits().try_acquire(bytes.saturating_add(outputs))?);
        let Some((pictures, encoded)) = pictures else {
            let geometry = self.geometry(&inputs)?;
            return Ok(Ready { inputs, rows, are_pixels: false, geometry, credit });
        };
        let index = pictures.input;
        let settings = Arc::clone(self.version.settings());
        let limits = self.engine.limits().clone();
        let held = Arc::clone(&credit);
        let are_pixels = self.version.pixels().input;
        let job = self.engine.pool.submit(move |bench, _| {
            let _held = held;
            let pictures = settings.pictures.as_ref().ok_or(Error::Cancelled)?;
            let prepared = match are_pixels {
                true => pictures.prepare_pixels(&encoded, &limits, bench),
                false => pictures.prepare(&encoded, &limits, bench),
            };
            bench.tidy();
            prepared
        });
        let (tensor, geometry) = job.await??;
        inputs[index] = Some(Kept::Here(tensor));
        Ok(Ready { inputs, rows, are_pixels, geometry, credit })
    }

    /// Whether the output that is a picture is asked for as one, and not as the tensor that it is too, and the model
    /// can give it so.
    fn wants_pixels(&self, asked: &[Asked]) -> bool {
        let settings = self.version.settings();
        let picture = settings.pictures.as_ref().and_then(Pictures::picture_output);
        let name = picture.map(|picture| settings.signature.outputs[picture.output].name.as_str());
        self.version.pixels().output
            && asked.iter().any(|asked| asked.codec.is_some() && Some(asked.name.as_str()) == name)
    }

    /// Pictures that came as a tensor: what is found in them is found there.
    fn geometry(&self, inputs: &[Option<Kept>]) -> Result<Vec<Geometry>, Error> {
        let finder = self.version.settings().pictures.as_ref().filter(|pictures| pictures.has_places());
        let tensor = finder.and_then(|pictures| Some((pictures, inputs.get(pictures.input)?.as_ref()?)));
        tensor.map_or_else(|| Ok(Vec::new()), |(pictures, tensor)| pictures.geometry(tensor.shape()))
    }

    /// The encoded pictures among the inputs.
    fn pictures(&self, inputs: &[Option<Kept>]) -> Option<(&Pictures, Vec<Bytes>)> {
        let Settings { pictures, signature, .. } = &**self.version.settings();
        let pictures = pictures.as_ref()?;
        let tensor = inputs.get(pictures.input)?.as_ref()?.here()?;
        let takes_bytes = signature.inputs.get(pictures.input)?.datatype == DataType::Bytes;
        match tensor.data() {
            Data::Elements(elements) if !takes_bytes => Some((pictures, elements.clone())),
            _ => None,
        }
    }

    /// The model's outputs that are asked for, if nothing is to be made of any.
    fn plain(&self, asked: &[Asked]) -> Option<Vec<usize>> {
        let names = &self.version.settings().signature;
        let plain = |asked: &Asked| {
            names.output(&asked.name).filter(|_| asked.classification == 0 && asked.codec.is_none())
        };
        asked.iter().map(plain).collect()
    }

    /// Where the model's outputs are to be put, of which `plain` are asked for.
    fn places(&self, plain: &[usize], asked: &[Asked]) -> Vec<Option<Arc<dyn Place>>> {
        let mut places = vec![None; self.version.settings().signature.outputs.len()];
        for (index, asked) in plain.iter().zip(asked) {
            places[*index].clone_from(&asked.place);
        }
        places
    }

    /// Makes of the model's outputs what was asked for.
    async fn finish(
        &self,
        gave: Gave,
        asked: Vec<Asked>,
        credit: &Arc<Credit>,
    ) -> Result<Vec<(String, Kept)>, Error> {
        let settings = Arc::clone(self.version.settings());
        // As long as the job is in the queue of the pool, which has a place for each credit and no more.
        let held = Arc::clone(credit);
        let job = self.engine.pool.submit(move |bench, _| {
            let _held = held;
            let make = |asked: Asked| {
                let made = outputs::made(&settings, &gave, &asked, bench)?;
                Ok((asked.name, made.put(asked.place)?))
            };
            let made = asked.into_iter().map(make).collect();
            bench.tidy();
            made
        });
        job.await?
    }
}

/// A version as clients write it.
pub fn version_number(text: &str) -> Result<Option<u64>, Error> {
    let malformed = match text.parse::<i64>() {
        _ if text.is_empty() => return Ok(None),
        Ok(number) if number > 0 => return Ok(Some(number.unsigned_abs())),
        Ok(_) => format!("invalid model version specified '{text}', version should be an integral value > 0"),
        Err(why) => format!(
            "failed to get model version from specified version string '{text}' (details: {why}), version should be \
             an integral value > 0"
        ),
    };
    Err(RequestError::Malformed(malformed).into())
}
