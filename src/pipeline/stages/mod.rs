//! The stages: one file each, one OpenCV operation each.

use super::stage::StageKind;

mod bilateral;
mod blur;
mod brightness;
mod canny;
mod cartoon;
mod clahe;
mod color;
mod colormap;
mod contrast;
mod crop;
mod denoise;
mod equalize;
mod flip;
mod gamma;
mod gray;
mod invert;
mod luma;
mod median;
mod pad;
mod pixelate;
mod posterize;
mod resize;
mod rotate;
mod sepia;
mod sharpen;
mod sketch;
mod table;

/// All stages, in the order in which lists show them.
pub static KINDS: &[&StageKind] = &[
    &resize::KIND,
    &crop::KIND,
    &pad::KIND,
    &flip::KIND,
    &rotate::KIND,
    &gray::KIND,
    &color::KIND,
    &colormap::KIND,
    &brightness::KIND,
    &contrast::KIND,
    &gamma::KIND,
    &equalize::KIND,
    &clahe::KIND,
    &invert::KIND,
    &sepia::KIND,
    &posterize::KIND,
    &blur::KIND,
    &median::KIND,
    &bilateral::KIND,
    &sharpen::KIND,
    &denoise::KIND,
    &pixelate::KIND,
    &cartoon::KIND,
    &sketch::KIND,
    &canny::KIND,
];

/// Name of the stage that makes a picture gray.
pub(super) const GRAY: &str = gray::KIND.name;

/// The stage of this name.
pub fn find(name: &str) -> Option<&'static StageKind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
