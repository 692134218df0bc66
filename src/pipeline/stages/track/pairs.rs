//! Who belongs to whom: the pairs whose gains make the greatest sum.
//!
//! Those that can't be paired with each other, not even over others, are told apart first. In each such group the
//! Hungarian algorithm finds the best pairs (Kuhn 1955; in the form with shortest paths, after Jonker and Volgenant
//! 1987), in the square of the smaller side times the larger.

use std::collections::BTreeMap;

/// Two that may be a pair, and what that would be worth: more than 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Index of the one.
    pub left: usize,
    /// Index of the other.
    pub right: usize,
    /// Its worth.
    pub gain: f64,
}

/// The pairs with the greatest sum of gains; nobody is in more than one of them.
pub fn best(candidates: &[Candidate]) -> Vec<(usize, usize)> {
    groups(candidates).iter().flat_map(|group| best_of_group(group)).collect()
}

/// Candidates by whom they have in common.
fn groups(candidates: &[Candidate]) -> Vec<Vec<Candidate>> {
    let most = candidates.iter().map(|candidate| candidate.left.max(candidate.right));
    let Some(most) = most.max() else { return Vec::new() };
    // Each points to one of its group, the first of which points to itself; the right ones stand behind the left.
    let mut leads: Vec<usize> = (0..=2 * most + 1).collect();
    for candidate in candidates {
        let (a, b) = (lead(&mut leads, candidate.left), lead(&mut leads, most + 1 + candidate.right));
        leads[a.max(b)] = a.min(b);
    }
    let mut groups: BTreeMap<usize, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        groups.entry(lead(&mut leads, candidate.left)).or_default().push(*candidate);
    }
    groups.into_values().collect()
}

fn lead(leads: &mut [usize], mut at: usize) -> usize {
    while leads[at] != at {
        leads[at] = leads[leads[at]];
        at = leads[at];
    }
    at
}

fn best_of_group(group: &[Candidate]) -> Vec<(usize, usize)> {
    if let [only] = group {
        return vec![(only.left, only.right)];
    }
    let (lefts, rights) = (indexes(group, |c| c.left), indexes(group, |c| c.right));
    let swapped = lefts.len() > rights.len();
    let (rows, columns) = if swapped { (&rights, &lefts) } else { (&lefts, &rights) };
    // What can't be a pair costs nothing, and counts as none. Every row gets a column then, since there are enough.
    let mut costs = vec![0.0; rows.len() * columns.len()];
    for candidate in group {
        let (row, column) =
            if swapped { (candidate.right, candidate.left) } else { (candidate.left, candidate.right) };
        if let (Ok(row), Ok(column)) = (rows.binary_search(&row), columns.binary_search(&column)) {
            costs[row * columns.len() + column] = -candidate.gain;
        }
    }
    let found = Table { costs: &costs, columns: columns.len() }.assign();
    let pairs =
        found.into_iter().enumerate().filter(|&(row, column)| costs[row * columns.len() + column] < 0.0);
    let pair = |(row, column): (usize, usize)| {
        if swapped { (columns[column], rows[row]) } else { (rows[row], columns[column]) }
    };
    pairs.map(pair).collect()
}

fn indexes(group: &[Candidate], of: impl Fn(&Candidate) -> usize) -> Vec<usize> {
    let mut indexes: Vec<usize> = group.iter().map(of).collect();
    indexes.sort_unstable();
    indexes.dedup();
    indexes
}

/// Costs row by row, with no more rows than columns.
struct Table<'a> {
    costs: &'a [f64],
    columns: usize,
}

/// No row.
const NONE: usize = usize::MAX;

impl Table<'_> {
    /// A column for each row, no column twice, at the least cost.
    fn assign(&self) -> Vec<usize> {
        let rows = self.costs.len() / self.columns;
        let mut row_prices = vec![0.0; rows];
        let mut column_prices = vec![0.0; self.columns];
        // The row that has each column.
        let mut owners = vec![NONE; self.columns];
        for row in 0..rows {
            self.admit(row, &mut row_prices, &mut column_prices, &mut owners);
        }
        let mut assigned = vec![0; rows];
        for (column, owner) in owners.into_iter().enumerate().filter(|(_, owner)| *owner != NONE) {
            assigned[owner] = column;
        }
        assigned
    }

    /// Finds a column for one more row, by the cheapest way on which others give up theirs.
    fn admit(&self, row: usize, row_prices: &mut [f64], column_prices: &mut [f64], owners: &mut [usize]) {
        let mut nearest = vec![f64::INFINITY; self.columns];
        let mut came_from = vec![NONE; self.columns];
        let mut done = vec![false; self.columns];
        let (mut at_row, mut at_column) = (row, NONE);
        let free = loop {
            let mut step = (f64::INFINITY, NONE);
            for column in (0..self.columns).filter(|column| !done[*column]) {
                let cost = self.costs[at_row * self.columns + column];
                let reduced = cost - row_prices[at_row] - column_prices[column];
                if reduced < nearest[column] {
                    (nearest[column], came_from[column]) = (reduced, at_column);
                }
                if nearest[column] < step.0 {
                    step = (nearest[column], column);
                }
            }
            let (distance, column) = step;
            row_prices[row] += distance;
            for other in 0..self.columns {
                if done[other] {
                    row_prices[owners[other]] += distance;
                    column_prices[other] -= distance;
                } else {
                    nearest[other] -= distance;
                }
            }
            done[column] = true;
            if owners[column] == NONE {
                break column;
            }
            (at_row, at_column) = (owners[column], column);
        };
        let mut column = free;
        while came_from[column] != NONE {
            owners[column] = owners[came_from[column]];
            column = came_from[column];
        }
        owners[column] = row;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate((left, right, gain): (usize, usize, f64)) -> Candidate {
        Candidate { left, right, gain }
    }

    /// By trying all there are.
    fn most(candidates: &[Candidate]) -> f64 {
        let Some((first, others)) = candidates.split_first() else { return 0.0 };
        let apart: Vec<_> =
            others.iter().copied().filter(|c| c.left != first.left && c.right != first.right).collect();
        most(others).max(first.gain + most(&apart))
    }

    fn sum(candidates: &[Candidate], pairs: &[(usize, usize)]) -> f64 {
        let gain = |&(left, right): &(usize, usize)| {
            candidates.iter().find(|c| (c.left, c.right) == (left, right)).expect("a candidate").gain
        };
        pairs.iter().map(gain).sum()
    }

    #[test]
    fn the_best_for_one_may_not_be_the_best_for_all() {
        let candidates = [(0, 0, 0.9), (0, 1, 0.8), (1, 0, 0.7)].map(candidate);
        assert_eq!(best(&candidates), [(0, 1), (1, 0)]);
        assert_eq!(best(&[]), []);
    }

    #[test]
    fn hundreds_that_may_all_be_pairs_take_no_age() {
        let all = (0..256)
            .flat_map(|left| (0..512).map(move |right| (left, right, 1.0 / (2 + left * right) as f64)));
        let candidates: Vec<_> = all.map(candidate).collect();
        let begin = std::time::Instant::now();
        assert_eq!(best(&candidates).len(), 256);
        println!("{:?}", begin.elapsed());
        assert!(begin.elapsed().as_secs() < 30);
    }

    proptest! {
        #[test]
        fn no_other_pairs_are_worth_more(
            gains in prop::collection::btree_map((0..5_usize, 0..6_usize), 0.01..1.0, 0..14),
        ) {
            let candidates: Vec<_> =
                gains.into_iter().map(|((left, right), gain)| Candidate { left, right, gain }).collect();
            let pairs = best(&candidates);
            let distinct = |side: fn(&(usize, usize)) -> usize| {
                pairs.iter().map(side).collect::<std::collections::BTreeSet<_>>().len()
            };
            prop_assert_eq!((distinct(|pair| pair.0), distinct(|pair| pair.1)), (pairs.len(), pairs.len()));
            prop_assert!((sum(&candidates, &pairs) - most(&candidates)).abs() < 1e-9);
        }
    }
}
