//! How a stream is getting on: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::console::Console;
use crate::report::Tally;

const BAR: &str = "{prefix:16!} {bar:28.cyan/238} {pos}/{len}  {msg}";
const COUNTER: &str = "{prefix:16!} {spinner:.cyan} {pos} frames  {msg}";
const BAR_EVERY: Duration = Duration::from_millis(150);
const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Progress {
    console: Console,
    name: String,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Instant,
    /// Frames that were done when it was last shown.
    done: u64,
    /// Smoothed, since a burst is no speed.
    fps: f64,
    /// The silence that lasts has been spoken of.
    silent: bool,
}

impl Progress {
    pub fn new(console: &Console, name: &str, total: Option<u64>) -> Progress {
        let bar = (console.is_terminal() && !console.is_quiet()).then(|| {
            let template = if total.is_some() { BAR } else { COUNTER };
            let style = ProgressStyle::with_template(template)
                .expect("a template that is tested")
                .progress_chars("━━─");
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
            console.bars().add(bar.with_prefix(name.to_string()))
        });
        let now = Instant::now();
        Progress {
            console: console.clone(),
            name: name.into(),
            total,
            bar,
            started: now,
            shown: now,
            done: 0,
            fps: 0.0,
            silent: false,
        }
    }

    /// Shows the numbers, if it is time again.
    pub fn update(&mut self, tally: &Tally) {
        self.silent = false;
        let since = self.shown.elapsed();
        let due = if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        if since < due || self.console.is_quiet() {
            return;
        }
        let done = tally.frames_out + tally.dropped + tally.failed;
        let recent = (done - self.done) as f64 / since.as_secs_f64();
        self.fps = if self.done == 0 { recent } else { self.fps * 0.8 + recent * 0.2 };
        self.done = done;
        self.shown = Instant::now();
        let message = self.message(tally);
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None => {
                let of = self.total.map(|total| format!("/{total}")).unwrap_or_default();
                self.console.note(&format!("{}: {done}{of} frames, {message}", self.name));
            }
        }
    }

    /// Says that no reply has come for so long: in the bar again and again, in lines once.
    pub fn wait(&mut self, silence: Duration) {
        let message = format!("no reply for {} s", silence.as_secs());
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None if !self.silent => self.console.note(&format!("{}: {message}", self.name)),
            None => {}
        }
        self.silent = true;
    }

    /// Takes the bar away: the summary says it better.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn message(&self, tally: &Tally) -> String {
        let latency = tally.median_latency().as_secs_f64() * 1000.0;
        let mut message = format!("{:.0} fps, {latency:.0} ms", self.fps);
        if tally.dropped > 0 {
            message += &format!(", {} dropped", tally.dropped);
        }
        if tally.failed > 0 {
            message += &format!(", {} failed", tally.failed);
        }
        match self.left() {
            Some(left) => message += &format!(", {} left", HumanDuration(left)),
            None => message += &format!(", {} so far", HumanDuration(self.started.elapsed())),
        }
        message
    }

    fn left(&self) -> Option<Duration> {
        let frames = self.total?.saturating_sub(self.done);
        (self.fps > 0.01).then(|| Duration::from_secs((frames as f64 / self.fps).min(1e9) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [BAR, COUNTER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
