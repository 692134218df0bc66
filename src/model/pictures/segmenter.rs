//! From an output that says something of each pixel to what is where in the picture that was sent.

use std::borrow::Cow;
use std::sync::Arc;

use opencv::core::{CV_8UC1, Mat, Scalar};
use opencv::prelude::*;

use super::enlarge::Enlargement;
use super::output;
use super::picture_output::WHOLE;
use crate::error::Error;
use crate::frame::{Encoding, Image, Mask, Size, Workbench};
use crate::tensor::classification::Activation;
use crate::tensor::image::{Geometry, Layout};
use crate::tensor::values::values_f32;
use crate::tensor::{Shape, Tensor};

/// The most classes of a mask, whose pixels are bytes.
pub const MOST_CLASSES: usize = 256;

/// Of a softmax, what is so far below the largest counts nothing: it is less than a part of a million.
const NOTHING: f32 = -16.0;

/// How many pixels are looked at together.
const PIECE: usize = 4096;

/// How an output says what is where.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmenter {
    /// Which output.
    pub output: usize,
    /// What its numbers are.
    pub form: MaskForm,
    /// Scores that no activation changes are 0 to 255 when they are multiplied by this.
    pub scale: f32,
    /// The dimensions of one picture's mask.
    pub dims: MaskDims,
    /// How its classes lie, if they have a dimension.
    pub layout: Layout,
    /// The class that is nothing.
    pub background: Background,
    /// Names of the classes.
    pub labels: Arc<[String]>,
}

/// What the numbers of a mask are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskForm {
    /// Scores of each class, or of the only one.
    Scores(Activation),
    /// Numbers of classes.
    Classes,
}

/// Dimensions of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskDims {
    /// Height and width.
    Two,
    /// And one for the classes.
    Three,
}

/// The class that is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// The first of several; none where there is one.
    Usual,
    /// None.
    None,
    /// This one.
    Class(u8),
}

/// The scores of one picture, class by class.
struct Scores<'a> {
    values: Cow<'a, [f32]>,
    grid: Size,
    activation: Activation,
    scale: f32,
}

/// What a softmax needs of all classes.
struct Shares {
    most: Vec<f32>,
    sum: Vec<f32>,
}

impl Segmenter {
    /// What is where in each picture, in the size in which it was sent.
    pub fn masks(&self, outputs: &[Tensor], geometry: &[Geometry]) -> Result<Vec<Mask>, Error> {
        self.each(outputs, geometry, Ok)
    }

    /// The same, encoded as [`Mask::into_picture`] has it: a BYTES tensor with one element for each.
    pub fn encode(
        &self,
        outputs: &[Tensor],
        geometry: &[Geometry],
        encoding: Encoding,
        bench: &mut Workbench,
    ) -> Result<Tensor, Error> {
        let elements = self.each(outputs, geometry, |mask| encoding.encode(mask.into_picture(), bench))?;
        Tensor::elements(Shape::new(vec![elements.len()]), elements)
    }

    fn each<T>(
        &self,
        outputs: &[Tensor],
        geometry: &[Geometry],
        mut then: impl FnMut(Mask) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let tensor = output(outputs, self.output)?;
        let (classes, grid) = self.read(tensor.shape(), geometry.len())?;
        let values = values_f32(tensor)?;
        let one = values.len().checked_div(geometry.len()).unwrap_or(0);
        let pictures = values.chunks_exact(one.max(1)).zip(geometry);
        pictures.map(|(values, geometry)| then(self.mask(values, classes, grid, geometry)?)).collect()
    }

    /// How many classes there are, and the size of the grid.
    fn read(&self, shape: &Shape, pictures: usize) -> Result<(usize, Size), Error> {
        let none =
            || Error::Model(format!("an output of shape {shape} holds no mask of {pictures} pictures"));
        let dims = match (self.dims, shape.dims()) {
            (MaskDims::Two, [rows, dims @ ..]) if dims.len() == 2 && *rows == pictures => dims,
            (MaskDims::Three, [rows, dims @ ..]) if dims.len() == 3 && *rows == pictures => dims,
            (_, dims) if pictures == 1 => dims,
            _ => return Err(none()),
        };
        let (classes, height, width) = match (self.dims, self.layout, dims) {
            (MaskDims::Two, _, [height, width]) => (1, *height, *width),
            (MaskDims::Three, Layout::Chw, [classes, height, width])
            | (MaskDims::Three, Layout::Hwc, [height, width, classes]) => (*classes, *height, *width),
            _ => return Err(none()),
        };
        let most = if self.form == MaskForm::Classes { 1 } else { MOST_CLASSES };
        if !(1..=most).contains(&classes) {
            let range =
                if most == 1 { "1, since it has their numbers".into() } else { format!("1 to {most}") };
            return Err(Error::Model(format!(
                "a mask of shape {shape} has {classes} values for each pixel, and may have {range}"
            )));
        }
        let side = |side: usize| u32::try_from(side).ok().filter(|side| *side > 0).ok_or_else(none);
        Ok((classes, Size::new(side(width)?, side(height)?)))
    }

    fn mask(&self, values: &[f32], classes: usize, grid: Size, geometry: &Geometry) -> Result<Mask, Error> {
        let count = if self.form == MaskForm::Classes { MOST_CLASSES } else { classes };
        let background = match self.background {
            Background::Usual => (count > 1).then_some(0),
            Background::None => None,
            Background::Class(class) => Some(class),
        };
        let mut mask = Mask {
            classes: plain(geometry.picture())?,
            strength: plain(geometry.picture())?,
            count,
            background,
            labels: Arc::clone(&self.labels),
        };
        let enlargement = Enlargement::new(geometry, grid);
        match self.form {
            MaskForm::Classes => mask.number(values, &enlargement)?,
            MaskForm::Scores(activation) => {
                let values = match self.layout {
                    Layout::Hwc if classes > 1 => Cow::Owned(class_by_class(values, classes)),
                    _ => Cow::Borrowed(values),
                };
                mask.compare(&Scores { values, grid, activation, scale: self.scale }, &enlargement)?;
            }
        }
        mask.fill()?;
        Ok(mask)
    }
}

impl Mask {
    /// Takes classes by their numbers.
    fn number(&mut self, values: &[f32], enlargement: &Enlargement) -> Result<(), Error> {
        // A number below zero, or none at all, is how some models say that they don't know.
        let known = |value: &f32| (0.0..MOST_CLASSES as f32).contains(value);
        let grid: Vec<(u8, u8)> =
            values.iter().map(|value| if known(value) { (*value as u8, u8::MAX) } else { (0, 0) }).collect();
        let (classes, strength) =
            (self.classes.mat_mut().data_bytes_mut()?, self.strength.mat_mut().data_bytes_mut()?);
        enlargement.nearest(|first, numbers| {
            let pixels = classes[first..].iter_mut().zip(&mut strength[first..]);
            for ((class, strength), number) in pixels.zip(numbers) {
                (*class, *strength) = grid[*number];
            }
        });
        Ok(())
    }

    /// Takes of each pixel the likeliest class.
    fn compare(&mut self, scores: &Scores<'_>, enlargement: &Enlargement) -> Result<(), Error> {
        let (classes, strength) =
            (self.classes.mat_mut().data_bytes_mut()?, self.strength.mat_mut().data_bytes_mut()?);
        scores.each_likely(|number, plane| {
            enlargement.between(plane, |first, row| {
                let pixels = classes[first..].iter_mut().zip(&mut strength[first..]);
                for ((class, strength), value) in pixels.zip(row) {
                    let value = (value + WHOLE).to_bits() as u8;
                    let better = value > *strength;
                    *strength = if better { value } else { *strength };
                    *class = if better { number } else { *class };
                }
            });
        });
        Ok(())
    }

    /// What nothing is known of becomes background.
    fn fill(&mut self) -> Result<(), Error> {
        let Some(background) = self.background else { return Ok(()) };
        let classes = self.classes.mat_mut().data_bytes_mut()?;
        for (class, strength) in classes.iter_mut().zip(self.strength.mat_mut().data_bytes_mut()?) {
            let unknown = *strength == 0;
            *class = if unknown { background } else { *class };
            *strength = if unknown { u8::MAX } else { *strength };
        }
        Ok(())
    }
}

impl Scores<'_> {
    /// Hands on the scores of each class, 0 to 255, that is the likeliest somewhere in the grid. Others could win
    /// between its values only, and most classes of a model are nowhere in a picture.
    fn each_likely(&self, mut then: impl FnMut(u8, &[f32])) {
        let pixels = self.grid.width as usize * self.grid.height as usize;
        let planes = || (0..=u8::MAX).zip(self.values.chunks_exact(pixels));
        let mut shares = Shares { most: vec![f32::NEG_INFINITY; pixels], sum: vec![0.0; pixels] };
        let mut best = vec![0; pixels];
        let mut likely = [false; MOST_CLASSES];
        // Piece by piece, since what all classes say of all pixels is more than a cache has room for.
        for (number, best) in best.chunks_mut(PIECE).enumerate() {
            let piece = number * PIECE..number * PIECE + best.len();
            let (most, sum) = (&mut shares.most[piece.clone()], &mut shares.sum[piece.clone()]);
            let pieces = || planes().map(|(class, plane)| (class, &plane[piece.clone()]));
            pieces().for_each(|(class, values)| raise(most, best, class, values));
            best.iter().for_each(|class| likely[usize::from(*class)] = true);
            if self.activation == Activation::Softmax {
                most.iter_mut().for_each(|most| *most = bounded(*most));
                pieces().for_each(|(_, values)| add(sum, most, values));
            }
        }
        let mut active = vec![0.0; pixels];
        for (class, plane) in planes().filter(|(class, _)| likely[usize::from(*class)]) {
            self.activate(plane, &shares, &mut active);
            then(class, &active);
        }
    }

    /// Scores to 0 to 255. What is no number becomes 0.
    fn activate(&self, plane: &[f32], Shares { most, sum }: &Shares, to: &mut [f32]) {
        #[allow(clippy::manual_clamp, reason = "`clamp` leaves what is no number, and `max` makes it 0")]
        let bytes = |value: f32| value.max(0.0).min(255.0);
        match self.activation {
            Activation::Softmax => {
                for (((to, value), most), sum) in to.iter_mut().zip(plane).zip(most).zip(sum) {
                    *to = bytes((bounded(*value) - most).exp() / sum * 255.0);
                }
            }
            Activation::Sigmoid => {
                to.iter_mut().zip(plane).for_each(|(to, x)| *to = bytes(255.0 / (1.0 + (-x).exp())));
            }
            Activation::None => {
                to.iter_mut().zip(plane).for_each(|(to, value)| *to = bytes(*value * self.scale))
            }
        }
    }
}

/// Notes where a class is likelier than those before.
fn raise(most: &mut [f32], best: &mut [u8], class: u8, values: &[f32]) {
    for ((most, best), value) in most.iter_mut().zip(best).zip(values) {
        let better = value > most;
        *most = if better { *value } else { *most };
        *best = if better { class } else { *best };
    }
}

/// Adds what a class counts in a softmax.
fn add(sum: &mut [f32], most: &[f32], values: &[f32]) {
    for ((sum, most), value) in sum.iter_mut().zip(most).zip(values) {
        let below = bounded(*value) - most;
        // What is no number is no more than this either.
        if below > NOTHING {
            *sum += below.exp();
        }
    }
}

/// The largest number there is for what is even larger, so that it can be compared with others like it.
fn bounded(value: f32) -> f32 {
    if value == f32::INFINITY { f32::MAX } else { value }
}

/// From scores that lie side by side, pixel by pixel.
fn class_by_class(values: &[f32], classes: usize) -> Vec<f32> {
    (0..classes).flat_map(|class| values[class..].iter().step_by(classes).copied()).collect()
}

/// A gray picture of nothing.
fn plain(size: Size) -> Result<Image, Error> {
    let wrong = |_| Error::Model(format!("a mask of {size} is too large"));
    let (rows, columns) =
        (i32::try_from(size.height).map_err(wrong)?, i32::try_from(size.width).map_err(wrong)?);
    Image::new(Mat::new_rows_cols_with_default(rows, columns, CV_8UC1, Scalar::all(0.0))?)
}
