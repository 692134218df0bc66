//! `detect`: what a model finds, and where.

use super::model::NAME;
use crate::error::Error;
use crate::frame::{Answer, Detection};
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "detect",
    group: Group::Model,
    doc: "Finds what a model of the repository was trained to find (its task is `detection`): boxes with their scores \
          and labels come with the result, the surest first. They are drawn by `draw`, and not by this.",
    params: &[
        NAME,
        Param::new(
            "threshold",
            Range::Number(0.0, 1.0),
            "The least score; 0 leaves it to the model's own configuration.",
        )
        .or("0"),
        Param::new(
            "classes",
            Range::Text(1000),
            "What is wanted of what the model knows: labels, or numbers of classes, with a comma between, in quotes. \
             Empty for everything.",
        )
        .or(""),
        Param::new("max", Range::Integer(1, 10_000), "The most boxes of a frame.").or("100"),
    ],
    example: "detect=things,threshold=0.5,classes='person,dog'",
    build,
};

#[derive(Debug, Clone)]
struct Detect {
    name: String,
    threshold: Option<f32>,
    classes: Classes,
    max: usize,
}

/// Labels and numbers of classes that are wanted; none for all.
#[derive(Debug, Clone)]
struct Classes(Vec<String>);

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let threshold = args.number("threshold") as f32;
    let classes = args.text("classes");
    let classes = classes.split(',').map(str::trim).filter(|class| !class.is_empty());
    Ok(Box::new(Detect {
        name: args.text("name"),
        threshold: Some(threshold).filter(|threshold| *threshold > 0.0),
        classes: Classes(classes.map(String::from).collect()),
        max: args.integer("max").unsigned_abs() as usize,
    }))
}

impl Stage for Detect {
    fn asks(&self) -> Option<(&str, Task)> {
        Some((&self.name, Task::Detections(self.threshold)))
    }

    fn check_labels(&self, labels: &[String]) -> Result<(), Error> {
        let Classes(wanted) = &self.classes;
        let numbered = |class: &String| {
            class.parse::<usize>().is_ok_and(|number| labels.is_empty() || number < labels.len())
        };
        let known = |class: &&String| labels.contains(class) || numbered(class);
        let Some(unknown) = wanted.iter().find(|class| !known(class)) else { return Ok(()) };
        if labels.is_empty() {
            let model = &self.name;
            let reason =
                format!("`{unknown}` is no number, and model `{model}` has no labels for its classes");
            return Err(Error::Stage { stage: KIND.name, reason });
        }
        let some: Vec<_> = labels.iter().take(8).map(|label| format!("`{label}`")).collect();
        let more = if labels.len() > some.len() { ", …" } else { "" };
        let reason = format!(
            "`{unknown}` is none of the {} classes of model `{}`: {}{more}",
            labels.len(),
            self.name,
            some.join(", ")
        );
        Err(Error::Stage { stage: KIND.name, reason })
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Detect { classes, max, .. } = self.clone();
        on_frame(move |frame, _| {
            let answer = frame.answer.take();
            if let Some(Answer::Detections(found)) = answer.as_deref() {
                let wanted = found.iter().filter(|found| classes.want(found)).take(max);
                let found = wanted.map(|found| Detection { source: KIND.name, ..found.clone() });
                frame.findings.detections.extend(found);
            }
            Ok(())
        })
    }
}

impl Classes {
    fn want(&self, found: &Detection) -> bool {
        let is = |class: &String| {
            *class == found.label || class.parse().is_ok_and(|number: u32| found.class_id == Some(number))
        };
        self.0.is_empty() || self.0.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_wanted_by_label_or_number() {
        let classes = |text: &[&str]| Classes(text.iter().map(|text| (*text).into()).collect());
        let dog = Detection { label: "dog".into(), class_id: Some(16), ..Detection::default() };
        for (wanted, expected) in
            [(&[][..], true), (&["cat", "dog"], true), (&["16"], true), (&["cat", "1"], false)]
        {
            assert_eq!(classes(wanted).want(&dog), expected, "{wanted:?}");
        }
    }
}
