//! What was found stays on what it was found on, whatever becomes of the picture's size and shape.

use frameserve::frame::{Detection, Frame, Identity, Image};
use frameserve::limits::Limits;
use frameserve::model::Control;
use frameserve::pipeline::names::Names;
use frameserve::pipeline::{Passage, Pipeline};
use frameserve::proto;
use opencv::core::{Mat, Rect, Scalar};
use opencv::imgproc;
use opencv::prelude::*;

use crate::harness::gray;
use crate::lookers::{free, reply, stream};
use crate::puppet::{ALONE, Shelf, start};
use crate::stages::blank;

/// A black picture with a white box that was found in it.
fn found(size: (i32, i32), area: Rect) -> Frame {
    let mut mat = blank(size.0, size.1, true);
    mat.set_to_def(&Scalar::all(0.0)).unwrap();
    imgproc::rectangle(&mut mat, area, Scalar::all(255.0), imgproc::FILLED, imgproc::LINE_8, 0).unwrap();
    let mut frame = Frame::new(Identity::default(), Image::new(mat).unwrap());
    let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(|number| number as f32);
    let points = vec![x, y, x + width, y + height];
    frame.findings.detections = vec![Detection { x, y, width, height, points, ..Detection::default() }];
    frame
}

fn processed(pipeline: &str, mut frame: Frame) -> Frame {
    let pipeline = Pipeline::parse(pipeline, &Names::default(), &Limits::default()).unwrap();
    for segment in 0..pipeline.segments() {
        let (mut scratch, mut times) = (Mat::default(), Vec::new());
        let passage = Passage {
            frame: &mut frame,
            scratch: &mut scratch,
            times: &mut times,
            wanted: &|| true,
            before: std::time::Duration::ZERO,
        };
        pipeline.run(segment, &mut pipeline.workers(segment).unwrap(), passage).unwrap();
    }
    frame
}

/// Edges of what is white.
fn white(image: &Image) -> [f32; 4] {
    let (mut left, mut top, mut right, mut bottom) = (i32::MAX, i32::MAX, 0, 0);
    let size = image.size();
    for y in 0..size.height as i32 {
        for x in 0..size.width as i32 {
            if *image.mat().at_2d::<u8>(y, x).unwrap() > 127 {
                (left, top) = (left.min(x), top.min(y));
                (right, bottom) = (right.max(x + 1), bottom.max(y + 1));
            }
        }
    }
    [left, top, right, bottom].map(|edge| edge as f32)
}

#[test]
fn a_box_stays_on_its_thing() {
    let area = Rect::new(60, 20, 48, 24);
    for pipeline in [
        "resize=320x200",
        "resize=80x200",
        "resize=200x200,fit",
        "resize=400x100,fit",
        "resize=100x100,fill",
        "resize=300x100,fill",
        "crop=100x80",
        "crop=60x30,50,10",
        "crop=60x30,70,30",
        "pad=7",
        "pad=left=3,top=9,right=20",
        "flip",
        "flip=vertical",
        "flip=both",
        "rotate=90",
        "rotate=180",
        "rotate=270",
        "rotate=-90",
        "rotate=0",
        "rotate=90,keep",
        "rotate=30",
        "rotate=-47.5",
        "rotate=200,keep",
        "rotate=90 | flip | crop=90x120 | resize=333x333,fit | pad=5 | rotate=270",
        "gray | rotate=90 | blur=3 | resize=50x80",
    ] {
        let frame = processed(pipeline, found((160, 100), area));
        let thing = &frame.findings.detections[0];
        let told = [thing.x, thing.y, thing.x + thing.width, thing.y + thing.height];
        let shown = white(&frame.image);
        let apart = told.iter().zip(shown).map(|(told, shown)| (told - shown).abs()).fold(0.0, f32::max);
        assert!(apart <= 1.5, "{pipeline}: {told:?}, and it is at {shown:?}");
    }
}

#[test]
fn right_angles_and_crops_are_exact() {
    for (pipeline, expected) in [
        ("rotate=90", [56.0, 60.0, 24.0, 48.0]),
        ("rotate=270", [20.0, 52.0, 24.0, 48.0]),
        ("rotate=180", [52.0, 56.0, 48.0, 24.0]),
        ("flip", [52.0, 20.0, 48.0, 24.0]),
        ("flip=vertical", [60.0, 56.0, 48.0, 24.0]),
        ("crop=40x60,80,30", [0.0, 0.0, 28.0, 14.0]),
        ("pad=10", [70.0, 30.0, 48.0, 24.0]),
        ("resize=320x50", [120.0, 10.0, 96.0, 12.0]),
    ] {
        let frame = processed(pipeline, found((160, 100), Rect::new(60, 20, 48, 24)));
        let thing = &frame.findings.detections[0];
        assert_eq!([thing.x, thing.y, thing.width, thing.height], expected, "{pipeline}");
    }
    let turned = processed("rotate=90", found((160, 100), Rect::new(60, 20, 48, 24)));
    assert_eq!(turned.findings.detections[0].points, [80.0, 60.0, 56.0, 108.0]);
}

#[test]
fn what_a_crop_does_not_show_is_left_out() {
    let frame = processed("crop=40x40,0,0", found((160, 100), Rect::new(60, 20, 48, 24)));
    assert_eq!(frame.findings.detections, []);
}

#[tokio::test]
async fn what_a_model_finds_is_told_where_the_reply_shows_it() {
    let (_hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "detection", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    // In the picture of 8x8 it finds a cat in [1, 1, 4, 6] and a dog in [0, 0, 4, 4].
    for (pipeline, expected) in [
        ("detect=m,max=1", [1.0, 1.0, 4.0, 6.0]),
        ("detect=m,max=1 | rotate=90", [1.0, 1.0, 6.0, 4.0]),
        ("every=2 | detect=m,max=1 | flip", [3.0, 1.0, 4.0, 6.0]),
        ("detect=m,max=1 | resize=16x32 | crop=8x8,0,0", [2.0, 4.0, 6.0, 4.0]),
    ] {
        let mut talk = stream(&server, pipeline).await;
        for number in 0..3 {
            talk.send(gray(number)).await;
            let found = reply(&mut talk).await.detections.remove(0);
            let proto::Detection { x, y, width, height, .. } = found;
            assert_eq!([x, y, width, height], expected, "{pipeline}");
        }
    }
}
