//! `segment`: what each pixel belongs to, in color.

use opencv::core::Mat;
use opencv::prelude::*;

use super::model::NAME;
use crate::error::Error;
use crate::frame::{Answer, Frame, Label, Mask};
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "segment",
    group: Group::Model,
    doc: "Colors each pixel by what a model of the repository takes it for (its task is `segmentation`): a color for \
          each class, on the picture or, with `opacity=1`, in its place; what is background stays as it is. Or cuts \
          out what is no background. The classes come with the result as labels, whose scores are the parts of the \
          picture that they have.",
    params: &[
        NAME,
        Param::new("opacity", Range::Number(0.0, 1.0), "How much the colors cover.").or("0.5"),
        Param::new(
            "show",
            Range::Choice(&["colors", "cutout"]),
            "What is given back: the classes in color, or what is no background, on `color`.",
        )
        .or("colors"),
        Param::new(
            "color",
            Range::Color,
            "The color of a model's only class, where several have colors of their own; of a cutout, what is put in \
             place of the background.",
        )
        .or("green"),
    ],
    example: "segment=person,opacity=0.6",
    build,
};

#[derive(Debug, Clone)]
struct Segment {
    name: String,
    opacity: f64,
    cutout: bool,
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Segment {
        name: args.text("name"),
        opacity: args.number("opacity"),
        cutout: args.choice("show") == "cutout",
        color: args.color("color"),
    }))
}

impl Stage for Segment {
    fn asks(&self) -> Option<(&str, Task)> {
        Some((&self.name, Task::Mask))
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let segment = self.clone();
        on_frame(move |frame, scratch| {
            let answer = frame.answer.take();
            match answer.as_deref() {
                Some(Answer::Mask(mask)) => segment.show(mask, frame, scratch),
                _ => Ok(()),
            }
        })
    }
}

impl Segment {
    fn show(&self, mask: &Mask, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        frame.image.make_bgr(scratch)?;
        let size = frame.image.size();
        // It was carried here from a frame of another size: of this one nothing is known.
        if mask.classes.size() != size || mask.strength.size() != size {
            return Ok(());
        }
        let pixels = frame.image.mat().total() as f32;
        let labels = mask.areas()?.into_iter().map(|(class, area)| Label {
            name: mask.name(class),
            score: area as f32 / pixels,
            class_id: Some(class.into()),
            source: KIND.name,
        });
        frame.findings.labels.extend(labels);
        let picture = frame.image.mat_mut().data_bytes_mut()?;
        if self.cutout { self.cut_out(mask, picture) } else { self.color(mask, picture) }
    }

    fn color(&self, mask: &Mask, picture: &mut [u8]) -> Result<(), Error> {
        let colors: Vec<[u8; 3]> = (0..=u8::MAX).map(|class| self.color_of(class, mask.count)).collect();
        let opacity = (self.opacity * 255.0).round() as u32;
        let (classes, strength) = (mask.classes.mat().data_bytes()?, mask.strength.mat().data_bytes()?);
        for ((pixel, class), strength) in picture.chunks_exact_mut(3).zip(classes).zip(strength) {
            if mask.background != Some(*class) {
                mix(pixel, colors[usize::from(*class)], opacity * u32::from(*strength));
            }
        }
        Ok(())
    }

    fn cut_out(&self, mask: &Mask, picture: &mut [u8]) -> Result<(), Error> {
        let Color { red, green, blue } = self.color;
        let foreground = mask.foreground()?;
        for (pixel, strength) in picture.chunks_exact_mut(3).zip(foreground.mat().data_bytes()?) {
            mix(pixel, [blue, green, red], 255 * u32::from(255 - *strength));
        }
        Ok(())
    }

    /// Blue, green and red of a class: golden angles on the circle of hues, so that neighbors differ.
    fn color_of(&self, class: u8, count: usize) -> [u8; 3] {
        if count == 1 {
            let Color { red, green, blue } = self.color;
            return [blue, green, red];
        }
        let hue = f32::from(class) * 137.508 % 360.0 / 60.0;
        // Full saturation and value, https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
        let sample = |shift: f32| {
            let at = (hue + shift) % 6.0;
            (255.0 * (1.0 - at.min(4.0 - at).clamp(0.0, 1.0))) as u8
        };
        [sample(1.0), sample(3.0), sample(5.0)]
    }
}

/// Covers a pixel by so much of a color, of 255 times 255.
fn mix(pixel: &mut [u8], color: [u8; 3], cover: u32) {
    const ALL: u32 = 255 * 255;
    for (sample, color) in pixel.iter_mut().zip(color) {
        let mixed = u32::from(color) * cover + u32::from(*sample) * (ALL - cover) + ALL / 2;
        *sample = (mixed / ALL) as u8;
    }
}
