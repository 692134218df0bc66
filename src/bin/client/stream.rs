//! `frameserve-client stream`: plans the streams, runs them at once, and sums up.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::StreamArgs;
use crate::console::{Console, Verbosity};
use crate::failure::{Exit, Failure};
use crate::report::{Report, StreamReport, Tally};
use crate::run::{Job, Outcome, Shared, run};
use crate::sink::{FindingsFile, Sharing, SoundTrack, Target, make_output_directory};
use crate::source::Origin;
use crate::standard_output::print;

/// Runs the subcommand. Everything that went wrong has been said when it returns.
pub async fn stream(args: StreamArgs, stop: CancellationToken) -> Exit {
    let verbosity = match (args.output.quiet, args.output.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    let console = Console::new(verbosity);
    let json = args.output.json;
    match stream_all(args, console.clone(), stop).await {
        Ok(outcomes) => sum_up(outcomes, &console, json),
        Err(failure) => {
            console.error(&failure.message);
            if json {
                let error = Some(failure.message);
                let total = Tally::default().summary();
                let exit_code = failure.exit as u8;
                let report = Report { exit_code, error, total, streams: Vec::new() };
                return overall([failure.exit, print_json(&report, &console)].into_iter());
            }
            failure.exit
        }
    }
}

async fn stream_all(
    args: StreamArgs,
    console: Console,
    stop: CancellationToken,
) -> Result<Vec<Outcome>, Failure> {
    check(&args)?;
    let jobs = plan(&args)?;
    // Before any file is touched.
    args.server.connect().await?;
    make_output_directory(&args.output)?;
    jobs.iter().try_for_each(Job::check_outputs)?;
    let findings = args.output.detections.as_deref().map(FindingsFile::create).transpose()?;
    let several = jobs.len() > 1;
    let shared = Arc::new(Shared { args, console, stop, findings, several });
    let mut running = JoinSet::new();
    let count = jobs.len();
    for (index, job) in jobs.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        running.spawn(async move { (index, run(job, shared).await) });
    }
    let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
    while let Some(ended) = running.join_next().await {
        let (index, outcome) =
            ended.map_err(|error| Failure::usage(format!("a stream has crashed: {error}")))?;
        outcomes[index] = Some(outcome);
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Options that contradict each other.
fn check(args: &StreamArgs) -> Result<(), Failure> {
    let StreamArgs { input, output, stream, .. } = args;
    let to_stdout = [
        (output.json, "--json"),
        (output.output.as_deref() == Some("-"), "-o -"),
        (output.detections.as_deref() == Some(Path::new("-")), "--detections -"),
    ];
    let taken: Vec<&str> = to_stdout.iter().filter(|(taken, _)| *taken).map(|(_, option)| *option).collect();
    if taken.len() > 1 {
        return Err(Failure::usage(format!("{} all want standard output", taken.join(" and "))));
    }
    if stream.reply.is_none() && (output.output.is_some() || output.contact_sheet.is_some()) {
        return Err(Failure::usage("--reply none brings no pictures back for -o or --contact-sheet"));
    }
    if output.copy_audio {
        if input.repeat > 1 {
            return Err(Failure::usage("--copy-audio: the sound can't be repeated with --repeat"));
        }
        SoundTrack::check_ffmpeg()?;
    }
    Ok(())
}

fn plan(args: &StreamArgs) -> Result<Vec<Job>, Failure> {
    let origins = Origin::parse_all(&args.sources)?;
    let streams = args.input.streams as usize;
    let several = origins.len() * streams > 1;
    let sharing = if several { Sharing::Several } else { Sharing::Alone };
    if several && origins.contains(&Origin::StandardInput) {
        return Err(Failure::usage("standard input can be one stream only"));
    }
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut jobs = Vec::new();
    for origin in origins.iter().flat_map(|origin| std::iter::repeat_n(origin, streams)) {
        let name = unlike_others(origin.name(), &mut taken);
        let target = Target::choose(&args.output, &name, sharing)?;
        if let (Some(input), Some(output)) = (origin.file(), target.file())
            && same_file(input, output)
        {
            return Err(Failure::usage(format!("'{}' can't be read and written at once", output.display())));
        }
        let sheet = args.output.contact_sheet.as_ref().map(|sheet| match sharing {
            Sharing::Alone => sheet.clone(),
            Sharing::Several => sheet_of(sheet, &name),
        });
        jobs.push(Job { origin: origin.clone(), name, target, sheet });
    }
    Ok(jobs)
}

/// `clip`, then `clip-2`, and so on.
pub fn unlike_others(name: String, taken: &mut HashMap<String, usize>) -> String {
    let count = taken.entry(name.clone()).or_default();
    *count += 1;
    match *count {
        1 => name,
        count => unlike_others(format!("{name}-{count}"), taken),
    }
}

fn sheet_of(sheet: &Path, name: &str) -> PathBuf {
    let stem = sheet.file_stem().unwrap_or_default().to_string_lossy();
    sheet.with_file_name(format!("{stem}-{name}.png"))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn sum_up(outcomes: Vec<Outcome>, console: &Console, json: bool) -> Exit {
    let mut total = Tally::default();
    outcomes.iter().for_each(|outcome| total.merge(&outcome.tally));
    let exit = overall(outcomes.iter().map(|outcome| outcome.exit));
    let several = outcomes.len() > 1;
    for Outcome { report, exit: stream_exit, .. } in &outcomes {
        if let Some(error) = &report.error {
            console.error(&if several { format!("{}: {error}", report.source) } else { error.clone() });
        }
        // A stream that never began has nothing to sum up.
        if report.summary.frames_in > 0 || *stream_exit == Exit::AllCameBack {
            console.note(&text(report));
        }
    }
    if several {
        console.note(&format!("all {} streams\n{}", outcomes.len(), total.summary().text()));
    }
    if exit == Exit::Interrupted {
        console.note("interrupted: what had come back was written");
    }
    if json {
        let streams = outcomes.into_iter().map(|outcome| outcome.report).collect();
        let report = Report { exit_code: exit as u8, error: None, total: total.summary(), streams };
        return overall([exit, print_json(&report, console)].into_iter());
    }
    exit
}

/// One code for all: what stopped a stream tells more than frames that failed in it.
pub fn overall(exits: impl Iterator<Item = Exit>) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::AllCameBack => 0,
        Exit::FramesFailed => 1,
        Exit::UsageOrFile => 2,
        Exit::BadReply => 3,
        Exit::Refused => 4,
        Exit::Unreachable => 5,
        Exit::Interrupted => 6,
    };
    exits.max_by_key(rank).unwrap_or(Exit::AllCameBack)
}

fn text(report: &StreamReport) -> String {
    let arrow = report.output.as_ref().map(|output| format!(" -> {output}")).unwrap_or_default();
    let mut text = format!("{}{arrow}\n{}", report.source, report.summary.text());
    for line in &report.written {
        text += &format!("  output   {line}\n");
    }
    text
}

/// Prints the report, and says what became of that.
fn print_json(report: &Report, console: &Console) -> Exit {
    let text = serde_json::to_string_pretty(report).expect("numbers and strings only");
    match print(&format!("{text}\n")) {
        Ok(()) => Exit::AllCameBack,
        Err(failure) => {
            console.error(&failure.message);
            failure.exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parse(line: &str) -> StreamArgs {
        let words = ["frameserve-client", "stream"].into_iter().chain(line.split(' '));
        let Command::Stream(args) = Cli::parse_from(words).command else { panic!("stream") };
        *args
    }

    #[test]
    fn every_stream_has_its_own_name_and_files() {
        let jobs = plan(&parse("test:64x48 test:32x32 --streams 2 -o out/ --contact-sheet s.png")).unwrap();
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["test", "test-2", "test-3", "test-4"]);
        assert_eq!(jobs[2].target, Target::Video("out/test-3.mp4".into()));
        assert_eq!(jobs[1].sheet, Some("s-test-2.png".into()));
    }

    #[test]
    fn contradictions_are_refused() {
        for line in
            ["test:64x48 --json -o -", "test:64x48 -o - --detections -", "test:64x48 --reply none -o a.mp4"]
        {
            assert!(check(&parse(line)).is_err(), "{line}");
        }
        assert!(check(&parse("test:64x48 -o a.mp4 --json")).is_ok());
        assert!(plan(&parse("- --streams 2")).is_err());
    }

    #[test]
    fn the_worst_code_wins() {
        use Exit::{AllCameBack, FramesFailed, Refused};
        assert_eq!(overall([AllCameBack, Refused, FramesFailed].into_iter()), Refused);
        assert_eq!(overall([].into_iter()), AllCameBack);
    }
}
