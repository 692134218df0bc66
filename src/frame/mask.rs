//! What is where in a picture, pixel by pixel.

use std::sync::Arc;

use opencv::prelude::*;

use super::Image;
use crate::error::Error;

/// A class for each pixel of a picture, and how sure it is.
#[derive(Debug)]
pub struct Mask {
    /// Gray: the number of the likeliest class. With one class, 0.
    pub classes: Image,
    /// Gray: how sure that is, of 255. With one class, how much of it there is.
    pub strength: Image,
    /// How many classes there are; where the model says no more than their numbers, 256.
    pub count: usize,
    /// The class that is nothing. What nothing is known of is surely this one; without one, its strength is 0.
    pub background: Option<u8>,
    /// Names of the classes.
    pub labels: Arc<[String]>,
}

impl Mask {
    /// How much of each pixel is something, of 255.
    pub fn foreground(&self) -> Result<Image, Error> {
        let mut foreground = self.strength.mat().try_clone()?;
        if let Some(background) = self.background {
            let classes = self.classes.mat().data_bytes()?;
            for (class, strength) in classes.iter().zip(foreground.data_bytes_mut()?) {
                *strength = if *class == background { 255 - *strength } else { *strength };
            }
        }
        Image::new(foreground)
    }

    /// One picture of it: of one class its strength, of several their numbers.
    pub fn into_picture(self) -> Image {
        if self.count == 1 { self.strength } else { self.classes }
    }

    /// The name of a class: its label, or its number.
    pub fn name(&self, class: u8) -> String {
        self.labels.get(usize::from(class)).cloned().unwrap_or_else(|| class.to_string())
    }

    /// Of each class that there is and that is something, how many pixels it has. With one class those count of
    /// which at least half is it.
    pub fn areas(&self) -> Result<Vec<(u8, usize)>, Error> {
        let least = if self.count == 1 { 128 } else { 1 };
        let strength = self.strength.mat().data_bytes()?;
        let mut pixels = [0; 256];
        for (class, strength) in self.classes.mat().data_bytes()?.iter().zip(strength) {
            pixels[usize::from(*class)] += usize::from(*strength >= least);
        }
        let all = (0..=u8::MAX).zip(pixels);
        Ok(all.filter(|(class, pixels)| *pixels > 0 && self.background != Some(*class)).collect())
    }
}
