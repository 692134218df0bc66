//! How stages draw what they find.

use std::sync::Arc;

use opencv::core::{Mat, Point, Rect, Vector};
use opencv::imgproc::{self, LINE_AA};

use crate::error::Error;
use crate::frame::{Answer, Detection, Frame};
use crate::pipeline::param::Color;
use crate::pipeline::stage::StageWorker;

/// Width of the lines, in pixels.
const THICKNESS: i32 = 2;

/// An upright box as a detection.
pub fn detection(area: Rect, label: &str, source: &'static str) -> Detection {
    Detection {
        x: area.x as f32,
        y: area.y as f32,
        width: area.width as f32,
        height: area.height as f32,
        score: 1.0,
        label: label.into(),
        source,
        ..Detection::default()
    }
}

/// Adds what a worker sees in a frame to what was found in it, or what was seen last where it is not to look; with a
/// color, that is drawn.
pub fn find(
    worker: &mut impl StageWorker,
    color: Option<Color>,
    frame: &mut Frame,
    scratch: &mut Mat,
) -> Result<(), Error> {
    let seen = match frame.answer.take() {
        Some(seen) => seen,
        None => Arc::new(worker.look(frame)?),
    };
    let first = frame.findings.detections.len();
    if let Answer::Detections(things) = &*seen {
        frame.findings.detections.extend_from_slice(things);
    }
    color.map_or(Ok(()), |color| draw(first, color, frame, scratch))
}

/// Draws the frame's detections from the one of index `first` on, on its picture, made BGR before: the lines
/// between their points, where they have some, else their boxes.
pub fn draw(first: usize, color: Color, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
    frame.image.make_bgr(scratch)?;
    let mat = frame.image.mat_mut();
    for thing in &frame.findings.detections[first..] {
        if thing.points.is_empty() {
            let area = Rect::new(thing.x as i32, thing.y as i32, thing.width as i32, thing.height as i32);
            imgproc::rectangle(mat, area, color.bgr(), THICKNESS, imgproc::LINE_8, 0)?;
        } else {
            let corner = |at: &[f32]| Point::new(at[0].round() as i32, at[1].round() as i32);
            let corners: Vector<Point> = thing.points.chunks_exact(2).map(corner).collect();
            imgproc::polylines(mat, &corners, true, color.bgr(), THICKNESS, LINE_AA, 0)?;
        }
    }
    Ok(())
}
