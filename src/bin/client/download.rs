//! The way down: one thread decodes what comes back, where anybody wants pixels, and writes it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use frameserve::proto::{Encoding, MsgReply};
use opencv::core::Mat;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::ledger::Sent;
use crate::samples::Samples;
use crate::sink::{Findings, Sink};
use crate::wire::Decoder;

/// Replies that wait for the writer. When it can't keep up, the server is not read, and waits too.
const WAITING: usize = 4;

/// Who takes what comes back.
pub struct Download {
    pub sink: Option<Box<dyn Sink>>,
    pub findings: Option<Findings>,
    pub samples: Option<Arc<Samples>>,
    pub decoder: Decoder,
}

/// What came back for one frame, or a run of them.
pub enum Returned {
    Frame(Box<MsgReply>, Sent),
    /// No picture, since they failed or were dropped.
    Missing(Box<MsgReply>, u64),
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Downloaded {
    pub decoding: Duration,
    pub writing: Duration,
    /// What was written, in words.
    pub written: Vec<String>,
    pub failure: Option<Failure>,
}

/// A reply whose picture is decoded when somebody asks for it, once.
pub struct Arrived<'a> {
    pub reply: &'a MsgReply,
    pub sent: &'a Sent,
    decoder: &'a mut Decoder,
    decoded: bool,
    decoding: Duration,
}

impl Arrived<'_> {
    /// Whether the reply holds a picture at all.
    pub fn has_picture(&self) -> bool {
        !self.reply.img.is_empty() && self.reply.encoding() != Encoding::NoPicture
    }

    pub fn pixels(&mut self) -> Result<&Mat, Failure> {
        if !self.decoded {
            let start = Instant::now();
            let sequence = self.reply.sequence;
            let bad = |error| Failure::bad_reply(format!("the reply to frame {sequence}: {error}"));
            self.decoder.pixels(self.reply).map_err(bad)?;
            self.decoding += start.elapsed();
            self.decoded = true;
        }
        Ok(self.decoder.last())
    }
}

impl Download {
    /// Starts the thread. The receiver gets the account when the last reply has been written.
    pub fn start(self) -> std::io::Result<(mpsc::Sender<Returned>, oneshot::Receiver<Downloaded>)> {
        let (replies, waiting) = mpsc::channel(WAITING);
        let (done, account) = oneshot::channel();
        thread::Builder::new().name("write".into()).spawn(move || {
            let _ = done.send(self.write_all(waiting));
        })?;
        Ok((replies, account))
    }

    fn write_all(mut self, mut waiting: mpsc::Receiver<Returned>) -> Downloaded {
        let mut downloaded = Downloaded::default();
        while let Some(returned) = waiting.blocking_recv() {
            if let Err(failure) = self.write(&returned, &mut downloaded) {
                downloaded.failure = Some(failure);
                break;
            }
        }
        // Even after a failure: what was written before it shall be a file that can be read.
        let start = Instant::now();
        let finished = self.sink.as_mut().map_or(Ok(Vec::new()), |sink| sink.finish());
        let flushed = self.findings.as_mut().map_or(Ok(()), Findings::flush);
        downloaded.writing += start.elapsed();
        match finished {
            Ok(written) => downloaded.written = written,
            Err(failure) => downloaded.failure = downloaded.failure.or(Some(failure)),
        }
        downloaded.failure = downloaded.failure.or(flushed.err());
        downloaded
    }

    fn write(&mut self, returned: &Returned, downloaded: &mut Downloaded) -> Result<(), Failure> {
        let start = Instant::now();
        match returned {
            Returned::Missing(reply, count) => {
                if let Some(sink) = &mut self.sink {
                    sink.repeat(*count)?;
                }
                if let Some(findings) = &mut self.findings {
                    findings.missing(reply)?;
                }
                downloaded.writing += start.elapsed();
            }
            Returned::Frame(reply, sent) => {
                let decoder = &mut self.decoder;
                let mut arrived = Arrived { reply, sent, decoder, decoded: false, decoding: Duration::ZERO };
                if let Some(findings) = &mut self.findings {
                    findings.write(&arrived)?;
                }
                if arrived.has_picture() {
                    if let Some(sink) = &mut self.sink {
                        sink.write(&mut arrived)?;
                    }
                    if let Some(samples) =
                        self.samples.as_ref().filter(|samples| samples.wants(reply.sequence))
                    {
                        samples.after(reply.sequence, arrived.pixels()?).map_err(Failure::bad_reply)?;
                    }
                }
                downloaded.decoding += arrived.decoding;
                downloaded.writing += start.elapsed().saturating_sub(arrived.decoding);
            }
        }
        Ok(())
    }
}
