//! `segment`: what each pixel belongs to, in color.

use opencv::core::Mat;
use opencv::prelude::*;

use super::model::NAME;
use crate::error::Error;
use crate::frame::{Answer, Frame, Mask};
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "segment",
    group: Group::Model,
    doc: "Colors each pixel by what a model of the repository takes it for (its task is `segmentation`): a color for \
          each class, on the picture or, with `opacity=1`, in its place. What is background stays as it is.",
    params: &[
        NAME,
        Param::new("opacity", Range::Number(0.0, 1.0), "How much the colors cover.").or("0.5"),
        Param::new(
            "color",
            Range::Color,
            "The color of a model's only class; several have colors of their own.",
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
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Segment {
        name: args.text("name"),
        opacity: args.number("opacity"),
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
                Some(Answer::Mask(mask)) => segment.overlay(mask, frame, scratch),
                _ => Ok(()),
            }
        })
    }
}

impl Segment {
    fn overlay(&self, mask: &Mask, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        frame.image.make_bgr(scratch)?;
        let picture = frame.image.mat_mut();
        let size = picture.size()?;
        if mask.classes.mat().size()? != size || mask.strength.mat().size()? != size {
            return Err(Error::Model(format!("a mask of {} for a picture of {size:?}", mask.classes.size())));
        }
        let colors: Vec<[u16; 3]> = (0..=u8::MAX).map(|class| self.color_of(class, mask.count)).collect();
        // In 256ths, so that a pixel is two products and a shift.
        let opacity = (self.opacity * 256.0).round() as u32;
        let (classes, strength) = (mask.classes.mat().data_bytes()?, mask.strength.mat().data_bytes()?);
        let pixels = picture.data_bytes_mut()?.chunks_exact_mut(3);
        for ((pixel, class), strength) in pixels.zip(classes).zip(strength) {
            if mask.background == Some(*class) {
                continue;
            }
            let cover = (opacity * u32::from(*strength) + 127) / 255;
            for (sample, color) in pixel.iter_mut().zip(colors[usize::from(*class)]) {
                let mixed = u32::from(color) * cover + u32::from(*sample) * (256 - cover) + 128;
                *sample = (mixed >> 8) as u8;
            }
        }
        Ok(())
    }

    /// Blue, green and red of a class: golden angles on the circle of hues, so that neighbors differ.
    fn color_of(&self, class: u8, count: usize) -> [u16; 3] {
        if count == 1 {
            let Color { red, green, blue } = self.color;
            return [blue, green, red].map(u16::from);
        }
        let hue = f32::from(class) * 137.508 % 360.0 / 60.0;
        // Full saturation and value, https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
        let sample = |shift: f32| {
            let at = (hue + shift) % 6.0;
            (255.0 * (1.0 - at.min(4.0 - at).clamp(0.0, 1.0))) as u16
        };
        [sample(1.0), sample(3.0), sample(5.0)]
    }
}
