//! Standard error, shared by progress bars and messages, so that neither spoils the other.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::hush::say;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

#[derive(Debug, Clone)]
pub struct Console {
    bars: MultiProgress,
    verbosity: Verbosity,
    terminal: bool,
}

impl Console {
    pub fn new(verbosity: Verbosity) -> Console {
        let terminal = std::io::stderr().is_terminal();
        let draw = terminal && verbosity > Verbosity::Quiet;
        let target = if draw { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Console { bars: MultiProgress::with_draw_target(target), verbosity, terminal }
    }

    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Something that went wrong: said always.
    pub fn error(&self, text: &str) {
        self.line(&format!("error: {text}"));
    }

    /// Something that the user should know.
    pub fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line(text);
        }
    }

    /// Something for who asked for more.
    pub fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(text);
        }
    }

    fn line(&self, text: &str) {
        self.bars.suspend(|| say(text));
    }
}
