//! An operation on the luma of a color picture: what several stages have in common.

use opencv::core::{self, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::stage::{StageWorker, on_image};

/// A worker that lets `operation` change a gray picture, or the Y of a color picture's YCrCb.
pub fn on_luma<F>(mut operation: F) -> Result<Box<dyn StageWorker>, Error>
where
    F: FnMut(&Mat, &mut Mat) -> opencv::Result<()> + Send + 'static,
{
    let (mut ycrcb, mut before, mut after) = (Mat::default(), Mat::default(), Mat::default());
    on_image(move |from, to| {
        if from.channels() == 1 {
            return operation(from, to);
        }
        imgproc::cvt_color_def(from, &mut ycrcb, imgproc::COLOR_BGR2YCrCb)?;
        core::extract_channel(&ycrcb, &mut before, 0)?;
        operation(&before, &mut after)?;
        core::insert_channel(&after, &mut ycrcb, 0)?;
        imgproc::cvt_color_def(&ycrcb, to, imgproc::COLOR_YCrCb2BGR)
    })
}
