//! From the values of a grid over a prepared picture to those of each pixel of the picture that was sent.

use std::ops::Range;

use crate::frame::Size;
use crate::tensor::image::Geometry;

/// Where each pixel of a picture lies in a grid that covers the whole prepared one.
pub struct Enlargement {
    picture: Size,
    /// Columns of the grid.
    wide: usize,
    across: Axis,
    down: Axis,
}

/// One direction of it.
struct Axis {
    /// The pixels that the prepared picture has something of: all of them, but where it was cropped.
    covered: Range<usize>,
    /// For each of these, where it lies.
    places: Vec<Place>,
}

/// Between two columns or rows of the grid, which may be the same at its edges.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    next: usize,
    /// What the second one counts, of 1.
    share: f32,
}

/// A row of the grid, enlarged across.
struct Line {
    /// Which one; `None` before there is any.
    row: Option<usize>,
    values: Vec<f32>,
}

impl Enlargement {
    /// For a grid of this size, which has at least one value.
    pub fn new(geometry: &Geometry, grid: Size) -> Self {
        let (picture, prepared) = (geometry.picture(), geometry.prepared());
        let across =
            Axis::new([picture.width, prepared.width, grid.width], |at| geometry.to_prepared([at, 0.0])[0]);
        let down = Axis::new([picture.height, prepared.height, grid.height], |at| {
            geometry.to_prepared([0.0, at])[1]
        });
        Enlargement { picture, wide: grid.width as usize, across, down }
    }

    /// Hands on each row of the picture as far as it is covered, with the number of its first pixel. Values between
    /// those of the grid are interpolated.
    pub fn between(&self, grid: &[f32], mut then: impl FnMut(usize, &[f32])) {
        let length = self.across.places.len();
        let mut lines = [0; 2].map(|_| Line { row: None, values: vec![0.0; length] });
        let mut row = vec![0.0; length];
        for (y, place) in self.down.covered.clone().zip(&self.down.places) {
            if lines[1].row == Some(place.first) {
                lines.swap(0, 1);
            }
            let [above, below] = &mut lines;
            self.enlarge(grid, place.first, above);
            self.enlarge(grid, place.next, below);
            for ((value, above), below) in row.iter_mut().zip(&above.values).zip(&below.values) {
                *value = above + (below - above) * place.share;
            }
            then(self.first_of(y), &row);
        }
    }

    /// Hands on each row of the picture as far as it is covered, with the number of its first pixel: for each pixel
    /// the number of the nearest value of the grid.
    pub fn nearest(&self, mut then: impl FnMut(usize, &[usize])) {
        let mut row = vec![0; self.across.places.len()];
        for (y, down) in self.down.covered.clone().zip(&self.down.places) {
            for (number, across) in row.iter_mut().zip(&self.across.places) {
                *number = down.nearest() * self.wide + across.nearest();
            }
            then(self.first_of(y), &row);
        }
    }

    fn first_of(&self, row: usize) -> usize {
        row * self.picture.width as usize + self.across.covered.start
    }

    fn enlarge(&self, grid: &[f32], row: usize, line: &mut Line) {
        if line.row == Some(row) {
            return;
        }
        let from = &grid[row * self.wide..(row + 1) * self.wide];
        for (value, place) in line.values.iter_mut().zip(&self.across.places) {
            let (first, next) = (from[place.first], from[place.next]);
            *value = first + (next - first) * place.share;
        }
        line.row = Some(row);
    }
}

impl Axis {
    /// `back` is the way from a place in the picture to that in the prepared one.
    fn new([picture, prepared, grid]: [u32; 3], back: impl Fn(f32) -> f32) -> Self {
        let end = prepared as f32;
        // Pixels count by where their middle is.
        let at = |pixel: u32| back(pixel as f32 + 0.5);
        let start = (0..picture).find(|pixel| at(*pixel) >= 0.0).unwrap_or(picture);
        let beyond = (start..picture).find(|pixel| at(*pixel) > end).unwrap_or(picture);
        let last = grid.saturating_sub(1) as f32;
        let place = |pixel: u32| {
            let at = (at(pixel) / end * grid as f32 - 0.5).max(0.0).min(last);
            let first = at.floor();
            Place { first: first as usize, next: (first + 1.0).min(last) as usize, share: at - first }
        };
        Axis { covered: start as usize..beyond as usize, places: (start..beyond).map(place).collect() }
    }
}

impl Place {
    fn nearest(self) -> usize {
        if self.share < 0.5 { self.first } else { self.next }
    }
}
