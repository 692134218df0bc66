//! `count`: how many things were found.

mod seen;

use std::borrow::Cow;

use opencv::core::Mat;

use self::seen::Numbers;
use super::found::{LABELS, Labels};
use super::tags::{CORNER, Corner, Letters, Line, SIZE};
use crate::error::Error;
use crate::frame::{Detection, Frame, Measure, Size};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "count",
    group: Group::Find,
    doc: "Measures how many things the stages before it found: `count.things`, and with names given \
          `count.things.NAME` for each. With `distinct` it also measures how many there were in all frames so far, \
          each track counted once, behind the stage `track`: `count.tracks` and `count.tracks.NAME`; frames \
          then go through it one by one, in order.",
    params: &[
        LABELS,
        Param::new("distinct", Range::Flag, "Whether tracks are counted over all frames.")
            .or("false")
            .keeping_state(),
        Param::new("draw", Range::Flag, "Whether the numbers are written on the picture.").or("false"),
        CORNER,
        SIZE,
        Param::new("color", Range::Color, "Behind the letters.").or("black"),
    ],
    example: "faces | count=draw=true",
    build,
};

#[derive(Debug, Clone)]
struct Count {
    labels: Labels,
    /// What is counted: all that is wanted, then each name alone.
    counts: Vec<Counted>,
    distinct: bool,
    draw: Option<Look>,
}

/// Names of two measures, and whose they are.
#[derive(Debug, Clone)]
struct Counted {
    label: Option<String>,
    things: String,
    tracks: String,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    corner: Corner,
    size: i32,
    ground: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let labels = Labels::parse(&args.text("labels"));
    let all = Counted { label: None, things: "count.things".into(), tracks: "count.tracks".into() };
    let each = labels.names().iter().map(|name| Counted {
        label: Some(name.clone()),
        things: format!("count.things.{name}"),
        tracks: format!("count.tracks.{name}"),
    });
    let counts = std::iter::once(all).chain(each).collect();
    let look = Look { corner: Corner::of(args), size: args.integer("size"), ground: args.color("color") };
    let draw = args.flag("draw").then_some(look);
    Ok(Box::new(Count { labels, counts, distinct: args.flag("distinct"), draw }))
}

impl Stage for Count {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let seen = self.counts.iter().map(|_| Numbers::default()).collect();
        Ok(Box::new(Worker { count: self.clone(), seen }))
    }

    fn is_stateful(&self) -> bool {
        self.distinct
    }

    fn kept_bytes(&self, _: Size) -> u64 {
        if self.distinct { (self.counts.len() * Numbers::MOST_BYTES) as u64 } else { 0 }
    }
}

struct Worker {
    count: Count,
    /// Of the tracks of each count.
    seen: Vec<Numbers>,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, _: &mut Mat) -> Result<(), Error> {
        let Worker { count, seen } = self;
        let mut lines = Vec::new();
        for (counted, seen) in count.counts.iter().zip(seen) {
            let is_of = |thing: &&Detection| match &counted.label {
                Some(label) => thing.label == *label,
                None => count.labels.wants(thing),
            };
            let things = || frame.findings.detections.iter().filter(is_of);
            let mut add = |name: &str, value: u64| {
                let name = Cow::Owned(name.to_owned());
                frame.findings.measures.push(Measure { name, value: value as f64 });
            };
            let here = things().count() as u64;
            let tracks: Vec<u64> = things().filter_map(|thing| thing.track_id).collect();
            add(&counted.things, here);
            let mut line = format!("{}: {here}", counted.label.as_deref().unwrap_or("all"));
            if count.distinct {
                seen.add(tracks);
                add(&counted.tracks, seen.count());
                line += &format!(", {} so far", seen.count());
            }
            lines.push(Line::of(&line));
        }
        // A number for all says nothing besides that of the only name.
        if lines.len() == 2 {
            lines.remove(0);
        }
        if let Some(Look { corner, size, ground }) = count.draw {
            let letters = Letters::of(size, frame.image.size());
            letters.column(frame.image.mat_mut(), &lines, corner, ground)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::found::tests::thing;
    use super::super::kept::tests::{bytes, run, square, stage};
    use super::*;

    fn counted(worker: &mut Box<dyn StageWorker>, things: &[(&str, u64)]) -> Vec<(String, f64)> {
        let mut frame = square((160, 90), Rect::new(0, 0, 0, 0), 1);
        let found = |(label, id): &(&str, u64)| Detection {
            track_id: (*id > 0).then_some(*id),
            ..thing(label, [1.0, 2.0, 3.0, 4.0])
        };
        frame.findings.detections = things.iter().map(found).collect();
        let measures = run(worker, frame).findings.measures;
        measures.into_iter().map(|measure| (measure.name.into_owned(), measure.value)).collect()
    }

    fn named(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn all_are_counted_or_those_of_the_names() {
        let things = [("cat", 0), ("dog", 0), ("cat", 7), ("mouse", 0)];
        let mut worker = stage("count", &[]).worker().unwrap();
        assert_eq!(counted(&mut worker, &things), named(&[("count.things", 4.0)]));
        assert_eq!(counted(&mut worker, &[]), named(&[("count.things", 0.0)]));
        let mut worker = stage("count", &[("labels", "cat, dog,traffic light")]).worker().unwrap();
        let each = [
            ("count.things", 3.0),
            ("count.things.cat", 2.0),
            ("count.things.dog", 1.0),
            ("count.things.traffic light", 0.0),
        ];
        assert_eq!(counted(&mut worker, &things), named(&each));
    }

    #[test]
    fn each_track_is_counted_once() {
        let stage = stage("count", &[("labels", "cat"), ("distinct", "true")]);
        assert!(stage.is_stateful() && stage.kept_bytes(Size::new(1, 1)) > 0);
        let mut worker = stage.worker().unwrap();
        let frames = [
            vec![("cat", 2), ("dog", 1)],
            vec![("cat", 5), ("cat", 2), ("cat", 0)],
            vec![("cat", 1)],
            vec![],
        ];
        let expected = [[1.0, 1.0], [3.0, 2.0], [1.0, 3.0], [0.0, 3.0]];
        for (frame, [things, tracks]) in frames.iter().zip(expected) {
            let all = [("count.things", things), ("count.tracks", tracks)];
            let cats = [("count.things.cat", things), ("count.tracks.cat", tracks)];
            assert_eq!(counted(&mut worker, frame), named(&[all, cats].concat()));
        }
    }

    #[test]
    fn numbers_are_written_in_their_corner() {
        for channels in [1, 3] {
            let args = [("draw", "true"), ("corner", "bottom-right"), ("color", "white")];
            let frame = run(
                &mut stage("count", &args).worker().unwrap(),
                square((160, 90), Rect::new(0, 0, 0, 0), channels),
            );
            assert_eq!((bytes(&frame)[0], bytes(&frame).last()), (0, Some(&255)));
        }
        let many = "a\0,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z";
        for size in [(1, 1), (40_000, 1), (1, 40_000)] {
            let args = [("draw", "true"), ("labels", many), ("size", "512")];
            run(&mut stage("count", &args).worker().unwrap(), square(size, Rect::new(0, 0, 0, 0), 3));
        }
    }
}
