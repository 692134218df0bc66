//! The benchmarks: frames through a server, against what is possible and against what others do.
//!
//! `cargo bench -- [limit] [peer] [latency] [transport] [stalled] [long]
//! [infer] [classifier] [callers] [picture] [style] [--pairs N] [--seconds S] [--write FILE]`
//!
//! Servers and clients are processes of their own: this program starts the server's binary, and itself again
//! as whatever else is needed. What is compared is measured in turns, A B A B, since machines are shared.

mod args;
mod callers;
mod classifier;
mod clips;
mod drive;
mod duel;
mod echo;
mod infer;
mod inprocess;
mod latency;
mod limit;
mod look;
mod machine;
mod memory;
mod models;
mod painter;
mod pairs;
mod peer;
mod picture;
mod process;
mod report;
mod scenes;
mod style;
mod style_gpu;
mod transport;

use std::process::ExitCode;

use args::{Args, Section, Task};
use clips::Clips;
use process::Cores;
use report::Report;

/// What can go wrong here is told to who started it, and that is all that is done about it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What every section measures with.
struct Setting {
    clips: Clips,
    cores: Cores,
    pairs: usize,
    span: drive::Span,
}

fn main() -> ExitCode {
    // As the programs do that this is compared with.
    frameserve::memory::keep_freed();
    let done = match Args::parse() {
        Ok(Args::Child(task)) => work(&task),
        Ok(Args::Measure(asked)) => measure(asked),
        Ok(Args::Nothing) => Ok(()),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what another process of this program asked for, and answers on standard output.
fn work(task: &Task) -> Result<()> {
    let answer = match task {
        Task::Drive(load) => serde_json::to_string(&runtime()?.block_on(drive::drive(load))?)?,
        Task::InProcess(work) => serde_json::to_string(&inprocess::repeat(work)?)?,
        Task::Picture(work) => serde_json::to_string(&runtime()?.block_on(picture::repeat(work))?)?,
        // The same kind of runtime that frameserve has.
        Task::Echo => return tokio::runtime::Runtime::new()?.block_on(echo::serve()),
    };
    println!("{answer}");
    Ok(())
}

/// One thread: a client that decodes nothing needs no more, and the cores are the server's.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn measure(asked: args::Asked) -> Result<()> {
    let cores = Cores::find();
    let mut report = Report::new(machine::describe(&cores, &asked)?, asked.write)?;
    let setting = Setting { clips: Clips::make()?, cores, pairs: asked.pairs, span: asked.span };
    report.add("clips", &setting.clips.describe())?;
    for section in asked.sections {
        eprintln!("measuring: {}", section.name());
        let text = match section {
            Section::Limit => limit::measure(&setting),
            Section::Peer => peer::measure(&setting),
            Section::Latency => latency::measure(&setting),
            Section::Transport => transport::measure(&setting),
            Section::Stalled => runtime()?.block_on(memory::stalled(&setting.clips.hard)),
            Section::Long => runtime()?.block_on(memory::long(&setting.clips.small)),
            Section::Infer => infer::measure(&setting),
            Section::Classifier => classifier::measure(&setting),
            Section::Callers => callers::measure(&setting),
            Section::Picture => picture::measure(&setting),
            Section::Style => style::measure(&setting),
        };
        report.add(section.name(), &text.map_err(|error| format!("{}: {error}", section.name()))?)?;
    }
    report.end()
}
