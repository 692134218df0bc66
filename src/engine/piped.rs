//! Pipelines as models: a picture goes in, a picture comes out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::infer::{Asked, InferReply, InferRequest, Served};
use super::tallies::Tallies;
use super::{Begun, Engine, Lane, Processed, Reply, ReplyCodec, Timing};
use crate::error::{Error, RequestError};
use crate::frame::codec::Chroma;
use crate::frame::{Codec, Encoded, Encoding, Identity, PixelFormat, Size};
use crate::model::check::Given;
use crate::model::signature::{Port, Signature};
use crate::model::statistics::{Compute, Snapshot, Statistics, Success};
use crate::model::version::Treatment;
use crate::pipeline::Pipeline;
use crate::pipeline::names::Names;
use crate::proto::inference::{self as proto, ModelConfig};
use crate::tensor::{Data, DataType, Dims, Shape, Tensor};

/// A pipeline with what there is to say of it as of a model.
#[derive(Debug)]
pub struct PipedModel {
    name: String,
    signature: Signature,
    config: ModelConfig,
    tally: Tally,
    /// Kept from its first use on, so that not every request makes it anew.
    pipeline: OnceLock<Arc<Pipeline>>,
}

/// Where its requests are counted.
#[derive(Debug)]
enum Tally {
    /// Here: it has a name.
    Own(Arc<Statistics>),
    /// With those of others that are written as text: by what it does, however that is written.
    OfText(String),
}

/// What kind of model it is.
const PLATFORM: &str = "opencv_pipeline";

/// The input, and the output that is a picture.
const IMAGE: &str = "image";
/// The output with what the stages found.
const FINDINGS: &str = "findings";

/// The pictures of a request on their way.
struct Pictures {
    pictures: Vec<Encoded>,
    pipeline: Arc<Pipeline>,
    reply: Reply,
    treatment: Treatment,
}

impl PipedModel {
    /// All the named pipelines of a server.
    pub fn all(names: &Names) -> BTreeMap<String, Arc<Self>> {
        names.iter().map(|(name, _)| (name.to_owned(), Arc::new(PipedModel::new(name)))).collect()
    }

    /// A pipeline of this name.
    fn new(name: &str) -> Self {
        Self::counted(name, Tally::Own(Arc::default()))
    }

    /// A pipeline with this text, which does what is printed so.
    pub fn of_text(text: &str, printed: String) -> Self {
        Self::counted(text, Tally::OfText(printed))
    }

    fn counted(name: &str, tally: Tally) -> Self {
        let port = |name: &str| Port {
            name: name.into(),
            datatype: DataType::Bytes,
            dims: Dims::new(&[-1]).expect("-1 stands for any"),
            reshape: None,
            optional: false,
            labels: None,
        };
        let signature =
            Signature { max_batch: 0, inputs: vec![port(IMAGE)], outputs: vec![port(IMAGE), port(FINDINGS)] };
        let output = |name: &str| proto::ModelOutput {
            name: name.into(),
            data_type: proto::DataType::TypeString.into(),
            dims: vec![-1],
            ..Default::default()
        };
        let input = proto::ModelInput {
            name: IMAGE.into(),
            data_type: proto::DataType::TypeString.into(),
            dims: vec![-1],
            ..Default::default()
        };
        let config = ModelConfig {
            name: name.into(),
            platform: PLATFORM.into(),
            input: vec![input],
            output: vec![output(IMAGE), output(FINDINGS)],
            ..Default::default()
        };
        PipedModel { name: name.into(), signature, config, tally, pipeline: OnceLock::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Its configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What it did so far, as its own counts or these say.
    pub fn counts(&self, tallies: &Tallies) -> Snapshot {
        match &self.tally {
            Tally::Own(statistics) => statistics.snapshot(),
            Tally::OfText(text) => tallies.snapshot(text),
        }
    }

    /// Where requests are counted that it is asked to answer.
    fn statistics(&self, tallies: &Tallies) -> Arc<Statistics> {
        match &self.tally {
            Tally::Own(statistics) => Arc::clone(statistics),
            Tally::OfText(text) => tallies.of(text),
        }
    }

    /// The one input, as the pictures that it consists of.
    fn pictures(&self, inputs: Vec<Given>) -> Result<(Vec<Encoded>, bool), Error> {
        let model = || self.name.clone();
        let mut image = None;
        for Given { name, tensor } in inputs {
            if name != IMAGE {
                return Err(RequestError::UnknownInput { input: name, model: model() }.into());
            }
            if image.replace(tensor.fetch()?).is_some() {
                return Err(RequestError::Duplicate { what: "input", name }.into());
            }
        }
        let quoted = format!("'{IMAGE}'");
        let missing = || RequestError::MissingInputs {
            expected: 1,
            got: 0,
            model: model(),
            given: String::new(),
            missing: quoted,
        };
        let tensor = image.ok_or_else(missing)?;
        let shape = tensor.shape().clone();
        let wrong = |expected: &str| RequestError::Shape {
            input: IMAGE.into(),
            model: model(),
            expected: expected.into(),
            got: shape.to_string(),
            note: "",
        };
        match (tensor.datatype(), tensor.into_data()) {
            (_, Data::Elements(elements)) if matches!(shape.dims(), [] | [_] | [_, 1]) => {
                Ok((elements.into_iter().map(Encoded::sniffed).collect::<Result<_, _>>()?, false))
            }
            (_, Data::Elements(_)) => Err(wrong("[-1] or [-1,1] of encoded pictures").into()),
            (DataType::Uint8, Data::Raw(bytes)) => {
                let expected = "[height,width,3] of BGR or [height,width,1] of gray pixels";
                let side = |side: usize| u32::try_from(side).ok().filter(|side| *side > 0);
                let (size, format) = match *shape.dims() {
                    [height, width, 3] => (side(width).zip(side(height)), PixelFormat::Bgr24),
                    [height, width, 1] | [height, width] => {
                        (side(width).zip(side(height)), PixelFormat::Gray8)
                    }
                    _ => return Err(wrong(expected).into()),
                };
                let (width, height) = size.ok_or_else(|| wrong(expected))?;
                Ok((vec![Encoded::raw(bytes, format, Size::new(width, height))?], true))
            }
            (found, _) => Err(RequestError::DataType {
                input: IMAGE.into(),
                found: found.to_string(),
                model: model(),
                expected: "BYTES or UINT8".into(),
            }
            .into()),
        }
    }
}

impl Engine {
    /// Whether requests for it can be answered now: the models of a pipeline may not be there.
    pub async fn is_answering(self: &Arc<Self>, served: &Served) -> bool {
        match served {
            Served::Model(_) => true,
            Served::Pipeline(piped) => self.check_piped(piped).await.is_ok(),
        }
    }

    /// Whether a pipeline can be made, and its models are there.
    pub(super) async fn check_piped(self: &Arc<Self>, piped: &PipedModel) -> Result<(), Error> {
        match piped.pipeline.get() {
            Some(pipeline) => pipeline.check_models(),
            None => Arc::clone(self).pipeline(piped.name.clone()).await.map(drop),
        }
    }

    /// Takes the pictures of a request through a pipeline, each by itself.
    pub(super) async fn infer_piped(
        self: &Arc<Self>,
        model: &PipedModel,
        request: InferRequest,
    ) -> Result<InferReply, Error> {
        let began = Instant::now();
        let InferRequest { inputs, outputs, codec, treatment } = request;
        // What the pipeline does not take is none of its failures, nor is a text that makes none.
        let (pictures, as_tensor) = model.pictures(inputs)?;
        let pipeline = self.made(model).await?;
        let statistics = model.statistics(&self.tallies);
        let reply = reply_to(&outputs, codec, as_tensor);
        let pictures = Pictures { pictures, pipeline, reply, treatment };
        let answered = self.answer_piped(pictures, outputs, &statistics).await;
        match answered {
            Ok((reply, success)) => {
                statistics.succeeded(Success { total: began.elapsed(), ..success });
                Ok(reply)
            }
            Err(error) => {
                statistics.failed(began.elapsed());
                Err(error)
            }
        }
    }

    async fn made(self: &Arc<Self>, model: &PipedModel) -> Result<Arc<Pipeline>, Error> {
        if let Some(pipeline) = model.pipeline.get() {
            return Ok(Arc::clone(pipeline));
        }
        let made = Arc::clone(self).pipeline(model.name.clone()).await?;
        Ok(Arc::clone(model.pipeline.get_or_init(|| made)))
    }

    async fn answer_piped(
        self: &Arc<Self>,
        Pictures { pictures, pipeline, reply, treatment }: Pictures,
        outputs: Vec<Asked>,
        statistics: &Statistics,
    ) -> Result<(InferReply, Success), Error> {
        // Priorities are levels that a model's configuration has, and so count where models are asked. On the threads
        // that all streams share nobody comes before others.
        let Treatment { timeout, deadline, priority, .. } = treatment;
        let timeout_at = timeout.map(|timeout| Instant::now() + timeout);
        let deadline = timeout_at.into_iter().chain(deadline).min();
        let works = pictures.into_iter().map(|picture| async {
            let processed = self.process(&pipeline, reply, picture, (deadline, priority)).await?;
            statistics.executed(1, processed.timing.compute());
            Ok::<_, Error>(processed)
        });
        // In the order of the pictures, as many side by side as on a stream: a message holds a great many.
        let works = stream::iter(works).buffered(self.limits().max_window);
        let processed: Vec<_> = works.try_collect().await?;
        let success = success(&processed);
        let outputs = if outputs.is_empty() { [IMAGE, FINDINGS].map(Asked::whole).to_vec() } else { outputs };
        let elsewhere = outputs.iter().any(|asked| asked.place.is_some());
        let give = move || -> Result<InferReply, Error> {
            let output = |Asked { name, place, .. }: Asked| {
                let tensor = if name == FINDINGS { findings(&processed)? } else { image(&processed)? };
                Ok((name, tensor.put(place)?))
            };
            Ok(InferReply { outputs: outputs.into_iter().map(output).collect::<Result<_, Error>>()? })
        };
        // To put something elsewhere is to copy it, which is work.
        let reply = if elsewhere { self.pool.submit(move |_, _| give()).await?? } else { give()? };
        Ok((reply, success))
    }

    async fn process(
        self: &Arc<Self>,
        pipeline: &Arc<Pipeline>,
        reply: Reply,
        picture: Encoded,
        (deadline, priority): (Option<Instant>, u32),
    ) -> Result<Processed, Error> {
        let Size { width, height } = picture.size;
        self.limits().check_pixels("a picture", width, height)?;
        let memory = pipeline.memory(picture.size)?;
        let credit = self.credits().try_acquire(picture.bytes.len().saturating_add(memory.all()))?;
        // A lane of its own: what stateful stages see of one request is not for the next.
        let mut lane = Lane::new(Arc::clone(self), Arc::clone(pipeline), reply);
        match lane.begin(Identity::default(), picture, credit, Instant::now()) {
            Begun::Done(processed) => Ok(processed),
            Begun::Work(work) => work.until(deadline).with_priority(priority).run().await,
        }
    }
}

impl Timing {
    /// The parts as those of a model.
    fn compute(&self) -> Compute {
        let infer = self.stages.iter().map(|step| step.took).sum();
        Compute { input: self.decode, infer, output: self.encode }
    }
}

/// A request of several pictures is one that succeeded, and took what all of them took.
fn success(processed: &[Processed]) -> Success {
    let mut all = Success { rows: processed.len(), ..Success::default() };
    for Processed { timing, .. } in processed {
        let Compute { input, infer, output } = timing.compute();
        all.queue += timing.queue;
        all.compute.input += input;
        all.compute.infer += infer;
        all.compute.output += output;
    }
    all
}

/// How the pictures of a request come back.
fn reply_to(outputs: &[Asked], codec: Option<Encoding>, as_tensor: bool) -> Reply {
    let wanted = outputs.is_empty() || outputs.iter().any(|asked| asked.name == IMAGE);
    let asked = outputs.iter().find(|asked| asked.name == IMAGE).and_then(|asked| asked.codec).or(codec);
    match asked {
        _ if !wanted => reply(ReplyCodec::NoPicture, Encoding::new(Codec::Jpeg)),
        Some(encoding) => reply(ReplyCodec::Codec(encoding.codec), encoding),
        None if as_tensor => reply(ReplyCodec::Raw, Encoding::new(Codec::Png)),
        None => reply(ReplyCodec::AsItCame, Encoding::new(Codec::Jpeg)),
    }
}

fn reply(codec: ReplyCodec, encoding: Encoding) -> Reply {
    Reply { codec, quality: encoding.quality, chroma: Chroma::default() }
}

/// The pictures that came out: encoded ones as a list, raw ones as an array of pixels.
fn image(processed: &[Processed]) -> Result<Tensor, Error> {
    let raw = match processed {
        [Processed { picture: Some((bytes, Codec::Raw(format))), size, .. }] => Some((bytes, format, size)),
        _ => None,
    };
    if let Some((bytes, format, Size { width, height })) = raw {
        let channels = if *format == PixelFormat::Gray8 { 1 } else { 3 };
        let shape = Shape::new(vec![*height as usize, *width as usize, channels]);
        return Tensor::raw(DataType::Uint8, shape, bytes.clone());
    }
    let pictures = processed.iter().filter_map(|processed| Some(processed.picture.as_ref()?.0.clone()));
    let pictures: Vec<_> = pictures.collect();
    Tensor::elements(Shape::new(vec![pictures.len()]), pictures)
}

fn findings(processed: &[Processed]) -> Result<Tensor, Error> {
    let json = |processed: &Processed| {
        let json =
            serde_json::to_vec(&processed.findings).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Bytes::from(json))
    };
    let found = processed.iter().map(json).collect::<Result<Vec<_>, Error>>()?;
    Tensor::elements(Shape::new(vec![found.len()]), found)
}
