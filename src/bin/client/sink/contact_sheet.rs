//! The contact sheet: one PNG with evenly spaced frames, each before and after.

use std::fs;
use std::path::Path;

use opencv::core::{CV_8UC3, Mat, Point, Rect, Scalar, Size, Vector};
use opencv::imgcodecs;
use opencv::imgproc::{self, INTER_AREA, INTER_CUBIC, LINE_8};
use opencv::prelude::*;

use crate::failure::Failure;
use crate::lettering::{Ink, Lettering};
use crate::picture::{PictureError, fit};
use crate::report::clock;
use crate::samples::Sample;

const MARGIN: i32 = 36;
/// Between a picture before and its picture after.
const SEAM: i32 = 6;
const GUTTER: Size = Size { width: 36, height: 22 };
const HEADER: i32 = 74;
const COLUMN_TITLE: i32 = 26;
const CAPTION: i32 = 28;
/// The largest box of one picture.
const PICTURE: Size = Size { width: 380, height: 300 };

const PAPER: Ink = Ink(250, 249, 247);
const TEXT: Ink = Ink(38, 34, 30);
const FAINT: Ink = Ink(140, 134, 128);
const ACCENT: Ink = Ink(168, 92, 28);
const FRAME: Ink = Ink(214, 210, 206);

/// What stands above the pictures.
#[derive(Debug, Clone)]
pub struct Caption {
    pub title: String,
    pub pipeline: String,
}

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    picture: Size,
    columns: i32,
    rows: i32,
    sheet: Size,
}

/// Writes the sheet, and says so in words.
pub fn write_sheet(path: &Path, caption: &Caption, samples: &[Sample]) -> Result<String, Failure> {
    if samples.is_empty() {
        return Ok(format!("{} was not written: no picture came back", path.display()));
    }
    let sheet = draw(caption, samples).map_err(Failure::usage)?;
    let mut png = Vector::new();
    imgcodecs::imencode_def(".png", &sheet, &mut png)?;
    fs::write(path, png.as_slice())
        .map_err(|error| Failure::usage(format!("cannot write '{}': {error}", path.display())))?;
    Ok(format!("{}: {} frames, before and after", path.display(), samples.len()))
}

impl Layout {
    /// As many columns as make the sheet nearest to three by two.
    fn new(sizes: &[Size], count: usize) -> Layout {
        let fitted = sizes.iter().map(|size| fit(*size, PICTURE).size());
        let picture = fitted.fold(Size::new(1, 1), |largest, size| {
            Size::new(largest.width.max(size.width), largest.height.max(size.height))
        });
        let count = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        let layouts = (1..=count.min(4)).map(|columns| Layout::with_columns(picture, columns, count));
        let distance = |layout: &Layout| {
            let proportion = f64::from(layout.sheet.width) / f64::from(layout.sheet.height);
            let empty = f64::from(layout.columns * layout.rows - count) / f64::from(count);
            (proportion / 1.5).ln().abs() + empty
        };
        let best = layouts.min_by(|left, right| distance(left).total_cmp(&distance(right)));
        best.unwrap_or_else(|| Layout::with_columns(picture, 1, count))
    }

    fn with_columns(picture: Size, columns: i32, count: i32) -> Layout {
        let rows = (count + columns - 1) / columns;
        let (pair, cell) = (2 * picture.width + SEAM, picture.height + CAPTION);
        let width = 2 * MARGIN + columns * pair + (columns - 1) * GUTTER.width;
        let height = MARGIN + HEADER + COLUMN_TITLE + rows * cell + (rows - 1) * GUTTER.height + MARGIN / 2;
        Layout { picture, columns, rows, sheet: Size::new(width, height) }
    }

    /// The box of the picture before; the one after is beside it.
    fn cell(&self, index: i32) -> Rect {
        let (column, row) = (index % self.columns, index / self.columns);
        let x = MARGIN + column * (2 * self.picture.width + SEAM + GUTTER.width);
        let y = MARGIN + HEADER + COLUMN_TITLE + row * (self.picture.height + CAPTION + GUTTER.height);
        Rect::from_point_size(Point::new(x, y), self.picture)
    }
}

fn draw(caption: &Caption, samples: &[Sample]) -> Result<Mat, PictureError> {
    let sizes: Vec<Size> = samples
        .iter()
        .flat_map(|sample| [&sample.before, &sample.after])
        .map(Mat::size)
        .collect::<Result<_, _>>()?;
    let layout = Layout::new(&sizes, samples.len());
    let mut sheet = Mat::new_size_with_default(layout.sheet, CV_8UC3, PAPER.scalar())?;
    draw_header(&mut sheet, caption)?;
    for (index, sample) in samples.iter().enumerate() {
        let before = layout.cell(index as i32);
        let after = before + Point::new(before.width + SEAM, 0);
        if (index as i32) < layout.columns {
            let small = Lettering::new(13, FAINT);
            small.draw(&mut sheet, "before", Point::new(before.x, before.y - 10))?;
            small.draw(&mut sheet, "after", Point::new(after.x, after.y - 10))?;
        }
        place(&mut sheet, &sample.before, before)?;
        place(&mut sheet, &sample.after, after)?;
        let line = Point::new(before.x, before.y + before.height + 20);
        let time = Lettering::new(14, TEXT);
        let label = clock(sample.timestamp_us as f64 / 1e6);
        time.draw(&mut sheet, &label, line)?;
        let beside = Point::new(line.x + time.width(&label)? + 12, line.y);
        Lettering::new(13, FAINT).draw(&mut sheet, &format!("frame {}", sample.sequence), beside)?;
    }
    Ok(sheet)
}

fn draw_header(sheet: &mut Mat, caption: &Caption) -> Result<(), PictureError> {
    let width = sheet.cols() - 2 * MARGIN;
    let title = Lettering::new(22, TEXT);
    title.draw(sheet, &title.shorten(&caption.title, width)?, Point::new(MARGIN, MARGIN + 14))?;
    let pipeline = Lettering::new(15, ACCENT);
    pipeline.draw(sheet, &pipeline.shorten(&caption.pipeline, width)?, Point::new(MARGIN, MARGIN + 42))?;
    let rule = Rect::new(MARGIN, MARGIN + 58, width, 1);
    Ok(imgproc::rectangle(sheet, rule, FRAME.scalar(), -1, LINE_8, 0)?)
}

/// The picture in the middle of its box, with a hairline around it.
fn place(sheet: &mut Mat, picture: &Mat, within: Rect) -> Result<(), PictureError> {
    let place = fit(picture.size()?, within.size()) + within.tl();
    let outline = Rect::new(place.x - 1, place.y - 1, place.width + 2, place.height + 2);
    imgproc::rectangle(sheet, outline, FRAME.scalar(), 1, LINE_8, 0)?;
    let scaling = if place.width < picture.cols() { INTER_AREA } else { INTER_CUBIC };
    let mut inner = Mat::roi_mut(sheet, place)?;
    imgproc::resize(picture, &mut inner, place.size(), 0.0, 0.0, scaling)?;
    Ok(())
}

impl Ink {
    fn scalar(self) -> Scalar {
        Scalar::new(self.0.into(), self.1.into(), self.2.into(), 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_all_is_on_the_sheet() {
        for (size, count) in [
            (Size::new(1280, 720), 6),
            (Size::new(720, 1280), 6),
            (Size::new(480, 20), 5),
            (Size::new(1, 400), 1),
            (Size::new(16, 16), 12),
        ] {
            let layout = Layout::new(&[size], count);
            let mut taken: Vec<Rect> = Vec::new();
            for index in 0..count as i32 {
                let before = layout.cell(index);
                let pair = Rect::new(before.x, before.y, 2 * before.width + SEAM, before.height + CAPTION);
                assert!(pair.x >= MARGIN && pair.x + pair.width <= layout.sheet.width - MARGIN);
                assert!(pair.y >= MARGIN + HEADER && pair.y + pair.height <= layout.sheet.height);
                assert!(taken.iter().all(|other| (*other & pair).empty()), "{size:?} {count}");
                taken.push(pair);
            }
        }
    }

    #[test]
    fn six_wide_pictures_make_two_columns() {
        let layout = Layout::new(&[Size::new(1280, 720), Size::new(640, 360)], 6);
        assert_eq!((layout.columns, layout.rows, layout.picture), (2, 3, Size::new(380, 214)));
    }

    #[test]
    fn a_sheet_of_mixed_pictures_is_drawn() {
        let picture = |width, height| {
            Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(99.0)).unwrap()
        };
        let samples: Vec<Sample> = (0..5)
            .map(|sequence| Sample {
                sequence,
                timestamp_us: sequence as i64 * 1_240_000,
                before: picture(640, 360),
                after: picture(90, 160 + sequence as i32),
            })
            .collect();
        let caption = Caption { title: "caf\u{e9} ".repeat(80), pipeline: "canny".into() };
        let sheet = draw(&caption, &samples).unwrap();
        assert!(sheet.cols() > 600 && sheet.rows() > 600);
    }
}
