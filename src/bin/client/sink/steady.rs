//! What all videos have in common: one size from the first picture to the last, and no gaps.

use opencv::core::{CV_8UC3, Mat, Scalar, Size};
use opencv::prelude::*;

use super::Sink;
use crate::console::Console;
use crate::download::Arrived;
use crate::failure::Failure;
use crate::picture::{PictureError, bgr, letterbox};

/// A video that is being written: BGR pictures of one size.
pub trait Film: Send {
    /// Where it goes, in words.
    fn title(&self) -> String;
    /// Makes the file: there is none before the first picture.
    fn begin(&mut self, size: Size) -> Result<(), Failure>;
    fn frame(&mut self, picture: &Mat) -> Result<(), Failure>;
    /// Completes a video that was begun.
    fn finish(&mut self) -> Result<Vec<String>, Failure>;
}

/// Repeats the picture before a missing one, so that the length stays right, and fits pictures of another
/// size into the first one's.
pub struct Steady {
    film: Box<dyn Film>,
    console: Console,
    begun: bool,
    last: Option<Mat>,
    /// Missing frames before the first picture; that one is written in their place.
    owed: u64,
    resized: u64,
}

impl Steady {
    pub fn new(film: Box<dyn Film>, console: Console) -> Steady {
        Steady { film, console, begun: false, last: None, owed: 0, resized: 0 }
    }

    fn keep(&mut self, picture: &Mat, sequence: u64) -> Result<(), PictureError> {
        let size = picture.size()?;
        let last = self.last.get_or_insert(Mat::new_size_with_default(size, CV_8UC3, Scalar::default())?);
        let first = last.size()?;
        if size == first {
            return Ok(picture.copy_to(last)?);
        }
        self.resized += 1;
        if self.resized == 1 {
            self.console.note(&format!(
                "note: frame {sequence} is {}x{}, and a video has one size: from here on pictures are fitted into {}x{}",
                size.width, size.height, first.width, first.height
            ));
        }
        letterbox(picture, last)
    }
}

impl Sink for Steady {
    fn write(&mut self, frame: &mut Arrived<'_>) -> Result<(), Failure> {
        let sequence = frame.reply.sequence;
        let picture = bgr(frame.pixels()?).map_err(Failure::bad_reply)?;
        if !self.begun {
            self.begun = true;
            self.film.begin(picture.size()?)?;
        }
        self.keep(&picture, sequence).map_err(Failure::bad_reply)?;
        let owed = std::mem::take(&mut self.owed);
        self.repeat(owed + 1)
    }

    fn repeat(&mut self, count: u64) -> Result<(), Failure> {
        let Some(last) = &self.last else {
            self.owed += count;
            return Ok(());
        };
        for _ in 0..count {
            self.film.frame(last)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<String>, Failure> {
        if !self.begun {
            return Ok(vec![format!("{} was not written: no picture came back", self.film.title())]);
        }
        let mut written = self.film.finish()?;
        if self.resized > 0 {
            written.push(format!("{} frames of another size were fitted into the first one's", self.resized));
        }
        Ok(written)
    }
}
