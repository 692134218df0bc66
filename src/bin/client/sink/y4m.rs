//! y4m, to a file or to standard output for another program.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use opencv::core::{BORDER_REPLICATE, Mat, Rect, Scalar, Size, copy_make_border};
use opencv::imgproc::{self, COLOR_BGR2YUV_I420};
use opencv::prelude::*;

use super::steady::Film;
use crate::failure::Failure;

pub struct Y4m {
    destination: Destination,
    /// From the first picture on.
    output: Option<Box<dyn Write + Send>>,
    fps: f64,
    frames: u64,
}

enum Destination {
    File(PathBuf),
    StandardOutput,
}

impl Y4m {
    pub fn file(path: &Path, fps: f64) -> Y4m {
        Y4m { destination: Destination::File(path.into()), output: None, fps, frames: 0 }
    }

    pub fn standard_output(fps: f64) -> Y4m {
        Y4m { destination: Destination::StandardOutput, output: None, fps, frames: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(output) = &mut self.output else { return Ok(()) };
        output.write_all(bytes).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("cannot write to {}: {error}", self.title()))
    }
}

impl Destination {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Destination::File(path) => Box::new(BufWriter::with_capacity(1 << 20, File::create(path)?)),
            Destination::StandardOutput => Box::new(io::stdout()),
        })
    }
}

impl Film for Y4m {
    fn title(&self) -> String {
        match &self.destination {
            Destination::File(path) => path.display().to_string(),
            Destination::StandardOutput => "standard output".into(),
        }
    }

    fn begin(&mut self, size: Size) -> Result<(), Failure> {
        self.output = Some(self.destination.open().map_err(|error| self.failed(&error))?);
        let (numerator, denominator) = ratio(self.fps);
        let (width, height) = (size.width, size.height);
        self.put(
            format!("YUV4MPEG2 W{width} H{height} F{numerator}:{denominator} Ip A1:1 C420jpeg\n").as_bytes(),
        )
    }

    fn frame(&mut self, picture: &Mat) -> Result<(), Failure> {
        let planes = planes(picture)?;
        self.put(b"FRAME\n")?;
        for plane in &planes {
            self.put(plane)?;
        }
        self.frames += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<String>, Failure> {
        // It could not be made, and there is nothing to complete.
        let Some(mut output) = self.output.take() else { return Ok(Vec::new()) };
        output.flush().map_err(|error| self.failed(&error))?;
        Ok(vec![format!("{}: {} frames, y4m", self.title(), self.frames)])
    }
}

/// Luma of the picture's size, and chroma of half of it, rounded up.
fn planes(picture: &Mat) -> Result<[Vec<u8>; 2], Failure> {
    let (width, height) = (picture.cols(), picture.rows());
    let (right, down) = (width % 2, height % 2);
    let mut even = Mat::default();
    let source = if right + down > 0 {
        copy_make_border(picture, &mut even, 0, down, 0, right, BORDER_REPLICATE, Scalar::default())?;
        &even
    } else {
        picture
    };
    let mut i420 = Mat::default();
    imgproc::cvt_color_def(source, &mut i420, COLOR_BGR2YUV_I420)?;
    let bytes = i420.data_bytes()?;
    let (luma, chroma) = bytes.split_at(((width + right) * (height + down)) as usize);
    let luma = if right + down > 0 {
        Mat::roi(&i420, Rect::new(0, 0, width, height))?.try_clone()?.data_bytes()?.to_vec()
    } else {
        luma.to_vec()
    };
    Ok([luma, chroma.to_vec()])
}

/// A rate as y4m writes it: exact for whole rates and those of television.
fn ratio(fps: f64) -> (u64, u64) {
    let whole = fps.round();
    if (fps - whole).abs() < 1e-6 {
        return (whole as u64, 1);
    }
    if (fps - whole * 1000.0 / 1001.0).abs() < 1e-3 {
        return (whole as u64 * 1000, 1001);
    }
    ((fps * 1000.0).round() as u64, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::CV_8UC3;

    #[test]
    fn rates() {
        assert_eq!(ratio(25.0), (25, 1));
        assert_eq!(ratio(29.97), (30_000, 1001));
        assert_eq!(ratio(23.976), (24_000, 1001));
        assert_eq!(ratio(12.5), (12_500, 1000));
    }

    #[test]
    fn planes_of_any_size() {
        for (width, height) in [(4, 2), (5, 3), (1, 1), (6, 3)] {
            let picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(90.0)).unwrap();
            let [luma, chroma] = planes(&picture).unwrap();
            assert_eq!(luma.len(), (width * height) as usize);
            assert_eq!(chroma.len(), 2 * ((width + 1) / 2 * ((height + 1) / 2)) as usize);
        }
    }
}
