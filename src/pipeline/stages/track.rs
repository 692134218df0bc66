//! `track`: the same number for the same thing in every frame.

mod body;
mod pairs;
mod tracker;

use std::hash::{DefaultHasher, Hash, Hasher};

use opencv::core::Mat;

use self::tracker::{Rules, Seen, Tracker};
use super::found::{Edges, LABELS, Labels};
use crate::error::Error;
use crate::frame::{Detection, Frame, Size};
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "track",
    group: Group::Time,
    doc: "Gives what the stages before it found a number that stays the same from frame to frame, from 1 on for \
          each stream, with ByteTrack: where a thing should be is foretold from how it moved, and things of the \
          same name and class are held against that, first the sure ones, then those that may be half hidden. The \
          256 surest things of a frame are followed; others have no number. A new size of the picture ends all \
          tracks.",
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
        Param::new("min-hits", Range::Integer(1, 1000), "So many frames in a row make a track.").or("3"),
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
        Ok(())
    }
}

impl Worker {
    fn seen(&self, thing: &Detection) -> Option<Seen> {
        let edges = Edges::of(thing).filter(|_| self.labels.wants(thing))?;
        let mut kind = DefaultHasher::new();
        (&thing.label, thing.class_id).hash(&mut kind);
        Some(Seen { edges, score: thing.score, kind: kind.finish() })
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::found::tests::{odd_boxes, thing};
    use super::super::kept::tests::{run, square, stage};
    use super::*;

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

    #[test]
    fn odd_boxes_and_scores_do_no_harm() {
        let mut worker = stage("track", &[("min-hits", "1"), ("iou", "0")]).worker().unwrap();
        for score in [f32::NAN, f32::INFINITY, -1.0, 0.5, 1.0] {
            let things = odd_boxes().into_iter().map(|at| Detection { score, ..thing("", at) });
            ids(&mut worker, (64, 48), things.collect());
        }
    }
}
