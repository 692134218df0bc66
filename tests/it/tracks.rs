//! `track` on people who walk through a real video.

use std::collections::BTreeMap;

use frameserve::frame::findings::Key;
use frameserve::frame::{Detection, Frame, Identity, Image, Sighting, When};
use frameserve::pipeline::spec::StageSpec;
use opencv::core::Mat;

use crate::stages::blank;

/// Where a track was: frame, and middle and height of the box.
type Path = Vec<(u64, [f32; 3])>;

/// What a detector found in each frame; tests/tracks/README.md says how.
fn found() -> Vec<Vec<[f32; 5]>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tracks/vtest.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn person([x, y, width, height, score]: [f32; 5]) -> Detection {
    Detection { x, y, width, height, score, label: "person".into(), ..Detection::default() }
}

/// The tracks in every `step`th frame.
fn paths(step: usize) -> BTreeMap<u64, Path> {
    let frames = found().into_iter().enumerate().step_by(step);
    followed(frames.map(|(index, people)| (index, people.into_iter().map(person).collect())))
}

/// The tracks in all frames, where a detector sees every `step`th.
fn carried_paths(step: usize) -> BTreeMap<u64, Path> {
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
fn followed(frames: impl Iterator<Item = (usize, Vec<Detection>)>) -> BTreeMap<u64, Path> {
    let spec = StageSpec::new("track", &[]).unwrap();
    let mut worker = (spec.kind.build)(&spec.args).unwrap().worker().unwrap();
    let mut paths: BTreeMap<u64, Path> = BTreeMap::new();
    for (index, people) in frames {
        let index = index as u64;
        let identity = Identity { index, ..Identity::default() };
        let mut frame = Frame::new(identity, Image::new(blank(768, 576, true)).unwrap());
        frame.findings.detections = people;
        worker.apply(&mut frame, &mut Mat::default()).unwrap();
        for Detection { x, y, width, height, track_id, .. } in frame.findings.detections {
            if let Some(id) = track_id {
                paths.entry(id).or_default().push((index, [x + width / 2.0, y + height / 2.0, height]));
            }
        }
    }
    paths
}

/// The longest way of a track from one of its frames to the next, in heights of its box for each frame between.
fn longest_jump(path: &Path) -> f32 {
    let jump = |pair: &[(u64, [f32; 3])]| {
        let [(from, [x, y, high]), (to, [to_x, to_y, _])] = [pair[0], pair[1]];
        (to_x - x).hypot(to_y - y) / high / (to - from) as f32
    };
    path.windows(2).map(jump).fold(0.0, f32::max)
}

/// Tracks that end in the middle of the place, where people don't: they were lost, or became another one's.
fn lost(paths: &BTreeMap<u64, Path>, last: u64) -> usize {
    let ends = paths.values().map(|path| path[path.len() - 1]);
    let inside = |x: f32, y: f32| (60.0..708.0).contains(&x) && (60.0..516.0).contains(&y);
    ends.filter(|(frame, [x, y, _])| *frame + 10 < last && inside(*x, *y)).count()
}

/// About ten people are there in these twenty seconds, five or six at a time. Three of them stand behind the lamp
/// post for a while and come out with another number, which makes 13 tracks.
#[test]
fn people_keep_their_number() {
    let paths = paths(1);
    let lengths: Vec<usize> = paths.values().map(Vec::len).collect();
    let seen: usize = lengths.iter().sum();
    let in_long: usize = lengths.iter().filter(|length| **length >= 50).sum();
    let jump = paths.values().map(longest_jump).fold(0.0, f32::max);
    let lost = lost(&paths, 199);
    println!("{} tracks of {lengths:?} frames, {lost} lost, longest jump {jump}", paths.len());
    assert!((10..=15).contains(&paths.len()), "{} tracks", paths.len());
    assert!(seen > 1000, "people were followed {seen} times, of about 1200");
    assert!(in_long * 10 > seen * 8, "{in_long} of {seen} times in a track of 50 frames or more");
    assert!(lost <= 6, "{lost} tracks were lost");
    assert!(jump < 0.5, "a track jumps by {jump} of its height");
    assert!(paths.keys().copied().eq(1..=paths.len() as u64), "numbers follow each other");
}

/// The same people, where a stream gets only every third frame through.
#[test]
fn people_keep_their_number_where_frames_are_dropped() {
    let paths = paths(3);
    let lost = lost(&paths, 198);
    println!("{} tracks, {lost} lost", paths.len());
    assert!((10..=17).contains(&paths.len()), "{} tracks", paths.len());
    assert!(lost <= 7, "{lost} tracks were lost");
}

/// The same, where a detector sees only every third frame: the boxes between are about where people are by then.
#[test]
fn people_keep_their_number_where_a_detector_sees_every_third_frame() {
    let (paths, dense) = (carried_paths(3), paths(1));
    let lost = lost(&paths, 198);
    // How far the nearest of those that were really followed is, in heights.
    let nearest = |(frame, [x, y, high]): &(u64, [f32; 3])| {
        let there = dense.values().flatten().filter(|(at, _)| at == frame);
        let ways = there.map(|(_, [to_x, to_y, _])| (to_x - x).hypot(to_y - y) / high);
        ways.fold(f32::INFINITY, f32::min)
    };
    let mut ways: Vec<f32> =
        paths.values().flatten().filter(|(frame, _)| frame % 3 > 0).map(nearest).collect();
    ways.sort_by(f32::total_cmp);
    let (half, most) = (ways[ways.len() / 2], ways[ways.len() * 9 / 10]);
    println!(
        "{} tracks, {lost} lost; {} boxes, half nearer than {half}, most than {most}",
        paths.len(),
        ways.len()
    );
    assert!((10..=17).contains(&paths.len()), "{} tracks", paths.len());
    assert!(lost <= 7, "{lost} tracks were lost");
    assert!(half < 0.05 && most < 0.15, "half are nearer than {half} heights, nine of ten than {most}");
}
