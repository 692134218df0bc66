//! Where results are written, and as what.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use frameserve::proto::{Encoding, PixelFormat};
use frameserve::tensor::{Data, DataType, Tensor};
use opencv::core::Mat;

use super::boxes;
use super::found::{Detection, Found, strings};
use super::model::Task;
use super::shots::Shot;
use crate::args::InferArgs;
use crate::codec::{Codec, encode_as, sniff};
use crate::failure::Failure;
use crate::npy;
use crate::picture::{PictureError, RawPicture};
use crate::sink::{check_parent, make_directory, names_directory};
use crate::tensors::Named;

const PICTURES: [&str; 7] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"];
const QUALITY: u8 = 95;

/// What -o and --raw mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Nowhere,
    /// For the only result.
    File(PathBuf),
    Directory(PathBuf),
}

/// Writes results.
pub struct Writer {
    place: Place,
    codec: Codec,
    written: u64,
}

impl Place {
    /// Fails where that can't hold what the task gives.
    pub fn choose(args: &InferArgs, task: &Task) -> Result<Place, Failure> {
        if let Some(directory) = &args.raw {
            return Ok(Place::Directory(directory.clone()));
        }
        let Some(text) = &args.output else { return Ok(Place::Nowhere) };
        let wrong = |reason: String| Err(Failure::usage(format!("-o {text}: {reason}")));
        if let Task::Classification { .. } = task {
            return wrong(
                "classes are printed; --json prints them for programs, --raw DIRECTORY writes the scores"
                    .into(),
            );
        }
        if names_directory(text) && text != "-" {
            return Ok(Place::Directory(text.into()));
        }
        let extension = extension(Path::new(text));
        match (task, extension.as_str()) {
            (Task::Tensors, "npy") => Ok(Place::File(text.into())),
            (Task::Tensors, _) => wrong("the model gives tensors, which are written as .npy".into()),
            (_, picture) if PICTURES.contains(&picture) => Ok(Place::File(text.into())),
            _ => wrong(format!("the model gives pictures, which are written as .{}", PICTURES.join(", ."))),
        }
    }

    /// Makes the directory, or looks whether the file's is there.
    pub fn prepare(&self) -> Result<(), Failure> {
        match self {
            Place::Nowhere => Ok(()),
            Place::File(file) => check_parent(file),
            Place::Directory(directory) => make_directory(directory),
        }
    }

    /// In which encoding a picture should come back.
    pub fn codec(&self, shot: &Shot) -> Encoding {
        let sent = shot.picture.as_ref().map_or(Encoding::Png, |(encoding, _)| *encoding);
        match self {
            Place::File(file) => match extension(file).as_str() {
                "jpg" | "jpeg" => Encoding::Jpeg,
                "webp" => Encoding::Webp,
                _ => Encoding::Png,
            },
            Place::Nowhere | Place::Directory(_) => sent,
        }
    }
}

impl Writer {
    pub fn new(place: Place) -> Result<Writer, Failure> {
        Ok(Writer { place, codec: Codec::new().map_err(Failure::usage)?, written: 0 })
    }

    /// Writes what the task's results are written as, and gives the files' names.
    pub fn write(&mut self, shot: &Shot, found: &Found) -> Result<Vec<PathBuf>, Failure> {
        if self.place == Place::Nowhere {
            return Ok(Vec::new());
        }
        match found {
            Found::Classes(_) => Ok(Vec::new()),
            Found::Tensors(outputs) => self.tensors(shot, outputs),
            Found::Detections(things) => self.marked(shot, things).map(|file| vec![file]),
            Found::Picture { picture: Some(picture), .. } => {
                self.picture(shot, picture).map(|file| vec![file])
            }
            Found::Picture { .. } => Err(Failure::bad_reply("no picture came back")),
        }
    }

    /// The picture as it was sent, with what was found in it.
    fn marked(&mut self, shot: &Shot, things: &[Detection]) -> Result<PathBuf, Failure> {
        let Some((encoding, bytes)) = &shot.picture else {
            return Err(Failure::usage("-o: a tensor was sent, and there is no picture to draw in"));
        };
        let mut decoded = Mat::default();
        self.codec.decode(*encoding, bytes, &mut decoded).map_err(Failure::usage)?;
        let drawn = boxes::draw(&decoded, things).map_err(Failure::usage)?;
        let extension = self.picture_extension(*encoding);
        let bytes = self.encoded(&extension, &drawn).map_err(Failure::usage)?;
        self.put(&format!("{}.{extension}", shot.stem), &bytes)
    }

    fn picture(&mut self, shot: &Shot, picture: &Tensor) -> Result<PathBuf, Failure> {
        let bad = |error: PictureError| Failure::bad_reply(format!("the picture that came back: {error}"));
        let wanted = self.place.codec(shot);
        let extension = self.picture_extension(wanted);
        let bytes = match picture.data() {
            Data::Elements(_) => {
                let bytes = strings("image", picture)?.first().cloned().unwrap_or_default();
                let came = sniff(&bytes).ok_or_else(|| Failure::bad_reply("what came back is no picture"))?;
                if came.as_str_name().to_lowercase() == as_codec(&extension) {
                    bytes
                } else {
                    let mut decoded = Mat::default();
                    self.codec.decode(came, &bytes, &mut decoded).map_err(bad)?;
                    self.encoded(&extension, &decoded).map_err(bad)?
                }
            }
            Data::Raw(_) => {
                let pixels = pixels(picture)?;
                self.encoded(&extension, &pixels).map_err(bad)?
            }
        };
        self.put(&format!("{}.{extension}", shot.stem), &bytes)
    }

    fn tensors(&mut self, shot: &Shot, outputs: &[Named]) -> Result<Vec<PathBuf>, Failure> {
        if let (Place::File(file), [_, _, ..]) = (&self.place, outputs) {
            let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "'{}' can't hold outputs {}: --raw DIRECTORY writes each into a file",
                file.display(),
                names.join(", ")
            )));
        }
        let alone = shot.picture.is_none();
        let mut files = Vec::new();
        for Named { name, tensor } in outputs {
            let stem = match (alone, outputs.len()) {
                (true, _) => safe(name),
                (false, 1) => shot.stem.clone(),
                (false, _) => format!("{}.{}", shot.stem, safe(name)),
            };
            match (tensor.data(), npy::file(tensor)) {
                (_, Some(file)) => files.push(self.put(&format!("{stem}.npy"), &file)?),
                (Data::Elements(elements), None) => files.extend(self.elements(&stem, elements)?),
                (Data::Raw(bytes), None) => files.push(self.put(&format!("{stem}.bin"), bytes)?),
            }
        }
        Ok(files)
    }

    /// Byte strings as they are, a file for each.
    fn elements(&mut self, stem: &str, elements: &[Bytes]) -> Result<Vec<PathBuf>, Failure> {
        if let [only] = elements {
            return self.put(&format!("{stem}.bin"), only).map(|file| vec![file]);
        }
        let files = elements.iter().enumerate();
        files.map(|(index, element)| self.put(&format!("{stem}-{index}.bin"), element)).collect()
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = match &self.place {
            Place::Directory(directory) => directory.join(name),
            Place::File(_) if self.written > 0 => {
                return Err(Failure::usage("-o: one file for several results; name a directory instead"));
            }
            Place::File(file) => file.clone(),
            Place::Nowhere => return Ok(PathBuf::new()),
        };
        fs::write(&path, bytes)
            .map_err(|error| Failure::usage(format!("cannot write '{}': {error}", path.display())))?;
        self.written += 1;
        Ok(path)
    }

    fn picture_extension(&self, encoding: Encoding) -> String {
        match (&self.place, encoding) {
            (Place::File(file), _) => extension(file),
            (_, Encoding::Jpeg) => "jpg".into(),
            (_, Encoding::Webp) => "webp".into(),
            _ => "png".into(),
        }
    }

    fn encoded(&mut self, extension: &str, pixels: &Mat) -> Result<Bytes, PictureError> {
        match extension {
            "jpg" | "jpeg" => self.codec.encode(Encoding::Jpeg, pixels, QUALITY),
            "png" => self.codec.encode(Encoding::Png, pixels, QUALITY),
            "webp" => self.codec.encode(Encoding::Webp, pixels, QUALITY),
            other => encode_as(other, pixels),
        }
    }
}

/// The pixels of a UINT8 tensor of height, width and 1 or 3 channels (BGR).
fn pixels(tensor: &Tensor) -> Result<Mat, Failure> {
    let dims = tensor.shape().dims();
    let (datatype, bytes) = (tensor.datatype(), tensor.bytes().cloned().unwrap_or_default());
    let refused = || {
        let shape = tensor.shape();
        Failure::bad_reply(format!(
            "the picture came back as {datatype} {shape}, not UINT8 [height,width,1 or 3]"
        ))
    };
    let (DataType::Uint8, [height, width, channels @ (1 | 3)]) = (datatype, dims) else {
        return Err(refused());
    };
    let side = |length: &usize| u32::try_from(*length).map_err(|_| refused());
    let format = if *channels == 1 { PixelFormat::Gray8 } else { PixelFormat::Bgr24 };
    let raw = RawPicture::new(format, side(width)?, side(height)?, bytes.clone());
    let mut pixels = Mat::default();
    raw.and_then(|raw| raw.to_mat(&mut pixels)).map_err(Failure::bad_reply)?;
    Ok(pixels)
}

fn as_codec(extension: &str) -> &str {
    if extension == "jpg" { "jpeg" } else { extension }
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// An output's name as that of a file.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn choose(words: &str, task: &Task) -> Result<Place, Failure> {
        let all = ["frameserve-client", "infer", "m", "x.png"].into_iter().chain(words.split(' '));
        let Command::Infer(args) = Cli::parse_from(all).command else { panic!("infer") };
        Place::choose(&args, task)
    }

    #[test]
    fn outputs_suit_the_task() {
        let classes = Task::Classification { outputs: vec!["y".into()], top: 5 };
        assert_eq!(choose("-o a.npy", &Task::Tensors).unwrap(), Place::File("a.npy".into()));
        assert_eq!(choose("-o a.JPG", &Task::Detection).unwrap(), Place::File("a.JPG".into()));
        assert_eq!(choose("-o found/", &Task::Pipeline).unwrap(), Place::Directory("found/".into()));
        assert_eq!(choose("--raw found", &Task::Tensors).unwrap(), Place::Directory("found".into()));
        for (words, task, said) in [
            ("-o a.png", Task::Tensors, ".npy"),
            ("-o a.npy", Task::Detection, ".png"),
            ("-o -", Task::Pipeline, "-o -"),
            ("-o a.png", classes, "--raw"),
        ] {
            assert!(choose(words, &task).unwrap_err().message.contains(said), "{words}");
        }
    }

    #[test]
    fn names_of_outputs_are_names_of_files() {
        assert_eq!(safe("a/b:0"), "a_b_0");
    }
}
