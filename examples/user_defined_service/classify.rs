//! What a picture shows: it is fetched, prepared, and shown to a model of the repository.

use std::sync::Arc;

use bytes::Bytes;
use frameserve::engine::{Asked, Engine, InferReply, InferRequest, Served};
use frameserve::frame::Encoded;
use frameserve::grpc::layer::CallContext;
use frameserve::grpc::ray;
use frameserve::model::check::Given;
use frameserve::model::version::Treatment;
use frameserve::tensor::{Data, Kept, Shape, Tensor};
use tonic::{Request, Response, Status};

use crate::download::Downloader;
use crate::protos::image_classification_service_server::ImageClassificationService;
use crate::protos::{ImageClass, ImageData};

/// The service.
pub struct Classifier {
    /// Where the model is.
    pub engine: Arc<Engine>,
    /// What brings pictures.
    pub downloader: Downloader,
    /// The model's name.
    pub model: String,
}

/// Classes of a reply.
const BEST: usize = 5;

#[tonic::async_trait]
impl ImageClassificationService for Classifier {
    async fn predict(&self, request: Request<ImageData>) -> Result<Response<ImageClass>, Status> {
        let call = CallContext::of(request.extensions());
        let told = |error| ray::refusal(&call, error);
        let model = self.engine.routed(call.route(), &self.model, "").await.map_err(told)?;
        let picture = self.downloader.fetch(request.get_ref()).await?;
        let mut request = prepared(&model, picture).map_err(told)?;
        request.treatment = Treatment { deadline: call.deadline(), ..Treatment::default() };
        let reply = self.engine.infer(&model, request).await.map_err(told)?;
        call.set_trailing("model", model.name())?;
        Ok(Response::new(classes(&reply)))
    }
}

/// A request for the classes that a model sees in a picture. The engine decodes it, and makes of it what the model's
/// configuration says.
fn prepared(model: &Served, picture: Bytes) -> Result<InferRequest, frameserve::Error> {
    // Whatever is no picture is refused before it takes the model's time.
    let picture = Encoded::sniffed(picture)?.bytes;
    let signature = model.signature();
    let missing = |what| frameserve::Error::State(format!("model `{}` has no {what}", model.name()));
    let input = (0..signature.inputs.len()).find(|input| model.takes_pictures(*input));
    let input = input.ok_or_else(|| missing("input for pictures"))?;
    let output = signature.outputs.first().ok_or_else(|| missing("output"))?;
    let tensor = Tensor::elements(Shape::new(vec![1]), vec![picture])?;
    Ok(InferRequest {
        inputs: vec![Given { name: signature.inputs[input].name.clone(), tensor: Kept::Here(tensor) }],
        outputs: vec![Asked { classification: BEST, ..Asked::whole(&output.name) }],
        ..InferRequest::default()
    })
}

/// Reads `score:number:name`, or `score:number` where a class has no name.
fn classes(reply: &InferReply) -> ImageClass {
    let mut found = ImageClass::default();
    let Some(tensor) = reply.outputs.first().and_then(|(_, output)| output.here()) else { return found };
    let Data::Elements(elements) = tensor.data() else { return found };
    for element in elements {
        let text = String::from_utf8_lossy(element);
        let mut parts = text.splitn(3, ':');
        let (score, number, name) = (parts.next(), parts.next(), parts.next());
        found.probabilities.push(score.and_then(|score| score.parse().ok()).unwrap_or_default());
        found.classes.push(name.or(number).unwrap_or_default().to_owned());
    }
    found
}
