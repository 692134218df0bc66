//! The stages: one file each, one OpenCV operation each.

use super::stage::StageKind;

mod canny;
mod gray;
mod resize;

/// All stages, in the order in which lists show them.
pub static KINDS: &[&StageKind] = &[&resize::KIND, &gray::KIND, &canny::KIND];

/// Name of the stage that makes a picture gray.
pub(super) const GRAY: &str = gray::KIND.name;

/// The stage of this name.
pub fn find(name: &str) -> Option<&'static StageKind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
