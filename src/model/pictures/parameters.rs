//! From the `frameserve.` parameters of a configuration to what they mean, held against the model's signature.

use std::collections::BTreeMap;

use super::keys::{Keys, conflict, number, side, size, size_rule, wrong};
use super::shape::{PictureDims, Wanted};
use super::{Converts, Pictures, ReadLabels};
use crate::error::Error;
use crate::frame::Size;
use crate::model::signature::{Port, Signature};
use crate::tensor::DataType;
use crate::tensor::image::{Color, Interpolation, Layout, Preparation, Recipe, Resize, Scaling};

/// Mean and standard deviation of the pictures of ImageNet, in RGB, as models are commonly trained with.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// What `fit` fills with where nothing else is said: the gray that detectors are commonly trained with.
const USUAL_PAD: u32 = 114;
pub(super) const COLORS: &[(&str, Color)] =
    &[("rgb", Color::Rgb), ("bgr", Color::Bgr), ("gray", Color::Gray)];
pub(super) const LAYOUTS: &[(&str, Layout)] = &[("chw", Layout::Chw), ("hwc", Layout::Hwc)];

const CONVERTS: &[(&str, Converts)] = &[("device", Converts::Device), ("host", Converts::Host)];

/// Keys that belong to a task, with the word for it.
pub(super) const OF_TASKS: &[(&str, &str)] = &[
    ("labels", "classification, detection or segmentation"),
    ("scores", "classification or detection"),
    ("activation", "classification or segmentation"),
    ("form", "detection or segmentation"),
    ("boxes", "detection"),
    ("classes", "detection"),
    ("points", "detection"),
    ("box", "detection"),
    ("unit", "detection"),
    ("threshold", "detection"),
    ("iou", "detection"),
    ("max", "detection"),
    ("image", "image"),
    ("output_scale", "image or segmentation"),
    ("output_color", "image"),
    ("output_layout", "image or segmentation"),
    ("mask", "segmentation"),
    ("background", "segmentation"),
];

/// Keys that every model can have that takes pictures.
pub(super) const OF_ALL: &[&str] = &[
    "input",
    "resize",
    "crop",
    "interpolation",
    "pad",
    "color",
    "layout",
    "scale",
    "mean",
    "std",
    "convert",
    "task",
];

/// A signature, and what is read for it.
pub(super) struct Reading<'a> {
    pub keys: Keys<'a>,
    pub signature: &'a Signature,
    pub labels: ReadLabels<'a>,
}

pub fn read(
    parameters: &BTreeMap<String, String>,
    signature: &Signature,
    labels: ReadLabels<'_>,
) -> Result<Option<Pictures>, Error> {
    let Some(keys) = Keys::of(parameters) else { return Ok(None) };
    let mut reading = Reading { keys, signature, labels };
    let input = reading.input()?;
    let (preparation, dims) = reading.preparation(&signature.inputs[input])?;
    let converts = reading.keys.choice("convert", CONVERTS)?;
    let recipe = preparation.recipe();
    let task = reading.task(recipe.color, recipe.layout)?;
    match reading.keys.left() {
        Some((key, value)) => Err(unread(key, value)),
        None => Ok(Some(Pictures { input, task, converts, preparation, dims })),
    }
}

/// The error for a key that nothing was done with.
fn unread(key: &str, value: &str) -> Error {
    match OF_TASKS.iter().find(|(known, _)| *known == key) {
        Some((_, task)) => conflict(
            key,
            &format!(
                "it is `{value}`, and this model's `frameserve.task` has no use for it: it goes with {task}"
            ),
        ),
        None => {
            let known = OF_ALL.iter().copied().chain(OF_TASKS.iter().map(|(key, _)| *key));
            conflict(
                key,
                &format!("there is no such key; known are {}", known.collect::<Vec<_>>().join(", ")),
            )
        }
    }
}

impl Reading<'_> {
    fn input(&mut self) -> Result<usize, Error> {
        let names = self.signature.inputs.iter().map(|port| port.name.as_str());
        match (self.keys.port("input", "input", names.clone())?, self.signature.inputs.len()) {
            (Some(input), _) => Ok(input),
            (None, 1) => Ok(0),
            (None, count) => {
                let names: Vec<&str> = names.collect();
                let names = names.join(", ");
                Err(conflict("input", &format!("is needed, since the model has {count} inputs: {names}")))
            }
        }
    }

    fn preparation(&mut self, port: &Port) -> Result<(Preparation, PictureDims), Error> {
        let wanted = Wanted {
            layout: self.keys.choice("layout", LAYOUTS)?,
            color: self.keys.choice("color", COLORS)?,
            usual: (Layout::Chw, Color::Rgb),
        };
        let name = &port.name;
        if matches!(port.datatype, DataType::Bool | DataType::Bytes) {
            let datatype = port.datatype;
            return Err(conflict("input", &format!("`{name}` is of {datatype}, which can't hold a picture")));
        }
        let (dims, color) = PictureDims::of(&port.dims, self.signature.max_batch, wanted)
            .map_err(|reason| conflict("input", &format!("`{name}` can't take pictures: {reason}")))?;
        let (resize, crop) = self.sizes(&dims)?;
        let recipe = Recipe {
            resize,
            crop,
            interpolation: self
                .keys
                .choice(
                    "interpolation",
                    &[
                        ("nearest", Interpolation::Nearest),
                        ("bilinear", Interpolation::Bilinear),
                        ("bicubic", Interpolation::Bicubic),
                        ("area", Interpolation::Area),
                        ("bilinear-antialias", Interpolation::BilinearAntialias),
                        ("bicubic-antialias", Interpolation::BicubicAntialias),
                    ],
                )?
                .unwrap_or(Interpolation::Area),
            pad: self.pad(resize)?,
            color,
            layout: dims.layout,
            scaling: self.scaling(port.datatype, color)?,
        };
        Ok((Preparation::new(recipe, port.datatype)?, dims))
    }

    /// What becomes of the size of a picture, which has to end as one that the input takes.
    fn sizes(&mut self, dims: &PictureDims) -> Result<(Resize, Option<Size>), Error> {
        let crop = self.keys.take("crop").map(|text| {
            size(text).ok_or_else(|| wrong("crop", text, &format!("WIDTHxHEIGHT; {}", size_rule())))
        });
        let crop = crop.transpose()?;
        let resize = match (self.keys.take("resize"), dims.width, dims.height) {
            (Some(text), _, _) => resize(text)?,
            (None, Some(width), Some(height)) if crop.is_none() => Resize::Stretch(Size::new(width, height)),
            (None, _, _) => Resize::Keep,
        };
        let resized = match resize {
            Resize::Stretch(size) | Resize::Fit(size) | Resize::Fill(size) => Some(size),
            Resize::Short(_) | Resize::Keep => None,
        };
        if let Some(crop) = crop {
            let least = match resize {
                Resize::Short(side) => Some(Size::new(side, side)),
                _ => resized,
            };
            // The longer side may be long enough where the shorter one is not, but never for all pictures.
            if least.is_some_and(|least| crop.width > least.width || crop.height > least.height) {
                return Err(conflict(
                    "crop",
                    &format!("{crop} is larger than what `frameserve.resize` makes"),
                ));
            }
        }
        let (key, prepared) = if crop.is_some() { ("crop", crop) } else { ("resize", resized) };
        let fits = |side: u32, dim: Option<u32>| dim.is_none_or(|dim| dim == side);
        match prepared {
            Some(size) if !fits(size.width, dims.width) || !fits(size.height, dims.height) => {
                Err(conflict(key, &format!("it makes {size}, and the input takes {}", dims.size())))
            }
            None if dims.width.is_some() && dims.height.is_some() => {
                let reason = format!(
                    "it leaves pictures of different sizes, and the input takes {}; add `frameserve.crop`",
                    dims.size()
                );
                Err(conflict(key, &reason))
            }
            _ => Ok((resize, crop)),
        }
    }

    fn pad(&mut self, resize: Resize) -> Result<u8, Error> {
        let pad = self.keys.whole("pad", 0, 255)?;
        if pad.is_some() && !matches!(resize, Resize::Fit(_)) {
            return Err(conflict("pad", "it goes with `frameserve.resize` `fit=WIDTHxHEIGHT`"));
        }
        Ok(u8::try_from(pad.unwrap_or(USUAL_PAD)).unwrap_or(u8::MAX))
    }

    fn scaling(&mut self, datatype: DataType, color: Color) -> Result<Scaling, Error> {
        let usual = Scaling::usual(datatype);
        let scaling = Scaling {
            scale: self.keys.number("scale", f64::MIN, f64::MAX)?.unwrap_or(usual.scale),
            mean: self.channels("mean", color, IMAGENET_MEAN)?.unwrap_or(usual.mean),
            std: self.channels("std", color, IMAGENET_STD)?.unwrap_or(usual.std),
        };
        if scaling.std.contains(&0.0) {
            return Err(conflict("std", "nothing can be divided by 0"));
        }
        let Scaling { scale, mean, std } = scaling;
        let representable = mean.iter().zip(&std).all(|(mean, std)| {
            [scale / std, mean / std, (255.0 * scale - mean) / std].iter().all(|n| (*n as f32).is_finite())
        });
        if !representable {
            return Err(conflict("scale", "with mean and std it makes numbers that are too large"));
        }
        Ok(scaling)
    }

    /// One number for all channels, or one for each.
    fn channels(&mut self, key: &str, color: Color, imagenet: [f64; 3]) -> Result<Option<[f64; 3]>, Error> {
        let Some(text) = self.keys.take(key) else { return Ok(None) };
        let [first, second, third] = imagenet;
        let numbers = match (text, color) {
            ("imagenet", Color::Rgb) => Some(vec![first, second, third]),
            ("imagenet", Color::Bgr) => Some(vec![third, second, first]),
            _ => text.split(',').map(|text| number(text.trim())).collect::<Option<Vec<f64>>>(),
        };
        match (numbers.as_deref(), color) {
            (Some([all]), _) => Ok(Some([*all; 3])),
            (Some([first, second, third]), Color::Rgb | Color::Bgr) => Ok(Some([*first, *second, *third])),
            (_, Color::Gray) => Err(wrong(key, text, "one number, as the input has one channel")),
            _ => Err(wrong(
                key,
                text,
                "one number, three as `a,b,c` in the order of the channels, or `imagenet`",
            )),
        }
    }
}

fn resize(text: &str) -> Result<Resize, Error> {
    let found = match text.split_once('=') {
        None => size(text).map(Resize::Stretch),
        Some(("short", text)) => side(text).map(Resize::Short),
        Some(("fit", text)) => size(text).map(Resize::Fit),
        Some(("fill", text)) => size(text).map(Resize::Fill),
        Some(_) => None,
    };
    let allowed = format!("WIDTHxHEIGHT, short=N, fit=WIDTHxHEIGHT, fill=WIDTHxHEIGHT; {}", size_rule());
    found.ok_or_else(|| wrong("resize", text, &allowed))
}
