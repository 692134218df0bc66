//! What this program was asked for, by a person or by another process of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::drive::{Load, Span};
use crate::inprocess::Work;
use crate::picture;

/// What is to be done.
pub enum Args {
    Measure(Asked),
    Child(Box<Task>),
    /// `cargo test --all-targets` and the like want to know that it starts.
    Nothing,
}

/// What a person asked for.
pub struct Asked {
    pub sections: Vec<Section>,
    pub pairs: usize,
    pub span: Span,
    pub write: Option<PathBuf>,
}

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Limit,
    Peer,
    Latency,
    Transport,
    Stalled,
    Long,
    Infer,
    Classifier,
    Callers,
    Picture,
    Style,
}

/// What a process of this program does for another one.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    Drive(Load),
    InProcess(Work),
    Echo,
    Picture(picture::Work),
}

/// Before the JSON of a [`Task`].
pub const CHILD: &str = "--child";

const PAIRS: usize = 5;
/// So that all of it stays under half an hour.
const SECONDS: f64 = 1.25;
const WARM_UP: f64 = 0.4;

impl Section {
    const ALL: [Section; 11] = [
        Section::Limit,
        Section::Peer,
        Section::Latency,
        Section::Transport,
        Section::Stalled,
        Section::Long,
        Section::Infer,
        Section::Classifier,
        Section::Callers,
        Section::Picture,
        Section::Style,
    ];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Section::Limit => "limit",
            Section::Peer => "peer",
            Section::Latency => "latency",
            Section::Transport => "transport",
            Section::Stalled => "stalled",
            Section::Long => "long",
            Section::Infer => "infer",
            Section::Classifier => "classifier",
            Section::Callers => "callers",
            Section::Picture => "picture",
            Section::Style => "style",
        }
    }
}

impl Args {
    pub fn parse() -> Result<Self> {
        let mut asked = Asked {
            sections: Vec::new(),
            pairs: PAIRS,
            span: Span { warm_up: WARM_UP, seconds: SECONDS },
            write: None,
        };
        let mut given = std::env::args().skip(1);
        let mut bench = false;
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                CHILD => return Ok(Args::Child(serde_json::from_str(&value()?)?)),
                "--bench" => bench = true,
                "--pairs" => asked.pairs = at_least("--pairs", value()?.parse()?, 1)?,
                "--seconds" => asked.span.seconds = at_least("--seconds", value()?.parse()?, 0.1)?,
                "--write" => asked.write = Some(value()?.into()),
                name => match Section::ALL.into_iter().find(|section| section.name() == name) {
                    Some(section) => asked.sections.push(section),
                    None => {
                        let known = Section::ALL.map(Section::name).join(", ");
                        return Err(format!("what is '{name}'? There are: {known}").into());
                    }
                },
            }
        }
        if asked.sections.is_empty() {
            asked.sections = Section::ALL.to_vec();
        }
        // Cargo says --bench when it is `cargo bench` that runs this.
        Ok(if bench { Args::Measure(asked) } else { Args::Nothing })
    }
}

fn at_least<N: PartialOrd + std::fmt::Display>(what: &str, value: N, least: N) -> Result<N> {
    if value < least {
        return Err(format!("{what} {value} is too little: at least {least}").into());
    }
    Ok(value)
}
