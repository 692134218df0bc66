//! `faces`: finds faces, and what else there are trained cascades for.

use std::path::{Path, PathBuf};

use opencv::core::{Mat, Rect, Size, Vector};
use opencv::imgproc;
use opencv::objdetect::CascadeClassifier;
use opencv::prelude::*;

use super::marks;
use crate::error::Error;
use crate::frame::{Answer, Frame};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "faces",
    group: Group::Find,
    doc: "Finds faces, eyes, smiles or bodies with one of OpenCV's trained Haar cascades; their boxes come with \
          the result, from top to bottom, and are drawn on the picture, made BGR if it is gray. A larger `min` or \
          `scale` makes it much faster.",
    params: &[
        Param::new(
            "cascade",
            Range::Choice(&[
                "frontalface_default",
                "frontalface_alt",
                "frontalface_alt2",
                "frontalface_alt_tree",
                "profileface",
                "eye",
                "eye_tree_eyeglasses",
                "smile",
                "upperbody",
                "lowerbody",
                "fullbody",
                "frontalcatface",
            ]),
            "What is looked for.",
        )
        .or("frontalface_default"),
        Param::new("scale", Range::Number(1.05, 2.0), "Step from one size that is looked for to the next.")
            .or("1.1"),
        Param::new("neighbors", Range::Integer(1, 100), "How many overlapping finds make one.").or("4"),
        Param::new("min", Range::Integer(1, 16_384), "Side of the smallest one that is found, in pixels.")
            .or("30"),
        Param::new("draw", Range::Flag, "Whether the boxes are drawn.").or("true"),
        Param::new("color", Range::Color, "Their color.").or("green"),
    ],
    example: "faces=frontalface_alt2,min=60",
    build,
};

/// Where Debian's package opencv-data, and OpenCV's own installation, put the cascades.
const DIRECTORIES: [&str; 2] = ["/usr/share/opencv4/haarcascades", "/usr/share/opencv/haarcascades"];
/// The same in a bundle, seen from the program's directory.
const BESIDE_PROGRAM: &str = "../share/frameserve/haarcascades";

#[derive(Debug, Clone, Copy)]
struct Faces {
    cascade: &'static str,
    scale: f64,
    neighbors: i32,
    min: i32,
    draw: bool,
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Faces {
        cascade: args.choice("cascade"),
        scale: args.number("scale"),
        neighbors: args.integer("neighbors"),
        min: args.integer("min"),
        draw: args.flag("draw"),
        color: args.color("color"),
    }))
}

impl Stage for Faces {
    fn looks(&self) -> bool {
        true
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let file = find_cascade(self.cascade, &directories())?;
        let unreadable = |why| Error::Unsupported(format!("{} is no readable cascade{why}", file.display()));
        let cascade = CascadeClassifier::new(&file).map_err(|error| unreadable(format!(": {error}")))?;
        if cascade.empty()? {
            return Err(unreadable(String::new()));
        }
        Ok(Box::new(Worker { faces: *self, cascade, luma: Mat::default(), areas: Vector::new() }))
    }
}

/// The directories that are searched, in this order.
fn directories() -> Vec<PathBuf> {
    let program = std::fs::read_link("/proc/self/exe").ok();
    let beside = program.as_deref().and_then(Path::parent).map(|directory| directory.join(BESIDE_PROGRAM));
    DIRECTORIES.iter().map(PathBuf::from).chain(beside).collect()
}

/// The file of a cascade, whose name is never a client's own words but one of the closed choice.
fn find_cascade(name: &str, directories: &[PathBuf]) -> Result<PathBuf, Error> {
    let file = format!("haarcascade_{name}.xml");
    let mut files = directories.iter().map(|directory| directory.join(&file));
    files.find(|file| file.is_file()).ok_or_else(|| {
        let searched: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
        Error::Unsupported(format!(
            "faces: {file} is in none of {} (Debian's package opencv-data has it)",
            searched.join(", ")
        ))
    })
}

struct Worker {
    faces: Faces,
    cascade: CascadeClassifier,
    luma: Mat,
    areas: Vector<Rect>,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let Faces { draw, color, .. } = self.faces;
        marks::find(self, draw.then_some(color), frame, scratch)
    }

    fn look(&mut self, frame: &Frame) -> Result<Answer, Error> {
        let Faces { cascade, scale, neighbors, min, .. } = self.faces;
        let picture = frame.image.mat();
        let luma = if frame.image.is_gray() {
            picture
        } else {
            imgproc::cvt_color_def(picture, &mut self.luma, imgproc::COLOR_BGR2GRAY)?;
            &self.luma
        };
        let (smallest, largest) = (Size::new(min, min), Size::default());
        self.cascade.detect_multi_scale(luma, &mut self.areas, scale, neighbors, 0, smallest, largest)?;
        let mut areas = self.areas.to_vec();
        areas.sort_unstable_by_key(|area| (area.y, area.x, area.width, area.height));
        let label = label(cascade);
        let found = areas.into_iter().map(|area| marks::detection(area, label, KIND.name));
        Ok(Answer::Detections(found.collect()))
    }
}

/// What a cascade finds.
fn label(cascade: &str) -> &'static str {
    match cascade {
        "eye" | "eye_tree_eyeglasses" => "eye",
        "smile" => "smile",
        "upperbody" => "upper body",
        "lowerbody" => "lower body",
        "fullbody" => "full body",
        "frontalcatface" => "cat face",
        _ => "face",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cascade_of_the_choice_is_in_debians_package() {
        let Range::Choice(cascades) = KIND.params[0].range else { panic!("a choice") };
        for cascade in cascades {
            find_cascade(cascade, &directories()).unwrap();
        }
    }

    #[test]
    fn a_missing_cascade_names_where_it_was_looked_for() {
        let nowhere = ["/nowhere/a".into(), "/nowhere/b".into()];
        let error = find_cascade("eye", &nowhere).unwrap_err();
        assert_eq!(
            error.to_string(),
            "faces: haarcascade_eye.xml is in none of /nowhere/a, /nowhere/b (Debian's package opencv-data has it)"
        );
    }
}
