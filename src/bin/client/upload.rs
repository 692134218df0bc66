//! The way up: one thread reads the source, a second one encodes and sends. Both end when the stream does.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use frameserve::client::FrameSender;
use frameserve::grpc::proto::StreamConfig;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::args::values::Change;
use crate::failure::Failure;
use crate::ledger::{Ledger, Sent};
use crate::samples::Samples;
use crate::source::{Source, SourceFrame};
use crate::wire::Encoder;

/// Frames that are read ahead of the encoder.
const READ_AHEAD: usize = 4;

/// What is sent, and how.
pub struct Upload {
    pub encoder: Encoder,
    /// In the order of their frames.
    pub changes: Vec<Change>,
    pub pace: Pace,
    pub samples: Option<Arc<Samples>>,
    pub sender: FrameSender,
    pub ledger: Arc<Ledger>,
    /// Cancelled when no more is to be sent.
    pub stop: CancellationToken,
}

/// When a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    AsSoonAsPossible,
    /// At its own time, counted from the first frame.
    ByTimestamp,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Uploaded {
    pub frames: u64,
    pub bytes: u64,
    pub reading: Duration,
    pub encoding: Duration,
    /// The source was read to its end, and all of it sent.
    pub complete: bool,
    pub failure: Option<Failure>,
    /// Changes whose frame did not come.
    pub changes_left: Vec<Change>,
}

type ReadFrame = Result<(SourceFrame, Duration), Failure>;

impl Upload {
    /// Starts both threads. The receiver gets the account when the second one ends.
    pub fn start(self, source: Box<dyn Source>) -> std::io::Result<oneshot::Receiver<Uploaded>> {
        let (read, frames) = mpsc::channel(READ_AHEAD);
        let (done, account) = oneshot::channel();
        let runtime = Handle::current();
        // Not joined: it may be waiting for a camera, and ends at its next frame, which nobody takes.
        thread::Builder::new().name("read".into()).spawn(move || read_all(source, &read))?;
        thread::Builder::new().name("encode".into()).spawn(move || {
            let uploaded = self.send_all(frames, &runtime);
            let _ = done.send(uploaded);
        })?;
        Ok(account)
    }

    /// Consumes the upload, so that the stream is closed before the account is given.
    fn send_all(mut self, mut frames: mpsc::Receiver<ReadFrame>, runtime: &Handle) -> Uploaded {
        let mut uploaded = Uploaded::default();
        let mut clock = None;
        loop {
            let next = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => None,
                    frame = frames.recv() => Some(frame),
                }
            });
            let sent = match next {
                None => break,
                Some(None) => {
                    uploaded.complete = true;
                    break;
                }
                Some(Some(Err(failure))) => Err(failure),
                Some(Some(Ok((frame, took)))) => {
                    uploaded.reading += took;
                    let due = self.due(&frame, &mut clock);
                    runtime.block_on(self.send(frame, due, &mut uploaded))
                }
            };
            match sent {
                Ok(Sending::GoesOn) => {}
                Ok(Sending::Ends) => break,
                Err(failure) => {
                    uploaded.failure = Some(failure);
                    break;
                }
            }
        }
        uploaded.changes_left = self.changes;
        uploaded
    }

    /// When the frame is to leave.
    fn due(&self, frame: &SourceFrame, clock: &mut Option<(Instant, i64)>) -> Option<Instant> {
        if self.pace == Pace::AsSoonAsPossible {
            return None;
        }
        let (start, first_us) = clock.get_or_insert((Instant::now(), frame.timestamp_us));
        let after = u64::try_from(frame.timestamp_us - *first_us).unwrap_or(0);
        Some(*start + Duration::from_micros(after))
    }

    async fn send(
        &mut self,
        frame: SourceFrame,
        due: Option<Instant>,
        uploaded: &mut Uploaded,
    ) -> Result<Sending, Failure> {
        let sequence = uploaded.frames;
        let named = |reason| Failure::usage(format!("frame {sequence} can't be sent: {reason}"));
        if let Some(samples) = self.samples.as_ref().filter(|samples| samples.wants(sequence)) {
            // A picture that can't be decoded here is the server's to judge.
            if let Ok(pixels) = self.encoder.pixels(&frame.picture) {
                samples.before(sequence, frame.timestamp_us, pixels).map_err(named)?;
            }
        }
        let start = Instant::now();
        let mut message = self.encoder.message(&frame.picture).map_err(named)?;
        uploaded.encoding += start.elapsed();
        message.sequence = Some(sequence);
        message.timestamp_us = Some(frame.timestamp_us);
        let due_changes = self.changes.iter().take_while(|change| change.frame <= sequence).count();
        let change = self.changes.drain(..due_changes).next_back();
        message.config = change.map(|Change { pipeline, .. }| StreamConfig {
            pipeline: Some(pipeline),
            ..StreamConfig::default()
        });
        let room = async {
            if let Some(due) = due {
                tokio::time::sleep_until(due.into()).await;
            }
            self.ledger.room().await;
            self.sender.reserve().await.ok()
        };
        let slot = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            slot = room => slot,
        };
        // The server's reason for closing the stream arrives with the replies.
        let Some(slot) = slot else { return Ok(Sending::Ends) };
        uploaded.frames += 1;
        uploaded.bytes += message.img.len() as u64;
        self.ledger
            .enter(sequence, Sent { at: Instant::now(), timestamp_us: frame.timestamp_us, name: frame.name });
        slot.send(message);
        Ok(Sending::GoesOn)
    }
}

/// Whether more can be sent.
enum Sending {
    GoesOn,
    Ends,
}

fn read_all(mut source: Box<dyn Source>, read: &mpsc::Sender<ReadFrame>) {
    loop {
        let start = Instant::now();
        let frame = match source.next() {
            Ok(None) => return,
            Ok(Some(frame)) => Ok((frame, start.elapsed())),
            Err(failure) => Err(failure),
        };
        let failed = frame.is_err();
        if read.blocking_send(frame).is_err() || failed {
            return;
        }
    }
}
