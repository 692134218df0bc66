//! The values that options take: text to type, with errors that name the value and the bound.

use std::str::FromStr;

use clap::ValueEnum;
use frameserve::proto::pressure::Mode;
use frameserve::proto::{BadFrames, Encoding, PixelFormat, Pressure, ReplyFormat};

/// How frames travel to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Encoded pictures as they are, everything else as JPEG.
    Auto,
    Jpeg,
    Png,
    Webp,
    Raw(PixelFormat),
}

/// How replies travel back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyChoice {
    /// JPEG, or nothing where nobody looks at the pictures.
    Auto,
    Format(Encoding, PixelFormat),
}

/// A pipeline that takes over at a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub frame: u64,
    pub pipeline: String,
}

/// What is written into an output directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputKind {
    /// One video for each source.
    Video,
    /// One picture for each frame.
    Pictures,
    /// One y4m file for each source.
    Y4m,
}

impl FromStr for Wire {
    type Err = String;

    fn from_str(text: &str) -> Result<Wire, String> {
        Ok(match text {
            "auto" => Wire::Auto,
            "jpeg" | "jpg" => Wire::Jpeg,
            "png" => Wire::Png,
            "webp" => Wire::Webp,
            _ => Wire::Raw(text.strip_prefix("raw-").and_then(pixel_format).ok_or(
                "expected auto, jpeg, png, webp, raw-bgr24, raw-rgb24, raw-gray8, raw-i420 or raw-nv12",
            )?),
        })
    }
}

impl FromStr for ReplyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<ReplyChoice, String> {
        let any = PixelFormat::Unspecified;
        Ok(match text {
            "auto" => ReplyChoice::Auto,
            "jpeg" | "jpg" => ReplyChoice::Format(Encoding::Jpeg, any),
            "png" => ReplyChoice::Format(Encoding::Png, any),
            "webp" => ReplyChoice::Format(Encoding::Webp, any),
            "same" => ReplyChoice::Format(Encoding::Unspecified, any),
            "none" => ReplyChoice::Format(Encoding::NoPicture, any),
            "raw" => ReplyChoice::Format(Encoding::Raw, any),
            _ => {
                let format = text.strip_prefix("raw-").and_then(pixel_format).ok_or(
                    "expected auto, jpeg, png, webp, same, none, raw, raw-bgr24, raw-rgb24, raw-gray8, raw-i420 \
                     or raw-nv12",
                )?;
                ReplyChoice::Format(Encoding::Raw, format)
            }
        })
    }
}

impl ReplyChoice {
    /// The wire's form of it.
    pub fn format(self, pictures_wanted: bool, quality: u8) -> ReplyFormat {
        let (encoding, pixel_format) = match self {
            ReplyChoice::Auto if pictures_wanted => (Encoding::Jpeg, PixelFormat::Unspecified),
            ReplyChoice::Auto => (Encoding::NoPicture, PixelFormat::Unspecified),
            ReplyChoice::Format(encoding, pixel_format) => (encoding, pixel_format),
        };
        ReplyFormat {
            encoding: encoding.into(),
            quality: quality.into(),
            pixel_format: pixel_format.into(),
            ..ReplyFormat::default()
        }
    }

    /// Whether replies hold no picture because the user said so.
    pub fn is_none(self) -> bool {
        matches!(self, ReplyChoice::Format(Encoding::NoPicture, _))
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Change, String> {
        let (frame, pipeline) =
            text.split_once(':').ok_or("expected FRAME:PIPELINE, for example '100:canny=50,150'")?;
        let frame =
            frame.trim().parse().map_err(|_| format!("'{frame}' is not the number of a frame, from 0"))?;
        Ok(Change { frame, pipeline: pipeline.trim().to_string() })
    }
}

/// Seconds, or `MM:SS`, or `HH:MM:SS`.
pub fn time(text: &str) -> Result<f64, String> {
    let fail = || format!("'{text}' is no time: write seconds, or [HH:]MM:SS, up to 1000 hours");
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(fail());
    }
    let mut seconds = 0.0;
    for part in parts {
        let value: f64 = part.parse().map_err(|_| fail())?;
        if !value.is_finite() || value < 0.0 {
            return Err(fail());
        }
        seconds = seconds * 60.0 + value;
    }
    if seconds <= 3.6e6 { Ok(seconds) } else { Err(fail()) }
}

/// A frame rate that a video file can have.
pub fn fps(text: &str) -> Result<f64, String> {
    bounded(text, 0.01, 1000.0)
}

/// More than nothing, and no more than a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    bounded(text, 0.001, 86_400.0)
}

/// No more than a day.
pub fn seconds_or_none(text: &str) -> Result<f64, String> {
    bounded(text, 0.0, 86_400.0)
}

/// A server and the protocol that it is measured over, as the user wrote it: `kserve://HOST:PORT`,
/// `kserves://HOST:PORT` or `kserve+unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub shown: String,
    /// The server alone.
    pub url: String,
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Measured, String> {
        let path = text.strip_prefix("kserve+").filter(|rest| rest.starts_with("unix:"));
        let url = match (path, text.split_once("://")) {
            (Some(url), _) => url.into(),
            (None, Some(("kserve", address))) if !address.is_empty() => address.into(),
            (None, Some(("kserves", address))) if !address.is_empty() => format!("https://{address}"),
            _ => return Err("expected kserve://HOST:PORT, kserves://HOST:PORT or kserve+unix:PATH".into()),
        };
        Ok(Measured { shown: text.into(), url })
    }
}

/// The protocol's bounds for `max_fps`.
pub fn max_fps(text: &str) -> Result<f64, String> {
    bounded(text, 0.01, 1000.0)
}

/// `lossless`, `latest` or `drop-oldest=N`.
pub fn pressure(text: &str) -> Result<Pressure, String> {
    let with = |mode: Mode, queue| Pressure { mode: mode.into(), queue, max_fps: 0.0 };
    match text.split_once('=') {
        None if text == "lossless" => Ok(with(Mode::Lossless, 0)),
        None if text == "latest" => Ok(with(Mode::Latest, 0)),
        Some(("drop-oldest", queue)) => match queue.parse() {
            Ok(queue) if queue > 0 => Ok(with(Mode::DropOldest, queue)),
            _ => Err(format!("'{queue}' frames cannot wait: it must be a number from 1 on")),
        },
        _ => Err("expected lossless, latest or drop-oldest=N".into()),
    }
}

/// `report` or `end`.
pub fn bad_frames(text: &str) -> Result<BadFrames, String> {
    match text {
        "report" => Ok(BadFrames::Report),
        "end" => Ok(BadFrames::EndStream),
        _ => Err("expected report or end".into()),
    }
}

/// Four characters.
pub fn fourcc(text: &str) -> Result<[char; 4], String> {
    let characters: Vec<char> = text.chars().filter(|character| (' '..='~').contains(character)).collect();
    characters.try_into().map_err(|_| "expected four characters, such as avc1, mp4v or MJPG".into())
}

fn bounded(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("'{text}' is not a number from {least} to {most}")),
    }
}

fn pixel_format(text: &str) -> Option<PixelFormat> {
    match text {
        "gray8" => Some(PixelFormat::Gray8),
        "bgr24" => Some(PixelFormat::Bgr24),
        "rgb24" => Some(PixelFormat::Rgb24),
        "i420" => Some(PixelFormat::I420),
        "nv12" => Some(PixelFormat::Nv12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [("0", 0.0), ("1.5", 1.5), ("1:30", 90.0), ("01:00:00.5", 3600.5)] {
            assert_eq!(time(text), Ok(seconds));
        }
        for text in ["", "x", "-1", "1:2:3:4", "nan", "inf", "1:-2", "1001:00:00"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pressures() {
        assert_eq!(pressure("latest").map(|pressure| pressure.mode()), Ok(Mode::Latest));
        assert_eq!(pressure("drop-oldest=7").map(|pressure| pressure.queue), Ok(7));
        for text in ["drop-oldest", "drop-oldest=", "drop-oldest=0", "drop-oldest=-1", "latest=3", "newest"] {
            assert!(pressure(text).is_err(), "{text}");
        }
    }

    #[test]
    fn changes_split_at_the_first_colon() {
        let change: Change = "12: gray | text=a:b".parse().expect("a change");
        assert_eq!(change, Change { frame: 12, pipeline: "gray | text=a:b".into() });
        assert_eq!("3:".parse(), Ok(Change { frame: 3, pipeline: String::new() }));
        assert!("gray".parse::<Change>().is_err());
        assert!("-1:gray".parse::<Change>().is_err());
    }

    #[test]
    fn formats() {
        assert_eq!("raw-i420".parse(), Ok(Wire::Raw(PixelFormat::I420)));
        assert!("raw-yuyv".parse::<Wire>().is_err());
        assert!("raw".parse::<Wire>().is_err());
        assert_eq!("raw".parse(), Ok(ReplyChoice::Format(Encoding::Raw, PixelFormat::Unspecified)));
        assert!(ReplyChoice::Auto.format(false, 90).encoding() == Encoding::NoPicture);
        assert!("none".parse().is_ok_and(ReplyChoice::is_none));
        assert_eq!(fourcc("avc1"), Ok(['a', 'v', 'c', '1']));
        assert!(fourcc("h264x").is_err());
    }
}
