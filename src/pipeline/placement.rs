//! Where a point of one picture comes to lie in the picture that is made of it.

use crate::frame::{Detection, Findings, Size};

/// An affine map between the planes of two pictures. A pixel is a square there, and the first one reaches from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    x: [f64; 3],
    y: [f64; 3],
}

impl Placement {
    /// A point comes to lie at `x[0] * its x + x[1] * its y + x[2]`, and the same with `y`.
    pub fn new(x: [f64; 3], y: [f64; 3]) -> Self {
        Placement { x, y }
    }

    /// Everything grows so many times, across and down.
    pub fn scaled(across: f64, down: f64) -> Self {
        Placement { x: [across, 0.0, 0.0], y: [0.0, down, 0.0] }
    }

    /// Everything moves by so many pixels, to the right and down.
    pub fn moved(right: f64, down: f64) -> Self {
        Placement { x: [1.0, 0.0, right], y: [0.0, 1.0, down] }
    }

    /// This one, and then the other.
    pub fn then(self, next: Placement) -> Self {
        let [origin_x, origin_y] = next.of([self.x[2], self.y[2]]);
        let row = |[a, b, _]: [f64; 3], origin| {
            [a * self.x[0] + b * self.y[0], a * self.x[1] + b * self.y[1], origin]
        };
        Placement { x: row(next.x, origin_x), y: row(next.y, origin_y) }
    }

    /// Moves what was found into the picture that was made, which has this size. Boxes stay upright, around what they
    /// were around, and are cut to the picture. What lies outside of it is left out, and so is what makes no box.
    pub fn place_all(&self, found: &mut Findings, picture: Size) {
        found.detections.retain_mut(|thing| self.place(thing, picture));
    }

    /// The same with one thing; says whether anything of it is left.
    pub fn place(&self, thing: &mut Detection, picture: Size) -> bool {
        let [left, top, width, height] = [thing.x, thing.y, thing.width, thing.height].map(f64::from);
        let (right, bottom) = (left + width, top + height);
        // False where one is NaN.
        if !(left < right && top < bottom) {
            return false;
        }
        let corners = [[left, top], [right, top], [left, bottom], [right, bottom]].map(|at| self.of(at));
        let (left, right) = span(corners.map(|[x, _]| x), picture.width);
        let (top, bottom) = span(corners.map(|[_, y]| y), picture.height);
        (thing.x, thing.y) = (left as f32, top as f32);
        (thing.width, thing.height) = ((right - left) as f32, (bottom - top) as f32);
        for at in thing.points.chunks_exact_mut(2) {
            let [x, y] = self.of([f64::from(at[0]), f64::from(at[1])]);
            (at[0], at[1]) = (x as f32, y as f32);
        }
        left < right && top < bottom
    }

    fn of(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        // What is multiplied by 0 is left out, since a number without end would make it NaN.
        let part = |factor: f64, number: f64| if factor == 0.0 { 0.0 } else { factor * number };
        let at = |[a, b, c]: [f64; 3]| part(a, x) + part(b, y) + c;
        [at(self.x), at(self.y)]
    }
}

/// From the least of these to the greatest, within a side of so many pixels.
fn span(numbers: [f64; 4], side: u32) -> (f64, f64) {
    let least = numbers.into_iter().fold(f64::INFINITY, f64::min);
    let most = numbers.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let within = |number: f64| number.clamp(0.0, f64::from(side));
    (within(least), within(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Size = Size { width: 100, height: 50 };

    fn thing(at: [f32; 4], points: &[f32]) -> Detection {
        let [x, y, width, height] = at;
        Detection { x, y, width, height, points: points.to_vec(), ..Detection::default() }
    }

    fn placed(placement: Placement, mut thing: Detection) -> Option<([f32; 4], Vec<f32>)> {
        let left = placement.place(&mut thing, PICTURE);
        left.then_some(([thing.x, thing.y, thing.width, thing.height], thing.points))
    }

    #[test]
    fn a_box_and_its_points_move_together() {
        let found = || thing([10.0, 20.0, 30.0, 10.0], &[10.0, 20.0, 25.0, 22.0]);
        let moved = placed(Placement::moved(5.0, -2.0), found());
        assert_eq!(moved, Some(([15.0, 18.0, 30.0, 10.0], vec![15.0, 18.0, 30.0, 20.0])));
        let scaled = placed(Placement::scaled(2.0, 0.5), found());
        assert_eq!(scaled, Some(([20.0, 10.0, 60.0, 5.0], vec![20.0, 10.0, 50.0, 11.0])));
        let quarter = Placement::new([0.0, -1.0, 50.0], [1.0, 0.0, 0.0]);
        assert_eq!(placed(quarter, found()), Some(([20.0, 10.0, 10.0, 30.0], vec![30.0, 10.0, 28.0, 25.0])));
    }

    #[test]
    fn one_after_the_other_is_one() {
        let (first, second) =
            (Placement::new([0.0, -1.0, 50.0], [1.0, 0.0, 3.0]), Placement::scaled(2.0, 0.5));
        let mut at = [7.0, 9.0];
        for placement in [first, second, Placement::moved(-4.0, 1.0)] {
            at = placement.of(at);
        }
        assert_eq!(first.then(second).then(Placement::moved(-4.0, 1.0)).of([7.0, 9.0]), at);
    }

    #[test]
    fn what_reaches_out_is_cut_and_what_is_outside_goes() {
        let stays = Placement::moved(0.0, 0.0);
        let at = |at: [f32; 4]| placed(stays, thing(at, &[])).map(|(at, _)| at);
        assert_eq!(at([-10.0, 40.0, 30.0, 30.0]), Some([0.0, 40.0, 20.0, 10.0]));
        assert_eq!(at([-1.0, -1.0, f32::INFINITY, f32::MAX]), Some([0.0, 0.0, 100.0, 50.0]));
        for outside in [[100.0, 0.0, 5.0, 5.0], [0.0, -5.0, 5.0, 5.0], [-9.0, 0.0, 9.0, 5.0]] {
            assert_eq!(at(outside), None);
        }
        for none in [[1.0, 1.0, f32::NAN, 5.0], [1.0, 1.0, 0.0, 5.0], [1.0, 1.0, 5.0, -5.0]] {
            assert_eq!(at(none), None);
        }
    }
}
