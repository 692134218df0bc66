//! Where a thing is and how it moves: a Kalman filter of constant speed on a box.
//!
//! Middle and size are filtered apart: with noise that is independent in each of them, as in SORT (Bewley et al.,
//! 2016), the filter of all eight numbers falls into four of two numbers each, without any matrix.

use super::super::found::Edges;

/// Standard deviations of a place and of a speed, as parts of the box's longer side, as in Deep SORT (Wojke et al.,
/// 2017).
const PLACE: f64 = 1.0 / 20.0;
const SPEED: f64 = 1.0 / 160.0;
/// The shortest side that is reckoned with, in pixels.
const LEAST_SIDE: f64 = 1.0;

/// A box that moves.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    x: Axis,
    y: Axis,
    width: Axis,
    height: Axis,
}

/// A number that changes evenly, what is known of it, and how surely.
#[derive(Debug, Clone, Copy)]
struct Axis {
    at: f64,
    speed: f64,
    /// Variance of the place, covariance with the speed, variance of the speed.
    place_variance: f64,
    covariance: f64,
    speed_variance: f64,
}

impl Body {
    /// A box that was seen once, and may move anywhere.
    pub fn new(seen: &Edges) -> Self {
        let scale = seen.width().max(seen.height()).max(LEAST_SIDE);
        let [x, y, width, height] = numbers(seen).map(|at| Axis::new(at, scale));
        Body { x, y, width, height }
    }

    /// Where it should be a frame later.
    pub fn predict(&mut self) {
        let scale = self.scale();
        self.axes().into_iter().for_each(|axis| axis.predict(scale));
    }

    /// What was not seen goes on at its speed, but does not grow or shrink.
    pub fn keep_size(&mut self) {
        (self.width.speed, self.height.speed) = (0.0, 0.0);
    }

    /// Takes in where it was seen.
    pub fn correct(&mut self, seen: &Edges) {
        let scale = self.scale();
        let seen = numbers(seen);
        self.axes().into_iter().zip(seen).for_each(|(axis, seen)| axis.correct(seen, scale));
    }

    /// The box.
    pub fn edges(&self) -> Edges {
        let (wide, high) = (self.width.at.max(LEAST_SIDE) / 2.0, self.height.at.max(LEAST_SIDE) / 2.0);
        let (x, y) = (self.x.at, self.y.at);
        Edges { left: x - wide, top: y - high, right: x + wide, bottom: y + high }
    }

    fn scale(&self) -> f64 {
        self.width.at.max(self.height.at).max(LEAST_SIDE)
    }

    fn axes(&mut self) -> [&mut Axis; 4] {
        [&mut self.x, &mut self.y, &mut self.width, &mut self.height]
    }
}

/// Middle and size.
fn numbers(edges: &Edges) -> [f64; 4] {
    let Edges { left, top, right, bottom } = *edges;
    [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
}

fn square(number: f64) -> f64 {
    number * number
}

impl Axis {
    fn new(at: f64, scale: f64) -> Self {
        Axis {
            at,
            speed: 0.0,
            place_variance: square(2.0 * PLACE * scale),
            covariance: 0.0,
            speed_variance: square(10.0 * SPEED * scale),
        }
    }

    fn predict(&mut self, scale: f64) {
        self.at += self.speed;
        self.place_variance += 2.0 * self.covariance + self.speed_variance + square(PLACE * scale);
        self.covariance += self.speed_variance;
        self.speed_variance += square(SPEED * scale);
    }

    fn correct(&mut self, seen: f64, scale: f64) {
        let sum = self.place_variance + square(PLACE * scale);
        let (place_gain, speed_gain) = (self.place_variance / sum, self.covariance / sum);
        let surprise = seen - self.at;
        self.at += place_gain * surprise;
        self.speed += speed_gain * surprise;
        self.speed_variance -= speed_gain * self.covariance;
        self.covariance *= 1.0 - place_gain;
        self.place_variance *= 1.0 - place_gain;
    }
}

/// The part that two boxes have in common of what they cover together: 0 to 1.
pub fn overlap(a: &Edges, b: &Edges) -> f64 {
    let wide = a.right.min(b.right) - a.left.max(b.left);
    let high = a.bottom.min(b.bottom) - a.top.max(b.top);
    if wide <= 0.0 || high <= 0.0 {
        return 0.0;
    }
    let common = wide * high;
    common / (a.width() * a.height() + b.width() * b.height() - common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, y: f64, side: f64) -> Edges {
        Edges { left: x, top: y, right: x + side, bottom: y + side }
    }

    #[test]
    fn what_moves_evenly_is_foretold() {
        let mut body = Body::new(&at(0.0, 50.0, 40.0));
        for frame in 1..40 {
            body.predict();
            body.correct(&at(5.0 * f64::from(frame), 50.0 - f64::from(frame), 40.0));
        }
        for frame in 40..50 {
            body.predict();
            let there = at(5.0 * f64::from(frame), 50.0 - f64::from(frame), 40.0);
            assert!(overlap(&body.edges(), &there) > 0.9, "frame {frame}: {:?}", body.edges());
        }
    }

    #[test]
    fn noise_is_smoothed() {
        let mut body = Body::new(&at(100.0, 100.0, 50.0));
        let mut worst: f64 = 0.0;
        for frame in 0..100 {
            body.predict();
            let noise = if frame % 2 == 0 { 3.0 } else { -3.0 };
            body.correct(&at(100.0 + noise, 100.0 - noise, 50.0));
            if frame > 20 {
                worst = worst.max((body.edges().left - 100.0).abs());
            }
        }
        assert!(worst < 1.8, "{worst} of the noise's 3 pixels are left");
    }

    #[test]
    fn a_box_that_shrinks_away_is_still_one() {
        let mut body = Body::new(&at(0.0, 0.0, 100.0));
        for side in [60.0, 30.0, 10.0, 1.0] {
            body.predict();
            body.correct(&at(0.0, 0.0, side));
        }
        (0..100).for_each(|_| body.predict());
        assert!(body.edges().width() >= LEAST_SIDE && body.edges().height() >= LEAST_SIDE);
    }

    #[test]
    fn overlap_is_the_common_part() {
        assert_eq!(overlap(&at(0.0, 0.0, 2.0), &at(0.0, 0.0, 2.0)), 1.0);
        assert_eq!(overlap(&at(0.0, 0.0, 2.0), &at(1.0, 0.0, 2.0)), 2.0 / 6.0);
        assert_eq!(overlap(&at(0.0, 0.0, 2.0), &at(2.0, 0.0, 2.0)), 0.0);
    }
}
