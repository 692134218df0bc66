//! The stages: one file each, one OpenCV operation each.

use super::stage::StageKind;

mod background;
mod canny;
mod difference;
mod edges_overlay;
mod faces;
mod flow;
mod gray;
mod kept;
mod laplacian;
mod marks;
mod morphology;
mod motion;
mod qr;
mod rectangle;
mod resize;
mod sobel;
mod text;
mod threshold;
mod trails;

/// All stages, in the order in which lists show them.
pub static KINDS: &[&StageKind] = &[
    &resize::KIND,
    &gray::KIND,
    &canny::KIND,
    &sobel::KIND,
    &laplacian::KIND,
    &threshold::KIND,
    &morphology::KIND,
    &edges_overlay::KIND,
    &text::KIND,
    &rectangle::KIND,
    &faces::KIND,
    &qr::KIND,
    &background::KIND,
    &motion::KIND,
    &flow::KIND,
    &difference::KIND,
    &trails::KIND,
];

/// Name of the stage that makes a picture gray.
pub(super) const GRAY: &str = gray::KIND.name;

/// The stage of this name.
pub fn find(name: &str) -> Option<&'static StageKind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
