//! Draws what was found into a picture.

use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::imgproc::{self, FILLED, LINE_8, LINE_AA};
use opencv::prelude::*;

use super::found::Detection;
use crate::lettering::{Ink, Lettering};
use crate::picture::{PictureError, bgr};

/// Told apart from each other and from most pictures; a class keeps its color.
const COLORS: [Ink; 8] = [
    Ink(60, 180, 30),
    Ink(30, 120, 250),
    Ink(230, 120, 20),
    Ink(180, 50, 210),
    Ink(40, 200, 230),
    Ink(80, 60, 220),
    Ink(160, 160, 20),
    Ink(120, 40, 120),
];
const TEXT: Ink = Ink(255, 255, 255);
/// Farther out lies nothing of any picture.
const FAR: f64 = 100_000.0;

/// The picture with a box, a label and the points of each thing.
pub fn draw(picture: &Mat, things: &[Detection]) -> Result<Mat, PictureError> {
    let mut drawn = bgr(picture)?.try_clone()?;
    let side = drawn.cols().min(drawn.rows());
    let stroke = (side / 250).clamp(1, 8);
    let size = (side / 32).clamp(11, 40);
    for thing in things {
        let ink = color(thing);
        outline(&mut drawn, thing, ink, stroke)?;
        label(&mut drawn, thing, ink, size)?;
    }
    Ok(drawn)
}

fn outline(drawn: &mut Mat, thing: &Detection, ink: Ink, stroke: i32) -> Result<(), PictureError> {
    let color = scalar(ink);
    imgproc::rectangle(drawn, place(thing), color, stroke, LINE_8, 0)?;
    for [x, y] in &thing.points {
        imgproc::circle(drawn, Point::new(pixel(*x), pixel(*y)), stroke + 1, color, FILLED, LINE_AA, 0)?;
    }
    Ok(())
}

/// On a patch above the box, or inside where there is no room above.
fn label(drawn: &mut Mat, thing: &Detection, ink: Ink, size: i32) -> Result<(), PictureError> {
    let text = caption(thing);
    if text.is_empty() {
        return Ok(());
    }
    let lettering = Lettering::new(size, TEXT);
    let height = size * 4 / 3;
    let width = lettering.width(&text)? + size / 2;
    let box_place = place(thing);
    let x = box_place.x.clamp(0, (drawn.cols() - width).max(0));
    let above = box_place.y - height;
    let y = if above >= 0 { above } else { box_place.y.max(0) };
    imgproc::rectangle(drawn, Rect::new(x, y, width, height), scalar(ink), FILLED, LINE_8, 0)?;
    lettering.draw(drawn, &text, Point::new(x + size / 4, y + size))
}

fn caption(thing: &Detection) -> String {
    let name = match (thing.label.as_str(), thing.class) {
        ("", Some(class)) => class.to_string(),
        (label, _) => label.to_string(),
    };
    match thing.score {
        Some(score) => format!("{name} {score:.2}").trim_start().to_string(),
        None => name,
    }
}

fn color(thing: &Detection) -> Ink {
    let by_label = thing.label.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
    let class = thing.class.and_then(|class| usize::try_from(class).ok()).unwrap_or(by_label);
    COLORS[class % COLORS.len()]
}

fn place(thing: &Detection) -> Rect {
    let [x, y, width, height] = thing.place;
    let (left, top) = (pixel(x), pixel(y));
    Rect::new(left, top, (pixel(x + width) - left).max(1), (pixel(y + height) - top).max(1))
}

fn pixel(value: f64) -> i32 {
    value.clamp(-FAR, FAR).round() as i32
}

fn scalar(Ink(blue, green, red): Ink) -> Scalar {
    Scalar::new(blue.into(), green.into(), red.into(), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC1, Vec3b};
    use serde_json::Value;

    fn thing(place: [f64; 4]) -> Detection {
        let points = vec![[10.0, 10.0]];
        let (label, class, score) = ("face".into(), Some(0), Some(0.9));
        Detection { label, class, score, place, points, json: Value::Null }
    }

    #[test]
    fn a_box_is_drawn_where_the_thing_is() {
        let picture = Mat::new_rows_cols_with_default(60, 80, CV_8UC1, Scalar::all(0.0)).unwrap();
        let drawn = draw(&picture, &[thing([20.0, 30.0, 40.0, 20.0])]).unwrap();
        let at = |y, x| drawn.at_2d::<Vec3b>(y, x).unwrap().0;
        assert_eq!((at(40, 20), at(49, 40)), ([60, 180, 30], [60, 180, 30]));
        assert_eq!(at(40, 40), [0, 0, 0]);
        assert_eq!(picture.channels(), 1);
    }

    #[test]
    fn what_lies_outside_is_no_crash() {
        let picture = Mat::new_rows_cols_with_default(20, 20, CV_8UC1, Scalar::all(0.0)).unwrap();
        for place in [[-50.0, -50.0, 1000.0, 1000.0], [f64::MAX, 0.0, 5.0, f64::NAN], [5.0, 5.0, -9.0, 0.0]] {
            draw(&picture, &[thing(place)]).unwrap();
        }
    }
}
