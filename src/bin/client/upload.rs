//! The way up: a thread reads the source, a few encode, and a task sends. All end when the stream does.
//!
//! The encoders work side by side: frame n goes through lane n modulo their number, and is taken from there
//! in its turn, so that the order needs no bookkeeping.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use frameserve::client::FrameSender;
use frameserve::proto::{MsgRequest, StreamConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::args::values::Change;
use crate::failure::Failure;
use crate::ledger::{Ledger, Sent};
use crate::samples::Samples;
use crate::source::{Source, SourceFrame};
use crate::wire::Encoder;

/// Frames that wait on each side of an encoder.
const WAITING: usize = 2;
/// More encoders than this outrun any source.
const MAX_ENCODERS: usize = 4;

/// What is sent, and how.
pub struct Upload {
    /// In the order of their frames.
    pub changes: Vec<Change>,
    pub pace: Pace,
    pub sender: FrameSender,
    pub ledger: Arc<Ledger>,
    /// Cancelled when no more is to be sent.
    pub stop: CancellationToken,
}

/// What makes messages of frames.
pub struct Encoding {
    /// One for each thread.
    pub encoders: Vec<Encoder>,
    pub samples: Option<Arc<Samples>>,
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

/// What a lane carries; at the source's end an `End`, so that a thread that crashed is not taken for it.
enum Step<T> {
    Frame(T),
    End,
    Failed(Failure),
}

/// Whether more can be sent.
enum Sending {
    GoesOn,
    Ends,
}

struct Read {
    sequence: u64,
    frame: SourceFrame,
    took: Duration,
}

struct Encoded {
    message: MsgRequest,
    sent: SentParts,
    reading: Duration,
    encoding: Duration,
}

/// What the ledger will hold of a frame.
struct SentParts {
    timestamp_us: i64,
    name: Option<Arc<str>>,
}

impl Encoding {
    /// Starts the threads. Frame n comes out of lane n modulo their number.
    fn start(self, source: Box<dyn Source>) -> std::io::Result<Vec<mpsc::Receiver<Step<Encoded>>>> {
        let (mut into, mut out_of) = (Vec::new(), Vec::new());
        for encoder in self.encoders {
            let (read, reads) = mpsc::channel(WAITING);
            let (encoded, encodeds) = mpsc::channel(WAITING);
            let samples = self.samples.clone();
            let encode = move || encode_all(encoder, samples, reads, &encoded);
            thread::Builder::new().name("encode".into()).spawn(encode)?;
            into.push(read);
            out_of.push(encodeds);
        }
        // Not joined: it may be waiting for a camera, and ends at its next frame, which nobody takes.
        thread::Builder::new().name("read".into()).spawn(move || read_all(source, &into))?;
        Ok(out_of)
    }
}

/// Half of the processors: the source's decoder and the rest of the program need some, too.
pub fn encoder_count() -> usize {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.div_ceil(2).min(MAX_ENCODERS)
}

impl Upload {
    /// Starts the threads and the task.
    pub fn start(self, source: Box<dyn Source>, encoding: Encoding) -> std::io::Result<JoinHandle<Uploaded>> {
        let lanes = encoding.start(source)?;
        Ok(tokio::spawn(self.send_all(lanes)))
    }

    /// Consumes the upload, so that the stream is closed when the account is given.
    async fn send_all(mut self, mut lanes: Vec<mpsc::Receiver<Step<Encoded>>>) -> Uploaded {
        let mut uploaded = Uploaded::default();
        let mut clock = None;
        for lane in (0..lanes.len()).cycle() {
            let step = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                step = lanes[lane].recv() => step,
            };
            let encoded = match step {
                Some(Step::Frame(encoded)) => encoded,
                Some(Step::End) => {
                    uploaded.complete = true;
                    break;
                }
                Some(Step::Failed(failure)) => {
                    uploaded.failure = Some(failure);
                    break;
                }
                None => {
                    uploaded.failure = Some(Failure::usage("a thread that reads or encodes has crashed"));
                    break;
                }
            };
            let due = self.due(encoded.sent.timestamp_us, &mut clock);
            if let Sending::Ends = self.send(encoded, due, &mut uploaded).await {
                break;
            }
        }
        uploaded.changes_left = self.changes;
        uploaded
    }

    /// When a frame is to leave.
    fn due(&self, timestamp_us: i64, clock: &mut Option<(Instant, i64)>) -> Option<Instant> {
        if self.pace == Pace::AsSoonAsPossible {
            return None;
        }
        let (start, first_us) = clock.get_or_insert((Instant::now(), timestamp_us));
        let after = u64::try_from(timestamp_us - *first_us).unwrap_or(0);
        Some(*start + Duration::from_micros(after))
    }

    async fn send(&mut self, encoded: Encoded, due: Option<Instant>, uploaded: &mut Uploaded) -> Sending {
        let Encoded { mut message, sent: SentParts { timestamp_us, name }, reading, encoding } = encoded;
        let sequence = uploaded.frames;
        uploaded.reading += reading;
        uploaded.encoding += encoding;
        let room = async {
            if let Some(due) = due {
                sleep_until(due.into()).await;
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
        let Some(slot) = slot else { return Sending::Ends };
        let due_changes = self.changes.iter().take_while(|change| change.frame <= sequence).count();
        if let Some(Change { pipeline, .. }) = self.changes.drain(..due_changes).next_back() {
            message.config = Some(StreamConfig { pipeline: Some(pipeline), ..StreamConfig::default() });
        }
        uploaded.frames += 1;
        uploaded.bytes += message.img.len() as u64;
        self.ledger.enter(sequence, Sent { at: Instant::now(), timestamp_us, name });
        slot.send(message);
        Sending::GoesOn
    }
}

fn read_all(mut source: Box<dyn Source>, lanes: &[mpsc::Sender<Step<Read>>]) {
    for (sequence, lane) in (0..).zip(lanes.iter().cycle()) {
        let start = Instant::now();
        let step = match source.next() {
            Ok(Some(frame)) => Step::Frame(Read { sequence, frame, took: start.elapsed() }),
            Ok(None) => Step::End,
            Err(failure) => Step::Failed(failure),
        };
        let more = matches!(step, Step::Frame(_));
        if lane.blocking_send(step).is_err() || !more {
            return;
        }
    }
}

fn encode_all(
    mut encoder: Encoder,
    samples: Option<Arc<Samples>>,
    mut reads: mpsc::Receiver<Step<Read>>,
    encoded: &mpsc::Sender<Step<Encoded>>,
) {
    while let Some(step) = reads.blocking_recv() {
        let step = match step {
            Step::Frame(read) => encode(&mut encoder, samples.as_deref(), read),
            Step::End => Step::End,
            Step::Failed(failure) => Step::Failed(failure),
        };
        if encoded.blocking_send(step).is_err() {
            return;
        }
    }
}

fn encode(encoder: &mut Encoder, samples: Option<&Samples>, read: Read) -> Step<Encoded> {
    let Read { sequence, frame: SourceFrame { picture, timestamp_us, name }, took } = read;
    let failed = |reason| Step::Failed(Failure::usage(format!("frame {sequence} can't be sent: {reason}")));
    if let Some(samples) = samples.filter(|samples| samples.wants(sequence)) {
        // A picture that can't be decoded here is the server's to judge.
        if let Ok(pixels) = encoder.pixels(&picture)
            && let Err(reason) = samples.before(sequence, timestamp_us, pixels)
        {
            return failed(reason);
        }
    }
    let start = Instant::now();
    let mut message = match encoder.message(&picture) {
        Ok(message) => message,
        Err(reason) => return failed(reason),
    };
    message.sequence = Some(sequence);
    message.timestamp_us = Some(timestamp_us);
    let sent = SentParts { timestamp_us, name };
    Step::Frame(Encoded { message, sent, reading: took, encoding: start.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::values::Wire;
    use crate::args::{Cli, Command};
    use crate::source::Origin;
    use clap::Parser;

    #[tokio::test]
    async fn frames_come_out_in_order_however_many_encoders() {
        let line = ["frameserve-client", "stream", "test:32x16@10", "--frames", "20"];
        let Command::Stream(args) = Cli::parse_from(line).command else { panic!("stream") };
        for count in 1..=4 {
            let source = Origin::parse_all(&args.sources).unwrap()[0].open(&args.input).unwrap();
            let encoders = (0..count).map(|_| Encoder::new(Wire::Auto, 90).unwrap()).collect();
            let mut lanes = Encoding { encoders, samples: None }.start(source).unwrap();
            for sequence in 0..20 {
                let Some(Step::Frame(encoded)) = lanes[sequence % count].recv().await else {
                    panic!("{sequence}")
                };
                assert_eq!(encoded.message.sequence, Some(sequence as u64));
            }
            assert!(matches!(lanes[20 % count].recv().await, Some(Step::End)));
        }
    }
}
