//! Replies as they come in: counted, shown, and handed to the writer.

use std::time::{Duration, Instant};

use frameserve::client::FrameReplies;
use frameserve::proto::MsgReply;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::console::Console;
use crate::download::Returned;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::report::Tally;
use crate::run::describe_settings;

/// Failed frames, and changes that were refused, that are reported one by one.
const REPORTED: u64 = 3;
/// How often is looked whether a reply is overdue.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A reply that is later than this is spoken of.
const LATE: Duration = Duration::from_secs(5);

pub struct Receiving<'a> {
    pub replies: FrameReplies,
    pub account: Account<'a>,
    pub writer: mpsc::Sender<Returned>,
    pub progress: Progress,
}

/// What is known of the frames under way, and who is told of those that fail.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub ledger: &'a Ledger,
    pub console: &'a Console,
}

impl Receiving<'_> {
    /// Takes replies until the stream's end, or until nobody writes them any more.
    pub async fn receive(mut self, tally: &mut Tally) -> Result<(), Failure> {
        let mut heard = Instant::now();
        let ended = loop {
            let Ok(reply) = timeout(LOOK_EVERY, self.replies.next()).await else {
                self.look(heard);
                continue;
            };
            let reply = match reply {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            heard = Instant::now();
            let Some(returned) = self.account.count(reply, tally) else { continue };
            if self.writer.send(returned).await.is_err() {
                // The writer's own account tells why it stopped.
                break Ok(());
            }
            // Again: while the writer was waited for, nobody listened.
            heard = Instant::now();
            self.progress.update(tally);
        };
        self.progress.finish();
        ended
    }

    /// Says so when frames wait for their replies for too long.
    fn look(&mut self, heard: Instant) {
        let Some(oldest) = self.account.ledger.oldest() else { return };
        let silence = heard.max(oldest).elapsed();
        if silence >= LATE {
            self.progress.wait(silence);
        }
    }
}

impl Account<'_> {
    /// Counts the reply; `None` for one that answers no frame.
    fn count(self, reply: MsgReply, tally: &mut Tally) -> Option<Returned> {
        if let Some(settings) = &reply.settings {
            let from =
                if reply.answers_config { "next frame".into() } else { format!("frame {}", reply.sequence) };
            self.console.detail(&format!("from {from} on: {}", describe_settings(settings)));
        }
        if reply.answers_config {
            if let Some(error) = &reply.error {
                tally.changes_refused += 1;
                self.report(tally.changes_refused, &format!("a change was refused: {}", error.message));
            }
            return None;
        }
        tally.bytes_down += reply.img.len() as u64;
        if let Some(dropped) = &reply.dropped {
            let count = self.ledger.take_run(dropped.first, dropped.count);
            tally.dropped += count;
            return Some(Returned::Missing(Box::new(reply), count));
        }
        let sent = self.ledger.take(reply.sequence)?;
        if let Some(error) = &reply.error {
            tally.failed += 1;
            self.report(tally.failed, &format!("frame {} failed: {}", reply.sequence, error.message));
            return Some(Returned::Missing(Box::new(reply), 1));
        }
        tally.came_back(sent.at.elapsed(), reply.timing.as_ref());
        Some(Returned::Frame(Box::new(reply), sent))
    }

    /// The first few are said to everybody.
    fn report(self, count: u64, text: &str) {
        match count {
            ..=REPORTED => self.console.error(text),
            _ => self.console.detail(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Verbosity;
    use crate::failure::Exit;
    use crate::ledger::Sent;
    use frameserve::proto::{FrameError, StreamSettings};

    #[test]
    fn an_answer_to_a_change_is_no_frame() {
        let ledger = Ledger::new(&StreamSettings::default());
        let console = Console::new(Verbosity::Quiet);
        let account = Account { ledger: &ledger, console: &console };
        let mut tally = Tally::default();
        ledger.enter(0, Sent { at: Instant::now(), timestamp_us: 0, name: None });
        let accepted = MsgReply {
            answers_config: true,
            settings: Some(StreamSettings::default()),
            ..MsgReply::default()
        };
        assert!(account.count(accepted, &mut tally).is_none());
        assert_eq!((tally.exit(), ledger.len()), (Exit::AllCameBack, 1));
        let error = Some(FrameError { code: 3, message: "no stage 'nonsense'".into() });
        let refused = MsgReply { answers_config: true, error, ..MsgReply::default() };
        assert!(account.count(refused, &mut tally).is_none());
        assert_eq!((tally.exit(), ledger.len()), (Exit::FramesFailed, 1));
        assert!(matches!(account.count(MsgReply::default(), &mut tally), Some(Returned::Frame(..))));
        assert_eq!((tally.frames_out, tally.failed, tally.changes_refused), (1, 0, 1));
    }
}
