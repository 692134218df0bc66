//! What the ffprobe program knows of a video file and OpenCV doesn't say: the frames that are really there,
//! when they are shown, and whether there is sound.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

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
    pub timeline: Timeline,
    pub sound: Sound,
}

/// The frames of a file, and the seconds from the first one's beginning to the last one's end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeline {
    pub frames: u64,
    first: f64,
    end: f64,
}

impl Timeline {
    /// From lines that hold each frame's time of presentation, its time of decoding, and its duration.
    fn read(lines: impl Iterator<Item = String>) -> Option<Timeline> {
        let mut timeline = Timeline { frames: 0, first: f64::INFINITY, end: f64::NEG_INFINITY };
        for line in lines {
            timeline.frames += 1;
            let mut columns =
                line.split(',').map(|text| text.parse::<f64>().ok().filter(|time| time.is_finite()));
            let mut next = || columns.next().flatten();
            let (presented, decoded, duration) = (next(), next(), next());
            if let Some(time) = presented.or(decoded) {
                timeline.first = timeline.first.min(time);
                timeline.end = timeline.end.max(time + duration.unwrap_or(0.0));
            }
        }
        (timeline.frames > 0).then_some(timeline)
    }

    /// Frames per second over the whole length. A declared rate that agrees is the exact one.
    pub fn average_fps(&self, declared: Option<f64>) -> Option<f64> {
        let average = self.frames as f64 / (self.end - self.first);
        // Three frames more or less: a file may begin or end between frames that refer to each other.
        let tolerance = 0.005 + 3.0 / self.frames as f64;
        match declared {
            Some(declared) if (declared - average).abs() <= declared * tolerance => Some(declared),
            _ => (0.01..=1000.0).contains(&average).then_some(average),
        }
    }
}

/// `None` without an ffprobe that understands the file.
pub fn probe(path: &Path) -> Option<Probed> {
    let timeline = Timeline::read(ffprobe(
        path,
        &["-select_streams", "v:0", "-show_entries", "packet=pts_time,dts_time,duration_time"],
    )?)?;
    let sound = ffprobe(path, &["-show_entries", "stream=codec_type"])?.any(|line| line.starts_with("audio"));
    Some(Probed { timeline, sound: if sound { Sound::Present } else { Sound::Absent } })
}

/// The lines that ffprobe prints.
fn ffprobe(path: &Path, options: &[&str]) -> Option<impl Iterator<Item = String>> {
    let mut child = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "csv=p=0"])
        .args(options)
        .args([OsStr::new("-i"), path.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = BufReader::new(child.stdout.take()?);
    let mut lines = output.lines().map_while(Result::ok);
    Some(std::iter::from_fn(move || {
        let line = lines.next();
        if line.is_none() {
            // It has closed its output, so it has ended or is about to.
            let _ = child.wait();
        }
        line
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(lines: &str) -> Option<Timeline> {
        Timeline::read(lines.lines().map(str::to_string))
    }

    #[test]
    fn times_are_read_in_any_order() {
        let read =
            timeline("0.08,0.00,0.04\n0.20,0.04,0.04\nN/A,0.16,N/A\n0.12,0.12,0.04,\n").expect("four frames");
        assert_eq!((read.frames, read.first), (4, 0.08));
        assert!((read.end - 0.24).abs() < 1e-9);
        assert_eq!(timeline(""), None);
        assert_eq!(timeline("N/A,N/A,N/A").expect("one frame").average_fps(None), None);
    }

    #[test]
    fn the_average_wins_over_an_untrue_rate() {
        let odd = Timeline { frames: 68, first: 0.0, end: 29.6 };
        assert!((odd.average_fps(Some(15.0)).expect("known") - 2.297).abs() < 0.001);
        let steady = Timeline { frames: 300, first: 0.0, end: 10.0 };
        assert_eq!(steady.average_fps(Some(29.97)), Some(29.97));
        let cut = Timeline { frames: 160, first: 0.0, end: 6.52 };
        assert_eq!(cut.average_fps(Some(25.0)), Some(25.0));
    }
}
