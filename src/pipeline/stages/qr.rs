//! `qr`: finds and reads QR codes.
//!
//! Debian's OpenCV finds codes and reads none, and the crate `rqrr`, which does both, may panic or take minutes
//! with a picture made for that. So the modules are found here, in a bounded number of tries, and `rqrr` makes
//! text of them.

mod grid;
mod patterns;

use opencv::core::{self, Mat, Point, Size};
use opencv::imgproc::{self, INTER_AREA};
use opencv::prelude::*;

use self::grid::{Grid, Luma};
use self::patterns::{Pattern, Regions};
use super::marks;
use crate::error::Error;
use crate::frame::{Answer, Detection, Frame};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "qr",
    group: Group::Find,
    doc: "Finds and reads QR codes, at most 32 in a picture. Their text and corners come with the result, and \
          are drawn on the picture, made BGR if it is gray. Text that is no UTF-8 is taken for ISO 8859-1.",
    params: &[
        Param::new(
            "side",
            Range::Integer(64, 4096),
            "A picture whose longer side has more pixels is searched at this size.",
        )
        .or("1920"),
        Param::new("draw", Range::Flag, "Whether the outlines are drawn.").or("true"),
        Param::new("color", Range::Color, "Their color.").or("green"),
    ],
    example: "qr=draw=false",
    build,
};

/// Threes of finder patterns that are looked at in one picture, and grids that are read.
const MAX_LOOKS: usize = 1000;
const MAX_TRIES: usize = 200;
/// Modules along a side of the smallest code.
const MIN_SIDE: i32 = 21;

#[derive(Debug, Clone, Copy)]
struct Qr {
    side: i32,
    draw: bool,
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Qr { side: args.integer("side"), draw: args.flag("draw"), color: args.color("color") }))
}

impl Stage for Qr {
    fn looks(&self) -> bool {
        true
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            qr: *self,
            luma: Mat::default(),
            small: Mat::default(),
            flat: Flat::default(),
            regions: Regions::default(),
        }))
    }
}

struct Worker {
    qr: Qr,
    luma: Mat,
    small: Mat,
    flat: Flat,
    regions: Regions,
}

/// A gray picture as if it were evenly lit.
#[derive(Default)]
struct Flat {
    mean: Mat,
    even: Mat,
    black: Mat,
}

/// A code that was read.
struct Code {
    corners: [grid::Point; 4],
    text: String,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let Qr { draw, color, .. } = self.qr;
        marks::find(self, draw.then_some(color), frame, scratch)
    }

    fn look(&mut self, frame: &Frame) -> Result<Answer, Error> {
        Ok(Answer::Detections(self.search(frame)?.into_iter().map(Code::detection).collect()))
    }
}

impl Worker {
    fn search(&mut self, frame: &Frame) -> Result<Vec<Code>, Error> {
        let picture = frame.image.mat();
        let mut luma = if frame.image.is_gray() {
            picture
        } else {
            imgproc::cvt_color_def(picture, &mut self.luma, imgproc::COLOR_BGR2GRAY)?;
            &self.luma
        };
        let longer = luma.cols().max(luma.rows());
        let mut scale = (1.0, 1.0);
        if longer > self.qr.side {
            let reduced = |side: i32| {
                let reduced = f64::from(side) * f64::from(self.qr.side) / f64::from(longer);
                (reduced.round() as i32).max(1)
            };
            let size = Size::new(reduced(luma.cols()), reduced(luma.rows()));
            imgproc::resize(luma, &mut self.small, size, 0.0, 0.0, INTER_AREA)?;
            scale = (luma.cols() as f32 / size.width as f32, luma.rows() as f32 / size.height as f32);
            luma = &self.small;
        }
        if luma.cols().min(luma.rows()) < MIN_SIDE {
            return Ok(Vec::new());
        }
        let (width, height) = (luma.cols() as usize, luma.rows() as usize);
        self.flat.level(luma)?;
        let patterns = self.regions.patterns(&self.flat.black)?;
        let luma = Luma { samples: self.flat.even.data_bytes()?, width, height };
        let mut codes = read(patterns, luma);
        for (x, y) in codes.iter_mut().flat_map(|code| &mut code.corners) {
            // From the middles of pixels to their edges, as boxes are counted.
            (*x, *y) = ((*x + 0.5) * scale.0, (*y + 0.5) * scale.1);
        }
        Ok(codes)
    }
}

impl Flat {
    /// `even` becomes 255 where the picture is as bright as its surroundings, 0 where it is much darker, with
    /// what is between for the pixels of edges; `black` is 255 where it is darker by more than 5.
    fn level(&mut self, luma: &Mat) -> opencv::Result<()> {
        // Large surroundings, so that the middle of a large black square is still darker than their mean.
        let side = (luma.cols().min(luma.rows()) / 2) | 1;
        let (center, border) = (Point::new(-1, -1), core::BORDER_REPLICATE);
        imgproc::box_filter(luma, &mut self.mean, -1, Size::new(side, side), center, true, border)?;
        core::add_weighted_def(luma, 10.0, &self.mean, -10.0, 128.0 + 100.0, &mut self.even)?;
        let inverted = imgproc::THRESH_BINARY_INV;
        imgproc::threshold(&self.even, &mut self.black, 128.0 + 50.0, 255.0, inverted)?;
        Ok(())
    }
}

/// Reads the codes that these finder patterns belong to, from the top down.
fn read(patterns: &[Pattern], luma: Luma<'_>) -> Vec<Code> {
    let mut used = vec![false; patterns.len()];
    let mut tries = 0;
    let mut codes: Vec<Code> = Vec::new();
    for corners in grid::corners(patterns).into_iter().take(MAX_LOOKS) {
        if tries >= MAX_TRIES {
            break;
        }
        if corners.patterns.iter().any(|index| used[*index]) {
            continue;
        }
        let grids = corners.grids(luma);
        tries += grids.len();
        if let Some(code) = grids.iter().find_map(Code::read) {
            codes.push(code);
            corners.patterns.iter().for_each(|index| used[*index] = true);
        }
    }
    codes.sort_by(|a, b| a.corners[0].1.total_cmp(&b.corners[0].1));
    codes
}

impl Code {
    fn read(grid: &Grid) -> Option<Self> {
        let modules = rqrr::SimpleGrid::from_func(grid.side, |x, y| grid.black[y * grid.side + x]);
        let mut bytes = Vec::new();
        rqrr::Grid::new(modules).decode_to(&mut bytes).ok()?;
        Some(Code { corners: grid.corners, text: text(bytes) })
    }

    fn detection(self) -> Detection {
        let [mut left, mut top] = [f32::MAX; 2];
        let [mut right, mut bottom] = [f32::MIN; 2];
        for (x, y) in self.corners {
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
        Detection {
            x: left,
            y: top,
            width: right - left,
            height: bottom - top,
            score: 1.0,
            label: "qr".into(),
            points: self.corners.iter().flat_map(|&(x, y)| [x, y]).collect(),
            text: self.text,
            source: KIND.name,
            ..Detection::default()
        }
    }
}

/// UTF-8, as most codes have it, else ISO 8859-1, which is the standard's own.
fn text(bytes: Vec<u8>) -> String {
    let latin =
        |error: std::string::FromUtf8Error| error.as_bytes().iter().copied().map(char::from).collect();
    String::from_utf8(bytes).unwrap_or_else(latin)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use opencv::core::{CV_8UC1, CV_8UC3, Point2f, Rect, Scalar};
    use opencv::objdetect::{QRCodeEncoder, QRCodeEncoder_EncodeMode, QRCodeEncoder_Params};

    use super::super::kept::tests::{run, stage};
    use super::*;
    use crate::frame::{Identity, Image};

    fn gray(width: i32, height: i32, value: f64) -> Mat {
        Mat::new_rows_cols_with_default(height, width, CV_8UC1, Scalar::all(value)).unwrap()
    }

    fn code(text: &str, mode: QRCodeEncoder_EncodeMode) -> Mat {
        let mut params = QRCodeEncoder_Params::default().unwrap();
        params.mode = mode;
        let mut modules = Mat::default();
        QRCodeEncoder::create(params).unwrap().encode(text, &mut modules).unwrap();
        // Without the two modules of white that it puts around.
        let side = modules.cols() - 4;
        modules.roi(Rect::new(2, 2, side, side)).unwrap().try_clone().unwrap()
    }

    /// A white picture with a code turned about its middle.
    fn turned(text: &str, module: f64, degrees: f64) -> Mat {
        let code = code(text, QRCodeEncoder_EncodeMode::MODE_BYTE);
        let middle = code.cols() as f32 / 2.0 - 0.5;
        let at = Point2f::new(middle, middle);
        let mut turn = imgproc::get_rotation_matrix_2d(at, degrees, 4.0 * module).unwrap();
        for row in 0..2 {
            *turn.at_2d_mut::<f64>(row, 2).unwrap() += 799.5 - f64::from(middle);
        }
        // Drawn four times as large and reduced, as a camera would see it.
        let (mut large, mut to) = (Mat::default(), Mat::default());
        let (size, border, white) = (Size::new(1600, 1600), core::BORDER_CONSTANT, Scalar::all(255.0));
        imgproc::warp_affine(&code, &mut large, &turn, size, imgproc::INTER_NEAREST, border, white).unwrap();
        imgproc::resize(&large, &mut to, Size::new(400, 400), 0.0, 0.0, INTER_AREA).unwrap();
        to
    }

    fn found(picture: Mat) -> Vec<Detection> {
        let mut worker = stage("qr", &[("draw", "false")]).worker().unwrap();
        let frame = Frame::new(Identity::default(), Image::new(picture).unwrap());
        run(&mut worker, frame).findings.detections
    }

    fn texts(picture: Mat) -> Vec<String> {
        found(picture).into_iter().map(|detection| detection.text).collect()
    }

    #[test]
    fn a_code_is_read_at_every_angle() {
        for degrees in (0..360).step_by(15) {
            for module in [3.0, 9.0] {
                let picture = turned("frameserve", module, degrees.into());
                assert_eq!(texts(picture), ["frameserve"], "{degrees} degrees, {module} pixels");
            }
        }
    }

    #[test]
    fn its_corners_are_those_of_the_picture() {
        let found = found(turned("frameserve", 8.0, 0.0));
        let side = 8.0 * 21.0;
        let (from, to) = (200.0 - side / 2.0, 200.0 + side / 2.0);
        let expected = [from, from, to, from, to, to, from, to];
        assert!(found[0].points.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1.5), "{found:?}");
        assert!((found[0].width - side).abs() <= 2.0 && (found[0].y - from).abs() <= 1.5, "{found:?}");
        assert_eq!((found[0].label.as_str(), found[0].source), ("qr", "qr"));
    }

    #[test]
    fn a_code_is_read_aslant_mirrored_and_in_uneven_light() {
        for text in ["frameserve", &"a longer text, and so a larger version of the code; ".repeat(3)] {
            let picture = turned(text, 5.0, 0.0);
            let corners = |points: [(f32, f32); 4]| Mat::from_slice_2d(&points.map(|(x, y)| [x, y])).unwrap();
            let from = corners([(0.0, 0.0), (400.0, 0.0), (400.0, 400.0), (0.0, 400.0)]);
            let to = corners([(60.0, 10.0), (370.0, 50.0), (400.0, 390.0), (0.0, 330.0)]);
            let view = imgproc::get_perspective_transform_def(&points(&from), &points(&to)).unwrap();
            let (mut aslant, mut mirrored, mut dim) = (Mat::default(), Mat::default(), Mat::default());
            let size = Size::new(400, 400);
            imgproc::warp_perspective(
                &picture,
                &mut aslant,
                &view,
                size,
                imgproc::INTER_LINEAR,
                core::BORDER_CONSTANT,
                Scalar::all(255.0),
            )
            .unwrap();
            core::flip(&aslant, &mut mirrored, 1).unwrap();
            aslant.convert_to(&mut dim, -1, 0.3, 10.0).unwrap();
            for x in 0..400 {
                let light = 0.4 + f64::from(x) / 700.0;
                let mut column = dim.col_mut(x).unwrap();
                let bright = (&column.try_clone().unwrap() * light).into_result().unwrap().to_mat().unwrap();
                bright.copy_to(&mut column).unwrap();
            }
            for (picture, how) in
                [(picture, "flat"), (aslant, "aslant"), (mirrored, "mirrored"), (dim, "dim")]
            {
                assert_eq!(texts(picture), [text], "{how}");
            }
        }
    }

    fn points(corners: &Mat) -> Mat {
        corners.reshape(2, 0).unwrap().try_clone().unwrap()
    }

    #[test]
    fn many_codes_are_all_read_and_a_large_picture_is_reduced() {
        let mut sheet = gray(2400, 1800, 255.0);
        let mut expected = Vec::new();
        for (row, column) in (0..4).flat_map(|row| (0..5).map(move |column| (row, column))) {
            let text = format!("code {row} {column}");
            let one = turned(&text, 12.0, 0.0);
            one.copy_to(&mut sheet.roi_mut(Rect::new(column * 450, row * 420, 400, 400)).unwrap()).unwrap();
            expected.push(text);
        }
        let found = found(sheet);
        let mut texts: Vec<_> = found.iter().map(|code| code.text.clone()).collect();
        texts.sort();
        assert_eq!(texts, expected);
        let last = found.iter().find(|code| code.text == "code 3 4").unwrap();
        assert!((last.x + last.width / 2.0 - 2000.0).abs() < 2.0, "{last:?}");
        assert!((last.y + last.height / 2.0 - 1460.0).abs() < 2.0, "{last:?}");
    }

    #[test]
    fn modules_at_random_do_no_harm() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for version in 0..=40 {
            let side = 4 * version + 17;
            for density in [1, 8, 15] {
                let black = (0..side * side).map(|_| random() % 16 < density).collect();
                Code::read(&Grid { side, black, corners: [(0.0, 0.0); 4] });
            }
        }
        let code = code("frameserve", QRCodeEncoder_EncodeMode::MODE_BYTE);
        let black: Vec<bool> = code.data_bytes().unwrap().iter().map(|sample| *sample == 0).collect();
        for _ in 0..2000 {
            let mut black = black.clone();
            for _ in 0..random() % 40 {
                let at = random() % black.len();
                black[at] = !black[at];
            }
            let read = Code::read(&Grid { side: 21, black, corners: [(0.0, 0.0); 4] });
            assert!(read.is_none_or(|code| code.text == "frameserve"));
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_text_all_the_same() {
        // Kanji mode gives Shift JIS.
        let mut picture = gray(300, 300, 255.0);
        let code = code("漢字", QRCodeEncoder_EncodeMode::MODE_KANJI);
        let mut large = Mat::default();
        imgproc::resize(&code, &mut large, Size::new(210, 210), 0.0, 0.0, imgproc::INTER_NEAREST).unwrap();
        large.copy_to(&mut picture.roi_mut(Rect::new(40, 40, 210, 210)).unwrap()).unwrap();
        assert_eq!(texts(picture).len(), 1);
        assert_eq!(text(vec![0x47, 0xfc, 0xdf]), "Güß");
        assert_eq!(text("漢字".into()), "漢字");
    }

    #[test]
    fn noise_and_pictures_of_all_sizes_do_no_harm() {
        core::set_rng_seed(1).unwrap();
        for (width, height) in [(1, 1), (1, 50), (50, 1), (20, 20), (21, 21), (33, 300), (640, 480)] {
            for kind in [CV_8UC1, CV_8UC3] {
                let mut noise =
                    Mat::new_rows_cols_with_default(height, width, kind, Scalar::all(0.0)).unwrap();
                for contrast in [2.0, 255.0] {
                    core::randu(&mut noise, &Scalar::all(0.0), &Scalar::all(contrast)).unwrap();
                    found(noise.try_clone().unwrap());
                }
            }
        }
    }

    #[test]
    fn a_picture_full_of_finder_patterns_takes_no_age() {
        let mut picture = gray(1920, 1080, 255.0);
        for y in (4..1060).step_by(16) {
            for x in (4..1900).step_by(16) {
                for (inset, color) in [(0, 0.0), (1, 255.0), (2, 0.0)] {
                    let area = Rect::new(x + inset, y + inset, 7 - 2 * inset, 7 - 2 * inset);
                    imgproc::rectangle(&mut picture, area, Scalar::all(color), imgproc::FILLED, 8, 0)
                        .unwrap();
                }
            }
        }
        let begin = Instant::now();
        assert_eq!(texts(picture), Vec::<String>::new());
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}
