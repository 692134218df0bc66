//! Raw frames that nothing is done to, against a bare echo.

use std::cell::RefCell;

use crate::args::Task;
use crate::drive::Load;
use crate::limit::WINDOW;
use crate::pairs::{Pairs, Spread, median};
use crate::process::{Server, myself};
use crate::report::{Table, verdict};
use crate::{Result, Setting};

const TARGET: f64 = 0.9;

pub fn measure(setting: &Setting) -> Result<String> {
    let frameserve = Server::frameserve(setting.cores.server)?;
    let echo = Server::start(myself(&Task::Echo)?, setting.cores.server)?;
    let times = [RefCell::new(Vec::new()), RefCell::new(Vec::new())];
    let run = |server: &Server, times: &RefCell<Vec<f64>>| {
        let before = server.busy()?;
        let load = Load {
            url: server.url(),
            clip: setting.clips.raw.clone(),
            pipeline: String::new(),
            streams: 1,
            window: WINDOW,
            span: setting.span,
        };
        let driven = load.run(setting.cores.client)?;
        times.borrow_mut().push((server.busy()? - before).as_secs_f64() * 1e3 / driven.frames as f64);
        Ok(driven.fps)
    };
    let pairs = Pairs::measure(setting.pairs, || run(&frameserve, &times[0]), || run(&echo, &times[1]))?;
    let ratio = Spread::of(&pairs.ratios());
    let mut table = Table::new(&[
        "",
        "frames/s",
        "processor time of the server, ms a frame",
        "ratio of frames/s",
        "target: 0.9",
    ]);
    table.row([
        "frameserve".into(),
        format!("{:.0}", median(&pairs.ours)),
        format!("{:.2}", median(&times[0].borrow())),
        ratio.to_string(),
        verdict(ratio.median, |ratio| ratio >= TARGET),
    ]);
    table.row([
        "bare echo".into(),
        format!("{:.0}", median(&pairs.theirs)),
        format!("{:.2}", median(&times[1].borrow())),
        String::new(),
        String::new(),
    ]);
    Ok(table.to_string())
}
