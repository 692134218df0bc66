//! Tones changed by a table: what several stages have in common.

use opencv::core::{self, Mat};
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::stage::{StageWorker, on_image};

/// A value for each of the 256 that a sample can have.
#[derive(Debug, Clone)]
pub struct Table(Box<[u8; 256]>);

impl Table {
    /// From a function of the sample; its results are rounded (a half to the even number) and held to 0 to 255.
    pub fn new(tone: impl Fn(f64) -> f64) -> Self {
        let mut table = Box::new([0; 256]);
        for (sample, value) in table.iter_mut().enumerate() {
            *value = tone(sample as f64).round_ties_even().clamp(0.0, 255.0) as u8;
        }
        Table(table)
    }

    /// A worker that looks every sample up.
    pub fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let table = Mat::from_slice(self.0.as_slice())?.try_clone()?;
        on_image(move |from, to| core::lut(from, &table, to))
    }
}
