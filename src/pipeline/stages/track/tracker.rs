//! Which thing of a frame is which of the frames before: ByteTrack (Zhang et al., 2022).

use std::collections::{BTreeMap, BTreeSet};

use super::super::found::Edges;
use super::body::{Body, overlap};
use super::pairs::{self, Candidate};
use crate::frame::findings::Key;
use crate::frame::{Sighting, When};

/// Things of one frame that are followed: the surest ones. More would make the search for pairs slow.
pub const MAX_SEEN: usize = 256;
/// Tracks at a time, those that are lost for a while among them.
pub const MAX_TRACKS: usize = 512;
/// How much a doubtful thing must overlap with where a track should be.
const DOUBTFUL_OVERLAP: f64 = 0.5;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// From which score on a thing is sure.
    pub high: f32,
    /// From which score on it is anything at all.
    pub low: f32,
    /// How much it must overlap with where a track should be.
    pub overlap: f64,
    /// After so many frames without it a track ends.
    pub max_age: u32,
    /// So many frames in a row make a track, of those in which it is looked for.
    pub min_hits: u32,
}

/// A thing as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Where.
    pub edges: Edges,
    /// How surely.
    pub score: f32,
    /// What it is: only things of one kind can be the same thing.
    pub kind: u64,
    /// Of what does not look at every frame.
    pub sighting: Option<Sighting>,
}

/// What was seen so far.
#[derive(Debug)]
pub struct Tracker {
    rules: Rules,
    tracks: Vec<Track>,
    last_id: u64,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    /// None as long as it was not seen often enough.
    id: Option<u64>,
    kind: u64,
    body: Body,
    hits: u32,
    /// Frames since it was seen, but for those in which nobody looked for it.
    missed: u32,
    /// The key that its thing had, where it has one.
    key: Option<Key>,
}

impl Tracker {
    /// Nothing was seen yet.
    pub fn new(rules: Rules) -> Self {
        Tracker { rules, tracks: Vec::new(), last_id: 0 }
    }

    /// Bytes that it may keep.
    pub const fn kept_bytes() -> usize {
        // A vector may have room for twice as many.
        2 * MAX_TRACKS * size_of::<Track>()
    }

    /// Ends all tracks; the next one has the next number all the same.
    pub fn forget(&mut self) {
        self.tracks.clear();
    }

    /// Takes in what is seen so many frames after the last time, and gives each thing the number of its track. Tracks
    /// of what was not looked for move on as they are foretold, and nothing is learned of them.
    pub fn advance(&mut self, seen: &[Option<Seen>], frames: u32) -> Vec<Option<u64>> {
        let frames = frames.clamp(1, self.rules.max_age.saturating_add(1));
        self.age(frames, &keys(seen, When::Earlier).collect());
        self.forget_keys(seen);
        let mut round = Round::new(self.rules, seen);
        let Tracker { rules, tracks, last_id } = self;
        round.pair(tracks, |track| track.id.is_some(), |score| score >= rules.high, rules.overlap);
        // What is half hidden is doubtful, and still where it should be, if it was seen just before.
        let fresh = |track: &Track| track.id.is_some() && track.missed == frames;
        round.pair(tracks, fresh, |score| score < rules.high, rules.overlap.max(DOUBTFUL_OVERLAP));
        round.pair(tracks, |track| track.id.is_none(), |score| score >= rules.high, rules.overlap);
        round.begin(tracks);
        let mut ids = vec![None; seen.len()];
        for (index, track) in round.owners {
            let track = &mut tracks[track];
            if track.id.is_none() && track.hits >= rules.min_hits {
                *last_id += 1;
                track.id = Some(*last_id);
            }
            ids[index] = track.id;
        }
        for track in tracks.iter_mut().filter(|track| track.missed > 0) {
            track.body.keep_size();
        }
        tracks.retain(|track| track.missed == 0 || track.id.is_some());
        let known: BTreeMap<Key, Option<u64>> =
            tracks.iter().filter_map(|track| Some((track.key?, track.id))).collect();
        for (id, seen) in ids.iter_mut().zip(seen) {
            if let Some(key) = seen.as_ref().and_then(|seen| seen.key(When::Earlier)) {
                *id = known.get(&key).copied().flatten();
            }
        }
        ids
    }

    /// Where the tracks should be now that were not looked for, by the keys of their things.
    pub fn foretold(&self) -> BTreeMap<Key, Edges> {
        let held = self.tracks.iter().filter(|track| track.missed == 0);
        held.filter_map(|track| Some((track.key?, track.body.edges()))).collect()
    }

    /// Ends the tracks that are lost for too long, and says where the others should be now. Those with one of these
    /// keys are not lost: nobody looked.
    fn age(&mut self, frames: u32, kept: &BTreeSet<Key>) {
        for track in &mut self.tracks {
            if !(track.missed == 0 && track.key.is_some_and(|key| kept.contains(&key))) {
                track.missed = track.missed.saturating_add(frames);
            }
        }
        // Of those frames, this one may still have it.
        self.tracks.retain(|track| track.missed <= self.rules.max_age);
        for track in &mut self.tracks {
            (0..frames).for_each(|_| track.body.predict());
        }
    }

    /// Who has looked again numbers what it sees anew.
    fn forget_keys(&mut self, seen: &[Option<Seen>]) {
        let looked: BTreeSet<usize> = keys(seen, When::Now).map(|key| key.stage).collect();
        for track in &mut self.tracks {
            track.key = track.key.filter(|key| !looked.contains(&key.stage));
        }
    }
}

impl Seen {
    /// By what it is known again, if it was seen then.
    fn key(&self, when: When) -> Option<Key> {
        self.sighting.filter(|sighting| sighting.when == when).map(|sighting| sighting.key)
    }
}

/// Keys of the things that were seen then.
fn keys(seen: &[Option<Seen>], when: When) -> impl Iterator<Item = Key> {
    seen.iter().flatten().filter_map(move |seen| seen.key(when))
}

/// Things and tracks of one frame that have no other yet.
struct Round<'a> {
    rules: Rules,
    seen: &'a [Option<Seen>],
    /// Things that are left, the surest first.
    left: Vec<(usize, Seen)>,
    /// Thing and track.
    owners: Vec<(usize, usize)>,
}

impl<'a> Round<'a> {
    fn new(rules: Rules, seen: &'a [Option<Seen>]) -> Self {
        let things = seen.iter().enumerate().filter_map(|(index, seen)| Some((index, (*seen)?)));
        // A score that is no number is none.
        let counts = |(_, seen): &(usize, Seen)| {
            seen.score >= rules.low.min(rules.high) && seen.key(When::Earlier).is_none()
        };
        let mut left: Vec<_> = things.filter(counts).collect();
        left.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        left.truncate(MAX_SEEN);
        Round { rules, seen, left, owners: Vec::new() }
    }

    /// Pairs those tracks that are not seen yet with those things that are left.
    fn pair(
        &mut self,
        tracks: &mut [Track],
        of_track: impl Fn(&Track) -> bool,
        of_score: impl Fn(f32) -> bool,
        least: f64,
    ) {
        let mut candidates = Vec::new();
        let open = |(_, track): &(usize, &Track)| track.missed > 0 && of_track(track);
        let open: Vec<_> = tracks
            .iter()
            .enumerate()
            .filter(open)
            .map(|(at, track)| (at, track.kind, track.body.edges()))
            .collect();
        for (index, seen) in self.left.iter().filter(|(_, seen)| of_score(seen.score)) {
            for (track, _, edges) in open.iter().filter(|(_, kind, _)| *kind == seen.kind) {
                let overlap = overlap(edges, &seen.edges);
                if overlap >= least && overlap > 0.0 {
                    // What overlaps just enough is still better than nothing.
                    let gain = overlap - least + 1e-6;
                    candidates.push(Candidate { left: *index, right: *track, gain });
                }
            }
        }
        for (index, track) in pairs::best(&candidates) {
            let Some(seen) = self.seen[index] else { continue };
            let known = &mut tracks[track];
            known.body.correct(&seen.edges);
            (known.hits, known.missed) = (known.hits.saturating_add(1), 0);
            known.key = seen.key(When::Now);
            self.owners.push((index, track));
        }
        self.left.retain(|(index, _)| self.owners.iter().all(|(owned, _)| owned != index));
    }

    /// Begins tracks of the sure things that are left.
    fn begin(&mut self, tracks: &mut Vec<Track>) {
        for (index, seen) in &self.left {
            if seen.score >= self.rules.high && tracks.len() < MAX_TRACKS {
                let body = Body::new(&seen.edges);
                self.owners.push((*index, tracks.len()));
                let (kind, key) = (seen.kind, seen.key(When::Now));
                tracks.push(Track { id: None, kind, body, hits: 1, missed: 0, key });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { high: 0.5, low: 0.1, overlap: 0.3, max_age: 5, min_hits: 2 };

    fn seen(x: f64, y: f64, score: f32) -> Option<Seen> {
        let edges = Edges { left: x, top: y, right: x + 20.0, bottom: y + 40.0 };
        Some(Seen { edges, score, kind: 0, sighting: None })
    }

    fn tracker() -> Tracker {
        Tracker::new(RULES)
    }

    #[test]
    fn two_who_pass_each_other_stay_who_they_are() {
        let mut tracker = tracker();
        let mut first = None;
        for frame in 0..60 {
            let step = f64::from(frame) * 3.0;
            let mut things = [seen(step, 10.0, 0.9), seen(180.0 - step, 25.0, 0.9)];
            // In whatever order they are found.
            things.rotate_left(frame as usize % 2);
            let mut ids = tracker.advance(&things, 1);
            ids.rotate_right(frame as usize % 2);
            if frame > 0 {
                assert_eq!(ids, *first.get_or_insert_with(|| ids.clone()), "frame {frame}");
            }
        }
        let mut both = first.unwrap();
        both.sort_unstable();
        assert_eq!(both, [Some(1), Some(2)]);
    }

    #[test]
    fn a_track_begins_with_its_second_frame_and_ends_after_its_age() {
        let mut tracker = tracker();
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [None]);
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [Some(1)]);
        (0..5).for_each(|_| assert!(tracker.advance(&[], 1).is_empty()));
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [None], "six frames later it is another one");
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [Some(2)]);
        (0..4).for_each(|_| assert!(tracker.advance(&[], 1).is_empty()));
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [Some(2)], "five frames later it is the same");
    }

    #[test]
    fn what_was_seen_once_is_nothing() {
        let mut tracker = tracker();
        for _ in 0..5 {
            assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1), [None]);
            tracker.advance(&[], 1);
        }
    }

    #[test]
    fn the_doubtful_goes_on_a_track_and_begins_none() {
        let mut tracker = tracker();
        (0..3).for_each(|_| assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.3)], 1), [None]));
        (0..2).for_each(|_| drop(tracker.advance(&[seen(0.0, 0.0, 0.9)], 1)));
        (0..20).for_each(|_| assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.3)], 1), [Some(1)]));
        assert_eq!(tracker.advance(&[seen(0.0, 0.0, 0.05)], 1), [None], "below `low` it is nothing");
    }

    #[test]
    fn frames_that_are_left_out_are_time_all_the_same() {
        let mut tracker = tracker();
        for frame in 0..20 {
            tracker.advance(&[seen(8.0 * f64::from(frame), 0.0, 0.9)], 1);
        }
        assert_eq!(tracker.advance(&[seen(8.0 * 23.0, 0.0, 0.9)], 4), [Some(1)]);
        assert_eq!(tracker.advance(&[], u32::MAX), []);
        assert!(tracker.tracks.is_empty());
    }

    #[test]
    fn kinds_are_told_apart_and_numbers_never_come_again() {
        let mut tracker = tracker();
        let other = |seen: Option<Seen>| seen.map(|seen| Seen { kind: 1, ..seen });
        let both = [seen(0.0, 0.0, 0.9), other(seen(0.0, 0.0, 0.8))];
        tracker.advance(&both, 1);
        assert_eq!(tracker.advance(&both, 1), [Some(1), Some(2)]);
        tracker.forget();
        tracker.advance(&both, 1);
        assert_eq!(tracker.advance(&both, 1), [Some(3), Some(4)]);
    }

    #[test]
    fn ten_thousand_things_a_frame_are_bounded_work_and_memory() {
        let mut tracker = Tracker::new(Rules { max_age: 10_000, min_hits: 1, ..RULES });
        let begin = std::time::Instant::now();
        for frame in 0..4 {
            let things: Vec<_> =
                (0..10_000).map(|n| seen(f64::from(n % 13), f64::from(frame * 100), 0.9)).collect();
            let ids = tracker.advance(&things, 1);
            assert!(ids.iter().flatten().count() <= MAX_SEEN);
            assert!(tracker.tracks.capacity() * size_of::<Track>() <= Tracker::kept_bytes());
        }
        println!("{:?}", begin.elapsed());
        assert!(begin.elapsed().as_secs() < 60);
    }

    fn any_seen() -> impl Strategy<Value = Option<Seen>> {
        let number = || prop_oneof![4 => -50.0..200.0, 1 => prop::num::f64::ANY];
        let score = prop_oneof![4 => 0.0..1.0_f32, 1 => prop::num::f32::ANY];
        (number(), number(), number(), number(), score, 0..2_u64).prop_map(
            |(left, top, right, bottom, score, kind)| {
                Some(Seen { edges: Edges { left, top, right, bottom }, score, kind, sighting: None })
            },
        )
    }

    proptest! {
        /// Even of boxes that are none, which the stage leaves out.
        #[test]
        fn whatever_is_seen_no_number_is_there_twice(
            frames in prop::collection::vec((prop::collection::vec(any_seen(), 0..12), 0..9_u32), 1..12),
        ) {
            let mut tracker = tracker();
            let mut most = 0;
            for (things, step) in frames {
                let ids = tracker.advance(&things, step);
                prop_assert_eq!(ids.len(), things.len());
                let mut given: Vec<u64> = ids.into_iter().flatten().collect();
                given.sort_unstable();
                prop_assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", given);
                // Numbers are given out one after the other.
                let newest = given.last().copied().unwrap_or(most).max(most);
                prop_assert!(newest - most <= given.iter().filter(|id| **id > most).count() as u64);
                most = newest;
            }
        }
    }
}
