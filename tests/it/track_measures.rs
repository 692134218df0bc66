//! How well tracks keep to people: the measures of CLEAR MOT (Bernardin and Stiefelhagen, Evaluating Multiple Object
//! Tracking Performance, 2008) and IDF1 (Ristani et al., Performance Measures and a Data Set for Multi-Target,
//! Multi-Camera Tracking, 2016).

use std::collections::BTreeMap;

/// Left and upper edge, width and height.
pub type Place = [f32; 4];
/// Who is where in a frame.
pub type Places = BTreeMap<u64, Place>;

/// So much of two boxes has to be in both for them to be of the same person.
const SAME: f32 = 0.5;

#[derive(Debug, PartialEq)]
pub struct Measures {
    /// How often somebody was there to be followed.
    pub there: usize,
    /// How often a track was on somebody, and how often on nobody.
    pub right: usize,
    pub wrong: usize,
    /// How often a person's track was another one than it last was.
    pub switches: usize,
    /// Which part of all that is there and of all that was followed is right, where each person has one track.
    pub idf1: f64,
}

impl Measures {
    /// Of frames in which people are at these places, and tracks at those.
    pub fn new(people: &[Places], tracks: &[Places]) -> Self {
        assert_eq!(people.len(), tracks.len());
        let count = |frames: &[Places]| frames.iter().map(Places::len).sum::<usize>();
        let (there, followed) = (count(people), count(tracks));
        let mut last = BTreeMap::new();
        let (mut right, mut switches) = (0, 0);
        let mut together: BTreeMap<(u64, u64), f32> = BTreeMap::new();
        for (people, tracks) in people.iter().zip(tracks) {
            let overlaps = overlaps(people, tracks);
            for pair in overlaps.keys() {
                *together.entry(*pair).or_default() += 1.0;
            }
            // Who is still where his track is keeps it; the others get those that overlap most.
            let kept: Vec<(u64, u64)> =
                overlaps.keys().copied().filter(|(person, track)| last.get(person) == Some(track)).collect();
            let free =
                |pair: &(u64, u64)| kept.iter().all(|(person, track)| *person != pair.0 && *track != pair.1);
            let rest = overlaps.iter().filter(|(pair, _)| free(pair)).map(|(pair, much)| (*pair, *much));
            for (person, track) in [best(&rest.collect()), kept.clone()].concat() {
                right += 1;
                let before = last.insert(person, track);
                switches += usize::from(before.is_some_and(|before| before != track));
            }
        }
        let own: f32 = best(&together).iter().map(|pair| together[pair]).sum();
        let idf1 = 2.0 * f64::from(own) / (there + followed) as f64;
        Measures { there, right, wrong: followed - right, switches, idf1 }
    }

    /// Multiple object tracking accuracy.
    pub fn mota(&self) -> f64 {
        let errors = (self.there - self.right) + self.wrong + self.switches;
        1.0 - errors as f64 / self.there as f64
    }
}

/// Of which pairs of a person and a track enough is in both, and how much.
fn overlaps(people: &Places, tracks: &Places) -> BTreeMap<(u64, u64), f32> {
    let pairs = people.iter().flat_map(|person| tracks.iter().map(move |track| (person, track)));
    let overlaps =
        pairs.map(|((person, place), (track, other))| ((*person, *track), overlap(*place, *other)));
    overlaps.filter(|(_, much)| *much >= SAME).collect()
}

fn overlap([x, y, width, height]: Place, [left, upper, wide, high]: Place) -> f32 {
    let across = (x + width).min(left + wide) - x.max(left);
    let down = (y + height).min(upper + high) - y.max(upper);
    let both = across.max(0.0) * down.max(0.0);
    both / (width * height + wide * high - both)
}

/// Pairs in which nobody is twice, with the largest sum that there is.
fn best(worth: &BTreeMap<(u64, u64), f32>) -> Vec<(u64, u64)> {
    let mut people: Vec<u64> = worth.keys().map(|(person, _)| *person).collect();
    people.dedup();
    let mut tracks: Vec<u64> = worth.keys().map(|(_, track)| *track).collect();
    tracks.sort_unstable();
    tracks.dedup();
    // For each set of people, the best that they can have with the tracks so far.
    let mut sets = vec![None; 1 << people.len()];
    sets[0] = Some((0.0, Vec::new()));
    for track in tracks {
        let mut with = sets.clone();
        for (set, state) in sets.iter().enumerate() {
            let Some((sum, pairs)) = state else { continue };
            for (number, person) in people.iter().enumerate().filter(|(number, _)| set & (1 << number) == 0) {
                let Some(more) = worth.get(&(*person, track)) else { continue };
                let larger = &mut with[set | (1 << number)];
                if larger.as_ref().is_none_or(|(most, _)| *most < sum + more) {
                    *larger = Some((sum + more, [&pairs[..], &[(*person, track)]].concat()));
                }
            }
        }
        sets = with;
    }
    let all = sets.into_iter().flatten();
    all.max_by(|(sum, _), (other, _)| sum.total_cmp(other)).map(|(_, pairs)| pairs).unwrap_or_default()
}

#[test]
fn switches_and_strangers_are_counted() {
    let at = |who: u64, x: f32| (who, [x, 0.0, 10.0, 10.0]);
    let people = [
        Places::from([at(1, 0.0), at(2, 100.0)]),
        Places::from([at(1, 0.0), at(2, 100.0)]),
        Places::from([at(1, 0.0), at(2, 100.0)]),
        Places::from([at(1, 0.0)]),
    ];
    let same = Measures::new(&people, &people);
    assert_eq!(same, Measures { there: 7, right: 7, wrong: 0, switches: 0, idf1: 1.0 });
    let tracks = [
        Places::from([at(7, 1.0), at(8, 101.0)]),
        // They change places, and somebody else is seen where nobody is.
        Places::from([at(8, 1.0), at(7, 101.0), at(9, 50.0)]),
        // The first one is missed.
        Places::from([at(7, 101.0)]),
        Places::from([at(8, 2.0)]),
    ];
    let found = Measures::new(&people, &tracks);
    // 8 is with the first twice and 7 with the second twice, of 7 places and 7 boxes.
    assert_eq!(found, Measures { there: 7, right: 6, wrong: 1, switches: 2, idf1: 8.0 / 14.0 });
    assert!((found.mota() - 3.0 / 7.0).abs() < 1e-9);
}

#[test]
fn a_track_stays_with_whom_it_was_on_while_both_overlap() {
    let people = [Places::from([(1, [0.0, 0.0, 10.0, 10.0])]), Places::from([(1, [3.0, 0.0, 10.0, 10.0])])];
    let nearer = Places::from([(5, [0.0, 0.0, 10.0, 10.0]), (6, [3.0, 0.0, 10.0, 10.0])]);
    let tracks = [Places::from([(5, [0.0, 0.0, 10.0, 10.0])]), nearer];
    let found = Measures::new(&people, &tracks);
    assert_eq!((found.right, found.wrong, found.switches), (2, 1, 0));
}
