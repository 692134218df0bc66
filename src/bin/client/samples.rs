//! Small copies of evenly spaced frames, before and after, for the contact sheet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use opencv::core::{Mat, Rect, Size};
use opencv::imgproc::{self, INTER_AREA};
use opencv::prelude::*;

use crate::picture::{PictureError, bgr, fit};

/// The largest copy that is kept.
const THUMBNAIL: Size = Size { width: 480, height: 480 };
/// Candidates for each picture of the sheet, so that the chosen ones are even.
const SPARE: usize = 8;

/// One frame of the sheet.
#[derive(Debug)]
pub struct Sample {
    pub sequence: u64,
    pub timestamp_us: i64,
    pub before: Mat,
    pub after: Mat,
}

/// Since nobody knows how long a live source goes on, every frame is a candidate at first; whenever there
/// are too many, every other one is let go and half as many are taken from there on.
#[derive(Debug)]
pub struct Samples {
    wanted: usize,
    candidates: Mutex<Candidates>,
}

#[derive(Debug)]
struct Candidates {
    stride: u64,
    kept: BTreeMap<u64, Candidate>,
}

#[derive(Debug)]
struct Candidate {
    timestamp_us: i64,
    before: Mat,
    after: Option<Mat>,
}

impl Samples {
    pub fn new(wanted: usize) -> Samples {
        let candidates = Mutex::new(Candidates { stride: 1, kept: BTreeMap::new() });
        Samples { wanted, candidates }
    }

    /// Whether the frame of that number is a candidate.
    pub fn wants(&self, sequence: u64) -> bool {
        sequence.is_multiple_of(self.lock().stride)
    }

    pub fn before(&self, sequence: u64, timestamp_us: i64, picture: &Mat) -> Result<(), PictureError> {
        let before = thumbnail(picture)?;
        let mut candidates = self.lock();
        candidates.kept.insert(sequence, Candidate { timestamp_us, before, after: None });
        if candidates.kept.len() > self.wanted * SPARE {
            candidates.stride *= 2;
            let stride = candidates.stride;
            candidates.kept.retain(|sequence, _| sequence.is_multiple_of(stride));
        }
        Ok(())
    }

    pub fn after(&self, sequence: u64, picture: &Mat) -> Result<(), PictureError> {
        let after = thumbnail(picture)?;
        if let Some(candidate) = self.lock().kept.get_mut(&sequence) {
            candidate.after = Some(after);
        }
        Ok(())
    }

    /// The frames for the sheet, evenly spaced among those that came back.
    pub fn chosen(&self) -> Vec<Sample> {
        let kept = std::mem::take(&mut self.lock().kept);
        let mut complete: Vec<Option<Sample>> = kept
            .into_iter()
            .filter_map(|(sequence, Candidate { timestamp_us, before, after })| {
                after.map(|after| Some(Sample { sequence, timestamp_us, before, after }))
            })
            .collect();
        let chosen = spread(complete.len(), self.wanted);
        chosen.into_iter().filter_map(|index| complete[index].take()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Candidates> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `wanted` indices in the middle of equal parts of `count`.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(count);
    (0..wanted).map(|part| (2 * part + 1) * count / (2 * wanted)).collect()
}

fn thumbnail(picture: &Mat) -> Result<Mat, PictureError> {
    let size = picture.size()?;
    let place: Rect = fit(size, THUMBNAIL);
    let mut small = Mat::default();
    if place.width >= size.width {
        picture.copy_to(&mut small)?;
    } else {
        imgproc::resize(picture, &mut small, place.size(), 0.0, 0.0, INTER_AREA)?;
    }
    bgr(&small)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC1, Scalar};

    #[test]
    fn few_are_kept_of_many_and_they_are_even() {
        let samples = Samples::new(6);
        let picture = Mat::new_rows_cols_with_default(8, 8, CV_8UC1, Scalar::all(7.0)).unwrap();
        for sequence in 0..1000 {
            if samples.wants(sequence) {
                samples.before(sequence, sequence as i64, &picture).unwrap();
                samples.after(sequence, &picture).unwrap();
                assert!(samples.lock().kept.len() <= 6 * SPARE);
            }
        }
        let chosen: Vec<u64> = samples.chosen().iter().map(|sample| sample.sequence).collect();
        assert_eq!(chosen.len(), 6);
        let gaps: Vec<u64> = chosen.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (140..=190).contains(gap)), "{chosen:?}");
    }

    #[test]
    fn frames_without_a_reply_are_left_out() {
        let samples = Samples::new(4);
        let picture = Mat::new_rows_cols_with_default(8, 8, CV_8UC1, Scalar::all(7.0)).unwrap();
        for sequence in 0..5 {
            samples.before(sequence, 0, &picture).unwrap();
        }
        samples.after(2, &picture).unwrap();
        assert_eq!(samples.chosen().iter().map(|sample| sample.sequence).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn spread_takes_middles() {
        assert_eq!(spread(12, 3), [2, 6, 10]);
        assert_eq!(spread(2, 6), [0, 1]);
        assert!(spread(0, 6).is_empty());
    }
}
