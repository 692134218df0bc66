//! What is where in a picture, pixel by pixel.

use std::sync::Arc;

use super::Image;

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
    /// One picture of it: of one class its strength, of several their numbers.
    pub fn into_picture(self) -> Image {
        if self.count == 1 { self.strength } else { self.classes }
    }

    /// The name of a class: its label, or its number.
    pub fn name(&self, class: u8) -> String {
        self.labels.get(usize::from(class)).cloned().unwrap_or_else(|| class.to_string())
    }
}
