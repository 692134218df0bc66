//! The frames that are sent: encoded before anything is measured, in files for the processes that send them.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use frameserve::proto::{Encoding, MsgRequest, PixelFormat};
use opencv::core::{self, Mat, Size};
use opencv::imgproc;
use opencv::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::report::Table;
use crate::scenes::{FRAMES, cartoon, foliage, grain};

/// Frames in a file, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Clip {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub kind: Kind,
    path: PathBuf,
    lengths: Vec<usize>,
}

/// How the frames of a clip are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Quality 90, 4:2:0.
    Jpeg,
    /// BGR.
    Raw,
}

/// All of them.
pub struct Clips {
    /// 1280x720.
    pub easy: Clip,
    /// 1280x720.
    pub hard: Clip,
    /// Raw, 1920x1080.
    pub raw: Clip,
    /// 320x240, easy.
    pub small: Clip,
    /// 640x360, easy.
    pub medium: Clip,
}

/// Of the raw clip, whose frames have 6 MB each.
const RAW_FRAMES: i32 = 4;
const QUALITY: i32 = 90;
const FULL_HD: Size = Size { width: 1920, height: 1080 };
const SMALL: Size = Size { width: 320, height: 240 };
const MEDIUM: Size = Size { width: 640, height: 360 };

impl Clip {
    /// Its frames.
    pub fn frames(&self) -> Result<Vec<Bytes>> {
        let mut rest = Bytes::from(fs::read(&self.path)?);
        Ok(self.lengths.iter().map(|length| rest.split_to(*length)).collect())
    }

    /// The frames of one of JPEGs decoded, BGR, one after the other in a file.
    pub fn decoded(&self) -> Result<PathBuf> {
        let mut bytes = Vec::new();
        for frame in self.frames()? {
            bytes.extend(turbojpeg::decompress(&frame, turbojpeg::PixelFormat::BGR)?.pixels);
        }
        let path = self.path.with_extension("bgr");
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A frame as it is sent.
    pub fn message(&self, frame: &Bytes) -> MsgRequest {
        let img = frame.clone();
        match self.kind {
            Kind::Jpeg => MsgRequest { img, ..MsgRequest::default() },
            Kind::Raw => MsgRequest {
                img,
                encoding: Encoding::Raw.into(),
                width: self.width,
                height: self.height,
                pixel_format: PixelFormat::Bgr24.into(),
                ..MsgRequest::default()
            },
        }
    }

    /// Bytes of a frame, on average.
    pub fn mean_bytes(&self) -> usize {
        self.lengths.iter().sum::<usize>() / self.lengths.len().max(1)
    }

    /// Bytes of the largest frame.
    pub fn most_bytes(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or_default()
    }

    fn write(name: &str, kind: Kind, pictures: impl Iterator<Item = Result<Mat>>) -> Result<Clip> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
        let mut clip = Clip { name: name.into(), width: 0, height: 0, kind, path, lengths: Vec::new() };
        let mut bytes = Vec::new();
        for picture in pictures {
            let picture = picture?;
            (clip.width, clip.height) = (picture.cols().unsigned_abs(), picture.rows().unsigned_abs());
            let before = bytes.len();
            match kind {
                Kind::Jpeg => bytes.extend_from_slice(&jpeg(&picture)?),
                Kind::Raw => bytes.extend_from_slice(picture.data_bytes()?),
            }
            clip.lengths.push(bytes.len() - before);
        }
        fs::write(&clip.path, bytes)?;
        Ok(clip)
    }
}

impl Clips {
    /// Makes them anew, which takes a few seconds.
    pub fn make() -> Result<Self> {
        core::set_num_threads(1)?;
        let texture = foliage()?;
        let resized = |size| move |at| resize(&cartoon(at)?, size);
        Ok(Clips {
            easy: Clip::write("easy", Kind::Jpeg, (0..FRAMES).map(cartoon))?,
            hard: Clip::write("hard", Kind::Jpeg, (0..FRAMES).map(|at| grain(&texture, at)))?,
            raw: Clip::write("raw", Kind::Raw, (0..RAW_FRAMES).map(resized(FULL_HD)))?,
            small: Clip::write("small", Kind::Jpeg, (0..FRAMES).map(resized(SMALL)))?,
            medium: Clip::write("medium", Kind::Jpeg, (0..FRAMES).map(resized(MEDIUM)))?,
        })
    }

    /// For the report.
    pub fn describe(&self) -> String {
        let mut table = Table::new(&["clip", "frames", "size", "encoding", "kB a frame"]);
        for clip in [&self.easy, &self.hard, &self.raw, &self.small, &self.medium] {
            let encoding = match clip.kind {
                Kind::Jpeg => format!("JPEG, quality {QUALITY}, 4:2:0"),
                Kind::Raw => "raw BGR".into(),
            };
            table.row([
                clip.name.clone(),
                clip.lengths.len().to_string(),
                format!("{}x{}", clip.width, clip.height),
                encoding,
                format!("{:.0}", clip.mean_bytes() as f64 / 1e3),
            ]);
        }
        table.to_string()
    }
}

fn jpeg(picture: &Mat) -> Result<turbojpeg::OwnedBuf> {
    let (width, height) = (picture.cols() as usize, picture.rows() as usize);
    let format = turbojpeg::PixelFormat::BGR;
    let image = turbojpeg::Image {
        pixels: picture.data_bytes()?,
        width,
        height,
        pitch: width * format.size(),
        format,
    };
    Ok(turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2)?)
}

fn resize(picture: &Mat, size: Size) -> Result<Mat> {
    let mut resized = Mat::default();
    imgproc::resize(picture, &mut resized, size, 0.0, 0.0, imgproc::INTER_AREA)?;
    Ok(resized)
}
