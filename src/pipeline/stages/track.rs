//! `track`: the same number for the same thing in every frame.

mod body;
mod pairs;
mod tracker;

use std::hash::{DefaultHasher, Hash, Hasher};

use opencv::core::Mat;

use self::tracker::{Rules, Seen, Tracker};
use super::found::{Edges, LABELS, Labels};
use crate::error::Error;
use crate::frame::{Detection, Frame, Sighting, Size, When};
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "track",
    group: Group::Time,
    doc: "Gives what the stages before it found a number that stays the same from frame to frame, from 1 on for \
          each stream, with ByteTrack: where a thing should be is foretold from how it moved, and things of the \
          same name and class are held against that, first the sure ones, then those that may be half hidden. The \
          256 surest things of a frame are followed; others have no number. Where a model looks at one of so many \
          frames (`every`), what it found is in those between where it should be by then, and only what it sees \
          counts. A new size of the picture ends all tracks.",
    params: &[
        LABELS,
        Param::new(
            "high",
            Range::Number(0.0, 1.0),
            "From which score on a thing is sure, and begins a track.",
        )
        .or("0.5"),
        Param::new(
            "low",
            Range::Number(0.0, 1.0),
            "From which score on it may be one that is followed already.",
        )
        .or("0.1"),
        Param::new(
            "iou",
            Range::Number(0.0, 1.0),
            "By how much it must overlap with where it should be (intersection over union).",
        )
        .or("0.2"),
        Param::new("max-age", Range::Integer(1, 10_000), "After so many frames without it a track ends.")
            .or("30"),
        Param::new(
            "min-hits",
            Range::Integer(1, 1000),
            "So many frames in a row make a track, of those in which it is looked for.",
        )
        .or("3"),
    ],
    example: "motion=draw=false | track=iou=0.1",
    build,
};

#[derive(Debug, Clone)]
struct Track {
    labels: Labels,
    rules: Rules,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Track {
        labels: Labels::parse(&args.text("labels")),
        rules: Rules {
            high: args.number("high") as f32,
            low: args.number("low") as f32,
            overlap: args.number("iou"),
            max_age: args.integer("max-age").unsigned_abs(),
            min_hits: args.integer("min-hits").unsigned_abs(),
        },
    }))
}

impl Stage for Track {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker { labels: self.labels.clone(), tracker: Tracker::new(self.rules), before: None }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, _: Size) -> u64 {
        Tracker::kept_bytes() as u64
    }
}

struct Worker {
    labels: Labels,
    tracker: Tracker,
    /// Size and number of the frame before.
    before: Option<(Size, u64)>,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, _: &mut Mat) -> Result<(), Error> {
        let now = (frame.image.size(), frame.identity.index);
        let frames = match self.before.replace(now) {
            // Frames that were dropped on the way are time all the same.
            Some((size, index)) if size == now.0 => now.1.saturating_sub(index),
            Some(_) => {
                self.tracker.forget();
                1
            }
            None => 1,
        };
        let things = &mut frame.findings.detections;
        let seen: Vec<_> = things.iter().map(|thing| self.seen(thing)).collect();
        let ids = self.tracker.advance(&seen, u32::try_from(frames).unwrap_or(u32::MAX));
        for (thing, id) in things.iter_mut().zip(ids).filter(|(_, id)| id.is_some()) {
            thing.track_id = id;
        }
        self.move_on(frame);
        Ok(())
    }
}

impl Worker {
    fn seen(&self, thing: &Detection) -> Option<Seen> {
        let edges = Edges::of(thing).filter(|_| self.labels.wants(thing))?;
        let mut kind = DefaultHasher::new();
        (&thing.label, thing.class_id).hash(&mut kind);
        Some(Seen { edges, score: thing.score, kind: kind.finish(), sighting: thing.sighting })
    }

    /// Puts what nobody looked for where it should be by now. What has left the picture since is left out.
    fn move_on(&self, frame: &mut Frame) {
        let (foretold, picture) = (self.tracker.foretold(), frame.image.size());
        let to = |thing: &Detection| {
            let earlier = |sighting: &Sighting| sighting.when == When::Earlier;
            let key = thing.sighting.filter(earlier)?.key;
            let edges = Edges::of(thing).filter(|_| self.labels.wants(thing))?;
            Some(edges.placement(foretold.get(&key)?))
        };
        frame.findings.detections.retain_mut(|thing| match to(thing) {
            Some(placement) => placement.place(thing, picture),
            None => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::found::tests::{odd_boxes, thing};
    use super::super::kept::tests::{run, square, stage};
    use super::*;
    use crate::frame::findings::Key;

    fn ids(worker: &mut Box<dyn StageWorker>, size: (i32, i32), things: Vec<Detection>) -> Vec<Option<u64>> {
        let mut frame = square(size, Rect::new(0, 0, 0, 0), 1);
        frame.findings.detections = things;
        run(worker, frame).findings.detections.iter().map(|thing| thing.track_id).collect()
    }

    #[test]
    fn only_what_has_the_name_is_followed() {
        let mut worker = stage("track", &[("labels", "cat"), ("min-hits", "1")]).worker().unwrap();
        let things = || vec![thing("dog", [5.0, 5.0, 20.0, 20.0]), thing("cat", [5.0, 5.0, 20.0, 20.0])];
        for _ in 0..3 {
            assert_eq!(ids(&mut worker, (64, 48), things()), [None, Some(1)]);
        }
    }

    #[test]
    fn a_new_size_begins_anew_and_a_new_stream_at_1() {
        let stage = stage("track", &[("min-hits", "1")]);
        let mut worker = stage.worker().unwrap();
        let things = || vec![thing("", [5.0, 5.0, 20.0, 20.0])];
        for (size, id) in [((64, 48), 1), ((64, 48), 1), ((48, 64), 2), ((64, 48), 3)] {
            assert_eq!(ids(&mut worker, size, things()), [Some(id)]);
        }
        assert_eq!(ids(&mut stage.worker().unwrap(), (64, 48), things()), [Some(1)]);
    }

    /// A thing that a model saw, or is taken to be where it saw it.
    fn known(at: [f32; 4], number: usize, when: When) -> Detection {
        let sighting = Some(Sighting { key: Key { stage: 1, number }, when });
        Detection { sighting, points: vec![at[0], at[1]], ..thing("", at) }
    }

    fn tracked(worker: &mut Box<dyn StageWorker>, things: Vec<Detection>) -> Vec<Detection> {
        let mut frame = square((640, 48), Rect::new(0, 0, 0, 0), 1);
        frame.findings.detections = things;
        run(worker, frame).findings.detections
    }

    /// Two that pass each other, of which a model sees every fifth frame.
    #[test]
    fn what_is_not_looked_for_moves_on_and_keeps_its_number() {
        let mut worker = stage("track", &[("min-hits", "2")]).worker().unwrap();
        let at = |frame: usize| [frame as f32 * 4.0, 500.0 - frame as f32 * 3.0];
        for frame in 0..100 {
            let (looked, when) = match frame % 5 {
                0 => (frame, When::Now),
                since => (frame - since, When::Earlier),
            };
            let things = at(looked).into_iter().enumerate();
            let things = things.map(|(number, x)| known([x, 10.0, 40.0, 30.0], number, when)).collect();
            let found = tracked(&mut worker, things);
            let ids: Vec<_> = found.iter().map(|thing| thing.track_id).collect();
            let expected = if frame < 5 { [None, None] } else { [Some(1), Some(2)] };
            assert_eq!(ids, expected, "frame {frame}");
            for (thing, x) in found.iter().zip(at(frame)).filter(|_| frame > 30) {
                assert!((thing.x - x).abs() < 1.5, "frame {frame}: {} and not {x}", thing.x);
                assert!((thing.points[0] - thing.x).abs() < 0.01, "{thing:?}");
            }
        }
    }

    #[test]
    fn what_was_seen_once_and_carried_on_is_no_track() {
        let mut worker = stage("track", &[]).worker().unwrap();
        for frame in 0..30 {
            let when = if frame == 0 { When::Now } else { When::Earlier };
            let found = tracked(&mut worker, vec![known([5.0, 5.0, 20.0, 20.0], 0, when)]);
            assert_eq!((found.len(), found[0].track_id), (1, None), "frame {frame}");
        }
    }

    #[test]
    fn nobody_is_lost_for_not_being_looked_for() {
        let mut worker = stage("track", &[("min-hits", "1"), ("max-age", "3")]).worker().unwrap();
        let at = [5.0, 5.0, 20.0, 20.0];
        let ids =
            |worker: &mut Box<dyn StageWorker>, when| tracked(worker, vec![known(at, 0, when)])[0].track_id;
        assert_eq!(ids(&mut worker, When::Now), Some(1));
        (0..50).for_each(|_| assert_eq!(ids(&mut worker, When::Earlier), Some(1)));
        assert_eq!(ids(&mut worker, When::Now), Some(1));
        (0..4).for_each(|_| assert!(tracked(&mut worker, vec![]).is_empty()));
        assert_eq!(ids(&mut worker, When::Now), Some(2));
    }

    /// One model looks at every frame, and another one now and then.
    #[test]
    fn what_is_seen_now_does_not_take_the_track_of_what_is_not_looked_for() {
        let mut worker = stage("track", &[("min-hits", "1")]).worker().unwrap();
        for frame in 0..12 {
            let when = if frame % 4 == 0 { When::Now } else { When::Earlier };
            let both = vec![thing("", [6.0, 6.0, 20.0, 20.0]), known([5.0, 5.0, 20.0, 20.0], 0, when)];
            let ids: Vec<_> = tracked(&mut worker, both).iter().map(|thing| thing.track_id).collect();
            assert_eq!(ids, [Some(1), Some(2)], "frame {frame}");
        }
    }

    #[test]
    fn what_has_left_the_picture_is_left_out() {
        let mut worker = stage("track", &[("min-hits", "1")]).worker().unwrap();
        for frame in 0..10 {
            tracked(&mut worker, vec![known([40.0 - 4.0 * frame as f32, 5.0, 20.0, 20.0], 0, When::Now)]);
        }
        let carried = || vec![known([4.0, 5.0, 20.0, 20.0], 0, When::Earlier)];
        let widths: Vec<f32> = (0..10)
            .map(|_| tracked(&mut worker, carried()).first().map_or(0.0, |thing| thing.width))
            .collect();
        assert!(widths[0] > 19.0 && widths[3] < 15.0 && widths[9] == 0.0, "{widths:?}");
        assert!(widths.is_sorted_by(|a, b| a >= b), "{widths:?}");
    }

    #[test]
    fn odd_boxes_and_scores_do_no_harm() {
        let mut worker = stage("track", &[("min-hits", "1"), ("iou", "0")]).worker().unwrap();
        for score in [f32::NAN, f32::INFINITY, -1.0, 0.5, 1.0] {
            let things = odd_boxes().into_iter().map(|at| Detection { score, ..thing("", at) });
            ids(&mut worker, (64, 48), things.collect());
        }
    }
}
