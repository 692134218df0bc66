//! The stages: one file each, one OpenCV operation each.

use super::stage::StageKind;

mod background;
mod bilateral;
mod blur;
mod blur_boxes;
mod brightness;
mod canny;
mod cartoon;
mod clahe;
mod classify;
mod color;
mod colormap;
mod contrast;
mod count;
mod crop;
mod crop_boxes;
mod denoise;
mod detect;
mod difference;
mod draw;
mod edges_overlay;
mod equalize;
mod every;
mod faces;
mod flip;
mod flow;
mod found;
mod gamma;
mod gray;
mod invert;
mod kept;
mod laplacian;
mod luma;
mod marks;
mod median;
mod model;
mod morphology;
mod motion;
mod pad;
mod pixelate;
mod posterize;
mod qr;
mod rectangle;
mod resize;
mod rotate;
mod segment;
mod sepia;
mod sharpen;
mod sketch;
mod sobel;
mod split;
mod style;
mod table;
mod tags;
mod text;
mod threshold;
mod track;
mod trails;

/// All stages, in the order in which lists show them.
pub static KINDS: &[&StageKind] = &[
    &resize::KIND,
    &crop::KIND,
    &crop_boxes::KIND,
    &pad::KIND,
    &flip::KIND,
    &rotate::KIND,
    &split::KIND,
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
    &blur_boxes::KIND,
    &cartoon::KIND,
    &sketch::KIND,
    &canny::KIND,
    &sobel::KIND,
    &laplacian::KIND,
    &threshold::KIND,
    &morphology::KIND,
    &edges_overlay::KIND,
    &text::KIND,
    &rectangle::KIND,
    &draw::KIND,
    &faces::KIND,
    &qr::KIND,
    &count::KIND,
    &style::KIND,
    &model::KIND,
    &detect::KIND,
    &classify::KIND,
    &segment::KIND,
    &every::KIND,
    &background::KIND,
    &motion::KIND,
    &flow::KIND,
    &difference::KIND,
    &trails::KIND,
    &track::KIND,
];

/// Name of the stage that makes a picture gray.
pub(super) const GRAY: &str = gray::KIND.name;

/// Name of the stage that says how often the next one's model is asked.
pub(super) const EVERY: &str = every::KIND.name;

/// The stage of this name.
pub fn find(name: &str) -> Option<&'static StageKind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
