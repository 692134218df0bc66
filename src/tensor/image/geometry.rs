//! Where a place in a prepared picture lies in the picture as it was sent.

use opencv::core::Rect;

use crate::frame::Size;

/// The way from the coordinates of a prepared picture back to those of the picture as sent. Both count pixels
/// from the upper left corner of the first one, so that a pixel spans the range from its number to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    picture: Size,
    prepared: Size,
    x: Axis,
    y: Axis,
}

/// One direction of it: `sent = prepared * scale + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    scale: f64,
    offset: f64,
}

/// What was done to a decoded picture, in the order in which it was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// The picture as sent.
    pub picture: Size,
    /// Pixels of it, across and down, that became one when it was decoded.
    pub reduced: f64,
    /// The part of that which is shown.
    pub shown: Rect,
    /// How much of a picture that is: of a reduced one, the last pixels may stand for parts of one.
    pub extent: [f64; 2],
    /// The size that this part was scaled to.
    pub scaled: Size,
    /// Where in the frame around it the scaled picture begins.
    pub inset: [i32; 2],
    /// The size of that frame.
    pub around: Size,
    /// Where in the frame the prepared picture begins.
    pub cut: [i32; 2],
    /// The prepared picture.
    pub prepared: Size,
}

impl Geometry {
    /// That of a picture that was taken as it is.
    pub fn identity(size: Size) -> Self {
        let axis = Axis { scale: 1.0, offset: 0.0 };
        Geometry { picture: size, prepared: size, x: axis, y: axis }
    }

    pub(super) fn new(steps: &Steps) -> Self {
        let Steps { picture, reduced, shown, extent: [wide, high], scaled, inset, cut, prepared, .. } =
            *steps;
        let axis = |first: i32, extent: f64, scaled: u32, at: i32| {
            let scale = extent / f64::from(scaled) * reduced;
            Axis { scale, offset: f64::from(first) * reduced - f64::from(at) * scale }
        };
        let x = axis(shown.x, wide, scaled.width, inset[0] - cut[0]);
        let y = axis(shown.y, high, scaled.height, inset[1] - cut[1]);
        Geometry { picture, prepared, x, y }
    }

    /// Size of the picture as it was sent.
    pub fn picture(&self) -> Size {
        self.picture
    }

    /// Size of the prepared picture.
    pub fn prepared(&self) -> Size {
        self.prepared
    }

    /// From a place in the prepared picture to that in the one that was sent, which may lie outside of it.
    pub fn to_picture(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.x.forth(x), self.y.forth(y)]
    }

    /// From a place in the picture that was sent to that in the prepared one, which may lie outside of it.
    pub fn to_prepared(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.x.back(x), self.y.back(y)]
    }
}

impl Axis {
    fn forth(self, at: f32) -> f32 {
        (f64::from(at) * self.scale + self.offset) as f32
    }

    fn back(self, at: f32) -> f32 {
        ((f64::from(at) - self.offset) / self.scale) as f32
    }
}

/// How many pixels of a picture, across and down, became one when it was decoded. The decoder knows 1, 2, 4 and
/// 8, and rounds sizes up: the last pixel may stand for fewer, which is why this is not just the quotient.
pub(super) fn reduction(picture: Size, decoded: Size) -> Option<u32> {
    let reduced = |by: &u32| Size::new(picture.width.div_ceil(*by), picture.height.div_ceil(*by));
    [1, 2, 4, 8].into_iter().find(|by| reduced(by) == decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reduction_is_found_in_sizes_that_were_rounded_up() {
        for side in 17..3000_u32 {
            for factor in [1, 2, 4, 8_u32] {
                let decoded = Size::new(side.div_ceil(factor), 3);
                let picture = Size::new(side, 3 * factor - factor / 2);
                assert_eq!(reduction(picture, decoded), Some(factor), "{side}");
            }
        }
        assert_eq!(reduction(Size::new(640, 480), Size::new(640, 240)), None);
    }

    #[test]
    fn there_and_back_is_where_it_was() {
        let geometry = Geometry::new(&Steps {
            picture: Size::new(1280, 720),
            reduced: 2.0,
            shown: Rect::new(20, 0, 600, 360),
            extent: [600.0, 360.0],
            scaled: Size::new(300, 180),
            inset: [10, 0],
            around: Size::new(320, 180),
            cut: [0, 30],
            prepared: Size::new(320, 120),
        });
        // The first pixel of what is shown is at 20 of the reduced picture, which is 40 of the one sent.
        assert_eq!(geometry.to_picture([10.0, -30.0]), [40.0, 0.0]);
        assert_eq!(geometry.to_picture([310.0, 150.0]), [1240.0, 720.0]);
        for place in [[0.0, 0.0], [17.5, 300.25], [1279.0, 719.0]] {
            let [x, y] = geometry.to_picture(geometry.to_prepared(place));
            assert!((x - place[0]).abs() < 1e-3 && (y - place[1]).abs() < 1e-3);
        }
    }
}
