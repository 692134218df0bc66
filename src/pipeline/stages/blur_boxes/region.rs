//! Shapes as the pixels of a picture's rows that lie in any of them.

use std::ops::Range;

use super::super::found::Edges;
use crate::frame::Size;

/// What of a box is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outline {
    /// All of it.
    Box,
    /// The ellipse in it.
    Ellipse,
}

/// A shape whose pixels are all that it touches.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The box.
    pub edges: Edges,
    /// What of it.
    pub outline: Outline,
}

impl Shape {
    /// Its columns in this row.
    fn columns(&self, row: u32, width: u32) -> Option<Range<usize>> {
        let Edges { left, top, right, bottom } = self.edges;
        let (above, below) = (f64::from(row), f64::from(row) + 1.0);
        if below <= top || above >= bottom {
            return None;
        }
        let (middle, half) = ((left + right) / 2.0, (right - left) / 2.0);
        let half = match self.outline {
            Outline::Box => half,
            Outline::Ellipse => {
                // Where the row comes nearest to the middle, and so the ellipse is widest.
                let center = (top + bottom) / 2.0;
                let off = (center.clamp(above, below) - center) / ((bottom - top) / 2.0);
                half * (1.0 - off * off).max(0.0).sqrt()
            }
        };
        let wide = f64::from(width);
        let begin = (middle - half).floor().clamp(0.0, wide) as usize;
        let end = (middle + half).ceil().clamp(0.0, wide) as usize;
        (begin < end).then_some(begin..end)
    }
}

/// Gives each row's pixels that lie in any of the shapes, each pixel once, from the top down. However many shapes
/// lie over each other, no more is to be done than for the whole picture.
pub fn each_span(shapes: &[Shape], picture: Size, mut take: impl FnMut(u32, Range<usize>)) {
    let top = shapes.iter().map(|shape| shape.edges.top).fold(f64::INFINITY, f64::min);
    let bottom = shapes.iter().map(|shape| shape.edges.bottom).fold(f64::NEG_INFINITY, f64::max);
    let high = f64::from(picture.height);
    let rows = top.clamp(0.0, high).floor() as u32..bottom.clamp(0.0, high).ceil() as u32;
    let mut spans: Vec<Range<usize>> = Vec::new();
    for row in rows {
        spans.clear();
        spans.extend(shapes.iter().filter_map(|shape| shape.columns(row, picture.width)));
        spans.sort_unstable_by_key(|span| span.start);
        let mut next = 0;
        for span in &spans {
            let begin = span.start.max(next);
            if begin < span.end {
                take(row, begin..span.end);
                next = span.end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PICTURE: Size = Size::new(24, 18);

    fn marked(shapes: &[Shape]) -> Vec<u8> {
        let mut counts = vec![0; (PICTURE.width * PICTURE.height) as usize];
        each_span(shapes, PICTURE, |row, span| {
            let begin = (row * PICTURE.width) as usize;
            counts[begin..][span].iter_mut().for_each(|count| *count += 1);
        });
        counts
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        let outline = prop_oneof![Just(Outline::Box), Just(Outline::Ellipse)];
        (-9.0..30.0, -9.0..30.0, 0.01..30.0, 0.01..30.0, outline).prop_map(
            |(left, top, wide, high, outline)| Shape {
                edges: Edges { left, top, right: left + wide, bottom: top + high },
                outline,
            },
        )
    }

    proptest! {
        #[test]
        fn each_pixel_in_a_shape_is_given_once(shapes in prop::collection::vec(any_shape(), 0..12)) {
            let marked = marked(&shapes);
            for (at, count) in marked.iter().enumerate() {
                // A pixel whose middle is inside of a shape must be there, and one that no box touches must not.
                let (x, y) = ((at % 24) as f64 + 0.5, (at / 24) as f64 + 0.5);
                let inside = |shape: &Shape| {
                    let Edges { left, top, right, bottom } = shape.edges;
                    let across = (2.0 * x - left - right) / (right - left);
                    let down = (2.0 * y - top - bottom) / (bottom - top);
                    match shape.outline {
                        Outline::Box => across.abs() < 1.0 && down.abs() < 1.0,
                        Outline::Ellipse => across * across + down * down < 1.0,
                    }
                };
                let touches = |shape: &Shape| {
                    let Edges { left, top, right, bottom } = shape.edges;
                    left < x + 0.5 && right > x - 0.5 && top < y + 0.5 && bottom > y - 0.5
                };
                prop_assert!(*count <= 1);
                prop_assert!(*count == 1 || !shapes.iter().any(inside), "{at} is missing");
                prop_assert!(*count == 0 || shapes.iter().any(touches), "{at} lies in no shape");
            }
        }
    }
}
