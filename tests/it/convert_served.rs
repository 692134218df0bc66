//! Sample models that get pixels of 8 bits, on streams and from unary calls: what they give is what they give for
//! tensors.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::engine::infer::{Asked, InferRequest};
use frameserve::error::Error;
use frameserve::frame::{Codec, Encoding as FrameEncoding};
use frameserve::model::backend::{Backend, Inputs, Model, Opened, Outputs};
use frameserve::model::check::Given;
use frameserve::model::version::Treatment;
use frameserve::model::{Control, Device, Pixels, Settings};
use frameserve::proto::{Encoding, MsgReply, MsgRequest, PixelFormat, StreamConfig};
use frameserve::tensor::values::values_f32;
use frameserve::tensor::{Data, DataType, Kept, Shape, Tensor};
use futures_util::future::join_all;

use crate::harness::{TestServer, config, exchange, jpeg, reply_as};
use crate::program::there;
use crate::puppet::{Hold, PATIENCE, Puppet, Shelf};

/// A shelf with a sample model twice: as it is, and as NAME-device, whose pictures the device converts.
fn twice(shelf: &Shelf, name: &str) {
    let sample = there(&format!("samples/models/{name}"));
    let text = std::fs::read_to_string(sample.join("config.pbtxt")).unwrap();
    // Not optimised, since of two that are loaded one may be found faster so, and the other not.
    let alike = "instance_group { count: 1 kind: KIND_CPU }
                 parameters { key: 'DISABLE_OPTIMIZED_EXECUTION' value { string_value: 'true' } }";
    let convert = "parameters { key: 'frameserve.convert' value { string_value: 'device' } }";
    for (copy, more) in [(name.to_owned(), ""), (format!("{name}-device"), convert)] {
        shelf.config(&copy, &format!("{text}\n{alike}\n{more}\n"));
        let folder = shelf.0.path().join(&copy);
        std::fs::create_dir(folder.join("1")).unwrap();
        std::os::unix::fs::symlink(sample.join("1/model.pt"), folder.join("1/model.pt")).unwrap();
        for entry in std::fs::read_dir(&sample).unwrap().map(Result::unwrap) {
            if entry.file_name().to_str().unwrap().ends_with(".txt") {
                std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
    }
}

async fn start(shelf: &Shelf) -> TestServer {
    let puppet = Puppet::new(|_, _| Ok(Vec::new()));
    let models = shelf.models(&puppet, Control::Explicit(vec!["*".into()]));
    let server = TestServer::start(Config { models, ..Config::default() }).await;
    server.loaded().await;
    server
}

fn picture(name: &str) -> Bytes {
    std::fs::read(there(&format!(".deps/pictures/{name}"))).unwrap().into()
}

fn encoded(pictures: &[Bytes]) -> Tensor {
    Tensor::elements(Shape::new(vec![pictures.len()]), pictures.to_vec()).unwrap()
}

async fn infer(server: &TestServer, model: &str, tensor: Tensor, outputs: &[Asked]) -> Vec<Tensor> {
    let served = server.engine.served(model, "").unwrap();
    let name = served.signature().inputs[0].name.clone();
    let inputs = vec![Given { name, tensor: Kept::Here(tensor) }];
    let request =
        InferRequest { inputs, outputs: outputs.to_vec(), treatment: Treatment::default(), codec: None };
    let reply = server.engine.infer(&served, request).await.unwrap();
    reply.outputs.into_iter().map(|(_, tensor)| tensor.fetch().unwrap()).collect()
}

/// Frames of a pipeline, raw.
async fn stream(server: &TestServer, pipeline: &str, frames: &[(u32, u32, Vec<u8>)]) -> Vec<MsgReply> {
    let first = StreamConfig { reply_format: reply_as(Encoding::Raw), ..config(pipeline) };
    let mut messages = vec![MsgRequest { config: Some(first), ..MsgRequest::default() }];
    messages.extend(frames.iter().map(|(width, height, pixels)| MsgRequest {
        img: Bytes::from(pixels.clone()),
        encoding: Encoding::Raw.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: *width,
        height: *height,
        ..MsgRequest::default()
    }));
    let (mut replies, status) = exchange(&mut server.client().await, messages).await;
    status.unwrap();
    replies.remove(0);
    assert_eq!(replies.len(), frames.len());
    assert!(replies.iter().all(|reply| reply.error.is_none()), "{:?}", replies[0].error);
    replies
}

fn frame(name: &str) -> (u32, u32, Vec<u8>) {
    let mat =
        opencv::imgcodecs::imread_def(there(&format!(".deps/pictures/{name}")).to_str().unwrap()).unwrap();
    let mut small = opencv::core::Mat::default();
    let size = opencv::core::Size::new(320, 240);
    opencv::imgproc::resize(&mat, &mut small, size, 0.0, 0.0, opencv::imgproc::INTER_AREA).unwrap();
    (320, 240, opencv::prelude::MatTraitConstManual::data_bytes(&small).unwrap().to_vec())
}

fn most_apart(one: &[u8], other: &[u8]) -> u8 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_style_paints_the_same() {
    let shelf = Shelf::new();
    twice(&shelf, "wave");
    let server = start(&shelf).await;
    let frames = [frame("astronaut.png"), frame("chelsea.png")];
    let host = stream(&server, "model=wave", &frames).await;
    let device = stream(&server, "model=wave-device", &frames).await;
    for (host, device) in host.iter().zip(&device) {
        assert_eq!((host.width, host.height), (device.width, device.height));
        assert!(most_apart(&host.img, &device.img) <= 1);
    }
    let painted = |codec| Asked { codec, ..Asked::whole("painted") };
    let png = painted(Some(FrameEncoding::new(Codec::Png)));
    let sent = || encoded(&[jpeg(240, 160)]);
    let host = infer(&server, "wave", sent(), std::slice::from_ref(&png)).await;
    let device = infer(&server, "wave-device", sent(), std::slice::from_ref(&png)).await;
    let pixels = |tensor: &Tensor| {
        let Data::Elements(elements) = tensor.data() else { panic!("byte strings") };
        let mut reader = png::Decoder::new(std::io::Cursor::new(&elements[0])).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut rgb).unwrap();
        rgb
    };
    assert!(most_apart(&pixels(&host[0]), &pixels(&device[0])) <= 1);
    // Who asks for the tensor gets it as it is, of pictures and of tensors.
    let host = infer(&server, "wave", sent(), &[]).await;
    let device = infer(&server, "wave-device", sent(), &[painted(None)]).await;
    assert_eq!((host[0].shape(), device[0].datatype()), (device[0].shape(), DataType::Fp32));
    assert!(apart(&host[0], &device[0]) < 1e-4);
    let tensor = || {
        let bytes: Vec<u8> =
            (0..3 * 64 * 64).flat_map(|at| ((at % 255) as f32 / 255.0).to_le_bytes()).collect();
        Tensor::raw(DataType::Fp32, Shape::new(vec![1, 3, 64, 64]), bytes.into()).unwrap()
    };
    let host = infer(&server, "wave", tensor(), std::slice::from_ref(&png)).await;
    let device = infer(&server, "wave-device", tensor(), &[png]).await;
    assert!(most_apart(&pixels(&host[0]), &pixels(&device[0])) <= 1);
}

fn apart(one: &Tensor, other: &Tensor) -> f32 {
    assert_eq!(one.shape(), other.shape());
    let (one, other) = (values_f32(one).unwrap(), values_f32(other).unwrap());
    one.iter().zip(&*other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn detectors_and_classifiers_find_the_same() {
    let shelf = Shelf::new();
    for model in ["faces", "things", "classifier"] {
        twice(&shelf, model);
    }
    let server = start(&shelf).await;
    let sent = [picture("astronaut.png"), picture("chelsea.png")];
    let mut found = 0;
    for model in ["faces", "things"] {
        for picture in &sent {
            let host = infer(&server, model, encoded(std::slice::from_ref(picture)), &[]).await;
            let device =
                infer(&server, &format!("{model}-device"), encoded(std::slice::from_ref(picture)), &[]).await;
            // Boxes, scores, points or classes; the last is what was made of them.
            for (host, device) in host.iter().zip(&device) {
                if host.bytes().is_some() {
                    assert!(apart(host, device) < 1e-2, "{model}");
                }
            }
            assert_eq!(host.last(), device.last(), "{model}");
            found += host[0].shape().dims()[0];
        }
        let frames = [frame("astronaut.png")];
        let host = stream(&server, &format!("detect={model}"), &frames).await;
        let device = stream(&server, &format!("detect={model}-device"), &frames).await;
        assert_eq!(host[0].detections.len(), device[0].detections.len());
        for (one, other) in host[0].detections.iter().zip(&device[0].detections) {
            assert!(
                overlap(one, other) > 0.999 && (one.score - other.score).abs() < 1e-4,
                "{one:?} {other:?}"
            );
        }
    }
    assert!(found > 0);
    let host = infer(&server, "classifier", encoded(&sent), &[]).await;
    let device = infer(&server, "classifier-device", encoded(&sent), &[]).await;
    assert_eq!(host[0].shape().dims(), [2, 1000]);
    assert!(apart(&host[0], &device[0]) < 1e-4);
    let host = stream(&server, "classify=classifier,top=3", &[frame("chelsea.png")]).await;
    let device = stream(&server, "classify=classifier-device,top=3", &[frame("chelsea.png")]).await;
    for (one, other) in host[0].labels.iter().zip(&device[0].labels) {
        assert!(one.name == other.name && (one.score - other.score).abs() < 1e-4, "{one:?} {other:?}");
    }
    assert_eq!(host[0].labels.len(), 3);
}

fn overlap(one: &frameserve::proto::Detection, other: &frameserve::proto::Detection) -> f32 {
    let both = |a: f32, wide: f32, b: f32, other: f32| ((a + wide).min(b + other) - a.max(b)).max(0.0);
    let shared =
        both(one.x, one.width, other.x, other.width) * both(one.y, one.height, other.y, other.height);
    shared / (one.width * one.height + other.width * other.height - shared)
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_pictures_and_frames_are_answered_side_by_side() {
    let shelf = Shelf::new();
    twice(&shelf, "classifier");
    let server = start(&shelf).await;
    let sent = [picture("astronaut.png"), picture("chelsea.png"), jpeg(300, 200)];
    let mut expected = Vec::new();
    for picture in &sent {
        expected.extend(infer(&server, "classifier", encoded(std::slice::from_ref(picture)), &[]).await);
    }
    let bytes: Vec<u8> =
        (0..3 * 224 * 224).flat_map(|at| ((at % 200) as f32 / 100.0 - 1.0).to_le_bytes()).collect();
    let tensor = Tensor::raw(DataType::Fp32, Shape::new(vec![1, 3, 224, 224]), bytes.into()).unwrap();
    let plain = infer(&server, "classifier", tensor.clone(), &[]).await;
    let requests = (0..18).map(|at| {
        let (server, sent, tensor) = (&server, &sent, &tensor);
        async move {
            let input = if at % 2 == 0 { tensor.clone() } else { encoded(&sent[at / 2 % 3..][..1]) };
            infer(server, "classifier-device", input, &[]).await
        }
    });
    for (at, outputs) in join_all(requests).await.into_iter().enumerate() {
        let expected = if at % 2 == 0 { &plain[0] } else { &expected[at / 2 % 3] };
        assert!(apart(expected, &outputs[0]) < 1e-4, "{at}");
    }
}

/// Gives back what it gets, and notes what of each batch was pixels.
#[derive(Clone, Default)]
struct Noter {
    hold: Hold,
    seen: Arc<Mutex<Vec<(Pixels, usize)>>>,
}

impl Backend for Noter {
    fn open(&self, _: &Arc<Settings>, _: &std::path::Path) -> Result<Box<dyn Opened>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Opened for Noter {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn takes_pixels(&self) -> bool {
        true
    }
}

impl Model for Noter {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        self.infer_pixels(batch, Pixels::default())
    }

    fn infer_pixels(&mut self, batch: &[Inputs], pixels: Pixels) -> Result<Vec<Outputs>, Error> {
        self.seen.lock().unwrap().push((pixels, batch.len()));
        self.hold.batch(batch);
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_and_tensors_of_one_shape_are_never_in_one_batch() {
    let shelf = Shelf::new();
    shelf.config(
        "m",
        "backend: 'noter' max_batch_size: 8 instance_group { count: 1 kind: KIND_CPU }
         input { name: 'x' data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] }
         output { name: 'y' data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] }
         parameters { key: 'frameserve.convert' value { string_value: 'device' } }",
    );
    shelf.version("m", 1, "");
    let noter = Noter::default();
    // Before it is ready it is run once with a tensor, and once with pixels.
    noter.hold.open(2);
    let mut models = shelf.models(&Puppet::new(|_, _| Ok(Vec::new())), Control::Explicit(vec!["*".into()]));
    models.backends = models.backends.with("noter", noter.clone());
    let server = Arc::new(TestServer::start(Config { models, ..Config::default() }).await);
    server.loaded().await;
    let tensor = || Tensor::raw(DataType::Uint8, Shape::new(vec![1, 8, 8, 3]), vec![7; 192].into()).unwrap();
    let send = |tensor: Tensor| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { infer(&server, "m", tensor, &[]).await })
    };
    let first = send(tensor());
    noter.hold.arrived(3).await;
    let waiting: Vec<_> =
        (0..6).map(|at| send(if at % 2 == 0 { tensor() } else { encoded(&[jpeg(8, 8)]) })).collect();
    crate::batching::queued(&server, "m", 6).await;
    noter.hold.open(usize::MAX);
    let answered = async {
        first.await.unwrap();
        for waiting in waiting {
            waiting.await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
    let mut seen = noter.seen.lock().unwrap()[3..].to_vec();
    seen.sort_by_key(|(pixels, _)| pixels.input);
    let none = Pixels::default();
    assert_eq!(seen, [(none, 3), (Pixels { input: true, ..none }, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_as_pixels_is_counted_as_pixels() {
    let shelf = Shelf::new();
    for convert in ["host", "device"] {
        let text = format!(
            "backend: 'noter' max_batch_size: 8 instance_group {{ count: 1 kind: KIND_CPU }}
             input {{ name: 'x' data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }}
             output {{ name: 'y' data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }}
             parameters {{ key: 'frameserve.task' value {{ string_value: 'image' }} }}
             parameters {{ key: 'frameserve.convert' value {{ string_value: '{convert}' }} }}"
        );
        shelf.config(convert, &text);
        shelf.version(convert, 1, "");
    }
    let mut models = shelf.models(&Puppet::new(|_, _| Ok(Vec::new())), Control::None);
    models.backends = models.backends.with("noter", Noter::default());
    let server = TestServer::start(Config { models, ..Config::default() }).await;
    server.loaded().await;
    let engine = Arc::clone(&server.engine);
    let tensors = async |model: &str| {
        let pipeline = Arc::clone(&engine).pipeline(format!("model={model}")).await.unwrap();
        pipeline.memory(frameserve::frame::Size::new(64, 32)).unwrap().tensors
    };
    let pixels = 3 * 64 * 32;
    assert!(tensors("host").await >= 2 * 4 * pixels, "an input and an output of floats");
    assert_eq!(tensors("device").await, 3 * pixels, "an input, an output, and what is needed on the way");
}
