//! Two things measured in turns, and what is said of them.

use std::fmt;

use crate::Result;

/// Measurements of two things, pair by pair.
#[derive(Debug, Default)]
pub struct Pairs {
    ours: Vec<Sample>,
    theirs: Vec<Sample>,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What is compared.
    pub value: f64,
    /// Processor time of the server or the loop, in seconds a frame: what else the machine does changes it little.
    pub cpu: f64,
}

/// The middle of some numbers, and between what they lie.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Pairs {
    /// Measures in turns, so that what else goes on in the machine meets both, and every other time the other way
    /// round, so that what changes slowly favors neither.
    pub fn measure(
        count: usize,
        mut ours: impl FnMut() -> Result<Sample>,
        mut theirs: impl FnMut() -> Result<Sample>,
    ) -> Result<Self> {
        let mut pairs = Pairs::default();
        for pair in 0..count {
            if pair % 2 == 0 {
                pairs.ours.push(ours()?);
                pairs.theirs.push(theirs()?);
            } else {
                pairs.theirs.push(theirs()?);
                pairs.ours.push(ours()?);
            }
        }
        Ok(pairs)
    }

    /// Ours over theirs, pair by pair.
    pub fn ratios(&self) -> Vec<f64> {
        self.both(|ours, theirs| ours / theirs)
    }

    /// Ours less theirs, pair by pair.
    pub fn differences(&self) -> Vec<f64> {
        self.both(|ours, theirs| ours - theirs)
    }

    /// The medians of what is compared: ours, theirs.
    pub fn values(&self) -> [f64; 2] {
        self.medians(|sample| sample.value)
    }

    /// The medians of the processor time of a frame, as a table can have it: ours, theirs, and theirs over ours.
    pub fn cpu(&self) -> String {
        let [ours, theirs] = self.medians(|sample| sample.cpu * 1e3);
        format!("{ours:.2} / {theirs:.2} ({:.2})", theirs / ours)
    }

    fn medians(&self, part: impl Fn(&Sample) -> f64) -> [f64; 2] {
        [&self.ours, &self.theirs].map(|samples| median(&samples.iter().map(&part).collect::<Vec<_>>()))
    }

    fn both(&self, of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| of(ours.value, theirs.value)).collect()
    }
}

impl Spread {
    pub fn of(values: &[f64]) -> Self {
        Spread { median: quantile(values, 0.5), min: quantile(values, 0.0), max: quantile(values, 1.0) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Spread { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// The value below which a part of all values lies, 0 for the smallest and 1 for the largest; between two where
/// it falls between two.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = part * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// For each pair, the geometric mean of what the rows have there.
pub fn geometric_means(rows: &[Vec<f64>]) -> Vec<f64> {
    let pairs = rows.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |pair: usize| {
        let logarithms: f64 = rows.iter().map(|row| row[pair].ln()).sum();
        (logarithms / rows.len() as f64).exp()
    };
    (0..pairs).map(mean).collect()
}
