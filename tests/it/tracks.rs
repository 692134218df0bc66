//! `track` on people who walk through a real video.

use std::collections::BTreeMap;

use frameserve::frame::findings::Key;
use frameserve::frame::{Detection, Frame, Identity, Image, Sighting, When};
use frameserve::pipeline::spec::StageSpec;
use opencv::core::Mat;
use serde::Deserialize;

use crate::stages::blank;
use crate::track_measures::{Measures, Place, Places};

const FRAMES: usize = 200;

/// Somebody who walks through the video; tests/tracks/README.md says how it was found out.
#[derive(Deserialize)]
struct Person {
    /// Frame, left and upper edge, width and height, where the person comes into sight, in some frames, and where the
    /// person goes out of sight.
    seen: Vec<Vec<[f32; 5]>>,
}

impl Person {
    /// Where it is in a frame, if it is to be seen.
    fn at(&self, frame: usize) -> Option<Place> {
        let frame = frame as f32;
        let mut steps = self.seen.iter().flat_map(|way| way.windows(2));
        let step = steps.find(|step| (step[0][0]..=step[1][0]).contains(&frame))?;
        let [[from, before @ ..], [to, after @ ..]] = [step[0], step[1]];
        let part = (frame - from) / (to - from);
        Some(std::array::from_fn(|edge| before[edge] + part * (after[edge] - before[edge])))
    }
}

fn lines<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let file = format!("{}/tests/tracks/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Who is where in each frame.
fn people() -> Vec<Places> {
    let people: Vec<Person> = lines("vtest-people.jsonl");
    let in_frame =
        |frame| (1..).zip(&people).filter_map(|(who, person)| Some((who, person.at(frame)?))).collect();
    (0..FRAMES).map(in_frame).collect()
}

/// What a detector found in each frame.
fn found() -> Vec<Vec<[f32; 5]>> {
    lines("vtest.jsonl")
}

fn person([x, y, width, height, score]: [f32; 5]) -> Detection {
    Detection { x, y, width, height, score, label: "person".into(), ..Detection::default() }
}

/// Where the tracks are in each `step`th frame, if these are all that there are.
fn tracked(step: usize) -> Vec<Places> {
    let frames = found().into_iter().enumerate().step_by(step);
    followed(frames.map(|(index, people)| (index, people.into_iter().map(person).collect())))
}

/// Where they are in all frames, where a detector sees every `step`th.
fn carried(step: usize) -> Vec<Places> {
    let found = found();
    let frames = (0..found.len()).map(|index| {
        let when = if index % step == 0 { When::Now } else { When::Earlier };
        let known = |(number, at): (usize, &[f32; 5])| {
            let sighting = Some(Sighting { key: Key { stage: 0, number }, when });
            Detection { sighting, ..person(*at) }
        };
        (index, found[index - index % step].iter().enumerate().map(known).collect())
    });
    followed(frames)
}

/// The tracks of what was found in these frames.
fn followed(frames: impl Iterator<Item = (usize, Vec<Detection>)>) -> Vec<Places> {
    let spec = StageSpec::new("track", &[]).unwrap();
    let mut worker = (spec.kind.build)(&spec.args).unwrap().worker().unwrap();
    let mut tracked = Vec::new();
    for (index, people) in frames {
        let identity = Identity { index: index as u64, ..Identity::default() };
        let mut frame = Frame::new(identity, Image::new(blank(768, 576, true)).unwrap());
        frame.findings.detections = people;
        worker.apply(&mut frame, &mut Mat::default()).unwrap();
        let tracks = frame.findings.detections.into_iter();
        let place = |at: Detection| Some((at.track_id?, [at.x, at.y, at.width, at.height]));
        tracked.push(tracks.filter_map(place).collect());
    }
    tracked
}

/// The longest way of a track from one frame to the next, in heights of its box.
fn longest_jump(frames: &[Places]) -> f32 {
    let middle = |[x, y, width, height]: Place| [x + width / 2.0, y + height / 2.0, height];
    let jumps = frames.windows(2).flat_map(|pair| {
        pair[0].iter().filter_map(|(track, from)| {
            let ([x, y, high], [to_x, to_y, _]) = (middle(*from), middle(*pair[1].get(track)?));
            Some((to_x - x).hypot(to_y - y) / high)
        })
    });
    jumps.fold(0.0, f32::max)
}

fn measured(people: &[Places], tracks: &[Places]) -> Measures {
    let measures = Measures::new(people, tracks);
    let numbers: BTreeMap<u64, usize> = tracks.iter().flatten().map(|(track, _)| (*track, 0)).collect();
    println!("{measures:?}, MOTA {:.3}, {} tracks", measures.mota(), numbers.len());
    assert!(numbers.keys().copied().eq(1..=numbers.len() as u64), "numbers follow each other");
    measures
}

/// Nine people are there in these twenty seconds. They meet, change places and hide each other.
#[test]
fn people_keep_their_number() {
    let tracks = tracked(1);
    let measures = measured(&people(), &tracks);
    let jump = longest_jump(&tracks);
    assert!(jump < 0.5, "a track jumps by {jump} of its height");
    assert!(measures.switches <= 15, "{measures:?}");
    assert!(measures.idf1 > 0.69 && measures.right > 1120, "{measures:?}");
}

/// The same people, where a stream gets only every third frame through.
#[test]
fn people_keep_their_number_where_frames_are_dropped() {
    let people: Vec<Places> = people().into_iter().step_by(3).collect();
    let measures = measured(&people, &tracked(3));
    assert!(measures.switches <= 10, "{measures:?}");
    assert!(measures.idf1 > 0.75 && measures.right > 335, "{measures:?}");
}

/// The same, where a detector sees only every third frame: the boxes between are about where people are by then.
#[test]
fn people_keep_their_number_where_a_detector_sees_every_third_frame() {
    let measures = measured(&people(), &carried(3));
    assert!(measures.switches <= 11, "{measures:?}");
    assert!(measures.idf1 > 0.74 && measures.right > 975, "{measures:?}");
}
