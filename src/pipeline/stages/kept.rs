//! What a stage keeps from frame to frame, and when it has to begin anew.

use opencv::core::Mat;
use opencv::prelude::*;

/// Size and type of the pictures that a stage keeps something of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shape {
    rows: i32,
    cols: i32,
    kind: i32,
}

impl Shape {
    /// That of this matrix.
    pub fn of(mat: &Mat) -> Self {
        Shape { rows: mat.rows(), cols: mat.cols(), kind: mat.typ() }
    }

    /// Takes the shape of the next picture. True where it is not that of the picture before, or there was
    /// none: what was kept then means nothing any more.
    pub fn changes(&mut self, mat: &Mat) -> bool {
        let before = std::mem::replace(self, Shape::of(mat));
        before != *self
    }
}

#[cfg(test)]
pub mod tests {
    use opencv::core::{CV_8UC1, CV_8UC3, Mat, Rect, Scalar};
    use opencv::imgproc;

    use crate::frame::{Frame, Identity, Image};
    use crate::limits::Limits;
    use crate::pipeline::Pipeline;
    use crate::pipeline::names::Names;
    use crate::pipeline::param::Range;
    use crate::pipeline::spec::{self, StageSpec};
    use crate::pipeline::stage::{Group, Stage, StageWorker};
    use crate::pipeline::stages::{EVERY, KINDS};

    /// A black picture with a white square.
    pub fn square((width, height): (i32, i32), area: Rect, channels: usize) -> Frame {
        let kind = if channels == 1 { CV_8UC1 } else { CV_8UC3 };
        let mut mat = Mat::new_rows_cols_with_default(height, width, kind, Scalar::all(0.0)).unwrap();
        imgproc::rectangle(&mut mat, area, Scalar::all(255.0), imgproc::FILLED, imgproc::LINE_8, 0).unwrap();
        Frame::new(Identity::default(), Image::new(mat).unwrap())
    }

    /// A stage of this name.
    pub fn stage(name: &str, args: &[(&str, &str)]) -> Box<dyn Stage> {
        let spec = StageSpec::new(name, args).unwrap();
        (spec.kind.build)(&spec.args).unwrap()
    }

    /// Takes a frame through a worker.
    pub fn run(worker: &mut Box<dyn StageWorker>, mut frame: Frame) -> Frame {
        worker.apply(&mut frame, &mut Mat::default()).unwrap();
        frame
    }

    /// Bytes of a frame's picture.
    pub fn bytes(frame: &Frame) -> &[u8] {
        opencv::prelude::MatTraitConstManual::data_bytes(frame.image.mat()).unwrap()
    }

    /// Two frames of each size, since in the first one nothing is compared.
    #[test]
    fn frames_of_extreme_sizes_do_no_harm() {
        for kind in KINDS.iter().filter(|kind| kind.group == Group::Time) {
            let mut worker = stage(kind.name, &[]).worker().unwrap();
            for size in [(40_000, 1), (1, 40_000), (1, 1), (3, 2)] {
                for (channels, x) in [(1, 0), (1, 1), (3, 0), (3, 1)] {
                    let frame = run(&mut worker, square(size, Rect::new(x, 0, 9, 9), channels));
                    assert_eq!(frame.image.size().width as i32, size.0, "{}", kind.name);
                }
            }
        }
    }

    /// What is declared to depend on a parameter does.
    #[test]
    fn what_a_parameter_makes_keep_state_does_not_without() {
        let params = KINDS.iter().flat_map(|kind| kind.params.iter().map(move |param| (kind, param)));
        let mut seen = Vec::new();
        for (kind, param) in params.filter(|(_, param)| param.keeps_state) {
            seen.push(kind.name);
            let [without, with] = match param.range {
                Range::Flag => ["false", "true"],
                _ => ["1", "2"],
            };
            let stateful = |value: &str| {
                let text = format!("{}={}={value}", kind.name, param.name);
                let text = if kind.name == EVERY { format!("{text} | detect=x") } else { text };
                let pipeline = Pipeline::parse(&text, &Names::default(), &Limits::default()).unwrap();
                pipeline.stateful(0).is_some()
            };
            assert_eq!((stateful(without), stateful(with)), (false, true), "{}", kind.name);
        }
        assert_eq!(seen, ["count", EVERY]);
    }

    #[test]
    fn all_that_compares_frames_is_stateful_and_nothing_else() {
        for kind in KINDS {
            let spec = spec::parse(kind.example, &Names::default()).unwrap().pop().unwrap();
            let stateful = (kind.build)(&spec.args).unwrap().is_stateful();
            assert_eq!(stateful, kind.group == Group::Time, "{}", kind.name);
        }
    }
}
