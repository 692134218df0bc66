//! What was found, as stages choose from it and measure it.

use opencv::core::Rect;

use crate::frame::{Detection, Size};
use crate::pipeline::param::{Param, Range};
use crate::pipeline::placement::Placement;

/// The parameter that chooses.
pub const LABELS: Param =
    Param::new("labels", Range::Text(512), "Only things of these names, with commas between; empty: all.")
        .or("");

/// Names of the things that a stage works on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// From names with commas between; white space around them means nothing.
    pub fn parse(text: &str) -> Self {
        let mut names = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Labels(names)
    }

    /// The names that were given, each once; none for all.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether this is one of the things.
    pub fn wants(&self, thing: &Detection) -> bool {
        self.0.is_empty() || self.0.contains(&thing.label)
    }
}

/// Edges of a box in pixels: finite, and with something between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edges {
    /// Of its left side.
    pub left: f64,
    /// Of its upper side.
    pub top: f64,
    /// Of its right side.
    pub right: f64,
    /// Of its lower side.
    pub bottom: f64,
}

/// Edges are cut off here, far outside of all pictures.
const FAR: f64 = 1e9;

impl Edges {
    /// Those of a thing; `None` where its numbers make no box.
    pub fn of(thing: &Detection) -> Option<Self> {
        let [x, y, width, height] = [thing.x, thing.y, thing.width, thing.height].map(f64::from);
        Edges { left: x, top: y, right: x + width, bottom: y + height }.checked()
    }

    fn checked(self) -> Option<Self> {
        let Edges { left, top, right, bottom } = self;
        let [left, top, right, bottom] = [left, top, right, bottom].map(|edge| edge.clamp(-FAR, FAR));
        // False where one is NaN.
        (left < right && top < bottom).then_some(Edges { left, top, right, bottom })
    }

    /// Moved outwards on each side by this part of width and height.
    pub fn grown(self, margin: f64) -> Self {
        let (wide, high) = (self.width() * margin, self.height() * margin);
        Edges {
            left: self.left - wide,
            top: self.top - high,
            right: self.right + wide,
            bottom: self.bottom + high,
        }
    }

    /// What brings this box to the other.
    pub fn placement(&self, to: &Edges) -> Placement {
        let origin = Placement::moved(-self.left, -self.top);
        let scaled = origin.then(Placement::scaled(to.width() / self.width(), to.height() / self.height()));
        scaled.then(Placement::moved(to.left, to.top))
    }

    /// From the left edge to the right one.
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    /// From the upper edge to the lower one.
    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// All pixels of a picture that it touches; `None` where there are none.
    pub fn pixels(&self, picture: Size) -> Option<Rect> {
        let (wide, high) = (f64::from(picture.width), f64::from(picture.height));
        let (left, right) = (self.left.clamp(0.0, wide).floor(), self.right.clamp(0.0, wide).ceil());
        let (top, bottom) = (self.top.clamp(0.0, high).floor(), self.bottom.clamp(0.0, high).ceil());
        let area = Rect::new(left as i32, top as i32, (right - left) as i32, (bottom - top) as i32);
        (area.width > 0 && area.height > 0).then_some(area)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A thing of this name in this box.
    pub fn thing(label: &str, [x, y, width, height]: [f32; 4]) -> Detection {
        Detection { x, y, width, height, score: 1.0, label: label.into(), ..Detection::default() }
    }

    /// Boxes that are none, or reach far out of every picture.
    pub fn odd_boxes() -> Vec<[f32; 4]> {
        const ODD: [f32; 9] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -3.0e9, 0.0, 7.5, 3.0e9];
        let all = ODD.into_iter().flat_map(|a| ODD.into_iter().map(move |b| (a, b)));
        all.flat_map(|(a, b)| [[a, 2.0, b, 5.0], [1.0, a, 6.0, b], [a, b, a, b], [a, a, b, b]]).collect()
    }

    #[test]
    fn names_are_given_with_commas() {
        let labels = Labels::parse(" person,traffic light ,, person");
        assert_eq!(labels.names(), ["person", "traffic light"]);
        let nowhere = [0.0; 4];
        assert!(labels.wants(&thing("traffic light", nowhere)) && !labels.wants(&thing("light", nowhere)));
        assert!(Labels::parse(" , ").wants(&thing("", nowhere)));
    }

    #[test]
    fn pixels_that_are_touched_lie_in_the_picture() {
        let pixels = |of| Edges::of(&thing("", of))?.pixels(Size::new(40, 30));
        assert_eq!(pixels([1.5, 2.0, 3.0, 4.0]), Some(Rect::new(1, 2, 4, 4)));
        assert_eq!(pixels([-5.0, 28.0, 6.5, 900.0]), Some(Rect::new(0, 28, 2, 2)));
        assert_eq!(pixels([40.0, 0.0, 5.0, 5.0]), None);
        assert_eq!(pixels([4.0, 4.0, 0.0, 5.0]), None);
        assert_eq!(pixels([4.0, 4.0, -2.0, 5.0]), None);
        assert_eq!(pixels([-1.0, -1.0, f32::INFINITY, f32::MAX]), Some(Rect::new(0, 0, 40, 30)));
        for of in odd_boxes() {
            if let Some(area) = pixels(of) {
                assert!((area & Rect::new(0, 0, 40, 30)) == area, "{of:?}: {area:?}");
            }
        }
    }

    #[test]
    fn a_box_grows_on_all_sides() {
        let grown = Edges::of(&thing("", [10.0, 20.0, 4.0, 8.0])).unwrap().grown(0.5);
        assert_eq!(grown, Edges { left: 8.0, top: 16.0, right: 16.0, bottom: 32.0 });
    }
}
