//! Of boxes that overlap, the one with the best score: greedy non-maximum suppression, class by class.

use std::collections::HashMap;

/// Something that may have been found.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Left, upper, right and lower edge: finite, and in that order.
    pub edges: [f32; 4],
    /// A number.
    pub score: f32,
    /// Number of the class.
    pub class: u32,
    /// Its place among all that the model gave.
    pub index: usize,
}

/// The best candidates, the very best first; of equal scores the one that the model gave first. Of a class, none
/// is kept that overlaps a better one by more than `most`; 1 keeps them all.
pub fn best(mut candidates: Vec<Candidate>, most: f32, max: usize) -> Vec<Candidate> {
    candidates.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.index.cmp(&b.index)));
    if most >= 1.0 {
        candidates.truncate(max);
        return candidates;
    }
    let mut kept: Vec<Candidate> = Vec::new();
    let mut of_class: HashMap<u32, Vec<[f32; 4]>> = HashMap::new();
    for candidate in candidates {
        if kept.len() == max {
            break;
        }
        let others = of_class.entry(candidate.class).or_default();
        if others.iter().all(|other| overlap(other, &candidate.edges) <= most) {
            others.push(candidate.edges);
            kept.push(candidate);
        }
    }
    kept
}

/// The area that two boxes share, as a part of that which they cover together.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: &[f32; 4]| (right - left) * (bottom - top);
    let wide = a[2].min(b[2]) - a[0].max(b[0]);
    let high = a[3].min(b[3]) - a[1].max(b[1]);
    if wide <= 0.0 || high <= 0.0 {
        return 0.0;
    }
    let shared = wide * high;
    let all = area(a) + area(b) - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(edges: [f32; 4], score: f32, class: u32, index: usize) -> Candidate {
        Candidate { edges, score, class, index }
    }

    #[test]
    fn the_better_of_two_that_overlap() {
        let boxes = [
            candidate([0.0, 0.0, 10.0, 10.0], 0.5, 0, 0),
            candidate([1.0, 0.0, 11.0, 10.0], 0.9, 0, 1),
            candidate([1.0, 0.0, 11.0, 10.0], 0.4, 1, 2),
            candidate([20.0, 0.0, 30.0, 10.0], 0.1, 0, 3),
        ];
        let order =
            |most, max| best(boxes.to_vec(), most, max).iter().map(|one| one.index).collect::<Vec<_>>();
        assert_eq!(order(0.45, 300), [1, 2, 3]);
        assert_eq!(order(0.9, 300), [1, 0, 2, 3]);
        assert_eq!(order(1.0, 2), [1, 0]);
        assert_eq!(order(0.45, 2), [1, 2]);
        assert_eq!(order(0.45, 0), [0; 0]);
    }

    #[test]
    fn boxes_without_area_and_boxes_beyond_all_bounds() {
        let huge = candidate([f32::MIN, f32::MIN, f32::MAX, f32::MAX], 0.5, 0, 0);
        let boxes = vec![huge.clone(), candidate([1.0; 4], 0.4, 0, 1), candidate([1.0; 4], 0.3, 0, 2)];
        assert_eq!(best(boxes, 0.5, 9).len(), 3);
    }

    /// As it stands in the books: take the best, strike out what overlaps it, again.
    fn naive(candidates: &[Candidate], most: f32, max: usize) -> Vec<Candidate> {
        let mut left = candidates.to_vec();
        let mut kept = Vec::new();
        while kept.len() < max {
            let Some(first) = left.first().cloned() else { break };
            let found = left
                .iter()
                .skip(1)
                .fold(first, |best, one| if one.score > best.score { one.clone() } else { best });
            left.retain(|one| {
                one.index != found.index
                    && (one.class != found.class || slow_overlap(&one.edges, &found.edges) <= most)
            });
            kept.push(found);
        }
        kept
    }

    fn slow_overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
        let shared = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let area = |e: &[f32; 4]| (e[2] - e[0]) * (e[3] - e[1]);
        if shared > 0.0 { shared / (area(b) + area(a) - shared) } else { 0.0 }
    }

    proptest! {
        #[test]
        fn the_same_as_the_naive_way(
            // Whole numbers, so that there are many equal ones and no doubt about the last bit.
            boxes in prop::collection::vec((0..20_u8, 0..20_u8, 0..12_u8, 0..12_u8, 0..6_u8, 0..3_u32), 0..60),
            most in prop::sample::select(vec![0.0_f32, 0.25, 0.45, 0.5, 0.9]),
            max in 0..40_usize,
        ) {
            let boxes: Vec<Candidate> = boxes
                .into_iter()
                .enumerate()
                .map(|(index, (x, y, w, h, score, class))| {
                    let (x, y) = (f32::from(x), f32::from(y));
                    let edges = [x, y, x + f32::from(w), y + f32::from(h)];
                    candidate(edges, f32::from(score) / 5.0, class, index)
                })
                .collect();
            prop_assert_eq!(best(boxes.clone(), most, max), naive(&boxes, most, max));
        }
    }
}
