//! From the parameters of segmentation to how an output says what is where.

use super::keys::{conflict, digits, wrong};
use super::parameters::{LAYOUTS, Reading};
use super::segmenter::{Background, MOST_CLASSES, MaskDims, MaskForm, Segmenter};
use super::tasks::ACTIVATIONS;
use crate::error::Error;
use crate::tensor::classification::Activation;
use crate::tensor::image::Layout;

#[derive(Clone, Copy)]
enum FormName {
    Scores,
    Classes,
}

/// The dimensions of one picture's mask, in every way that they can be read.
#[derive(Clone, Copy)]
enum Grid {
    /// Height and width.
    Two,
    /// The classes first, or the classes last.
    Three([Option<usize>; 2]),
}

impl Reading<'_> {
    /// `layout` is that of the input.
    pub fn segmenter(&mut self, layout: Layout) -> Result<Segmenter, Error> {
        let output = self.only_output("mask")?;
        let labels = self.labels(&[Some(output)])?;
        let form = self.mask_form(output)?;
        let grid = self.grid(output, form)?;
        let (layout, classes) = self.mask_layout(grid, layout, labels.len())?;
        let port = &self.signature.outputs[output];
        let most = if form == MaskForm::Classes { 1 } else { MOST_CLASSES };
        if classes.is_some_and(|classes| !(1..=most).contains(&classes)) {
            let (name, dims, count) = (&port.name, &port.dims, classes.unwrap_or_default());
            let range =
                if most == 1 { "1, since it has their numbers".into() } else { format!("1 to {most}") };
            return Err(conflict(
                "mask",
                &format!(
                    "`{name}`, whose dims are {dims}, has {count} values for each pixel, and may have {range}"
                ),
            ));
        }
        if (form, classes) == (MaskForm::Scores(Activation::Softmax), Some(1)) {
            return Err(conflict("activation", "`softmax` makes 1 of every score where there is one class"));
        }
        let scale = self.mask_scale(output, form)?;
        let dims = if matches!(grid, Grid::Two) { MaskDims::Two } else { MaskDims::Three };
        let most = if form == MaskForm::Classes { MOST_CLASSES } else { classes.unwrap_or(MOST_CLASSES) };
        Ok(Segmenter { output, form, scale, dims, layout, background: self.background(most)?, labels })
    }

    fn mask_form(&mut self, output: usize) -> Result<MaskForm, Error> {
        let names = [("scores", FormName::Scores), ("classes", FormName::Classes)];
        let usual = if self.signature.outputs[output].datatype.is_float() {
            FormName::Scores
        } else {
            FormName::Classes
        };
        let form = self.keys.choice("form", &names)?.unwrap_or(usual);
        let activation = self.keys.choice("activation", ACTIVATIONS)?;
        match (form, activation) {
            (FormName::Scores, activation) => Ok(MaskForm::Scores(activation.unwrap_or_default())),
            (FormName::Classes, None | Some(Activation::None)) => Ok(MaskForm::Classes),
            (FormName::Classes, Some(_)) => {
                Err(conflict("activation", "it goes with scores, and the mask has numbers of classes"))
            }
        }
    }

    fn mask_scale(&mut self, output: usize, form: MaskForm) -> Result<f32, Error> {
        let scale = self.keys.number("output_scale", 0.0, f32::MAX.into())?;
        if scale.is_some() && form != MaskForm::Scores(Activation::None) {
            return Err(conflict(
                "output_scale",
                "it goes with scores that no `frameserve.activation` changes",
            ));
        }
        let usual = if self.signature.outputs[output].datatype.is_float() { 255.0 } else { 1.0 };
        Ok(scale.unwrap_or(usual) as f32)
    }

    fn grid(&self, output: usize, form: MaskForm) -> Result<Grid, Error> {
        let port = &self.signature.outputs[output];
        let batched = self.signature.max_batch > 0;
        let grid = match (batched, port.dims.dims()) {
            (true, [_, _]) | (false, [_, _]) => Some(Grid::Two),
            // Numbers of classes have no dimension for these: it counts the pictures.
            (false, [first, _, last])
                if form == MaskForm::Classes && *first != Some(1) && *last != Some(1) =>
            {
                Some(Grid::Two)
            }
            (true, [first, _, last]) | (false, [first, _, last] | [_, first, _, last]) => {
                Some(Grid::Three([*first, *last]))
            }
            _ => None,
        };
        grid.ok_or_else(|| {
            let counted = if batched { "" } else { ", with or without a number of pictures before them" };
            conflict(
                "mask",
                &format!(
                    "`{}` is no mask: its dims {} are not [height,width], [classes,height,width] or \
                     [height,width,classes]{counted}",
                    port.name, port.dims
                ),
            )
        })
    }

    /// The layout that is asked for; else the one in which there is one class, or as many as have labels; else that
    /// of the input. And how many classes that makes.
    fn mask_layout(
        &mut self,
        grid: Grid,
        usual: Layout,
        labels: usize,
    ) -> Result<(Layout, Option<usize>), Error> {
        let wanted = self.keys.choice("output_layout", LAYOUTS)?;
        let Grid::Three([first, last]) = grid else { return Ok((wanted.unwrap_or(usual), Some(1))) };
        let other = if usual == Layout::Chw { Layout::Hwc } else { Layout::Chw };
        let classes = |layout: Layout| if layout == Layout::Chw { first } else { last };
        let likely =
            |layout: &Layout| classes(*layout).is_some_and(|classes| classes == 1 || classes == labels);
        let layout = wanted.or_else(|| [usual, other].into_iter().find(likely)).unwrap_or(usual);
        Ok((layout, classes(layout)))
    }

    fn background(&mut self, classes: usize) -> Result<Background, Error> {
        match self.keys.take("background") {
            None => Ok(Background::Usual),
            Some("none") => Ok(Background::None),
            Some(text) => {
                let class = digits(text).and_then(|class| u8::try_from(class).ok());
                let class = class.filter(|class| usize::from(*class) < classes && classes > 1);
                let allowed = match classes {
                    1 => "none, as there is one class".into(),
                    _ => format!("none, or the number of a class from 0 to {}", classes - 1),
                };
                class.map(Background::Class).ok_or_else(|| wrong("background", text, &allowed))
            }
        }
    }
}
