//! The part of a source that is sent: from where, how many frames, how many times over.

use super::{Arrival, Facts, Origin, Source, SourceFrame};
use crate::args::InputArgs;
use crate::failure::Failure;

pub struct Selection {
    origin: Origin,
    input: InputArgs,
    inner: Box<dyn Source>,
    facts: Facts,
    left: u64,
    rounds_left: u32,
    /// Added to the timestamps of this round, so that time goes on from the round before.
    offset_us: i64,
    last_us: i64,
}

impl Selection {
    pub fn open(origin: Origin, input: InputArgs) -> Result<Selection, Failure> {
        let inner = origin.open_once(&input)?;
        let mut facts = inner.facts().clone();
        if facts.arrival == Arrival::Live || origin == Origin::StandardInput {
            for (given, option) in [(input.start > 0.0, "--start"), (input.repeat > 1, "--repeat")] {
                if given {
                    return Err(Failure::usage(format!(
                        "{option}: {} can't be read from elsewhere",
                        facts.title
                    )));
                }
            }
        }
        let skipped = (input.start * facts.fps) as u64;
        let all =
            facts.frames.map(|frames| frames.saturating_sub(skipped).saturating_mul(input.repeat.into()));
        let left = input.frames.unwrap_or(u64::MAX);
        facts.frames = match (all, input.frames) {
            (Some(all), limit) => Some(all.min(limit.unwrap_or(u64::MAX))),
            (None, limit) => limit,
        };
        let rounds_left = input.repeat - 1;
        Ok(Selection { origin, input, inner, facts, left, rounds_left, offset_us: 0, last_us: 0 })
    }

    fn next_round(&mut self) -> Result<(), Failure> {
        self.rounds_left -= 1;
        self.inner = self.origin.open_once(&self.input)?;
        let first_us = (self.input.start * 1e6) as i64;
        self.offset_us = self.last_us + (1e6 / self.facts.fps) as i64 - first_us;
        Ok(())
    }
}

impl Source for Selection {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        // Half a frame's tolerance: containers round their timestamps.
        let start_us = ((self.input.start - 0.5 / self.facts.fps) * 1e6) as i64;
        while self.left > 0 {
            match self.inner.next()? {
                Some(frame) if frame.timestamp_us < start_us => {}
                Some(mut frame) => {
                    frame.timestamp_us += self.offset_us;
                    self.last_us = frame.timestamp_us;
                    self.left -= 1;
                    return Ok(Some(frame));
                }
                None if self.rounds_left > 0 => self.next_round()?,
                None => break,
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(frames: Option<u64>, repeat: u32, start: f64) -> InputArgs {
        InputArgs { start, frames, pace: false, source_fps: 25.0, repeat, streams: 1 }
    }

    fn timestamps(input: InputArgs) -> Vec<i64> {
        let origin = Origin::Pattern("32x16@10".parse().unwrap());
        let mut source = Selection::open(origin, input).unwrap();
        std::iter::from_fn(|| source.next().unwrap()).map(|frame| frame.timestamp_us / 1000).collect()
    }

    #[test]
    fn cut_and_repeated() {
        assert_eq!(timestamps(input(Some(3), 1, 0.0)), [0, 100, 200]);
        assert_eq!(timestamps(input(None, 1, 9.8)), [9800, 9900]);
        assert_eq!(timestamps(input(None, 2, 9.8)), [9800, 9900, 10_000, 10_100]);
        assert_eq!(timestamps(input(None, 2, 0.0)).len(), 200);
    }
}
