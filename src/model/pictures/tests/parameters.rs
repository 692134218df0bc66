//! Each parameter, what it makes, and what is said of one that can't be.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::frame::Size;
use crate::model::pictures::parameters::{OF_ALL, OF_TASKS};
use crate::model::pictures::{Corners, Form, Lists, Task, Unit};
use crate::tensor::classification::Activation;
use crate::tensor::image::{Color, Interpolation, Layout, Recipe, Resize, Scaling};

const IMAGE: &[i64] = &[3, 224, 224];
const ANY: &[i64] = &[3, -1, -1];

fn recipe(signature: &Signature, parameters: &[(&str, &str)]) -> Recipe {
    *pictures(signature, parameters).preparation().recipe()
}

fn detector() -> Signature {
    Signature {
        max_batch: 0,
        inputs: vec![port("x", DataType::Uint8, &[-1, -1, 3])],
        outputs: vec![
            port("scores", DataType::Fp32, &[-1]),
            port("boxes", DataType::Fp32, &[-1, 4]),
            port("labels", DataType::Int64, &[-1]),
        ],
    }
}

#[test]
fn none_at_all() {
    let others = BTreeMap::from([("other.key".to_owned(), "x".to_owned())]);
    assert_eq!(Pictures::of(&others, &signature(0, &[5], &[5]), &labels), Ok(None));
}

#[test]
fn what_nothing_is_said_of() {
    let signature = signature(8, IMAGE, &[1000]);
    let expected = Recipe {
        resize: Resize::Stretch(Size::new(224, 224)),
        crop: None,
        interpolation: Interpolation::Area,
        pad: 114,
        color: Color::Rgb,
        layout: Layout::Chw,
        scaling: Scaling { scale: 1.0 / 255.0, mean: [0.0; 3], std: [1.0; 3] },
    };
    let pictures = pictures(&signature, &[("input", "x")]);
    assert_eq!(*pictures.preparation().recipe(), expected);
    assert_eq!((pictures.input, pictures.task, pictures.converts), (0, None, None));
    let mut whole = signature;
    whole.inputs[0] = port("x", DataType::Uint8, &[-1, 64, 1]);
    let expected = Recipe {
        resize: Resize::Keep,
        color: Color::Gray,
        layout: Layout::Hwc,
        scaling: Scaling { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] },
        ..expected
    };
    assert_eq!(recipe(&whole, &[("input", "x")]), expected);
}

#[test]
fn sizes() {
    let any = signature(0, ANY, &[1]);
    let resize = |text| recipe(&any, &[("resize", text)]).resize;
    assert_eq!(resize("640x480"), Resize::Stretch(Size::new(640, 480)));
    assert_eq!(resize("short=256"), Resize::Short(256));
    assert_eq!(resize("fit=640x480"), Resize::Fit(Size::new(640, 480)));
    assert_eq!(resize("fill=640x480"), Resize::Fill(Size::new(640, 480)));
    let both = recipe(&signature(0, IMAGE, &[1]), &[("resize", "short=256"), ("crop", "224x224")]);
    assert_eq!((both.resize, both.crop), (Resize::Short(256), Some(Size::new(224, 224))));
    let crop = recipe(&signature(0, IMAGE, &[1]), &[("crop", "224x224")]);
    assert_eq!((crop.resize, crop.crop), (Resize::Keep, Some(Size::new(224, 224))));
    for text in
        ["", "640", "640x", "x480", "0x4", "16385x4", "+4x4", "-4x4", "4x4x4", "fit=4", "long=4", "short="]
    {
        assert_eq!(
            refused(&any, &[("resize", text)]),
            format!(
                "`frameserve.resize` is `{text}`, which is none of what is allowed: WIDTHxHEIGHT, short=N, \
                 fit=WIDTHxHEIGHT, fill=WIDTHxHEIGHT; sides are from 1 to 16384"
            )
        );
    }
}

#[test]
fn sizes_that_do_not_go_together() {
    let fixed = signature(1, IMAGE, &[1]);
    for (parameters, expected) in [
        (&[("resize", "256x256")][..], "resize`: it makes 256x256, and the input takes 224x224"),
        (&[("crop", "200x224")], "crop`: it makes 200x224, and the input takes 224x224"),
        (
            &[("resize", "short=224")],
            "resize`: it leaves pictures of different sizes, and the input takes 224x224; add `frameserve.crop`",
        ),
        (
            &[("resize", "short=200"), ("crop", "224x224")],
            "crop`: 224x224 is larger than what `frameserve.resize` makes",
        ),
        (
            &[("resize", "fit=300x200"), ("crop", "224x224")],
            "crop`: 224x224 is larger than what `frameserve.resize` makes",
        ),
        (&[("pad", "0")], "pad`: it goes with `frameserve.resize` `fit=WIDTHxHEIGHT`"),
        (
            &[("crop", "a")],
            "crop` is `a`, which is none of what is allowed: WIDTHxHEIGHT; sides are from 1 to 16384",
        ),
    ] {
        assert_eq!(refused(&fixed, parameters), format!("`frameserve.{expected}"));
    }
    let half = signature(1, &[3, 224, -1], &[1]);
    assert_eq!(
        refused(&half, &[("resize", "300x300")]),
        "`frameserve.resize`: it makes 300x300, and the input takes anyx224"
    );
}

#[test]
fn words_and_numbers() {
    let any = signature(0, ANY, &[1]);
    for (word, expected) in [
        ("nearest", Interpolation::Nearest),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
        ("area", Interpolation::Area),
        ("bilinear-antialias", Interpolation::BilinearAntialias),
        ("bicubic-antialias", Interpolation::BicubicAntialias),
    ] {
        assert_eq!(recipe(&any, &[("interpolation", word)]).interpolation, expected);
    }
    assert_eq!(recipe(&any, &[("resize", "fit=8x8"), ("pad", "7")]).pad, 7);
    assert_eq!(recipe(&any, &[("color", "bgr")]).color, Color::Bgr);
    let free = signature(0, &[-1, -1, -1], &[1]);
    assert_eq!(recipe(&free, &[("color", "gray"), ("layout", "hwc")]).layout, Layout::Hwc);
    let scaled = recipe(&any, &[("scale", "1/127.5"), ("mean", "1"), ("std", "0.5, 0.25,2")]).scaling;
    assert_eq!(scaled, Scaling { scale: 1.0 / 127.5, mean: [1.0; 3], std: [0.5, 0.25, 2.0] });
    let imagenet = recipe(&any, &[("color", "bgr"), ("mean", "imagenet"), ("std", "imagenet")]).scaling;
    assert_eq!((imagenet.mean, imagenet.std), ([0.406, 0.456, 0.485], [0.225, 0.224, 0.229]));
    for (key, value, allowed) in [
        ("interpolation", "cubic", "nearest, bilinear, bicubic, area, bilinear-antialias, bicubic-antialias"),
        ("color", "RGB", "rgb, bgr, gray"),
        ("layout", "nchw", "chw, hwc"),
        ("scale", "1/0", "a number, as `0.5` or `1/255`"),
        ("scale", "nan", "a number, as `0.5` or `1/255`"),
        ("mean", "1,2", "one number, three as `a,b,c` in the order of the channels, or `imagenet`"),
        ("mean", "1,2,x", "one number, three as `a,b,c` in the order of the channels, or `imagenet`"),
        ("task", "segments", "classification, detection, segmentation, image, embedding"),
        ("convert", "gpu", "device, host"),
        ("convert", "Device", "device, host"),
        ("input", "z", "the name of an input: x"),
    ] {
        assert_eq!(
            refused(&any, &[(key, value)]),
            format!("`frameserve.{key}` is `{value}`, which is none of what is allowed: {allowed}")
        );
    }
    assert_eq!(
        refused(&any, &[("resize", "fit=8x8"), ("pad", "256")]),
        "`frameserve.pad` is `256`, which is none of what is allowed: a whole number from 0 to 255"
    );
    assert_eq!(refused(&any, &[("std", "1,0,1")]), "`frameserve.std`: nothing can be divided by 0");
    assert_eq!(
        refused(&any, &[("scale", "1e300")]),
        "`frameserve.scale`: with mean and std it makes numbers that are too large"
    );
    assert_eq!(
        refused(&signature(0, &[1, 8, 8], &[1]), &[("mean", "imagenet")]),
        "`frameserve.mean` is `imagenet`, which is none of what is allowed: one number, as the input has one channel"
    );
}

#[test]
fn inputs_that_can_take_pictures() {
    for (max_batch, dims, color, layout) in [
        (0, &[3, 8, 8][..], Color::Rgb, Layout::Chw),
        (0, &[1, 3, 8, 8], Color::Rgb, Layout::Chw),
        (0, &[-1, 8, 8, 3], Color::Rgb, Layout::Hwc),
        (0, &[8, 8], Color::Gray, Layout::Chw),
        (4, &[8, 8, 1], Color::Gray, Layout::Hwc),
        (4, &[1, 8, 3], Color::Gray, Layout::Chw),
        (4, &[-1, 8, 3], Color::Rgb, Layout::Hwc),
    ] {
        let recipe = recipe(&signature(max_batch, dims, &[1]), &[("input", "x")]);
        assert_eq!((recipe.color, recipe.layout), (color, layout), "{dims:?}");
    }
    for (max_batch, dims) in
        [(0, &[][..]), (0, &[3]), (0, &[2, 8, 8]), (4, &[1, 3, 8, 8]), (0, &[0, 3, 8, 8]), (4, &[3, 0, 8])]
    {
        let error = refused(&signature(max_batch, dims, &[1]), &[("input", "x")]);
        assert!(error.starts_with("`frameserve.input`: `x` can't take pictures: its dims ["), "{error}");
    }
    assert_eq!(
        refused(&signature(0, &[1, 8, 8], &[1]), &[("color", "bgr"), ("layout", "chw")]),
        "`frameserve.input`: `x` can't take pictures: its dims [1,8,8] are not those of a picture: expected are \
         [channels,height,width] (`chw`), with or without a number of pictures before them, with channels 3 (`bgr`)"
    );
    for datatype in [DataType::Bool, DataType::Bytes] {
        let words = Signature { inputs: vec![port("x", datatype, &[3, 8, 8])], ..signature(0, &[1], &[1]) };
        assert_eq!(
            refused(&words, &[("input", "x")]),
            format!("`frameserve.input`: `x` is of {datatype}, which can't hold a picture")
        );
    }
    let mut two = signature(0, ANY, &[1]);
    two.inputs.push(port("z", DataType::Fp32, ANY));
    assert_eq!(pictures(&two, &[("input", "z")]).input, 1);
    assert_eq!(
        refused(&two, &[("color", "rgb")]),
        "`frameserve.input`: is needed, since the model has 2 inputs: x, z"
    );
}

#[test]
fn keys_that_are_none_or_go_with_another_task() {
    let any = signature(0, ANY, &[3]);
    let unknown = refused(&any, &[("colour", "rgb")]);
    assert!(
        unknown.starts_with("`frameserve.colour`: there is no such key; known are input, resize,"),
        "{unknown}"
    );
    assert_eq!(
        refused(&any, &[("task", "classification"), ("iou", "0.5")]),
        "`frameserve.iou`: it is `0.5`, and this model's `frameserve.task` has no use for it: it goes with detection"
    );
    assert_eq!(
        refused(&any, &[("labels", "labels.txt")]),
        "`frameserve.labels`: it is `labels.txt`, and this model's `frameserve.task` has no use for it: \
         it goes with classification, detection or segmentation"
    );
}

#[test]
fn classification() {
    let mut two = signature(0, ANY, &[3]);
    two.outputs.push(port("z", DataType::Fp32, &[3]));
    two.outputs[1].labels = Some(["a".to_owned()].into());
    let task = |parameters: &[(&str, &str)]| {
        let parameters = [&[("task", "classification")], parameters].concat();
        match pictures(&two, &parameters).task {
            Some(Task::Classification(classifier)) => classifier,
            other => panic!("{other:?}"),
        }
    };
    let found = task(&[("scores", "z")]);
    assert_eq!(
        (found.output, found.activation, &found.labels[..]),
        (1, Activation::None, &["a".to_owned()][..])
    );
    let found = task(&[("scores", "y"), ("activation", "softmax"), ("labels", "labels.txt")]);
    assert_eq!((found.output, found.activation, found.labels.len()), (0, Activation::Softmax, 2));
    assert_eq!(task(&[("scores", "y"), ("activation", "sigmoid")]).activation, Activation::Sigmoid);
    assert_eq!(
        refused(&two, &[("task", "classification")]),
        "`frameserve.scores`: is needed, since the model has 2 outputs: y, z"
    );
    assert_eq!(
        refused(&two, &[("task", "classification"), ("scores", "y"), ("labels", "other")]),
        "there is no other"
    );
    assert_eq!(pictures(&two, &[("task", "embedding")]).task, Some(Task::Embedding));
}

#[test]
fn detection() {
    let task = |signature: &Signature, parameters: &[(&str, &str)]| {
        let parameters = [&[("task", "detection")], parameters].concat();
        match pictures(signature, &parameters).task {
            Some(Task::Detection(detector)) => detector,
            other => panic!("{other:?}"),
        }
    };
    let found = task(&detector(), &[]);
    let lists = Lists { boxes: 1, scores: 0, classes: Some(2), points: None };
    assert_eq!(found.form, Form::Torchvision(lists));
    assert_eq!((found.corners, found.unit), (Corners::Xyxy, Unit::Pixels));
    assert_eq!((found.threshold, found.iou, found.max), (0.25, 1.0, 300));
    let yolo = signature(0, ANY, &[84, 8400]);
    let found = task(&yolo, &[("form", "yolov8"), ("labels", "labels.txt")]);
    assert_eq!((found.form, found.corners, found.iou), (Form::Yolo8(0), Corners::Cxcywh, 0.45));
    assert_eq!(found.labels.len(), 2);
    let all = [
        ("form", "yolov5"),
        ("boxes", "y"),
        ("box", "xywh"),
        ("unit", "fraction"),
        ("threshold", "0.5"),
        ("iou", "0.6"),
        ("max", "7"),
    ];
    let found = task(&yolo, &all);
    assert_eq!((found.form, found.corners, found.unit), (Form::Yolo5(0), Corners::Xywh, Unit::Fraction));
    assert_eq!((found.threshold, found.iou, found.max), (0.5, 0.6, 7));
    let added = pictures(&detector(), &[("task", "detection")]).added_output().unwrap();
    assert_eq!((added.name.as_str(), added.dims.to_string()), ("detections", "[1]".into()));
    let mut taken = signature(0, ANY, &[84, 8400]);
    taken.outputs[0].name = "detections".into();
    assert_eq!(
        refused(&taken, &[("task", "detection"), ("form", "yolov8")]),
        "`frameserve.task`: `detection` adds an output `detections`, and the model has one of that name"
    );
    assert_eq!(
        refused(&yolo, &[("task", "detection")]),
        "`frameserve.boxes`: is needed, since no output has that name: y"
    );
    assert_eq!(
        refused(&detector(), &[("task", "detection"), ("boxes", "scores")]),
        "`frameserve.boxes`: boxes have 4 numbers, and the output's dims are [-1]"
    );
    assert_eq!(
        refused(&yolo, &[("task", "detection"), ("form", "yolov8"), ("iou", "1.5")]),
        "`frameserve.iou` is `1.5`, which is none of what is allowed: a number from 0 to 1"
    );
    assert_eq!(
        refused(&yolo, &[("task", "detection"), ("form", "yolov8"), ("scores", "y")]),
        "`frameserve.scores`: it is `y`, and this model's `frameserve.task` has no use for it: \
         it goes with classification or detection"
    );
}

#[test]
fn pictures_that_come_out() {
    let task = |signature: &Signature, parameters: &[(&str, &str)]| {
        let parameters = [&[("task", "image")], parameters].concat();
        match pictures(signature, &parameters).task {
            Some(Task::Image(output)) => output,
            other => panic!("{other:?}"),
        }
    };
    let found = task(&signature(4, ANY, ANY), &[("color", "bgr")]);
    assert_eq!(
        (found.output, found.scale, found.color, found.dims.layout),
        (0, 255.0, Color::Bgr, Layout::Chw)
    );
    let gray = task(&signature(4, ANY, &[1, -1, -1]), &[("output_scale", "127.5")]);
    assert_eq!((gray.scale, gray.color), (127.5, Color::Gray));
    let mut bytes = signature(0, ANY, ANY);
    bytes.outputs[0] = port("y", DataType::Uint8, &[-1, -1, -1]);
    let found = task(&bytes, &[("output_layout", "hwc"), ("output_color", "gray"), ("image", "y")]);
    assert_eq!((found.scale, found.color, found.dims.layout), (1.0, Color::Gray, Layout::Hwc));
    let error = refused(&signature(0, ANY, &[1000]), &[("task", "image")]);
    assert!(error.starts_with("`frameserve.image`: `y` is no picture: its dims [1000] are not"), "{error}");
}

#[test]
fn the_document_tells_of_every_key_and_no_other() {
    let document = include_str!("../../../../docs/models.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter_map(|key| key.strip_prefix("frameserve."))
        .collect();
    let known: BTreeSet<&str> = OF_ALL.iter().copied().chain(OF_TASKS.iter().map(|(key, _)| *key)).collect();
    assert_eq!(told, known);
    // Each of them is read: where it has no use, the error is not that it is unknown.
    for key in known {
        let error = refused(&signature(0, &[3, 8, 8], &[4]), &[(key, "no such"), ("task", "no such")]);
        assert!(!error.contains("there is no such key"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(
        values in prop::collection::btree_map(
            prop::sample::select(vec![
                "input", "resize", "crop", "interpolation", "pad", "color", "layout", "scale", "mean", "std",
                "task", "labels", "scores", "activation", "form", "boxes", "classes", "points", "box", "unit",
                "threshold", "iou", "max", "image", "output_scale", "output_color", "output_layout", "mask",
                "background", "other",
            ]),
            prop_oneof![
                any::<String>(),
                prop::sample::select(vec![
                    "x", "y", "boxes", "scores", "640x480", "1x1", "short=8", "fit=9x8", "fill=7x6", "rgb", "bgr",
                    "gray", "chw", "hwc", "0", "1", "1/255", "imagenet", "1,2,3", "-5", "1e99", "inf", "yolov5",
                    "yolov8", "torchvision", "xywh", "fraction", "detection", "image", "classification", "none",
                    "segmentation", "sigmoid", "softmax",
                ])
                .prop_map(String::from),
                "(short|fit|fill)=[0-9]{0,12}x?[0-9]{0,12}",
            ],
            0..8,
        ),
        max_batch in 0..3_usize,
        input in prop::collection::vec(-1..5_i64, 0..5),
        output in prop::collection::vec(-1..5_i64, 0..5),
    ) {
        let parameters: BTreeMap<String, String> =
            values.iter().map(|(key, value)| (format!("frameserve.{key}"), value.clone())).collect();
        for signature in [signature(max_batch, &input, &output), detector(), Signature::default()] {
            if let Ok(Some(pictures)) = Pictures::of(&parameters, &signature, &labels) {
                // What was accepted can be asked for the size of any picture.
                for size in [Size::new(1, 1), Size::new(u32::MAX, 1), Size::new(640, 480)] {
                    let _ = pictures.preparation().output_size(size);
                }
            }
        }
    }
}
