//! From three finder patterns to the modules of a QR code, by ISO/IEC 18004.

use super::patterns::Pattern;

/// Samples of a gray picture.
#[derive(Clone, Copy)]
pub struct Luma<'a> {
    /// Rows without padding.
    pub samples: &'a [u8],
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A point of the picture, in pixels; whole numbers are the middles of pixels.
pub type Point = (f32, f32);

/// Three finder patterns that stand to each other as those of a code do.
#[derive(Debug, Clone, Copy)]
pub struct Corners {
    /// Their indices: the one between the two others first, then clockwise.
    pub patterns: [usize; 3],
    /// What is looked at later, having more of it: patterns that are far apart, or that do not stand as those
    /// of a code seen from above would.
    doubt: f32,
    middles: [Point; 3],
    /// Modules along a side of the code, as far as the patterns' size and distance tell.
    side: f32,
}

/// A code's place in the picture, and its modules.
pub struct Grid {
    /// Modules along a side.
    pub side: usize,
    /// Black modules, row by row.
    pub black: Vec<bool>,
    /// Its corners, clockwise.
    pub corners: [Point; 4],
}

/// All threes of patterns that may belong to a code, the likeliest first.
pub fn corners(patterns: &[Pattern]) -> Vec<Corners> {
    let mut found = Vec::new();
    for first in 0..patterns.len() {
        for second in 0..patterns.len() {
            for third in 0..patterns.len() {
                if first != second && first != third && second != third {
                    found.extend(Corners::new(patterns, [first, second, third]));
                }
            }
        }
    }
    found.sort_by(|a: &Corners, b| a.doubt.total_cmp(&b.doubt));
    found
}

impl Corners {
    /// `patterns` in the order of the field; `None` where they are no code's, or in another order.
    fn new(all: &[Pattern], patterns: [usize; 3]) -> Option<Self> {
        let [first, second, third] = patterns.map(|index| all[index]);
        let ratio = |a: f32, b: f32| a.max(b) / a.min(b);
        let sizes = ratio(first.module, second.module).max(ratio(first.module, third.module));
        let (right, down) =
            ((second.x - first.x, second.y - first.y), (third.x - first.x, third.y - first.y));
        let (wide, high) = (right.0.hypot(right.1), down.0.hypot(down.1));
        // Twice the area between them: positive where they go clockwise.
        let turn = right.0 * down.1 - right.1 * down.0;
        let slant = (right.0 * down.0 + right.1 * down.1).abs() / (wide * high);
        let module = (first.module + second.module + third.module) / 3.0;
        let side = (wide + high) / 2.0 / module + 7.0;
        if turn <= 0.0
            || sizes > 1.8
            || slant > 0.5
            || ratio(wide, high) > 1.8
            || !(18.0..200.0).contains(&side)
        {
            return None;
        }
        let doubt = side * (sizes + ratio(wide, high) - 1.0 + slant);
        let middles = [first, second, third].map(|pattern| (pattern.x, pattern.y));
        Some(Corners { patterns, doubt, middles, side })
    }

    /// The grids that fit the picture, the best first.
    pub fn grids(&self, luma: Luma<'_>) -> Vec<Grid> {
        let version = (self.side - 17.0) / 4.0;
        let slack = 1.0 + version * 0.1;
        let least = (version - slack).round().clamp(1.0, 40.0) as usize;
        let most = (version + slack).round().clamp(1.0, 40.0) as usize;
        let mut fits: Vec<_> = (least..=most).filter_map(|version| self.fit(luma, version)).collect();
        fits.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        fits.into_iter().map(|(_, fit)| fit.grid()).collect()
    }

    /// Fits the grid of a version, and says how well it fits; `None` where it does not.
    fn fit<'a>(&self, luma: Luma<'a>, version: usize) -> Option<(f32, Fit<'a>)> {
        let side = 4 * version + 17;
        let marks = Marks::new(version);
        let [first, second, third] = self.middles;
        let fourth = (second.0 + third.0 - first.0, second.1 + third.1 - first.1);
        let mut fit = Fit { luma, side, middles: [first, second, fourth, third] };
        // Seen aslant, the fourth corner is not where the three others put it. The shape of the finder patterns
        // and the timing between them tell about where, the alignment patterns just where.
        let module = self.step(side);
        fit.refine(&marks.all[..marks.finders], &[4.0 * module, 2.0 * module, module], &[2])?;
        if fit.score(marks.timing())? < 0.2 * fit.contrast(&marks)? {
            return None;
        }
        let outline = &marks.all[..marks.timing];
        fit.refine(outline, &[2.0 * module, module, module / 2.0], &[2])?;
        let from = fit.middles[2];
        let mut best = (fit.score(&marks.all)?, from);
        for (x, y) in (-4..=4).flat_map(|y: i8| (-4..=4).map(move |x: i8| (x, y))) {
            let at = (from.0 + f32::from(x) * module, from.1 + f32::from(y) * module);
            fit.middles[2] = at;
            best = fit.score(&marks.all).filter(|score| *score > best.0).map_or(best, |score| (score, at));
        }
        fit.middles[2] = best.1;
        let score = fit.refine(&marks.all, &[module / 2.0, module / 4.0, module / 8.0], &[2, 0, 1, 3])?;
        Some((score / marks.all.len() as f32, fit))
    }

    /// Mean side of a module of a code with so many.
    fn step(&self, side: usize) -> f32 {
        let [first, second, third] = self.middles;
        let length = |to: Point| (to.0 - first.0).hypot(to.1 - first.1);
        (length(second) + length(third)) / 2.0 / (side - 7) as f32
    }
}

/// A module of which a code's version says whether it is black.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    x: usize,
    y: usize,
    black: bool,
}

/// The modules of a version that are the same in all its codes: those of the finder patterns, then the timing
/// patterns between them, then the alignment patterns.
struct Marks {
    all: Vec<Mark>,
    /// Where those of the finder patterns end.
    finders: usize,
    /// Where those of the timing patterns end.
    timing: usize,
}

impl Marks {
    fn new(version: usize) -> Self {
        let side = 4 * version + 17;
        let mut all = Vec::new();
        for (x, y) in [(3, 3), (side - 4, 3), (3, side - 4)] {
            let pattern = rings((x, y), 4, &[true, true, false, true, false]);
            all.extend(pattern.filter(|mark| mark.x < side && mark.y < side));
        }
        let finders = all.len();
        for at in 8..side - 8 {
            let black = at % 2 == 0;
            all.extend([Mark { x: at, y: 6, black }, Mark { x: 6, y: at, black }]);
        }
        let timing = all.len();
        let middles = alignments(version);
        let last = side - 7;
        for (x, y) in middles.iter().flat_map(|&y| middles.iter().map(move |&x| (x, y))) {
            if ![(6, 6), (6, last), (last, 6)].contains(&(x, y)) {
                all.extend(rings((x, y), 2, &[true, false, true]));
            }
        }
        Marks { all, finders, timing }
    }

    fn timing(&self) -> &[Mark] {
        &self.all[self.finders..self.timing]
    }
}

/// The modules around a middle; `black` is the color of each ring, from the middle to the last, `reach`.
fn rings((x, y): (usize, usize), reach: isize, black: &[bool]) -> impl Iterator<Item = Mark> {
    (-reach..=reach).flat_map(move |dy| (-reach..=reach).map(move |dx| (dx, dy))).filter_map(
        move |(dx, dy)| {
            let ring = dx.unsigned_abs().max(dy.unsigned_abs());
            Some(Mark { x: x.checked_add_signed(dx)?, y: y.checked_add_signed(dy)?, black: black[ring] })
        },
    )
}

/// Where a version has the middles of its alignment patterns, in both directions: from the end in equal steps,
/// and one at 6. The steps are those of the standard's annex E.
fn alignments(version: usize) -> Vec<usize> {
    if version == 1 {
        return Vec::new();
    }
    let count = version / 7 + 2;
    let step = if version == 32 { 26 } else { (version * 4 + count * 2 + 1) / (count * 2 - 2) * 2 };
    let last = 4 * version + 10;
    std::iter::once(6).chain((0..count - 1).rev().map(|steps| last - steps * step)).collect()
}

/// A grid laid over the picture.
struct Fit<'a> {
    luma: Luma<'a>,
    side: usize,
    /// The middles of the three finder patterns, and where a fourth would be, clockwise.
    middles: [Point; 4],
}

impl Fit<'_> {
    /// How much brighter the white marks are than the black, summed up; `None` where the grid can't lie so.
    fn score(&self, marks: &[Mark]) -> Option<f32> {
        let view = Perspective::new(self.middles)?;
        let mut score = 0.0;
        for mark in marks {
            let sample = self.sample(&view, mark.x, mark.y);
            score += if mark.black { -sample } else { sample };
        }
        // As many white as black ones would cancel a picture's brightness out; there are a few more of one.
        let excess = marks.iter().map(|mark| if mark.black { -1.0 } else { 1.0 }).sum::<f32>();
        Some(score - excess * 128.0)
    }

    /// The score that the timing pattern has at best: as if its contrast were that of the finder patterns.
    fn contrast(&self, marks: &Marks) -> Option<f32> {
        let view = Perspective::new(self.middles)?;
        let [light, dark] = [(1, 1), (3, 3)].map(|(x, y)| self.sample(&view, x, y));
        Some((light - dark).max(1.0) / 2.0 * marks.timing().len() as f32)
    }

    /// Moves these middles by smaller and smaller steps, in pixels, as long as the grid fits better, and says
    /// how well it fits then.
    fn refine(&mut self, marks: &[Mark], steps: &[f32], moved: &[usize]) -> Option<f32> {
        let mut best = self.score(marks)?;
        for step in steps {
            for _ in 0..4 {
                let before = best;
                for corner in moved {
                    for (dx, dy) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
                        let old = self.middles[*corner];
                        self.middles[*corner] = (old.0 + dx * step, old.1 + dy * step);
                        match self.score(marks).filter(|score| *score > best) {
                            Some(score) => best = score,
                            None => self.middles[*corner] = old,
                        }
                    }
                }
                if best == before {
                    break;
                }
            }
        }
        Some(best)
    }

    /// Reads the modules: black is darker than the middle between the black and the white of the finder
    /// patterns around.
    fn grid(&self) -> Grid {
        let side = self.side;
        let view = Perspective::new(self.middles).unwrap_or(Perspective([0.0; 8]));
        let level = |x: usize, y: usize| {
            let mean = |marks: &mut dyn Iterator<Item = Mark>| {
                let (sum, count) = marks.fold((0.0, 0.0), |(sum, count), mark| {
                    (sum + self.sample(&view, mark.x, mark.y), count + 1.0)
                });
                sum / count
            };
            let ring = || rings((x, y), 3, &[true, true, false, true]);
            (mean(&mut ring().filter(|mark| mark.black)) + mean(&mut ring().filter(|mark| !mark.black))) / 2.0
        };
        let (here, right, below) = (level(3, 3), level(side - 4, 3), level(3, side - 4));
        let span = (side - 7) as f32;
        let is_black = |at: usize| {
            let (x, y) = (at % side, at / side);
            let (s, t) = ((x as f32 - 3.0) / span, (y as f32 - 3.0) / span);
            let threshold = here + (right - here) * s + (below - here) * t;
            self.sample(&view, x, y) < threshold
        };
        let end = side as f32;
        let corners = [(0.0, 0.0), (end, 0.0), (end, end), (0.0, end)].map(|(x, y)| self.place(&view, x, y));
        Grid { side, black: (0..side * side).map(is_black).collect(), corners }
    }

    /// The picture in the middle of a module.
    fn sample(&self, view: &Perspective, x: usize, y: usize) -> f32 {
        self.luma.at(self.place(view, x as f32 + 0.5, y as f32 + 0.5))
    }

    /// Where the picture has a point of the grid, which is counted in modules.
    fn place(&self, view: &Perspective, x: f32, y: f32) -> Point {
        let span = (self.side - 7) as f32;
        view.map((x - 3.5) / span, (y - 3.5) / span)
    }
}

impl Luma<'_> {
    /// The sample at a point, mixed from the four pixels around; outside, that of the nearest pixel.
    fn at(&self, (x, y): Point) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (s, t) = (x - left as f32, y - top as f32);
        let pixel = |x: usize, y: usize| f32::from(self.samples[y * self.width + x]);
        let upper = pixel(left, top) * (1.0 - s) + pixel(right, top) * s;
        let lower = pixel(left, below) * (1.0 - s) + pixel(right, below) * s;
        upper * (1.0 - t) + lower * t
    }
}

/// The perspective that takes the unit square to four points, clockwise from (0, 0): after Heckbert,
/// "Fundamentals of Texture Mapping and Image Warping" (1989), section 2.2.3.
struct Perspective([f32; 8]);

impl Perspective {
    /// `None` where the four points are no convex quadrilateral.
    fn new([p0, p1, p2, p3]: [Point; 4]) -> Option<Self> {
        let (dx1, dy1) = (p1.0 - p2.0, p1.1 - p2.1);
        let (dx2, dy2) = (p3.0 - p2.0, p3.1 - p2.1);
        let (sx, sy) = (p0.0 - p1.0 + p2.0 - p3.0, p0.1 - p1.1 + p2.1 - p3.1);
        let denominator = dx1 * dy2 - dx2 * dy1;
        let g = (sx * dy2 - dx2 * sy) / denominator;
        let h = (dx1 * sy - sx * dy1) / denominator;
        // The code reaches a little beyond the square; nothing of it may lie behind the horizon.
        let before_horizon =
            1.0 + 1.4 * g.min(0.0) + 1.4 * h.min(0.0) - 0.4 * (g.max(0.0) + h.max(0.0)) > 0.1;
        (denominator.abs() > f32::EPSILON && before_horizon).then_some(Perspective([
            p1.0 - p0.0 + g * p1.0,
            p3.0 - p0.0 + h * p3.0,
            p0.0,
            p1.1 - p0.1 + g * p1.1,
            p3.1 - p0.1 + h * p3.1,
            p0.1,
            g,
            h,
        ]))
    }

    fn map(&self, s: f32, t: f32) -> Point {
        let Perspective([a, b, c, d, e, f, g, h]) = self;
        let depth = g * s + h * t + 1.0;
        ((a * s + b * t + c) / depth, (d * s + e * t + f) / depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_patterns_are_those_of_annex_e() {
        assert!(alignments(1).is_empty());
        assert_eq!(alignments(2), [6, 18]);
        assert_eq!(alignments(7), [6, 22, 38]);
        assert_eq!(alignments(14), [6, 26, 46, 66]);
        assert_eq!(alignments(15), [6, 26, 48, 70]);
        assert_eq!(alignments(32), [6, 34, 60, 86, 112, 138]);
        assert_eq!(alignments(36), [6, 24, 50, 76, 102, 128, 154]);
        assert_eq!(alignments(40), [6, 30, 58, 86, 114, 142, 170]);
    }

    #[test]
    fn a_perspective_takes_the_square_to_its_corners() {
        let corners = [(10.0, 20.0), (110.0, 30.0), (100.0, 140.0), (5.0, 100.0)];
        let view = Perspective::new(corners).unwrap();
        for ((s, t), (x, y)) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(corners) {
            let at = view.map(s, t);
            assert!((at.0 - x).abs() < 1e-3 && (at.1 - y).abs() < 1e-3, "{at:?}");
        }
        assert!(Perspective::new([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]).is_none());
    }
}
