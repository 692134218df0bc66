//! `classify`: what a model takes the picture for.

use super::model::NAME;
use crate::error::Error;
use crate::frame::{Answer, Label};
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "classify",
    group: Group::Model,
    doc: "Names what a model of the repository takes the picture for (its task is `classification`): labels with their \
          scores come with the result, the best first, and are written on the picture by `draw`.",
    params: &[
        NAME,
        Param::new("top", Range::Integer(1, 100), "How many of the best.").or("5"),
        Param::new("threshold", Range::Number(0.0, 1.0), "The least score.").or("0"),
    ],
    example: "classify=classifier,top=3",
    build,
};

#[derive(Debug)]
struct Classify {
    name: String,
    top: usize,
    threshold: f32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Classify {
        name: args.text("name"),
        top: args.integer("top").unsigned_abs() as usize,
        threshold: args.number("threshold") as f32,
    }))
}

impl Stage for Classify {
    fn asks(&self) -> Option<(&str, Task)> {
        Some((&self.name, Task::Labels(self.top)))
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let threshold = self.threshold;
        on_frame(move |frame, _| {
            let answer = frame.answer.take();
            if let Some(Answer::Labels(labels)) = answer.as_deref() {
                let good = labels.iter().filter(|label| label.score >= threshold);
                frame.findings.labels.extend(good.map(|label| Label { source: KIND.name, ..label.clone() }));
            }
            Ok(())
        })
    }
}
