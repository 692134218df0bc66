//! A picture in memory: an OpenCV matrix of a kind that every stage can work on.

use opencv::core::{CV_8UC1, CV_8UC3, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use super::format::Size;
use crate::error::Error;

/// 8 bits a sample, gray (one channel) or BGR (three), rows without padding, at least one pixel, and the only
/// owner of its memory.
#[derive(Debug)]
pub struct Image {
    mat: Mat,
}

impl Image {
    /// Takes a matrix, if it is one that an image may be.
    pub fn new(mat: Mat) -> Result<Self, Error> {
        let kind = mat.typ();
        if mat.empty() || mat.dims() != 2 || !mat.is_continuous() || (kind != CV_8UC1 && kind != CV_8UC3) {
            return Err(Error::Internal(format!("no image: {mat:?}")));
        }
        Ok(Image { mat })
    }

    /// The matrix: `CV_8UC1` or `CV_8UC3`, continuous.
    pub fn mat(&self) -> &Mat {
        &self.mat
    }

    /// The matrix, to draw on. Its type and size must stay as they are.
    pub fn mat_mut(&mut self) -> &mut Mat {
        &mut self.mat
    }

    /// The matrix alone.
    pub fn into_mat(self) -> Mat {
        self.mat
    }

    /// The same picture once more.
    pub fn copy(&self) -> Result<Image, Error> {
        Image::new(self.mat.try_clone()?)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        Size::new(self.mat.cols().unsigned_abs(), self.mat.rows().unsigned_abs())
    }

    /// One channel, not three.
    pub fn is_gray(&self) -> bool {
        self.mat.typ() == CV_8UC1
    }

    /// Replaces the picture by what `operation` writes into its second argument. The old matrix becomes
    /// `scratch`, so that a chain of stages works in two buffers.
    pub fn update(
        &mut self,
        scratch: &mut Mat,
        operation: impl FnOnce(&Mat, &mut Mat) -> opencv::Result<()>,
    ) -> Result<(), Error> {
        operation(&self.mat, scratch)?;
        let result = Image::new(std::mem::take(scratch))?;
        *scratch = std::mem::replace(&mut self.mat, result.mat);
        Ok(())
    }

    /// Makes it gray, if it is not: ITU-R BT.601 luma.
    pub fn make_gray(&mut self, scratch: &mut Mat) -> Result<(), Error> {
        if self.is_gray() {
            return Ok(());
        }
        self.update(scratch, |from, to| imgproc::cvt_color_def(from, to, imgproc::COLOR_BGR2GRAY))
    }

    /// Makes it BGR, if it is not.
    pub fn make_bgr(&mut self, scratch: &mut Mat) -> Result<(), Error> {
        if !self.is_gray() {
            return Ok(());
        }
        self.update(scratch, |from, to| imgproc::cvt_color_def(from, to, imgproc::COLOR_GRAY2BGR))
    }
}
