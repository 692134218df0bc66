//! Where a picture may have QR codes: their finder patterns, the squares in three of their corners.

use opencv::core::{CV_32S, Mat};
use opencv::imgproc;
use opencv::prelude::*;

/// Patterns that are looked at, three for each code.
const MAX_PATTERNS: usize = 96;

/// The connected black regions of a picture, and those that are finder patterns. Region 0 is what is white.
#[derive(Default)]
pub struct Regions {
    labels: Mat,
    stats: Mat,
    centers: Mat,
    seen: Vec<bool>,
    patterns: Vec<Pattern>,
}

/// A black ring around a black stone.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// Its middle, in pixels.
    pub x: f32,
    /// Its middle, in pixels.
    pub y: f32,
    /// Side of a module, in pixels.
    pub module: f32,
}

impl Regions {
    /// Finds the finder patterns of a picture, whose black is not 0 here: at most 96, the largest.
    pub fn patterns(&mut self, black: &Mat) -> opencv::Result<&[Pattern]> {
        let count = imgproc::connected_components_with_stats(
            black,
            &mut self.labels,
            &mut self.stats,
            &mut self.centers,
            4,
            CV_32S,
        )?;
        self.patterns.clear();
        self.seen.clear();
        self.seen.resize(count.unsigned_abs() as usize, false);
        for y in 0..self.labels.rows() {
            let row = self.labels.at_row::<i32>(y)?;
            let mut runs = Runs::default();
            // White after the end closes a pattern at the picture's edge.
            for label in row.iter().copied().chain([0]) {
                let Some((ring, stone)) = runs.add(label) else { continue };
                if self.seen[ring as usize] {
                    continue;
                }
                if let Some(pattern) = self.pattern(ring, stone)? {
                    self.seen[ring as usize] = true;
                    self.patterns.push(pattern);
                }
            }
        }
        if self.patterns.len() > MAX_PATTERNS {
            self.patterns.sort_by(|a, b| b.module.total_cmp(&a.module));
            self.patterns.truncate(MAX_PATTERNS);
        }
        Ok(&self.patterns)
    }

    /// A finder pattern, if the two regions look like one: the stone has nine modules and is in the middle of
    /// the ring, which has 24 and is seven wide.
    fn pattern(&self, ring: i32, stone: i32) -> opencv::Result<Option<Pattern>> {
        let stats = |label: i32| self.stats.at_row::<i32>(label);
        let (outer, inner) = (stats(ring)?, stats(stone)?);
        let (width, height) = (outer[2], outer[3]);
        let (from, to) = (self.centers.at_row::<f64>(ring)?, self.centers.at_row::<f64>(stone)?);
        let centered = |axis: usize, side: i32| (from[axis] - to[axis]).abs() <= 0.2 * f64::from(side);
        let three_sevenths = |inner: i32, outer: i32| (20..=70).contains(&(100 * inner / outer));
        let (ring, stone) = (f64::from(outer[4]), f64::from(inner[4]));
        let sound = (0.1..=0.7).contains(&(stone / ring))
            && width <= 4 * height
            && height <= 4 * width
            && centered(0, width)
            && centered(1, height)
            && three_sevenths(inner[2], width)
            && three_sevenths(inner[3], height);
        let module = ((ring + stone) / 33.0).sqrt() as f32;
        Ok(sound.then_some(Pattern { x: to[0] as f32, y: to[1] as f32, module }))
    }
}

/// The last runs of equal labels in a row.
#[derive(Default)]
struct Runs {
    last: [Run; 6],
}

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    label: i32,
    length: i32,
}

impl Runs {
    /// Adds a pixel. When it ends five runs of lengths about 1:1:3:1:1, black and white in turn, of which the
    /// first and the last are one region and the middle another, it returns these two.
    fn add(&mut self, label: i32) -> Option<(i32, i32)> {
        if self.last[5].label == label {
            self.last[5].length += 1;
            return None;
        }
        self.last.rotate_left(1);
        self.last[5] = Run { label, length: 1 };
        let [left, gap, stone, other_gap, right, _] = self.last;
        let regions = left.label == right.label && stone.label != left.label;
        if !regions || left.label == 0 || stone.label == 0 || gap.label != 0 || other_gap.label != 0 {
            return None;
        }
        let module = (left.length + gap.length + other_gap.length + right.length) / 4;
        let slack = module * 3 / 4 + 1;
        let near = |run: Run, modules: i32| (run.length - modules * module).abs() <= slack;
        (near(left, 1) && near(gap, 1) && near(stone, 3) && near(other_gap, 1) && near(right, 1))
            .then_some((left.label, stone.label))
    }
}
