//! From a decoded picture to pixels of the prepared size, which stay bytes.

use opencv::boxed_ref::BoxedRef;
use opencv::core::{CV_8UC1, Mat, Vector};
use opencv::imgproc;
use opencv::prelude::*;

use super::{Geometry, Preparation, Scratch};
use crate::error::Error;
use crate::frame::{Image, Size};

impl Preparation {
    /// Writes a picture to `to` in its prepared size, and leaves all that becomes of its values to whoever gets them:
    /// rows of pixels, gray where `to` has room for one channel, BGR where it has room for three. `sent` is as for
    /// [`apply`](Self::apply).
    pub fn pixels(
        &self,
        image: &Image,
        sent: Size,
        scratch: &mut Scratch,
        to: &mut [u8],
    ) -> Result<Geometry, Error> {
        self.shape(image, sent, scratch, |pixels, rest| copy(pixels, rest.colored, to))
    }
}

/// What of the memory of a thread is free while pixels lie in the rest of it.
pub(super) struct Rest<'a> {
    pub colored: &'a mut Mat,
    pub planes: &'a mut Vector<Mat>,
}

fn copy(pixels: &BoxedRef<'_, Mat>, colored: &mut Mat, to: &mut [u8]) -> Result<(), Error> {
    let (rows, columns) = (pixels.rows(), pixels.cols());
    let count = rows.unsigned_abs() as usize * columns.unsigned_abs() as usize;
    let gray = pixels.typ() == CV_8UC1;
    let wanted_gray = to.len() == count;
    if !wanted_gray && to.len() != count * 3 {
        let length = to.len();
        return Err(Error::Internal(format!("{length} bytes are none of a picture of {columns}x{rows}")));
    }
    match (gray, wanted_gray) {
        (true, false) => imgproc::cvt_color_def(pixels, colored, imgproc::COLOR_GRAY2BGR)?,
        (false, true) => imgproc::cvt_color_def(pixels, colored, imgproc::COLOR_BGR2GRAY)?,
        // What is kept of a larger picture does not lie in one piece.
        _ => {
            let row = to.len() / rows.unsigned_abs().max(1) as usize;
            for (index, to) in (0..rows).zip(to.chunks_exact_mut(row.max(1))) {
                to.copy_from_slice(pixels.row(index)?.data_bytes()?);
            }
            return Ok(());
        }
    }
    to.copy_from_slice(colored.data_bytes()?);
    Ok(())
}
