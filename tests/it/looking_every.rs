//! Models that look at one of so many frames, and what becomes of those between.

use frameserve::Error;
use frameserve::config::Config;
use frameserve::model::Control;
use frameserve::model::backend::Outputs;
use frameserve::proto::{MsgReply, MsgRequest};
use frameserve::tensor::{DataType, Shape, Tensor};
use opencv::core::Mat;
use opencv::imgproc;
use opencv::objdetect::QRCodeEncoder;
use opencv::prelude::*;
use tonic::Code;

use crate::harness::{TestServer, gray, jpeg, value};
use crate::lookers::{changed, fails, fp32, reply, seen, square, stream, windowed};
use crate::puppet::{ALONE, Hold, Puppet, Shelf, start, values};

/// Sees one thing, 20 pixels wide and 30 high, whose left edge is the picture's value.
fn follower() -> (Hold, Puppet) {
    let hold = Hold::default();
    hold.open(usize::MAX);
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| thing_at(values(inputs[0].as_ref().unwrap())[0])).collect())
    });
    (hold, puppet)
}

fn thing_at(x: f32) -> Outputs {
    vec![
        fp32(&[1, 1, 4], &[x, 10.0, x + 20.0, 40.0]),
        fp32(&[1, 1], &[0.9]),
        Tensor::raw(DataType::Int64, Shape::new(vec![1, 1]), 0_i64.to_le_bytes().to_vec().into()).unwrap(),
    ]
}

fn measure(reply: &MsgReply, name: &str) -> f64 {
    reply.measures.iter().find(|measure| measure.name == name).unwrap().value
}

#[tokio::test]
async fn what_is_tracked_moves_on_while_the_model_does_not_look() {
    let (hold, puppet) = follower();
    let shelf = Shelf::new();
    shelf.looker("m", "detection", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = stream(&server, "every=4 | detect=m | track=min-hits=2 | count=distinct=true").await;
    for frame in 0..40 {
        // It walks three pixels a frame, which is 12 from one look to the next.
        talk.send(square(10 + 3 * frame, 160)).await;
        let reply = reply(&mut talk).await;
        let [found] = &reply.detections[..] else { panic!("{reply:?}") };
        assert_eq!(found.track_id, (frame >= 4).then_some(1), "frame {frame}");
        assert_eq!(measure(&reply, "count.things"), 1.0);
        assert_eq!(measure(&reply, "count.tracks"), if frame >= 4 { 1.0 } else { 0.0 });
        let there = f32::from(10 + 3 * frame);
        assert!(frame < 20 || (found.x - there).abs() < 1.5, "frame {frame}: {} and not {there}", found.x);
    }
    assert_eq!(hold.seen().concat(), (0..10).map(|look| 10.0 + 12.0 * look as f32).collect::<Vec<_>>());
}

/// Fails with what is below 3.
fn reluctant() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::of_settings(move |settings, version, batch| {
        holding.batch(batch);
        let low = |inputs: &frameserve::model::Inputs| values(inputs[0].as_ref().unwrap())[0] < 3.0;
        if batch.iter().any(low) {
            Err(Error::Model("not yet".into()))
        } else {
            seen(settings, version, batch)
        }
    });
    (hold, puppet)
}

#[tokio::test]
async fn a_model_that_has_said_nothing_yet_looks_at_the_next_frame() {
    for (pipeline, added) in [
        ("every=5 | model=m", 10),
        ("resize=8x8 | every=5 | style=m", 10),
        ("every=5 | model=m | trails=0", 10),
        ("every=5 | model=m | every=5 | model=m", 20),
    ] {
        let (hold, puppet) = reluctant();
        let shelf = Shelf::new();
        shelf.looker("m", "image", &format!("{ALONE} max_batch_size: 1"));
        let (server, _client) = start(&shelf, &puppet, Control::None).await;
        let mut talk = windowed(&server, pipeline, 16).await;
        // All of them are under way before the first one fails.
        for number in 0..12 {
            talk.send(gray(number)).await;
        }
        hold.arrived(1).await;
        hold.open(usize::MAX);
        for _ in 0..3 {
            fails(&reply(&mut talk).await, Code::Internal, "not yet");
        }
        let mut values = Vec::new();
        for _ in 3..12 {
            values.push(value(&reply(&mut talk).await));
        }
        let looked = [3, 3, 5, 5, 5, 5, 5, 10, 10].map(|number| number + added);
        assert_eq!(values, looked, "{pipeline}");
        let mut seen = hold.seen().concat();
        seen.retain(|value| *value < 10.0);
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, [0.0, 1.0, 2.0, 3.0, 5.0], "{pipeline}");
    }
}

#[tokio::test]
async fn a_frame_that_is_no_picture_costs_the_next_ones_nothing() {
    let (hold, puppet) = reluctant();
    hold.open(usize::MAX);
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = stream(&server, "every=4 | model=m").await;
    let whole = jpeg(64, 64);
    let img = whole.slice(..whole.len() * 3 / 4);
    talk.send(MsgRequest { img, ..MsgRequest::default() }).await;
    for number in [7, 8, 9, 10] {
        talk.send(gray(number)).await;
    }
    assert!(reply(&mut talk).await.error.is_some());
    for expected in [17, 17, 17, 20] {
        assert_eq!(value(&reply(&mut talk).await), expected);
    }
    let mut seen = hold.seen().concat();
    seen.sort_by(f32::total_cmp);
    assert_eq!(seen, [7.0, 10.0]);
}

/// A gray picture of 200x200 of a QR code with this text.
fn code(text: &str) -> MsgRequest {
    let (mut modules, mut large) = (Mat::default(), Mat::default());
    QRCodeEncoder::create_def().unwrap().encode(text, &mut modules).unwrap();
    let size = opencv::core::Size::new(200, 200);
    imgproc::resize(&modules, &mut large, size, 0.0, 0.0, imgproc::INTER_NEAREST).unwrap();
    let img = large.data_bytes().unwrap().to_vec().into();
    MsgRequest { img, width: 200, height: 200, ..MsgRequest::default() }
}

#[tokio::test]
async fn a_stage_that_finds_things_itself_looks_at_one_of_so_many_frames() {
    let server = TestServer::start(Config::default()).await;
    let mut talk = windowed(&server, "every=3 | qr=draw=false | canny", 8).await;
    let read = |reply: &MsgReply| reply.detections.iter().map(|found| found.text.clone()).collect::<Vec<_>>();
    for number in 0..8 {
        talk.send(code(&format!("number {number}"))).await;
    }
    for number in 0..8 {
        assert_eq!(read(&reply(&mut talk).await), [format!("number {}", number / 3 * 3)]);
    }
    // What is sought goes on in time with the frames, also behind a change of what comes after it.
    talk.send(changed("every=3 | qr=draw=false | blur", code("eight"))).await;
    assert_eq!(read(&reply(&mut talk).await), ["number 6"]);
    talk.send(code("nine")).await;
    assert_eq!(read(&reply(&mut talk).await), ["nine"]);
}

#[tokio::test]
async fn what_was_found_by_the_stage_itself_is_drawn_and_tracked_in_the_frames_between() {
    let server = TestServer::start(Config::default()).await;
    let mut talk = stream(&server, "every=2 | qr | track=min-hits=1").await;
    for frame in 0..6 {
        let code = code("still");
        let bare = code.img.clone();
        talk.send(code).await;
        let reply = reply(&mut talk).await;
        let [found] = &reply.detections[..] else { panic!("{reply:?}") };
        assert_eq!(found.track_id, Some(1), "frame {frame}");
        let drawn = reply.img.chunks(3).zip(&bare).any(|(pixel, value)| pixel != [*value; 3]);
        assert!(drawn, "frame {frame} shows no outline");
    }
}
