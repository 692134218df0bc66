//! The best of a tensor's scores: with their numbers and names, for people and for clients.

use std::cmp::Ordering;

use bytes::Bytes;

use super::values::{values_f64, values_i128};
use super::{Shape, Tensor};
use crate::error::Error;
use crate::frame::Label;

/// What scores become before they are shown. The tensor of the scores itself always stays as the model gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// They are shown as they are.
    #[default]
    None,
    /// Shares of one: `exp(x) / sum(exp(x))` over the row.
    Softmax,
    /// Each for itself: `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// How the best are found and shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ranking<'a> {
    /// How many of each row; no more than there are.
    pub best: usize,
    /// How many rows the first dimension counts. `None` where it counts none: all of the tensor is one row.
    pub rows: Option<usize>,
    /// What the scores become.
    pub activation: Activation,
    /// Names of the classes, as far as they have any.
    pub labels: &'a [String],
}

/// The best scores of every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// BYTES, `score:index` or `score:index:name`, the best first; of shape `[rows, best]`, or `[best]` where
    /// there are no rows. Scores that are no whole numbers have six decimals.
    pub tensor: Tensor,
    /// The same for each row; without names, classes are called by their numbers.
    pub labels: Vec<Vec<Label>>,
}

/// One score of a row.
struct Place<T> {
    index: usize,
    score: T,
}

/// Finds the best scores of each row of a tensor of numbers of any type. Of equal ones the first is the better;
/// those that are no numbers come last.
pub fn classify(scores: &Tensor, ranking: &Ranking<'_>) -> Result<Classification, Error> {
    let rows = ranking.rows.unwrap_or(1);
    if ranking.best == 0 {
        let range = "at least 1".into();
        return Err(Error::Range { what: "the number of classes", value: "0".into(), range });
    }
    if ranking.rows.is_some_and(|rows| scores.shape().dims().first() != Some(&rows)) {
        return Err(Error::Internal(format!("scores of shape {} have no {rows} rows", scores.shape())));
    }
    let whole = match ranking.activation {
        Activation::None => values_i128(scores)?,
        Activation::Softmax | Activation::Sigmoid => None,
    };
    let mut found = Found { elements: Vec::new(), labels: Vec::with_capacity(rows), names: ranking.labels };
    let classes = match whole {
        Some(values) => {
            let classes = values.len().checked_div(rows).unwrap_or(0);
            for row in values.chunks_exact(classes.max(1)) {
                found.add(best(row, ranking.best, i128::cmp), i128::to_string, |score| score as f32);
            }
            classes
        }
        None => {
            let mut values = values_f64(scores)?;
            let classes = values.len().checked_div(rows).unwrap_or(0);
            for row in values.chunks_exact_mut(classes.max(1)) {
                ranking.activation.apply(row);
                found.add(best(row, ranking.best, compare), decimals, |score| score as f32);
            }
            classes
        }
    };
    let best = ranking.best.min(classes);
    let dims = ranking.rows.into_iter().chain([best]).collect();
    Ok(Classification { tensor: Tensor::elements(Shape::new(dims), found.elements)?, labels: found.labels })
}

impl Activation {
    fn apply(self, row: &mut [f64]) {
        match self {
            Activation::None => {}
            Activation::Sigmoid => row.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Activation::Softmax => {
                // The largest becomes exp(0), so that none overflows. `max` passes over what is no number.
                let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter_mut().for_each(|x| *x = if *x == most { 1.0 } else { (*x - most).exp() });
                let sum: f64 = row.iter().filter(|x| !x.is_nan()).sum();
                row.iter_mut().for_each(|x| *x /= sum);
            }
        }
    }
}

/// What was found so far.
struct Found<'a> {
    elements: Vec<Bytes>,
    labels: Vec<Vec<Label>>,
    names: &'a [String],
}

impl Found<'_> {
    fn add<T: Copy>(
        &mut self,
        places: Vec<Place<T>>,
        text: impl Fn(&T) -> String,
        number: impl Fn(T) -> f32,
    ) {
        let mut row = Vec::with_capacity(places.len());
        for Place { index, score } in places {
            let (text, name) = (text(&score), self.names.get(index));
            self.elements.push(match name {
                Some(name) => Bytes::from(format!("{text}:{index}:{name}")),
                None => Bytes::from(format!("{text}:{index}")),
            });
            row.push(Label {
                name: name.cloned().unwrap_or_else(|| index.to_string()),
                score: number(score),
                class_id: u32::try_from(index).ok(),
                source: super::MODEL,
            });
        }
        self.labels.push(row);
    }
}

/// The best scores of a row, the very best first.
fn best<T: Copy>(row: &[T], count: usize, compare: impl Fn(&T, &T) -> Ordering) -> Vec<Place<T>> {
    let mut places: Vec<_> =
        row.iter().enumerate().map(|(index, score)| Place { index, score: *score }).collect();
    let order = |a: &Place<T>, b: &Place<T>| compare(&b.score, &a.score).then_with(|| a.index.cmp(&b.index));
    if count < places.len() {
        places.select_nth_unstable_by(count, order);
        places.truncate(count);
    }
    places.sort_unstable_by(order);
    places
}

/// What is no number is less than all numbers.
fn compare(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// As C's `%f` prints it.
fn decimals(score: &f64) -> String {
    if score.is_nan() { "nan".into() } else { format!("{score:.6}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::{Data, DataType};

    fn fp32(shape: &[usize], values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::raw(DataType::Fp32, Shape::new(shape.to_vec()), bytes.into()).unwrap()
    }

    fn texts(found: &Classification) -> Vec<String> {
        let Data::Elements(elements) = found.tensor.data() else { panic!("byte strings") };
        elements.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_best_of_each_row_with_names_as_far_as_there_are_any() {
        let scores = fp32(&[2, 3], &[0.1, 0.7, 0.2, 3.0, -1.5, 3.0]);
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let ranking = Ranking { best: 2, rows: Some(2), labels: &labels, ..Ranking::default() };
        let found = classify(&scores, &ranking).unwrap();
        assert_eq!(texts(&found), ["0.700000:1:dog", "0.200000:2", "3.000000:0:cat", "3.000000:2"]);
        assert_eq!(found.tensor.shape().dims(), [2, 2]);
        assert_eq!(found.labels[0][0].name, "dog");
        assert_eq!((found.labels[1][1].name.as_str(), found.labels[1][1].class_id), ("2", Some(2)));
    }

    #[test]
    fn no_more_than_there_are_and_one_row_where_none_are_counted() {
        let found =
            classify(&fp32(&[1, 3], &[1.0, f32::NAN, 2.0]), &Ranking { best: 9, ..Ranking::default() });
        let found = found.unwrap();
        assert_eq!(found.tensor.shape().dims(), [3]);
        assert_eq!(texts(&found), ["2.000000:2", "1.000000:0", "nan:1"]);
        let none = classify(&fp32(&[0, 3], &[]), &Ranking { best: 2, rows: Some(0), ..Ranking::default() });
        // No rows, and so no way to tell how many classes there are.
        assert_eq!(none.unwrap().tensor.shape().elements(), Some(0));
    }

    #[test]
    fn whole_numbers_are_printed_as_such_and_compared_exactly() {
        let bytes =
            [u64::MAX - 1, u64::MAX, 0].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let scores = Tensor::raw(DataType::Uint64, Shape::new(vec![3]), bytes.into()).unwrap();
        let found = classify(&scores, &Ranking { best: 2, ..Ranking::default() }).unwrap();
        assert_eq!(texts(&found), ["18446744073709551615:1", "18446744073709551614:0"]);
    }

    #[test]
    fn activations() {
        let scores = fp32(&[3], &[1000.0, 1001.0, f32::NEG_INFINITY]);
        let softmax = Ranking { best: 3, activation: Activation::Softmax, ..Ranking::default() };
        assert_eq!(texts(&classify(&scores, &softmax).unwrap()), ["0.731059:1", "0.268941:0", "0.000000:2"]);
        let sigmoid = Ranking { activation: Activation::Sigmoid, ..softmax };
        assert_eq!(
            texts(&classify(&fp32(&[2], &[0.0, 2.0]), &sigmoid).unwrap()),
            ["0.880797:1", "0.500000:0"]
        );
        let alike = classify(&fp32(&[2], &[f32::NEG_INFINITY; 2]), &softmax).unwrap();
        assert_eq!(texts(&alike), ["0.500000:0", "0.500000:1"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let scores = fp32(&[3], &[1.0, 2.0, 3.0]);
        let none = classify(&scores, &Ranking::default()).unwrap_err();
        assert_eq!(none.to_string(), "the number of classes 0 is out of range: at least 1");
        let words = Tensor::elements(Shape::new(vec![1]), vec![Bytes::from_static(b"x")]).unwrap();
        assert!(classify(&words, &Ranking { best: 1, ..Ranking::default() }).is_err());
        assert!(classify(&scores, &Ranking { best: 1, rows: Some(2), ..Ranking::default() }).is_err());
    }

    proptest! {
        #[test]
        fn the_best_are_the_first_of_all_in_order(
            scores in prop::collection::vec(prop_oneof![Just(f32::NAN), Just(0.5), -1.0..1.0_f32], 1..40),
            best in 1..50_usize,
        ) {
            let found = classify(&fp32(&[scores.len()], &scores), &Ranking { best, ..Ranking::default() }).unwrap();
            let mut all: Vec<usize> = (0..scores.len()).collect();
            let key = |index: &usize| if scores[*index].is_nan() { f32::NEG_INFINITY } else { scores[*index] };
            all.sort_by(|a, b| key(b).total_cmp(&key(a)));
            let indices: Vec<usize> =
                found.labels[0].iter().map(|label| label.class_id.unwrap() as usize).collect();
            prop_assert_eq!(&indices[..], &all[..best.min(scores.len())]);
        }
    }
}
