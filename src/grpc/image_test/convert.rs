//! Between messages and what the engine works with.

use tonic::metadata::MetadataMap;

use crate::config::Config;
use crate::engine::{Processed, Reply, ReplyCodec, Timing};
use crate::error::Error;
use crate::frame::codec::{Chroma, DEFAULT_QUALITY, first_bytes};
use crate::frame::{Codec, Detection, Encoded, Label, Measure, PixelFormat, Size};
use crate::limits::Limits;
use crate::proto;
use crate::session::{DropReason, Pressure, Run};

/// What is known of raw frames that say nothing themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawFrames {
    size: Option<Size>,
    format: Option<PixelFormat>,
}

impl RawFrames {
    /// From a stream's metadata, else from what the server was told.
    pub fn of(config: &Config, metadata: &MetadataMap) -> Result<Self, Error> {
        let width = side(metadata, "frame-width")?;
        let height = side(metadata, "frame-height")?;
        let size = match (width, height) {
            (Some(width), Some(height)) => Some(Size::new(width, height)),
            (None, None) => config.raw_size,
            _ => {
                return Err(Error::Incomplete("the metadata `frame-width` and `frame-height` go together"));
            }
        };
        let format = match text(metadata, "pixel-format")? {
            Some(name) => Some(
                PixelFormat::from_name(&name.to_ascii_lowercase())
                    .ok_or_else(|| PixelFormat::unknown("the metadata `pixel-format`", name))?,
            ),
            None => config.raw_format,
        };
        Ok(RawFrames { size, format })
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &'static str) -> Result<Option<&'a str>, Error> {
    let Some(value) = metadata.get(key) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| {
        let range = "it must be ASCII text".into();
        Error::Range { what: key, value: format!("{value:?}"), range }
    })
}

fn side(metadata: &MetadataMap, key: &'static str) -> Result<Option<u32>, Error> {
    let Some(value) = text(metadata, key)? else { return Ok(None) };
    match value.parse() {
        Ok(side) if side > 0 => Ok(Some(side)),
        _ => Err(Error::Range {
            what: key,
            value: format!("`{value}`"),
            range: "1 to 4294967295 pixels".into(),
        }),
    }
}

/// The picture of a message, with its size read and checked, and nothing decoded.
pub fn encoded(request: &proto::MsgRequest, raw: RawFrames, limits: &Limits) -> Result<Encoded, Error> {
    let bytes = request.img.clone();
    if bytes.is_empty() {
        return Err(Error::EmptyFrame);
    }
    let format = pixel_format(request.pixel_format)?;
    let said = match (request.width, request.height) {
        (0, 0) => None,
        (width, height) => Some(Size::new(width, height)),
    };
    let codec = match encoding(request.encoding)? {
        proto::Encoding::Unspecified => Codec::sniff(&bytes),
        proto::Encoding::Jpeg => Some(Codec::Jpeg),
        proto::Encoding::Png => Some(Codec::Png),
        proto::Encoding::Webp => Some(Codec::Webp),
        proto::Encoding::Raw => None,
        proto::Encoding::NoPicture => {
            let allowed = "a frame is JPEG (1), PNG (2), WEBP (3) or RAW (4)";
            return Err(Error::UnknownValue { what: "encoding", value: request.encoding, allowed });
        }
    };
    let Some(codec) = codec else {
        let size = said.or(raw.size).ok_or_else(|| no_dimensions(&bytes))?;
        limits.check_pixels("a raw frame", size.width, size.height)?;
        let format = match format.or(raw.format) {
            Some(format) => format,
            None => guess(bytes.len(), size)?,
        };
        return Encoded::raw(bytes, format, size);
    };
    let encoded = Encoded::with_header(bytes, codec)?;
    let Size { width, height } = encoded.size;
    if let Some(Size { width: said_width, height: said_height }) = said.filter(|said| *said != encoded.size) {
        return Err(Error::HeaderMismatch { said_width, said_height, width, height });
    }
    limits.check_pixels(codec.name(), width, height)?;
    Ok(encoded)
}

/// The format of raw pixels by their number alone: gray8 or bgr24.
fn guess(found: usize, size: Size) -> Result<PixelFormat, Error> {
    let gray = PixelFormat::Gray8.byte_len(size)?;
    let color = PixelFormat::Bgr24.byte_len(size)?;
    match found as u64 {
        n if n == gray => Ok(PixelFormat::Gray8),
        n if n == color => Ok(PixelFormat::Bgr24),
        _ => {
            let Size { width, height } = size;
            Err(Error::RawLengthUnknownFormat { width, height, gray, color, found })
        }
    }
}

fn no_dimensions(bytes: &[u8]) -> Error {
    Error::NoDimensions { bytes: bytes.len(), begin: first_bytes(bytes) }
}

fn encoding(value: i32) -> Result<proto::Encoding, Error> {
    let allowed = "0 (by its first bytes), 1 JPEG, 2 PNG, 3 WEBP, 4 RAW, 5 NO_PICTURE (replies only)";
    proto::Encoding::try_from(value).map_err(|_| Error::UnknownValue { what: "encoding", value, allowed })
}

fn pixel_format(value: i32) -> Result<Option<PixelFormat>, Error> {
    let allowed = "1 GRAY8, 2 BGR24, 3 RGB24, 4 I420, 5 NV12";
    let known = proto::PixelFormat::try_from(value).map_err(|_| Error::UnknownValue {
        what: "pixel_format",
        value,
        allowed,
    })?;
    Ok(match known {
        proto::PixelFormat::Unspecified => None,
        proto::PixelFormat::Gray8 => Some(PixelFormat::Gray8),
        proto::PixelFormat::Bgr24 => Some(PixelFormat::Bgr24),
        proto::PixelFormat::Rgb24 => Some(PixelFormat::Rgb24),
        proto::PixelFormat::I420 => Some(PixelFormat::I420),
        proto::PixelFormat::Nv12 => Some(PixelFormat::Nv12),
    })
}

impl Default for Reply {
    fn default() -> Self {
        Reply { codec: ReplyCodec::AsItCame, quality: DEFAULT_QUALITY, chroma: Chroma::default() }
    }
}

/// How replies are to be encoded.
pub fn reply(format: &proto::ReplyFormat) -> Result<Reply, Error> {
    let pixels = pixel_format(format.pixel_format)?;
    let codec = match encoding(format.encoding)? {
        proto::Encoding::Unspecified => ReplyCodec::AsItCame,
        proto::Encoding::Jpeg => ReplyCodec::Codec(Codec::Jpeg),
        proto::Encoding::Png => ReplyCodec::Codec(Codec::Png),
        proto::Encoding::Webp => ReplyCodec::Codec(Codec::Webp),
        proto::Encoding::Raw => {
            pixels.map_or(ReplyCodec::Raw, |pixels| ReplyCodec::Codec(Codec::Raw(pixels)))
        }
        proto::Encoding::NoPicture => ReplyCodec::NoPicture,
    };
    let quality = match format.quality {
        0 => DEFAULT_QUALITY,
        quality => {
            u8::try_from(quality).ok().filter(|quality| *quality <= 100).ok_or_else(|| Error::Range {
                what: "quality",
                value: quality.to_string(),
                range: "1 to 100, or 0 for 85".into(),
            })?
        }
    };
    let allowed = "0 or 1 (4:2:0), 2 (4:2:2), 3 (4:4:4)";
    let chroma = match proto::ChromaSubsampling::try_from(format.chroma) {
        Ok(proto::ChromaSubsampling::ChromaUnspecified | proto::ChromaSubsampling::Chroma420) => {
            Chroma::Quarter
        }
        Ok(proto::ChromaSubsampling::Chroma422) => Chroma::Half,
        Ok(proto::ChromaSubsampling::Chroma444) => Chroma::Full,
        Err(_) => return Err(Error::UnknownValue { what: "chroma", value: format.chroma, allowed }),
    };
    Ok(Reply { codec, quality, chroma })
}

/// The other way round.
pub fn reply_format(reply: Reply) -> proto::ReplyFormat {
    let (encoding, pixels) = match reply.codec {
        ReplyCodec::AsItCame => (proto::Encoding::Unspecified, proto::PixelFormat::Unspecified),
        ReplyCodec::NoPicture => (proto::Encoding::NoPicture, proto::PixelFormat::Unspecified),
        ReplyCodec::Raw => (proto::Encoding::Raw, proto::PixelFormat::Unspecified),
        ReplyCodec::Codec(codec) => wire_codec(codec),
    };
    let chroma = match reply.chroma {
        Chroma::Quarter => proto::ChromaSubsampling::Chroma420,
        Chroma::Half => proto::ChromaSubsampling::Chroma422,
        Chroma::Full => proto::ChromaSubsampling::Chroma444,
    };
    proto::ReplyFormat {
        encoding: encoding.into(),
        quality: reply.quality.into(),
        pixel_format: pixels.into(),
        chroma: chroma.into(),
    }
}

/// A codec as messages name it.
pub fn wire_codec(codec: Codec) -> (proto::Encoding, proto::PixelFormat) {
    match codec {
        Codec::Jpeg => (proto::Encoding::Jpeg, proto::PixelFormat::Unspecified),
        Codec::Png => (proto::Encoding::Png, proto::PixelFormat::Unspecified),
        Codec::Webp => (proto::Encoding::Webp, proto::PixelFormat::Unspecified),
        Codec::Raw(format) => {
            let format = match format {
                PixelFormat::Gray8 => proto::PixelFormat::Gray8,
                PixelFormat::Bgr24 => proto::PixelFormat::Bgr24,
                PixelFormat::Rgb24 => proto::PixelFormat::Rgb24,
                PixelFormat::I420 => proto::PixelFormat::I420,
                PixelFormat::Nv12 => proto::PixelFormat::Nv12,
            };
            (proto::Encoding::Raw, format)
        }
    }
}

/// What a stream does under pressure, and its greatest rate.
pub fn pressure(wire: &proto::Pressure, limits: &Limits) -> Result<(Pressure, Option<f64>), Error> {
    use proto::pressure::Mode;
    let allowed = "0 or 1 LOSSLESS, 2 LATEST, 3 DROP_OLDEST";
    let mode = Mode::try_from(wire.mode).map_err(|_| Error::UnknownValue {
        what: "pressure",
        value: wire.mode,
        allowed,
    })?;
    let pressure = match mode {
        Mode::Unspecified | Mode::Lossless => Pressure::Lossless,
        Mode::Latest => Pressure::DropOldest(1),
        Mode::DropOldest => {
            let queue = wire.queue as usize;
            if queue < 1 || queue > limits.max_queue {
                let range = format!("1 to {} (the server's --max-queue raises it)", limits.max_queue);
                return Err(Error::Range {
                    what: "the queue of DROP_OLDEST",
                    value: queue.to_string(),
                    range,
                });
            }
            Pressure::DropOldest(queue)
        }
    };
    let max_fps = match wire.max_fps {
        0.0 => None,
        fps if (0.01..=1000.0).contains(&fps) => Some(fps),
        fps => {
            let range = "0.01 to 1000 frames a second, or 0 for no bound".into();
            return Err(Error::Range { what: "max_fps", value: fps.to_string(), range });
        }
    };
    Ok((pressure, max_fps))
}

/// The same with the mode that no mode stands for, and without a queue where there is none.
pub fn stated(asked: proto::Pressure) -> proto::Pressure {
    use proto::pressure::Mode;
    match asked.mode() {
        Mode::Unspecified | Mode::Lossless => {
            proto::Pressure { mode: Mode::Lossless.into(), queue: 0, ..asked }
        }
        Mode::Latest => proto::Pressure { queue: 0, ..asked },
        Mode::DropOldest => asked,
    }
}

/// The limits as clients are told them.
pub fn limits(limits: &Limits) -> proto::Limits {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    proto::Limits {
        max_window: number(limits.max_window),
        max_queue: number(limits.max_queue),
        max_pixels: limits.max_pixels,
        max_message_bytes: limits.max_message_bytes as u64,
        max_streams: number(limits.max_streams),
        max_stages: number(limits.max_stages),
        max_stream_bytes: limits.max_stream_bytes as u64,
    }
}

/// Puts what became of a frame into its reply.
pub fn fill_in(reply: &mut proto::MsgReply, processed: Processed) {
    if let Some((bytes, codec)) = processed.picture {
        let (encoding, format) = wire_codec(codec);
        (reply.img, reply.encoding, reply.pixel_format) = (bytes, encoding.into(), format.into());
    } else {
        reply.encoding = proto::Encoding::NoPicture.into();
    }
    (reply.width, reply.height) = (processed.size.width, processed.size.height);
    reply.timing = Some(timing(&processed.timing));
    let findings = processed.findings;
    reply.detections = findings.detections.into_iter().map(detection).collect();
    reply.labels = findings.labels.into_iter().map(label).collect();
    reply.measures = findings.measures.into_iter().map(measure).collect();
}

fn timing(timing: &Timing) -> proto::Timing {
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let stage = |step: &crate::pipeline::StepTime| proto::StepTime {
        stage: step.stage.to_string(),
        nanoseconds: nanoseconds(step.took),
    };
    proto::Timing {
        queue: nanoseconds(timing.queue),
        decode: nanoseconds(timing.decode),
        stages: timing.stages.iter().map(stage).collect(),
        encode: nanoseconds(timing.encode),
        total: nanoseconds(timing.total),
    }
}

fn detection(found: Detection) -> proto::Detection {
    let Detection { x, y, width, height, score, label, class_id, track_id, points, text, source, .. } = found;
    let source = source.into();
    proto::Detection { x, y, width, height, score, label, class_id, track_id, points, text, source }
}

fn label(found: Label) -> proto::Label {
    let Label { name, score, class_id, source } = found;
    proto::Label { name, score, class_id, source: source.into() }
}

fn measure(found: Measure) -> proto::Measure {
    proto::Measure { name: found.name.into(), value: found.value }
}

/// Frames that were dropped, as clients are told of them.
pub fn dropped(run: Run) -> proto::Dropped {
    use proto::dropped::Reason;
    let reason = match run.reason {
        DropReason::Replaced => Reason::Replaced,
        DropReason::Rate => Reason::Rate,
    };
    proto::Dropped { first: run.first, count: run.count, reason: reason.into() }
}
