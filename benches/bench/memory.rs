//! What the server's memory comes to: with clients that stopped reading, and in the long run.

use std::time::Duration;

use frameserve::client::Client;
use frameserve::config::Config;
use frameserve::proto::image_test_client::ImageTestClient;
use frameserve::proto::{MsgReply, MsgRequest, StreamConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::Result;
use crate::clips::Clip;
use crate::process::Server;
use crate::report::{Table, verdict};

const STREAMS: usize = 16;
/// Nothing was taken for so long: then all of them stand still.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
/// What HTTP/2 begins with: clients that take no more than that, so that all the rest stays in the server.
const CLIENT_WINDOW: u32 = 65_535;
/// Before memory is looked at for the first time, so that the threads have what they keep.
const FRAMES_BEFORE: u64 = 200;

const FRAMES: u64 = 100_000;
const EARLY: u64 = 5_000;
const PIPELINE: &str = "gray | canny";

/// Streams whose clients send and never read.
pub async fn stalled(clip: &Clip) -> Result<String> {
    let server = Server::frameserve(None)?;
    let largest_reply = through(&server, clip, FRAMES_BEFORE, &mut |_| Ok(())).await?;
    let before = server.resident()?;
    let (progress, mut seen) = watch::channel(0_u64);
    let mut sending = JoinSet::new();
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        let (messages, replies) = open(&server, clip).await?;
        unread.push(replies);
        let (clip, frames, progress) = (clip.clone(), clip.frames()?, progress.clone());
        sending.spawn(async move {
            for frame in frames.iter().cycle() {
                if messages.send(clip.message(frame)).await.is_err() {
                    break;
                }
                progress.send_modify(|sent| *sent += 1);
            }
        });
    }
    let quiet = async { while let Ok(Ok(())) = tokio::time::timeout(QUIET, seen.changed()).await {} };
    tokio::time::timeout(PATIENCE, quiet)
        .await
        .map_err(|_| "the server goes on reading what nobody takes")?;
    if !sending.is_empty() && sending.try_join_next().is_some() {
        return Err("a stream ended".into());
    }
    let growth = server.resident()?.saturating_sub(before);

    let Config { default_window: window, threads, transport, .. } = Config::default();
    // A frame in flight is there as it came, or as it will leave.
    let encoded = largest_reply.max(clip.most_bytes());
    let read = window * encoded + transport.stream_window as usize;
    // At most one for each thread. In truth no frame is decoded while all stand still, but threads keep a buffer.
    let decoded = threads * (clip.width * clip.height * 3) as usize;
    let bound = (STREAMS * (read + decoded)) as f64 * 1.2;
    let strict = (STREAMS * read + decoded) as f64 * 1.2;
    let mut table = Table::new(&["16 streams whose clients stopped reading", "MiB", ""]);
    let parts = format!(
        "{window} frames of {} kB + HTTP/2 window of {} kB",
        encoded / 1000,
        transport.stream_window / 1000
    );
    table.row(["before".into(), mib(before as f64), String::new()]);
    table.row(["growth".into(), mib(growth as f64), String::new()]);
    table.row([
        format!("target: 16 x ({parts} + {} kB decoded), and a fifth", decoded / 1000),
        mib(bound),
        verdict(growth as f64, |growth| growth <= bound),
    ]);
    table.row([
        "the same with what is decoded counted once, not for each stream".into(),
        mib(strict),
        verdict(growth as f64, |growth| growth <= strict),
    ]);
    table.row(["frames sent before all stood still".into(), seen.borrow().to_string(), String::new()]);
    Ok(table.to_string())
}

async fn open(server: &Server, clip: &Clip) -> Result<(mpsc::Sender<MsgRequest>, Streaming<MsgReply>)> {
    let channel: Channel = Endpoint::from_shared(server.url())?
        .initial_stream_window_size(CLIENT_WINDOW)
        .initial_connection_window_size(CLIENT_WINDOW)
        .connect()
        .await?;
    let (messages, queue) = mpsc::channel(1);
    let config = StreamConfig { pipeline: Some(PIPELINE.into()), ..StreamConfig::default() };
    messages.send(MsgRequest { config: Some(config), ..clip.message(&clip.frames()?[0]) }).await?;
    let replies = ImageTestClient::new(channel).analyse(ReceiverStream::new(queue)).await?.into_inner();
    Ok((messages, replies))
}

/// One stream of very many frames.
pub async fn long(clip: &Clip) -> Result<String> {
    let server = Server::frameserve(None)?;
    let (mut early, mut late, mut most) = (0, 0, 0);
    let mut at = |frames| {
        if frames % EARLY == 0 {
            late = server.resident()?;
            most = late.max(most);
        }
        if frames == EARLY {
            early = late;
        }
        Ok(())
    };
    through(&server, clip, FRAMES, &mut at).await?;
    let growth = late as f64 / early as f64 - 1.0;
    let mut table = Table::new(&["100,000 frames through one stream", "MiB", "growth", "target: within 5 %"]);
    table.row(["after 5,000 frames".into(), mib(early as f64), String::new(), String::new()]);
    table.row([
        "after 100,000 frames".into(),
        mib(late as f64),
        format!("{:+.1} %", growth * 100.0),
        verdict(growth, |growth| growth <= 0.05),
    ]);
    table.row(["the most in between".into(), mib(most as f64), String::new(), String::new()]);
    Ok(table.to_string())
}

/// Sends so many frames through a stream and tells of every reply; returns the bytes of the largest picture.
async fn through(
    server: &Server,
    clip: &Clip,
    count: u64,
    at: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<usize> {
    let config = StreamConfig { pipeline: Some(PIPELINE.into()), ..StreamConfig::default() };
    let mut stream = Client::connect(&server.url()).await?.open(config).await?;
    let (sender, frames) = (stream.sender, clip.frames()?);
    let sending = async move {
        for (frame, _) in frames.iter().cycle().zip(0..count) {
            sender.send(clip.message(frame)).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let receiving = async {
        let (mut replies, mut largest) = (0, 0);
        while let Some(reply) = stream.replies.next().await? {
            if let Some(error) = reply.error {
                return Err(error.message.into());
            }
            replies += 1;
            largest = largest.max(reply.img.len());
            at(replies)?;
        }
        if replies == count {
            Ok(largest)
        } else {
            Err(format!("{replies} replies to {count} frames").into())
        }
    };
    let ((), largest) = tokio::try_join!(sending, receiving)?;
    Ok(largest)
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}
