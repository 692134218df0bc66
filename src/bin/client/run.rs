//! One stream from its first message to its summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use frameserve::proto::pressure::Mode;
use frameserve::proto::{Pressure, StreamConfig, StreamSettings};
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::args::StreamArgs;
use crate::console::Console;
use crate::download::Download;
use crate::failure::{Exit, Failure};
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::receive::{Account, Receiving};
use crate::report::{StreamReport, Tally};
use crate::samples::Samples;
use crate::sink::{Caption, FindingsFile, SoundTrack, Target, check_parent, write_sheet};
use crate::source::{Arrival, Facts, Origin, Sound, Source};
use crate::upload::{Encoding, Pace, Upload, Uploaded, encoder_count};
use crate::wire::{Decoder, Encoder};

/// Frames on a contact sheet.
const SHEET_FRAMES: usize = 6;

/// One stream that is to run.
#[derive(Debug)]
pub struct Job {
    pub origin: Origin,
    /// Unlike any other job's.
    pub name: String,
    pub target: Target,
    pub sheet: Option<PathBuf>,
}

/// What all streams of this program share.
pub struct Shared {
    pub args: StreamArgs,
    pub console: Console,
    /// Cancelled by Ctrl-C.
    pub stop: CancellationToken,
    pub findings: Option<FindingsFile>,
    /// More than one stream, so that lines must name theirs.
    pub several: bool,
}

/// How it ended.
pub struct Outcome {
    pub exit: Exit,
    pub tally: Tally,
    pub report: StreamReport,
}

/// A stream that is over, with its video complete.
struct Finished<'a> {
    job: &'a Job,
    args: &'a StreamArgs,
    facts: &'a Facts,
    /// As the server granted it.
    pipeline: &'a str,
    samples: Option<&'a Samples>,
    frames_out: u64,
}

impl Job {
    /// Fails where what it writes has no place.
    pub fn check_outputs(&self) -> Result<(), Failure> {
        self.target.check()?;
        self.sheet.as_deref().map_or(Ok(()), check_parent)
    }
}

/// Runs the job. Whatever fails, what came back until then has been written.
pub async fn run(job: Job, shared: Arc<Shared>) -> Outcome {
    let mut tally = Tally::default();
    let mut written = Vec::new();
    let result = run_stream(&job, &shared, &mut tally, &mut written).await;
    let interrupted = shared.stop.is_cancelled();
    let exit = match &result {
        _ if interrupted => Exit::Interrupted,
        Ok(()) => tally.exit(),
        Err(failure) => failure.exit,
    };
    let report = StreamReport {
        source: job.name,
        output: job.target.title(),
        exit_code: exit as u8,
        error: result.err().map(|failure| failure.message),
        summary: tally.summary(),
        written,
    };
    Outcome { exit, tally, report }
}

async fn run_stream(
    job: &Job,
    shared: &Shared,
    tally: &mut Tally,
    written: &mut Vec<String>,
) -> Result<(), Failure> {
    let Shared { args, console, stop, .. } = shared;
    let client = args.server.connect().await?;
    let Some(source) = open_source(job, shared).await? else { return Ok(()) };
    let facts = source.facts().clone();
    let stream = client.open(config(shared, &facts)).await?;
    console.detail(&format!("{}: {}", job.name, describe_settings(&stream.settings)));
    let samples = job.sheet.is_some().then(|| Arc::new(Samples::new(SHEET_FRAMES)));

    let ledger = Arc::new(Ledger::new(&stream.settings));
    // Ends the upload also when only this stream is over.
    let stop_upload = stop.child_token();
    let download = Download {
        sink: job.target.open(&facts, args.output.codec, console)?,
        findings: shared
            .findings
            .as_ref()
            .map(|file| file.for_stream(shared.several.then(|| job.name.clone()))),
        samples: samples.clone(),
        decoder: Decoder::new().map_err(Failure::usage)?,
    };
    let encoders = (0..encoder_count()).map(|_| Encoder::new(args.stream.wire, args.stream.wire_quality));
    let encoders = encoders.collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
    let upload = Upload {
        changes: sorted_changes(args),
        pace: if args.input.pace { Pace::ByTimestamp } else { Pace::AsSoonAsPossible },
        sender: stream.sender,
        ledger: Arc::clone(&ledger),
        stop: stop_upload.clone(),
    };
    let (writer, downloaded) = download.start().map_err(Failure::usage)?;
    let start = Instant::now();
    let uploaded =
        upload.start(source, Encoding { encoders, samples: samples.clone() }).map_err(Failure::usage)?;
    let progress = Progress::new(console, &job.name, facts.frames);
    let account = Account { ledger: &ledger, console };
    let receiving = Receiving { replies: stream.replies, account, writer, progress };
    let received = receiving.receive(tally).await;
    tally.elapsed = start.elapsed();
    stop_upload.cancel();

    let uploaded = uploaded.await.map_err(|_| Failure::usage("the task that sends has crashed"))?;
    let downloaded = downloaded.await.map_err(|_| Failure::usage("the thread that writes has crashed"))?;
    tally.frames_in = uploaded.frames;
    tally.bytes_up = uploaded.bytes;
    tally.reading = uploaded.reading;
    tally.encoding = uploaded.encoding;
    tally.decoding = downloaded.decoding;
    tally.writing = downloaded.writing;
    tally.unanswered = ledger.len();
    *written = downloaded.written;
    if let Some(failure) = downloaded.failure {
        return Err(failure);
    }
    let pipeline = &stream.settings.pipeline;
    let (samples, frames_out) = (samples.as_deref(), tally.frames_out);
    let finished = Finished { job, args, facts: &facts, pipeline, samples, frames_out };
    written.extend(block_in_place(|| finished.files())?);
    received?;
    judge_upload(uploaded, tally, shared, &facts)
}

/// `None` when interrupted before there was anything: a camera or a pipe may never begin.
async fn open_source(job: &Job, shared: &Shared) -> Result<Option<Box<dyn Source>>, Failure> {
    let (origin, input) = (job.origin.clone(), shared.args.input.clone());
    let (done, opened) = oneshot::channel();
    let opening = move || {
        let _ = done.send(origin.open(&input));
    };
    thread::Builder::new().name("open".into()).spawn(opening).map_err(Failure::usage)?;
    tokio::select! {
        () = shared.stop.cancelled() => Ok(None),
        opened = opened => opened.map_err(|_| Failure::usage("the thread that opens the source has crashed"))?.map(Some),
    }
}

impl Finished<'_> {
    /// Writes what can be written only now: the contact sheet, and the sound of a video.
    fn files(&self) -> Result<Vec<String>, Failure> {
        let mut written = Vec::new();
        let Finished { job, facts, .. } = self;
        if let (Some(samples), Some(sheet)) = (self.samples, &job.sheet) {
            let file_name = job.origin.file().and_then(|file| file.file_name());
            let title =
                file_name.map_or_else(|| facts.title.clone(), |name| name.to_string_lossy().into_owned());
            let pipeline = if self.pipeline.is_empty() { "(unchanged)" } else { self.pipeline };
            let caption = Caption { title, pipeline: pipeline.into() };
            written.push(write_sheet(sheet, &caption, &samples.chosen())?);
        }
        let (Target::Video(video), Some(file)) = (&job.target, job.origin.file()) else { return Ok(written) };
        match (self.args.output.copy_audio, facts.sound) {
            (true, Sound::Absent) => written.push(format!("{} has no sound to copy", file.display())),
            (true, _) if self.frames_out > 0 => {
                SoundTrack { source: file.into(), start: self.args.input.start }.add_to(video)?;
                written.push("the sound was copied from the source".into());
            }
            (false, Sound::Present) => written.push("the sound was left out; --copy-audio keeps it".into()),
            (false, Sound::Unknown) => written.push("the source's sound, if it has any, was left out".into()),
            _ => {}
        }
        Ok(written)
    }
}

fn config(shared: &Shared, facts: &Facts) -> StreamConfig {
    let StreamArgs { stream, output, .. } = &shared.args;
    let by_default = if facts.arrival == Arrival::Live { Mode::Latest } else { Mode::Lossless };
    let mut pressure =
        stream.pressure.unwrap_or(Pressure { mode: by_default.into(), queue: 0, max_fps: 0.0 });
    pressure.max_fps = stream.max_fps.unwrap_or(0.0);
    let pictures_wanted =
        output.output.is_some() || output.contact_sheet.is_some() || output.detections.is_none();
    StreamConfig {
        pipeline: stream.pipeline.clone(),
        reply_format: Some(stream.reply_format(pictures_wanted)),
        window: stream.window,
        pressure: Some(pressure),
        bad_frames: stream.bad_frames.into(),
    }
}

fn sorted_changes(args: &StreamArgs) -> Vec<crate::args::values::Change> {
    let mut changes = args.stream.change.clone();
    changes.sort_by_key(|change| change.frame);
    changes
}

/// What the way up says about the outcome, once nothing else went wrong.
fn judge_upload(uploaded: Uploaded, tally: &Tally, shared: &Shared, facts: &Facts) -> Result<(), Failure> {
    if let Some(failure) = uploaded.failure {
        return Err(failure);
    }
    if shared.stop.is_cancelled() {
        return Ok(());
    }
    let refused = |message| Err(Failure { exit: Exit::Refused, message });
    if !uploaded.complete {
        return refused(format!(
            "the server ended the stream after {} frames, before the source's end",
            uploaded.frames
        ));
    }
    if tally.unanswered > 0 {
        return refused(format!(
            "the server ended the stream and left {} frames without an answer",
            tally.unanswered
        ));
    }
    if uploaded.frames == 0 {
        return Err(Failure::usage(format!("{} gave no frame", facts.title)));
    }
    // A container's count may be an estimate, so that a few frames less are nothing to speak of.
    if let Some(expected) = facts.frames.filter(|expected| uploaded.frames + 2 < expected - expected / 50) {
        let (title, frames) = (&facts.title, uploaded.frames);
        shared
            .console
            .note(&format!("note: {title} ended after {frames} of {expected} frames: it may be damaged"));
    }
    for change in uploaded.changes_left {
        shared.console.note(&format!(
            "note: --change {}:{}: the source has only {} frames",
            change.frame, change.pipeline, uploaded.frames
        ));
    }
    Ok(())
}

/// For who asked for more.
pub fn describe_settings(settings: &StreamSettings) -> String {
    let reply = settings.reply_format.unwrap_or_default();
    let pressure = settings.pressure.unwrap_or_default();
    format!(
        "pipeline '{}', {} frames in flight, {}, replies in {}",
        settings.pipeline,
        settings.window,
        pressure.mode().as_str_name().to_lowercase(),
        reply.encoding().as_str_name().to_lowercase(),
    )
}
