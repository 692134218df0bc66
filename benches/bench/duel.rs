//! Our server of models against something else: requests a second, and how soon the middle one is answered.

use std::cell::RefCell;
use std::fmt;

use crate::Result;
use crate::models::Answered;
use crate::pairs::{Pairs, Sample, Spread, median};
use crate::report::{Table, verdict};

/// What is compared, and what has to come of it.
pub struct Goal {
    pub against: String,
    pub callers: u32,
    /// Our rate over theirs, at least; `None` for information.
    pub ratio: Option<f64>,
    pub p50: P50,
}

/// Whether our p50 has to be below theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum P50 {
    Below,
    NoMatter,
}

/// Comparisons, one a row.
pub struct Duels(Table);

impl Duels {
    pub fn new() -> Self {
        Duels(Table::new(&[
            "against",
            "callers",
            "frameserve, requests/s",
            "the other, requests/s",
            "ratio",
            "target",
            "",
            "p50, ms",
            "p99, ms",
            "target: p50 below the other's",
            "processor ms a request",
        ]))
    }

    /// Measures both in turns.
    pub fn fight(
        &mut self,
        goal: Goal,
        count: usize,
        ours: impl FnMut() -> Result<Answered>,
        theirs: impl FnMut() -> Result<Answered>,
    ) -> Result<()> {
        let seen: [RefCell<Vec<Answered>>; 2] = Default::default();
        let pairs = Pairs::measure(count, noting(&seen[0], ours), noting(&seen[1], theirs))?;
        let seen = seen.map(RefCell::into_inner);
        let of = |part: fn(&Answered) -> f64| -> [f64; 2] {
            [&seen[0], &seen[1]].map(|seen| median(&seen.iter().map(part).collect::<Vec<_>>()))
        };
        let (p50, p99) = (of(|answered| answered.latency_ms.p50), of(|answered| answered.latency_ms.p99));
        let both = |[ours, theirs]: [f64; 2]| format!("{ours:.2} / {theirs:.2}");
        let below = match goal.p50 {
            P50::Below => verdict(p50[0], |ours| ours < p50[1]),
            P50::NoMatter => String::new(),
        };
        self.row(goal, &pairs, [both(p50), both(p99), below]);
        Ok(())
    }

    /// Ours against something of which only the rate is known.
    pub fn against_rate(
        &mut self,
        goal: Goal,
        count: usize,
        mut ours: impl FnMut() -> Result<Answered>,
        theirs: impl FnMut() -> Result<Sample>,
    ) -> Result<()> {
        let pairs = Pairs::measure(count, || Ok(ours()?.rate()), theirs)?;
        self.row(goal, &pairs, Default::default());
        Ok(())
    }

    /// One line of the table; with p50, p99 and the verdict on p50 where they are known.
    fn row(&mut self, goal: Goal, pairs: &Pairs, [p50, p99, below]: [String; 3]) {
        let ratio = Spread::of(&pairs.ratios());
        let [ours, theirs] = pairs.values();
        let (target, met) = against(goal.ratio, ratio);
        self.0.row([
            goal.against,
            goal.callers.to_string(),
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            ratio.to_string(),
            target,
            met,
            p50,
            p99,
            below,
            pairs.cpu(),
        ]);
    }

    /// What could not be compared.
    pub fn not_measured(&mut self, goal: Goal) {
        let target = goal.ratio.map(|ratio| ratio.to_string()).unwrap_or_default();
        let mut row = [const { String::new() }; 11];
        (row[0], row[1], row[5]) = (goal.against, goal.callers.to_string(), target);
        row[6] = "not measured".into();
        self.0.row(row);
    }
}

impl fmt::Display for Duels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Keeps what was answered, and passes on what is compared of it.
fn noting(
    seen: &RefCell<Vec<Answered>>,
    mut measure: impl FnMut() -> Result<Answered>,
) -> impl FnMut() -> Result<Sample> {
    move || {
        let answered = measure()?;
        let rate = answered.rate();
        seen.borrow_mut().push(answered);
        Ok(rate)
    }
}

/// A target as the table has it, and whether it is met.
fn against(target: Option<f64>, ratio: Spread) -> (String, String) {
    match target {
        Some(target) => (target.to_string(), verdict(ratio.median, |ratio| ratio >= target)),
        None => ("for information".into(), String::new()),
    }
}
