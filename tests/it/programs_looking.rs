//! TorchScript models on the frames of a video, in the server's program: what comes back is what Python's torch makes of
//! the same pixels, for one stream and for many at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use frameserve::proto::{Detection, Encoding, Label, MsgReply, MsgRequest, PixelFormat, StreamConfig};
use opencv::core::{Mat, Rect, Size, Vector};
use opencv::prelude::*;
use opencv::{imgcodecs, imgproc, videoio};
use serde::Deserialize;
use serde_json::json;

use crate::harness::{Client, config, exchange, reply_as};
use crate::program::{Venv, root, succeeds, there, video};
use crate::programs_torch::start;

const FRAMES: usize = 20;
/// One of so many frames of the video is taken, so that they differ.
const EVERY: usize = 12;
const WIDE: Lot = Lot { name: "wide", width: 640, height: 360 };
const SQUARE: Lot = Lot { name: "square", width: 256, height: 256 };
/// With so little in it that a model is not sure of a face.
const COARSE: Lot = Lot { name: "coarse", width: 640, height: 360 };
const SQUARES_ACROSS: i32 = 16;
/// Models that make a picture of a wide one.
const REDRAW: [&str; 4] = ["background", "wave", "starry", "composition"];

/// Frames of one size, as the models take them.
struct Lot {
    name: &'static str,
    width: i32,
    height: i32,
}

/// What Python has found.
#[derive(Deserialize)]
struct Found {
    faces: Vec<Vec<Face>>,
    /// All that the model gives for the coarse lot.
    perhaps: Vec<Vec<Face>>,
    classes: Vec<Vec<Class>>,
}

#[derive(Deserialize)]
struct Face {
    /// Left, upper, right and lower edge.
    r#box: [f32; 4],
    score: f32,
    points: Vec<f32>,
}

#[derive(Deserialize)]
struct Class {
    class: u32,
    score: f32,
}

/// Frames, and all that is expected of them.
struct Reference {
    wide: Vec<Bytes>,
    square: Vec<Bytes>,
    coarse: Vec<Bytes>,
    /// By the model that made them.
    redrawn: BTreeMap<&'static str, Vec<Bytes>>,
    person: Vec<Bytes>,
    cutout: Vec<Bytes>,
    found: Found,
}

impl Lot {
    /// The middle of a frame, in this size.
    fn of(&self, frame: &Mat) -> Mat {
        let (columns, rows) = (frame.cols(), frame.rows());
        let width = columns.min(rows * self.width / self.height);
        let height = rows.min(columns * self.height / self.width);
        let middle = Rect::new((columns - width) / 2, (rows - height) / 2, width, height);
        let part = frame.roi(middle).unwrap();
        let size = Size::new(self.width, self.height);
        if self.name != COARSE.name {
            return scaled(&part, size, imgproc::INTER_AREA);
        }
        let squares = Size::new(SQUARES_ACROSS, SQUARES_ACROSS * self.height / self.width);
        scaled(&scaled(&part, squares, imgproc::INTER_AREA), size, imgproc::INTER_LINEAR)
    }

    fn frames(&self, pixels: &[Bytes]) -> Vec<MsgRequest> {
        let raw = |img: &Bytes| MsgRequest {
            img: img.clone(),
            encoding: Encoding::Raw.into(),
            pixel_format: PixelFormat::Bgr24.into(),
            width: self.width as u32,
            height: self.height as u32,
            ..MsgRequest::default()
        };
        pixels.iter().map(raw).collect()
    }

    fn read(&self, folder: &Path, name: &str) -> Vec<Bytes> {
        let all = Bytes::from(fs::read(folder.join(format!("{name}.bgr"))).unwrap());
        let one = (self.width * self.height * 3) as usize;
        assert_eq!(all.len(), FRAMES * one, "{name}");
        (0..FRAMES).map(|index| all.slice(index * one..(index + 1) * one)).collect()
    }
}

impl Reference {
    fn new(folder: &Path) -> Self {
        let mut reader =
            videoio::VideoCapture::from_file(video("WolfgangLanger_Pexels.mp4"), videoio::CAP_ANY).unwrap();
        let (mut wide, mut square, mut coarse) = (Vec::new(), Vec::new(), Vec::new());
        let mut frame = Mat::default();
        for index in 0..FRAMES * EVERY {
            assert!(reader.read(&mut frame).unwrap());
            if index % EVERY == 0 {
                for (lot, pixels) in [(&WIDE, &mut wide), (&SQUARE, &mut square), (&COARSE, &mut coarse)] {
                    pixels.extend_from_slice(lot.of(&frame).data_bytes().unwrap());
                }
            }
        }
        let lots = [(&WIDE, wide), (&SQUARE, square), (&COARSE, coarse)].map(|(lot, pixels)| {
            fs::write(folder.join(format!("{}.bgr", lot.name)), pixels).unwrap();
            json!({ "name": lot.name, "width": lot.width, "height": lot.height, "count": FRAMES })
        });
        fs::write(folder.join("frames.json"), json!(lots).to_string()).unwrap();
        succeeds(Venv::Models.command(&root().join("tests/python/stream_models.py")).arg(folder));
        Reference {
            wide: WIDE.read(folder, "wide"),
            square: SQUARE.read(folder, "square"),
            coarse: COARSE.read(folder, "coarse"),
            redrawn: REDRAW.map(|name| (name, WIDE.read(folder, name))).into(),
            person: SQUARE.read(folder, "person"),
            cutout: SQUARE.read(folder, "cutout"),
            found: serde_json::from_slice(&fs::read(folder.join("found.json")).unwrap()).unwrap(),
        }
    }

    /// Streams all frames through a pipeline with one of the models, and holds what comes back against what is expected.
    async fn compare(&self, client: &mut Client, pipeline: &str) {
        let model = pipeline.split_once('=').unwrap().1.split(',').next().unwrap();
        let (lot, frames) = match model {
            "person" | "classifier" => (&SQUARE, &self.square),
            _ => (&WIDE, &self.wide),
        };
        let replies = answers(client, pipeline, lot.frames(frames)).await;
        let mut least = f64::INFINITY;
        for (index, reply) in replies.iter().enumerate() {
            let picture = decoded(reply);
            let expected = match pipeline.split('=').next().unwrap() {
                "model" | "style" => &self.redrawn[model][index],
                "segment" if pipeline.contains("cutout") => &self.cutout[index],
                "segment" => &self.person[index],
                "detect" => {
                    same_faces(&reply.detections, &self.found.faces[index]);
                    &frames[index]
                }
                "classify" => {
                    same_classes(&reply.labels, &self.found.classes[index]);
                    &frames[index]
                }
                other => panic!("{other}"),
            };
            least = least.min(psnr(&picture, expected));
            assert!(least > 45.0, "{pipeline}, frame {index}: {least} dB");
        }
        println!("{pipeline}: at least {least:.1} dB");
    }

    /// Faces of which the model is not sure: what a stage asks for is what torch finds. Gives how many that are.
    async fn compare_threshold(&self, client: &mut Client, least: f32) -> usize {
        let pipeline = format!("detect=faces,threshold={least}");
        let replies = answers(client, &pipeline, COARSE.frames(&self.coarse)).await;
        let mut count = 0;
        for (reply, perhaps) in replies.iter().zip(&self.found.perhaps) {
            let sure = perhaps.iter().take_while(|face| face.score >= least).count();
            same_faces(&reply.detections, &perhaps[..sure]);
            count += sure;
        }
        count
    }
}

const PIPELINES: [&str; 9] = [
    "model=background",
    "style=background",
    "style=wave",
    "style=starry",
    "style=composition",
    "segment=person,opacity=1,color=#f0141e",
    "segment=person,show=cutout,color=#f0141e",
    "detect=faces",
    "classify=classifier,top=3",
];

/// What comes back for each frame, with pictures that lose nothing.
pub async fn answers(client: &mut Client, pipeline: &str, frames: Vec<MsgRequest>) -> Vec<MsgReply> {
    let first = StreamConfig { reply_format: reply_as(Encoding::Png), ..config(pipeline) };
    let mut messages = vec![MsgRequest { config: Some(first), ..MsgRequest::default() }];
    let count = frames.len();
    messages.extend(frames);
    let (mut replies, status) = exchange(client, messages).await;
    status.unwrap();
    replies.remove(0);
    assert_eq!(replies.len(), count, "{pipeline}");
    for (index, reply) in replies.iter().enumerate() {
        assert_eq!((&reply.error, reply.sequence), (&None, index as u64), "{pipeline}");
    }
    replies
}

fn scaled(picture: &impl opencv::core::ToInputArray, size: Size, how: i32) -> Mat {
    let mut scaled = Mat::default();
    imgproc::resize(picture, &mut scaled, size, 0.0, 0.0, how).unwrap();
    scaled
}

pub fn decoded(reply: &MsgReply) -> Vec<u8> {
    let png = Vector::<u8>::from_slice(&reply.img);
    let picture = imgcodecs::imdecode(&png, imgcodecs::IMREAD_COLOR).unwrap();
    assert_eq!((picture.cols() as u32, picture.rows() as u32), (reply.width, reply.height));
    picture.data_bytes().unwrap().to_vec()
}

pub fn psnr(found: &[u8], expected: &[u8]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = found.iter().zip(expected).map(square).sum::<f64>() / found.len() as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

fn same_faces(found: &[Detection], expected: &[Face]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, Face { r#box, score, points }) in found.iter().zip(expected) {
        let ours = [found.x, found.y, found.x + found.width, found.y + found.height];
        let overlap = iou(ours, *r#box);
        assert!(overlap > 0.99, "{overlap}: {ours:?} and {box:?}", box = r#box);
        assert!((found.score - score).abs() < 1e-3, "{} and {score}", found.score);
        assert_eq!((found.label.as_str(), found.source.as_str()), ("face", "detect"));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 0.1;
        assert!(
            found.points.len() == 10 && found.points.iter().zip(points).all(near),
            "{found:?}, {points:?}"
        );
    }
}

/// Of two boxes, how much of both together is in both.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[left, upper, right, lower]: [f32; 4]| (right - left).max(0.0) * (lower - upper).max(0.0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(a) + area(b) - both)
}

fn same_classes(found: &[Label], expected: &[Class]) {
    assert_eq!(found.len(), expected.len());
    for (found, Class { class, score }) in found.iter().zip(expected) {
        // Of two that are as good, either may be first.
        assert!((found.score - score).abs() < 1e-3, "{found:?} and {class} of {score}");
        let twin = expected
            .iter()
            .any(|other| found.class_id == Some(other.class) && (other.score - score).abs() < 1e-3);
        assert!(found.class_id == Some(*class) || twin, "{found:?} and {class} of {score}");
        assert!(!found.name.is_empty());
    }
}

#[tokio::test]
async fn models_on_streams_give_what_torch_gives_to_one_and_to_eight_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let reference = Reference::new(folder.path());
    assert!(reference.found.faces.iter().flatten().count() >= FRAMES / 2, "there are faces in the video");
    let models = there("samples/models");
    let mut flags = vec!["--model-repository", models.to_str().unwrap(), "--model-control", "explicit"];
    for model in REDRAW.iter().chain(&["person", "faces", "classifier"]) {
        there(&format!("samples/models/{model}/1/model.pt"));
        flags.extend(["--load-model", model]);
    }
    let server = start(&flags).await;
    for pipeline in PIPELINES {
        reference.compare(&mut server.client().await, pipeline).await;
    }
    let mut counts = Vec::new();
    for least in [0.2, 0.6, 0.85] {
        counts.push(reference.compare_threshold(&mut server.client().await, least).await);
    }
    assert!(counts.windows(2).all(|pair| pair[0] > pair[1]), "faces by threshold: {counts:?}");
    let streams = PIPELINES[1..].iter().map(|pipeline| {
        let (server, reference) = (&server, &reference);
        async move { reference.compare(&mut server.client().await, pipeline).await }
    });
    futures_util::future::join_all(streams).await;
}
