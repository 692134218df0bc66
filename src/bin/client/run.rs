//! One stream from its first message to its summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use frameserve::client::{Client, FrameReplies};
use frameserve::grpc::proto::pressure::Mode;
use frameserve::grpc::proto::{MsgReply, Pressure, StreamConfig, StreamSettings};
use tokio::sync::{mpsc, oneshot};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::args::StreamArgs;
use crate::console::Console;
use crate::download::{Download, Returned};
use crate::failure::{Exit, Failure};
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::report::{StreamReport, Tally};
use crate::samples::Samples;
use crate::sink::{Caption, FindingsFile, SoundTrack, Target, write_sheet};
use crate::source::{Arrival, Facts, Origin, Sound, Source};
use crate::upload::{Pace, Upload, Uploaded};
use crate::wire::{Decoder, Encoder};

/// Frames on a contact sheet.
const SHEET_FRAMES: usize = 6;
/// Failed frames that are reported one by one.
const REPORTED: u64 = 3;

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

/// Replies as they come in.
struct Receiving<'a> {
    replies: FrameReplies,
    ledger: &'a Ledger,
    writer: mpsc::Sender<Returned>,
    progress: Progress,
    console: &'a Console,
}

/// A stream that is over, with its video complete.
struct Finished<'a> {
    job: &'a Job,
    args: &'a StreamArgs,
    facts: &'a Facts,
    /// As the server granted it.
    pipeline: &'a str,
    samples: Option<&'a Samples>,
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
    let client = Client::connect(&args.server.server).await?;
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
    let upload = Upload {
        encoder: Encoder::new(args.stream.wire, args.stream.wire_quality).map_err(Failure::usage)?,
        changes: sorted_changes(args),
        pace: if args.input.pace { Pace::ByTimestamp } else { Pace::AsSoonAsPossible },
        samples: samples.clone(),
        sender: stream.sender,
        ledger: Arc::clone(&ledger),
        stop: stop_upload.clone(),
    };
    let (writer, downloaded) = download.start().map_err(Failure::usage)?;
    let start = Instant::now();
    let uploaded = upload.start(source).map_err(Failure::usage)?;
    let progress = Progress::new(console, &job.name, facts.frames);
    let receiving = Receiving { replies: stream.replies, ledger: &ledger, writer, progress, console };
    let received = receiving.receive(tally).await;
    tally.elapsed = start.elapsed();
    stop_upload.cancel();

    let uploaded = uploaded.await.map_err(|_| Failure::usage("the thread that encodes has crashed"))?;
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
    let finished = Finished { job, args, facts: &facts, pipeline, samples: samples.as_deref() };
    written.extend(block_in_place(|| finished.files())?);
    received?;
    judge_upload(uploaded, tally, shared, client.url())
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

impl Receiving<'_> {
    /// Takes replies until the stream's end, or until nobody writes them any more.
    async fn receive(mut self, tally: &mut Tally) -> Result<(), Failure> {
        let ended = loop {
            let reply = match self.replies.next().await {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            if let Some(settings) = &reply.settings {
                self.console.detail(&format!(
                    "from frame {}: {}",
                    reply.sequence,
                    describe_settings(settings)
                ));
            }
            let Some(returned) = self.account(reply, tally) else { continue };
            if self.writer.send(returned).await.is_err() {
                // The writer's own account tells why it stopped.
                break Ok(());
            }
            self.progress.update(tally);
        };
        self.progress.finish();
        ended
    }

    /// Counts the reply; `None` for one that answers no frame.
    fn account(&self, reply: MsgReply, tally: &mut Tally) -> Option<Returned> {
        tally.bytes_down += reply.img.len() as u64;
        if let Some(dropped) = &reply.dropped {
            let count = self.ledger.take_run(dropped.first, dropped.count);
            tally.dropped += count;
            return Some(Returned::Missing(Box::new(reply), count));
        }
        let sent = self.ledger.take(reply.sequence)?;
        if let Some(error) = &reply.error {
            tally.failed += 1;
            let text = format!("frame {} failed: {}", reply.sequence, error.message);
            match tally.failed {
                ..=REPORTED => self.console.error(&text),
                _ => self.console.detail(&text),
            }
            return Some(Returned::Missing(Box::new(reply), 1));
        }
        tally.came_back(sent.at.elapsed(), reply.timing.as_ref());
        Some(Returned::Frame(Box::new(reply), sent))
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
            (true, _) if video.exists() => {
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
fn judge_upload(uploaded: Uploaded, tally: &Tally, shared: &Shared, url: &str) -> Result<(), Failure> {
    if let Some(failure) = uploaded.failure {
        return Err(failure);
    }
    if shared.stop.is_cancelled() {
        return Ok(());
    }
    let refused = |message| Err(Failure { exit: Exit::Refused, message });
    if !uploaded.complete {
        return refused(format!(
            "{url} ended the stream after {} frames, before the source's end",
            uploaded.frames
        ));
    }
    if tally.unanswered > 0 {
        return refused(format!(
            "{url} ended the stream and left {} frames without an answer",
            tally.unanswered
        ));
    }
    for change in uploaded.changes_left {
        shared.console.note(&format!(
            "note: --change {}:{}: the source has only {} frames",
            change.frame, change.pipeline, uploaded.frames
        ));
    }
    Ok(())
}

fn describe_settings(settings: &StreamSettings) -> String {
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
