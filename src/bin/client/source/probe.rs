//! What the ffprobe program knows of a video file and OpenCV doesn't say: the number of frames that are
//! really there, the true length, and whether there is sound.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// Whether a source has a sound track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    Absent,
    Present,
    /// No ffprobe to ask.
    Unknown,
}

#[derive(Debug, PartialEq)]
pub struct Probed {
    pub frames: Option<u64>,
    pub seconds: Option<f64>,
    pub sound: Sound,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Stream {
    codec_type: Option<String>,
    nb_read_packets: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Format {
    duration: Option<String>,
}

impl Probed {
    /// Frames per second over the whole length. A declared rate that agrees is the exact one.
    pub fn average_fps(&self, declared: Option<f64>) -> Option<f64> {
        let average = self.frames? as f64 / self.seconds?;
        match declared {
            // One frame more or less is how containers round.
            Some(declared) if (declared - average).abs() <= declared * 0.005 + 1.5 / self.seconds? => {
                Some(declared)
            }
            _ => (0.01..=1000.0).contains(&average).then_some(average),
        }
    }
}

/// `None` without an ffprobe that understands the file.
pub fn probe(path: &Path) -> Option<Probed> {
    let entries = "stream=codec_type,nb_read_packets,duration:format=duration";
    let options = ["-v", "quiet", "-count_packets", "-show_entries", entries, "-of", "json", "-i"];
    let output = Command::new("ffprobe")
        .args(options.map(OsStr::new))
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> Option<Probed> {
    let output: Output = serde_json::from_slice(json).ok()?;
    let of_kind =
        |kind: &str| output.streams.iter().find(|stream| stream.codec_type.as_deref() == Some(kind));
    let video = of_kind("video")?;
    let format_duration = output.format.as_ref().and_then(|format| format.duration.as_deref());
    let seconds = video.duration.as_deref().or(format_duration).and_then(|text| text.parse::<f64>().ok());
    Some(Probed {
        frames: video
            .nb_read_packets
            .as_deref()
            .and_then(|text| text.parse().ok())
            .filter(|frames| *frames > 0),
        seconds: seconds.filter(|seconds| *seconds > 0.0),
        sound: if of_kind("audio").is_some() { Sound::Present } else { Sound::Absent },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_understood() {
        let json = br#"{"streams":[{"codec_type":"video","duration":"29.6","nb_read_packets":"68"},
            {"codec_type":"audio"}],"format":{"duration":"30.0"}}"#;
        let probed = parse(json).expect("a video");
        assert_eq!(probed, Probed { frames: Some(68), seconds: Some(29.6), sound: Sound::Present });
        assert!(parse(b"{}").is_none() && parse(b"").is_none());
    }

    #[test]
    fn the_average_wins_over_an_untrue_rate() {
        let probed = Probed { frames: Some(68), seconds: Some(29.6), sound: Sound::Absent };
        assert!((probed.average_fps(Some(15.0)).expect("known") - 2.297).abs() < 0.001);
        let probed = Probed { frames: Some(300), seconds: Some(10.0), sound: Sound::Absent };
        assert_eq!(probed.average_fps(Some(29.97)), Some(29.97));
        let unknown = Probed { frames: None, seconds: Some(1.0), sound: Sound::Absent };
        assert_eq!(unknown.average_fps(Some(25.0)), None);
    }
}
