//! From the outputs of detectors to what was found where.

use super::*;
use crate::frame::{Detection, Size};
use crate::model::pictures::json;
use crate::tensor::Data;
use crate::tensor::image::Geometry;

fn lists() -> Signature {
    Signature {
        max_batch: 4,
        inputs: vec![port("x", DataType::Fp32, &[3, 64, 64])],
        outputs: vec![
            port("boxes", DataType::Fp32, &[-1, 4]),
            port("scores", DataType::Fp32, &[-1]),
            port("classes", DataType::Int64, &[-1]),
            port("points", DataType::Fp32, &[-1, -1, -1]),
        ],
    }
}

fn detect(
    signature: &Signature,
    parameters: &[(&str, &str)],
    outputs: &[Tensor],
    geometry: &[Geometry],
) -> Vec<Vec<Detection>> {
    let parameters = [&[("task", "detection")], parameters].concat();
    pictures(signature, &parameters).detections(outputs, geometry).unwrap()
}

/// Label, score and place.
fn short(found: &[Detection]) -> Vec<(String, f32, [f32; 4])> {
    found.iter().map(|one| (one.label.clone(), one.score, [one.x, one.y, one.width, one.height])).collect()
}

fn int64(shape: &[usize], values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Int64, Shape::new(shape.to_vec()), bytes.into()).unwrap()
}

#[test]
fn lists_of_two_pictures() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    #[rustfmt::skip]
    let boxes = fp32(&[2, 4, 4], &[
        1.0, 2.0, 11.0, 22.0,  -5.0, -5.0, 200.0, 32.0,  nan, 0.0, 1.0, 1.0,  70.0, 0.0, 80.0, 9.0,
        5.0, 5.0, 5.0, 9.0,  0.0, 0.0, 8.0, infinity,  0.0, 0.0, 8.0, 8.0,  0.0, 0.0, 9.0, 9.0,
    ]);
    let scores = fp32(&[2, 4], &[0.5, 0.75, 0.9, 0.9, 0.9, 0.9, 0.2, nan]);
    let classes = int64(&[2, 4], &[1, 7, 1, 1, 1, 1, 1, 1]);
    #[rustfmt::skip]
    let points = fp32(&[2, 4, 2, 2], &[
        3.0, 4.0, 5.0, 6.0,  0.0, 1.0, nan, 0.0,  0.0, 0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0,
    ]);
    let geometry = [Geometry::identity(Size::new(64, 64)); 2];
    let parameters = [("labels", "labels.txt")];
    let found = detect(&lists(), &parameters, &[boxes, scores, classes, points], &geometry);
    // What is no box, lies outside, has no area or is not sure enough is left out; the rest is cut to the picture.
    assert_eq!(
        short(&found[0]),
        [("7".into(), 0.75, [0.0, 0.0, 64.0, 32.0]), ("dog".into(), 0.5, [1.0, 2.0, 10.0, 20.0])]
    );
    assert_eq!(found[0][1].points, [3.0, 4.0, 5.0, 6.0]);
    assert_eq!(found[0][0].points, [0.0; 0]);
    assert_eq!(found[1], []);
    let Data::Elements(texts) = json(&found).unwrap().into_data() else { panic!("byte strings") };
    assert_eq!(
        texts[0],
        r#"[{"label":"7","class":7,"score":0.75,"box":[0.0,0.0,64.0,32.0]},{"label":"dog","class":1,"score":0.5,"box":[1.0,2.0,10.0,20.0],"points":[3.0,4.0,5.0,6.0]}]"#
    );
    assert_eq!(texts[1], "[]");
}

#[test]
fn places_are_those_of_the_picture_that_was_sent() {
    let signature = Signature { max_batch: 0, ..lists() };
    let parameters = [("resize", "fit=64x64"), ("box", "xywh"), ("unit", "fraction"), ("task", "detection")];
    let pictures = pictures(&signature, &parameters);
    let (_, geometry) = pictures
        .prepare(
            &[jpeg(640, 320)],
            &crate::limits::Limits::default(),
            &mut crate::frame::Workbench::new().unwrap(),
        )
        .unwrap();
    // 16 rows of filling above and below the picture, which is ten times smaller.
    let outputs = [
        fp32(&[2, 4], &[0.25, 0.25, 0.5, 0.25, 0.0, 0.0, 1.0, 0.25]),
        fp32(&[2], &[0.5, 0.9]),
        int64(&[2], &[0, 0]),
        fp32(&[2, 1, 3], &[0.5, 0.5, 9.0, 0.0, 0.0, 9.0]),
    ];
    let found = pictures.detections(&outputs, &geometry).unwrap();
    // The second one lies in the filling alone.
    assert_eq!(short(&found[0]), [("0".into(), 0.5, [160.0, 0.0, 320.0, 160.0])]);
    assert_eq!(found[0][0].points, [320.0, 160.0]);
}

/// 20 boxes of three classes in both forms, and the same found in both.
#[test]
fn grids() {
    let boxes: Vec<[f32; 4]> = (0..20).map(|i| [4.0 + i as f32, 30.0, 8.0, 10.0 + (i % 3) as f32]).collect();
    let score = |index: usize, class: usize| ((index * 7 + class * 5) % 20) as f32 / 20.0;
    let rows: Vec<f32> = boxes
        .iter()
        .enumerate()
        .flat_map(|(i, at)| {
            at.iter().copied().chain([0.5]).chain((0..3).map(move |c| score(i, c))).collect::<Vec<_>>()
        })
        .collect();
    let columns: Vec<f32> = (0..7)
        .flat_map(|row| {
            let boxes = &boxes;
            (0..20).map(move |i| if row < 4 { boxes[i][row] } else { score(i, row - 4) * 0.5 })
        })
        .collect();
    let geometry = [Geometry::identity(Size::new(64, 64))];
    let yolo = signature(0, &[3, 64, 64], &[-1, -1]);
    let five = detect(&yolo, &[("form", "yolov5"), ("iou", "0.2")], &[fp32(&[1, 20, 8], &rows)], &geometry);
    let eight = detect(&yolo, &[("form", "yolov8"), ("iou", "0.2")], &[fp32(&[7, 20], &columns)], &geometry);
    assert_eq!(five, eight);
    // By hand: each box is of the class with its best score, and stands if no better one of its class covers it.
    let mut expected: Vec<(usize, usize)> = (0..20)
        .map(|i| (i, (0..3).max_by(|a, b| score(i, *a).total_cmp(&score(i, *b)).then(b.cmp(a))).unwrap()))
        .filter(|(i, class)| score(*i, *class) * 0.5 >= 0.25)
        .collect();
    expected.sort_by(|(a, ca), (b, cb)| score(*b, *cb).total_cmp(&score(*a, *ca)).then(a.cmp(b)));
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for (i, class) in expected {
        let covered = kept.iter().any(|(other, of)| {
            let shared = (8.0 - i.abs_diff(*other) as f32).max(0.0) * boxes[i][3].min(boxes[*other][3]);
            *of == class && shared / (8.0 * (boxes[i][3] + boxes[*other][3]) - shared) > 0.2
        });
        if !covered {
            kept.push((i, class));
        }
    }
    assert!(kept.len() > 3 && kept.len() < 14, "{}", kept.len());
    let expected: Vec<_> = kept
        .iter()
        .map(|(i, class)| {
            let left = (boxes[*i][0] - 4.0).max(0.0);
            let right = (boxes[*i][0] + 4.0).min(64.0);
            let high = boxes[*i][3];
            (class.to_string(), score(*i, *class) * 0.5, [left, 30.0 - high / 2.0, right - left, high])
        })
        .collect();
    assert_eq!(short(&five[0]), expected);
    let three = detect(
        &yolo,
        &[("form", "yolov8"), ("iou", "0.2"), ("max", "3"), ("threshold", "0.3")],
        &[fp32(&[1, 7, 20], &columns)],
        &geometry,
    );
    assert_eq!(short(&three[0]), expected[..3]);
}

#[test]
fn outputs_of_other_shapes_are_the_models_fault_and_are_named() {
    let pictures = pictures(&lists(), &[("task", "detection")]);
    let geometry = [Geometry::identity(Size::new(64, 64)); 2];
    let refused = |outputs: &[Tensor]| {
        let error = pictures.detections(outputs, &geometry).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Failed);
        error.to_string()
    };
    let (boxes, scores) = (fp32(&[2, 1, 4], &[0.0; 8]), fp32(&[2, 1], &[0.0; 2]));
    let (classes, points) = (int64(&[2, 1], &[0; 2]), fp32(&[2, 1, 6], &[0.0; 12]));
    let all = [boxes, scores, classes, points];
    let with = |index: usize, tensor: Tensor| {
        let mut outputs = all.clone();
        outputs[index] = tensor;
        outputs
    };
    assert_eq!(refused(&all[..3]), "the model gave 3 outputs, and not the one of number 3");
    assert_eq!(
        refused(&with(0, fp32(&[1, 4], &[0.0; 4]))),
        "an output of shape [1,4] holds no boxes of 2 pictures"
    );
    assert_eq!(
        refused(&with(0, fp32(&[2, 1, 5], &[0.0; 10]))),
        "boxes have 4 numbers, and the output's are [2,1,5]"
    );
    assert_eq!(
        refused(&with(1, fp32(&[3], &[0.0; 3]))),
        "an output of shape [3] holds no scores for 2 boxes"
    );
    assert_eq!(refused(&with(2, int64(&[1], &[0]))), "an output of shape [1] holds no classes for 2 boxes");
    assert_eq!(
        refused(&with(3, fp32(&[2, 1, 5], &[0.0; 10]))),
        "an output of shape [2,1,5] holds no points of 2 boxes"
    );
    let none = [fp32(&[2, 0, 4], &[]), fp32(&[2, 0], &[]), int64(&[2, 0], &[]), fp32(&[2, 0, 5, 2], &[])];
    assert_eq!(pictures.detections(&none, &geometry).unwrap(), [[], []] as [[Detection; 0]; 2]);
}
