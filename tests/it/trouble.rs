//! Bad frames and bad requests: each a clear error in its place, and nobody else is hurt.

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::proto::{BadFrames, Encoding, MsgRequest, PixelFormat, Pressure, ReplyFormat, StreamConfig};
use tonic::Code;

use crate::harness::{TestServer, config, exchange, gray, jpeg, open, value};

/// Everything that can be wrong with a frame, and what its error must say.
fn bad_frames() -> Vec<(MsgRequest, Code, &'static [&'static str])> {
    let frame = |img: Bytes| MsgRequest { img, ..MsgRequest::default() };
    let picture = jpeg(640, 480);
    let damaged = |bytes: &[u8]| frame(Bytes::copy_from_slice(bytes));
    let sized = |width, height, pixel_format: PixelFormat, length| MsgRequest {
        img: Bytes::from(vec![1; length]),
        encoding: Encoding::Raw.into(),
        width,
        height,
        pixel_format: pixel_format.into(),
        ..MsgRequest::default()
    };
    vec![
        (frame(Bytes::new()), Code::InvalidArgument, &["empty"]),
        (frame(picture.slice(..picture.len() / 2)), Code::InvalidArgument, &["JPEG", "bytes"]),
        (frame(picture.slice(..20)), Code::InvalidArgument, &["JPEG", "20 bytes"]),
        (damaged(b"\x89PNG\r\n\x1a\nnot really"), Code::InvalidArgument, &["PNG"]),
        (damaged(b"RIFF\x10\0\0\0WEBPVP8 nothing"), Code::InvalidArgument, &["WebP"]),
        (damaged(b"hello"), Code::InvalidArgument, &["5 bytes", "68 65 6c 6c 6f", "--raw-size"]),
        (sized(0, 0, PixelFormat::Gray8, 9), Code::InvalidArgument, &["dimensions"]),
        (sized(0, 7, PixelFormat::Gray8, 9), Code::InvalidArgument, &["0x7", "at least 1"]),
        (sized(10, 10, PixelFormat::Bgr24, 299), Code::InvalidArgument, &["10x10", "300", "299"]),
        (
            sized(10, 10, PixelFormat::Unspecified, 150),
            Code::InvalidArgument,
            &["gray8 has 100", "bgr24 300"],
        ),
        (sized(3, 2, PixelFormat::I420, 9), Code::InvalidArgument, &["3x2", "even"]),
        (
            sized(u32::MAX, u32::MAX, PixelFormat::Bgr24, 9),
            Code::ResourceExhausted,
            &["4294967295", "--max-pixels"],
        ),
        (MsgRequest { encoding: 77, ..gray(1) }, Code::InvalidArgument, &["encoding 77", "1 JPEG"]),
        (
            MsgRequest { encoding: Encoding::NoPicture.into(), ..gray(1) },
            Code::InvalidArgument,
            &["encoding 5"],
        ),
        (MsgRequest { pixel_format: -3, ..gray(1) }, Code::InvalidArgument, &["pixel_format -3"]),
        (
            MsgRequest { img: picture.clone(), width: 640, height: 481, ..MsgRequest::default() },
            Code::InvalidArgument,
            &["640x481", "640x480"],
        ),
        (
            MsgRequest { encoding: Encoding::Jpeg.into(), ..gray(1) },
            Code::InvalidArgument,
            &["JPEG", "64 bytes"],
        ),
        (
            frame(png_header(60_000, 60_000)),
            Code::ResourceExhausted,
            &["60000x60000", "16777216", "--max-pixels"],
        ),
        (
            MsgRequest { config: Some(config("gray | cany")), ..gray(1) },
            Code::InvalidArgument,
            &["character 8", "canny"],
        ),
        (
            MsgRequest { config: Some(config("resize=0x4")), ..gray(1) },
            Code::InvalidArgument,
            &["16384", "`0x4`"],
        ),
        (
            MsgRequest { config: Some(config("canny=200,100")), ..gray(1) },
            Code::InvalidArgument,
            &["200", "100"],
        ),
        (
            MsgRequest { config: Some(config("resize=16384x16384")), ..gray(1) },
            Code::ResourceExhausted,
            &["resize", "16384x16384", "--max-pixels"],
        ),
        (
            MsgRequest { config: Some(StreamConfig { window: 3, ..StreamConfig::default() }), ..gray(1) },
            Code::FailedPrecondition,
            &["window"],
        ),
    ]
}

/// The header of a PNG that has no picture.
fn png_header(width: u32, height: u32) -> Bytes {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    drop(encoder.write_header().unwrap());
    bytes.into()
}

#[tokio::test]
async fn a_bad_frame_is_reported_in_its_place_and_the_stream_goes_on() {
    let server = TestServer::start(Config::default()).await;
    let mut client = server.client().await;
    for (bad, code, says) in bad_frames() {
        let changes = bad
            .config
            .as_ref()
            .is_some_and(|config| config.pipeline.as_deref() == Some("resize=16384x16384"));
        let (replies, status) = exchange(&mut client, vec![open(""), gray(1), bad, gray(3)]).await;
        status.unwrap();
        let [_, before, failed, after] = replies.as_slice() else { panic!("{replies:?}") };
        assert_eq!((value(before), before.reply), (1, 1));
        let error = failed.error.as_ref().unwrap_or_else(|| panic!("{says:?}: {failed:?}"));
        assert_eq!((error.code, failed.sequence, failed.reply), (code as i32, 1, 1), "{error:?}");
        assert!(failed.img.is_empty());
        for says in says {
            assert!(error.message.contains(says), "`{says}` is not in `{}`", error.message);
        }
        if !changes {
            assert_eq!((value(after), after.sequence, after.reply), (3, 2, 2));
        }
    }
}

#[tokio::test]
async fn a_bad_frame_ends_the_stream_where_that_was_asked_for() {
    let server = TestServer::start(Config::default()).await;
    let config = StreamConfig { bad_frames: BadFrames::EndStream.into(), ..config("") };
    let first = MsgRequest { config: Some(config), ..MsgRequest::default() };
    for (bad, code, says) in bad_frames() {
        let frames = vec![first.clone(), gray(1), bad, gray(3)];
        let (replies, status) = exchange(&mut server.client().await, frames).await;
        let status = status.unwrap_err();
        assert_eq!(replies.len(), 2, "what came before is answered");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains("frame 1"), "{status}");
        for says in says {
            assert!(status.message().contains(says), "`{says}` is not in `{status}`");
        }
    }
}

#[tokio::test]
async fn a_stream_that_can_not_be_opened_says_why() {
    let server = TestServer::start(Config::default()).await;
    let mut client = server.client().await;
    let opening = |config| vec![MsgRequest { config: Some(config), ..MsgRequest::default() }];
    let pressure = |mode, queue, max_fps| StreamConfig {
        pressure: Some(Pressure { mode, queue, max_fps }),
        ..StreamConfig::default()
    };
    let quality = ReplyFormat { quality: 101, ..ReplyFormat::default() };
    for (config, says) in [
        (config("blurr"), "character 1"),
        (config("canny=x"), "`x`"),
        (pressure(9, 0, 0.0), "pressure 9"),
        (pressure(3, 0, 0.0), "1 to 256"),
        (pressure(3, 257, 0.0), "--max-queue"),
        (pressure(1, 0, -2.0), "-2"),
        (pressure(1, 0, f64::NAN), "NaN"),
        (StreamConfig { bad_frames: 5, ..StreamConfig::default() }, "bad_frames 5"),
        (StreamConfig { reply_format: Some(quality), ..StreamConfig::default() }, "quality 101"),
    ] {
        let (replies, status) = exchange(&mut client, opening(config)).await;
        let status = status.unwrap_err();
        assert_eq!((replies.len(), status.code()), (0, Code::InvalidArgument), "{status}");
        assert!(status.message().contains(says), "`{says}` is not in `{status}`");
    }
    let long = vec!["gray"; 33].join("|");
    let (_, status) = exchange(&mut client, opening(config(&long))).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("33 stages") && status.message().contains("--max-stages"), "{status}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream() {
    let mut config = Config::default();
    config.limits.max_message_bytes = 10_000;
    let server = TestServer::start(config).await;
    let large = MsgRequest { img: Bytes::from(vec![0; 20_000]), ..MsgRequest::default() };
    let (replies, status) =
        exchange(&mut server.client().await, vec![gray(1), gray(2), large, gray(3)]).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().contains("10000") && status.message().contains("--max-message-bytes"),
        "{status}"
    );
    assert_eq!(replies.len(), 2, "what came before is answered");
}
