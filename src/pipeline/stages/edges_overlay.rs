//! `edges-overlay`: the picture with its edges drawn over it.

use opencv::core::{self, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Frame;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "edges-overlay",
    group: Group::Edges,
    doc: "The picture with its edges by Canny's method drawn over it; BGR, also where the picture is gray.",
    params: &[
        Param::new("low", Range::Number(0.0, 10_000.0), "Gradient below which nothing is an edge.").or("50"),
        Param::new("high", Range::Number(0.0, 10_000.0), "Gradient above which everything is an edge.")
            .or("150"),
        Param::new("color", Range::Color, "Color of the edges.").or("green"),
        Param::new("thickness", Range::Odd(1, 15), "Width of the lines, in pixels.").or("1"),
    ],
    example: "edges-overlay=50,150,red",
    build,
};

#[derive(Debug, Clone, Copy)]
struct EdgesOverlay {
    low: f64,
    high: f64,
    color: Color,
    thickness: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let overlay = EdgesOverlay {
        low: args.number("low"),
        high: args.number("high"),
        color: args.color("color"),
        thickness: args.integer("thickness"),
    };
    if overlay.low > overlay.high {
        let reason = format!("low ({}) must not be above high ({})", overlay.low, overlay.high);
        return Err(Error::Stage { stage: KIND.name, reason });
    }
    Ok(Box::new(overlay))
}

impl Stage for EdgesOverlay {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let side = core::Size::new(self.thickness, self.thickness);
        let element = imgproc::get_structuring_element_def(imgproc::MORPH_RECT, side)?;
        Ok(Box::new(Worker {
            overlay: *self,
            element,
            luma: Mat::default(),
            edges: Mat::default(),
            wide: Mat::default(),
        }))
    }
}

struct Worker {
    overlay: EdgesOverlay,
    element: Mat,
    luma: Mat,
    edges: Mat,
    wide: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let EdgesOverlay { low, high, color, thickness } = self.overlay;
        if frame.image.is_gray() {
            imgproc::canny(frame.image.mat(), &mut self.edges, low, high, 3, false)?;
            frame.image.make_bgr(scratch)?;
        } else {
            imgproc::cvt_color_def(frame.image.mat(), &mut self.luma, imgproc::COLOR_BGR2GRAY)?;
            imgproc::canny(&self.luma, &mut self.edges, low, high, 3, false)?;
        }
        if thickness > 1 {
            imgproc::dilate_def(&self.edges, &mut self.wide, &self.element)?;
            std::mem::swap(&mut self.edges, &mut self.wide);
        }
        frame.image.mat_mut().set_to(&color.bgr(), &self.edges)?;
        Ok(())
    }
}
