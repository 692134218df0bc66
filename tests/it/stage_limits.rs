//! Every stage with pictures and parameters at their limits: what it declares about itself holds, and nothing
//! ends in a fault of ours.

use std::collections::BTreeSet;

use frameserve::Error;
use frameserve::error::Kind;
use frameserve::frame::{Frame, Image, Size};
use frameserve::limits::Limits;
use frameserve::pipeline::names::Names;
use frameserve::pipeline::param::{Param, Range};
use frameserve::pipeline::spec::{self, StageSpec};
use frameserve::pipeline::stage::{Colors, Group, StageKind};
use frameserve::pipeline::stages::KINDS;
use opencv::core::{self, Mat};
use opencv::prelude::*;
use proptest::prelude::*;

use crate::pipeline_text::{any_pipeline, any_stage};
use crate::stages::{Stream, blank};

const SIZES: [(i32, i32); 8] =
    [(1, 1), (2, 3), (1, 40), (40, 1), (17, 13), (640, 360), (33_000, 1), (1, 33_000)];

#[test]
fn declarations_are_complete() {
    let mut names = BTreeSet::new();
    for kind in KINDS {
        assert!(names.insert(kind.name), "two stages are named {}", kind.name);
        assert!(kind.doc.ends_with('.') && !kind.doc.contains("  "), "doc of {}: {}", kind.name, kind.doc);
        let mut params = BTreeSet::new();
        for param in kind.params {
            let full = format!("{}.{}", kind.name, param.name);
            assert!(params.insert(param.name), "two parameters are named {full}");
            assert!(param.doc.ends_with('.') && !param.doc.contains("  "), "doc of {full}: {}", param.doc);
            if let Some(default) = param.default {
                let value =
                    param.range.parse(default).unwrap_or_else(|| panic!("default of {full}: {default}"));
                assert_eq!(value.to_string(), default, "default of {full} as it would be printed");
            }
        }
        let spec = example(kind);
        let printed = spec::parse(&spec.to_string(), &Names::default()).expect("what is printed can be read");
        assert_eq!(printed, [spec], "the example of {}", kind.name);
    }
}

#[test]
fn examples_take_pictures_of_any_size() {
    for kind in KINDS {
        for (width, height) in SIZES {
            for gray in [false, true] {
                let found = run(kind.example, &[noise(width, height, gray)]);
                let what = format!("{} on {width}x{height}, gray: {gray}", kind.example);
                expect_no_fault(&what, &found);
                if (width, height) == (640, 360) {
                    found.unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
        }
    }
}

#[test]
fn sizes_of_results_are_as_foretold() {
    // `every` is nothing without the stage behind it.
    for kind in KINDS.iter().filter(|kind| kind.name != "every") {
        let spec = example(kind);
        let text = spec.to_string();
        let stage = (spec.kind.build)(&spec.args).expect("an example is valid");
        for (width, height) in [(640, 360), (321, 242)] {
            let foretold = stage.output_size(Size::new(width as u32, height as u32)).expect(&text);
            let found = run(&text, &[noise(width, height, false)]).expect(&text);
            assert_eq!(found[0].image.size(), foretold, "{text}");
        }
    }
}

/// Neither the size of the frame before nor what it left in the buffers shows in a result.
#[test]
fn workers_of_stateless_stages_keep_nothing() {
    // Those that a model works for do nothing here, where there is none.
    for kind in KINDS.iter().filter(|kind| kind.group != Group::Model) {
        let spec = example(kind);
        if (spec.kind.build)(&spec.args).expect("an example is valid").is_stateful() {
            continue;
        }
        let text = spec.to_string();
        let pictures = [(400, 300, false), (450, 250, true), (321, 241, false), (321, 241, true)];
        let pictures = pictures.map(|(width, height, gray)| noise(width, height, gray));
        let together = run(&text, &pictures).expect(&text);
        for (index, (picture, together)) in pictures.iter().zip(&together).enumerate() {
            let mut stream = Stream::new(&text).expect(&text);
            stream.index = index as u64;
            let alone = stream.run(copy(picture)).expect(&text);
            assert_eq!(worst(alone.image.mat(), together.image.mat()), 0.0, "{text}");
            assert_eq!(alone.findings, together.findings, "{text}");
        }
    }
}

#[test]
fn parameters_at_their_limits_are_no_fault() {
    for kind in KINDS {
        for param in kind.params {
            for value in extremes(param) {
                let text = with(kind, param, &value);
                for (width, height) in [(17, 13), (1, 1), (64, 48)] {
                    for gray in [false, true] {
                        let pictures = [noise(width, height, gray), noise(width, height, gray)];
                        let what = format!("{text} on {width}x{height}, gray: {gray}");
                        expect_no_fault(&what, &run(&text, &pictures));
                    }
                }
            }
        }
    }
}

/// Pictures that are none are refused, whatever the stage.
#[test]
fn an_image_is_8_bits_and_has_pixels() {
    assert!(Image::new(Mat::default()).is_err());
    let deep = Mat::zeros(2, 2, core::CV_16UC3).and_then(|zeros| zeros.to_mat()).expect("memory");
    assert!(Image::new(deep).is_err());
}

#[test]
fn a_crop_outside_the_picture_names_what_and_where() {
    let message = |text: &str| result(text, &blank(640, 360, false)).expect_err(text).to_string();
    assert_eq!(
        message("crop=320x240,400,0"),
        "crop: 320x240 at 400,0 does not lie within the picture of 640x360"
    );
    assert_eq!(message("crop=641x10"), "crop: 641x10 at 0,175 does not lie within the picture of 640x360");
}

/// Scaled before it is cut, such a picture would have 16 gigapixels on the way.
#[test]
fn a_picture_of_extreme_proportions_fills_another() {
    let filled = result("resize=1024x1024,fill", &blank(1, 16_384, false)).expect("small before and after");
    assert_eq!((filled.cols(), filled.rows()), (1024, 1024));
}

#[test]
fn pictures_too_long_to_turn_are_refused() {
    let error = result("rotate=45,keep", &blank(40_000, 2, true)).expect_err("OpenCV can't");
    assert_eq!(error.to_string(), "rotate: a picture of 40000x2 is too long, the limit is 32766 pixels");
    let turned = result("rotate=90", &blank(40_000, 2, true)).expect("no arithmetic");
    assert_eq!((turned.cols(), turned.rows()), (2, 40_000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_pipeline_is_a_fault(
        specs in any_pipeline(3),
        width in 1..48_i32,
        height in 1..48_i32,
        gray: bool,
    ) {
        let text = spec::print(&specs);
        // A large border and a slow stage after it would take minutes.
        let limits = Limits { max_pixels: 1 << 16, ..Limits::default() };
        let mut stream = Stream::within(&limits, &text);
        let found = (0..2).try_for_each(|_| {
            stream.as_mut().map_err(|error| error.clone())?.run(noise(width, height, gray)).map(|_| ())
        });
        expect_no_fault(&format!("{text} on {width}x{height}, gray: {gray}"), &found);
    }

    #[test]
    fn colors_are_used_as_declared(spec in any_stage(), width in 1..64_i32, height in 1..64_i32) {
        check_colors(&spec, (width, height));
    }
}

#[test]
fn colors_are_used_as_declared_by_examples() {
    for kind in KINDS {
        check_colors(&example(kind), (640, 360));
    }
}

/// What a stage says of its use of colors lets the decoder leave them out, so it must be so.
fn check_colors(spec: &StageSpec, (width, height): (i32, i32)) {
    let text = spec.to_string();
    let Ok(stage) = (spec.kind.build)(&spec.args) else { return };
    let picture = noise(width, height, false);
    let gray = result("gray", &picture).expect("gray takes all pictures");
    let Ok(of_gray) = result(&text, &gray) else { return };
    match stage.colors() {
        Colors::All => {}
        Colors::Luma => {
            let of_color = result(&text, &picture).expect("what takes gray pictures takes others");
            assert_eq!(worst(&of_color, &of_gray), 0.0, "{text}");
        }
        Colors::Alike => {
            let then_gray = result(&format!("{text} | gray"), &picture).expect("the same");
            let difference = worst(&then_gray, &of_gray);
            // Rounded once more, where lines are drawn without steps several times.
            assert!(difference <= 8.0, "{text}: {difference}");
        }
    }
}

/// What becomes of a stream's only picture.
fn result(text: &str, picture: &Mat) -> Result<Mat, Error> {
    Ok(run(text, std::slice::from_ref(picture))?.remove(0).image.into_mat())
}

/// The stage as it stands in its own example.
fn example(kind: &StageKind) -> StageSpec {
    let specs = spec::parse(kind.example, &Names::default())
        .unwrap_or_else(|error| panic!("example of {}: {error}", kind.name));
    let shown = specs.into_iter().find(|spec| spec.kind.name == kind.name);
    shown.unwrap_or_else(|| panic!("the example of {} shows another stage", kind.name))
}

/// The example with one of its parameters changed.
fn with(kind: &StageKind, changed: &Param, value: &str) -> String {
    let spec = example(kind);
    let args: Vec<(&str, String)> = spec
        .args
        .iter()
        .map(|(param, old)| (param.name, if param == changed { value.into() } else { old.to_string() }))
        .collect();
    let args: Vec<(&str, &str)> = args.iter().map(|(name, value)| (*name, value.as_str())).collect();
    StageSpec::new(kind.name, &args).unwrap_or_else(|error| panic!("{}: {error}", kind.name)).to_string()
}

fn extremes(param: &Param) -> Vec<String> {
    match param.range {
        Range::Integer(min, max) | Range::Odd(min, max) => vec![min.to_string(), max.to_string()],
        Range::Number(min, max) => vec![min.to_string(), max.to_string()],
        Range::Size(max) => {
            vec!["1x1".into(), format!("1x{max}"), format!("{max}x1"), format!("{max}x{max}")]
        }
        Range::Color => vec!["black".into(), "#ffffff".into()],
        Range::Text(max) => vec![String::new(), "\u{1f980}\n'\"\\%s".into(), "x".repeat(max)],
        Range::Choice(words) => words.iter().map(|word| (*word).into()).collect(),
        Range::Flag => vec!["true".into(), "false".into()],
    }
}

fn run(text: &str, pictures: &[Mat]) -> Result<Vec<Frame>, Error> {
    let mut stream = Stream::new(text)?;
    pictures.iter().map(|picture| stream.run(copy(picture))).collect()
}

fn expect_no_fault<T>(what: &str, found: &Result<T, Error>) {
    if let Err(error) = found {
        assert!(error.kind() != Kind::Internal, "{what}: {error}");
    }
}

/// Samples from 0 to 255 in no order, the same every time.
fn noise(width: i32, height: i32, gray: bool) -> Mat {
    let mut mat = blank(width, height, gray);
    let mut state = 0x2545_f491_u32;
    for sample in mat.data_bytes_mut().expect("continuous") {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = (state >> 24) as u8;
    }
    mat
}

fn copy(mat: &Mat) -> Mat {
    mat.try_clone().expect("memory")
}

/// The greatest difference of a sample.
fn worst(a: &Mat, b: &Mat) -> f64 {
    assert_eq!((a.cols(), a.rows(), a.typ()), (b.cols(), b.rows(), b.typ()));
    core::norm2(a, b, core::NORM_INF, &core::no_array()).expect("two pictures of one shape")
}
