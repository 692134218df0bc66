//! Outputs that are pictures, and outputs that are scores.

use opencv::prelude::*;

use super::*;
use crate::frame::{Codec, Encoded, Encoding, Image, Need, PixelFormat, Size, Workbench};
use crate::model::pictures::{PictureOutput, Task};
use crate::tensor::Data;
use crate::tensor::DataType;

fn picture_output(signature: &Signature, parameters: &[(&str, &str)]) -> PictureOutput {
    let parameters = [&[("task", "image")], parameters].concat();
    match pictures(signature, &parameters).task {
        Some(Task::Image(output)) => output,
        other => panic!("{other:?}"),
    }
}

fn values(image: &Image) -> &[u8] {
    image.mat().data_bytes().unwrap()
}

#[test]
fn floats_of_any_layout_are_pixels() {
    let any = &[-1, -1, -1][..];
    // Two pixels beside each other: (255, 0, 128) and (0, 51, 255), with values beyond all bounds.
    let planes = [1.0, -3.0, 0.0, 0.2, 0.502, f32::INFINITY];
    let pixels = [1.0, 0.0, 0.502, f32::NAN, 0.2, 7.0];
    let expected = [128, 0, 255, 255, 51, 0];
    let chw = picture_output(&signature(4, any, any), &[("color", "rgb"), ("layout", "chw")]);
    let images = chw.images(&[fp32(&[2, 3, 1, 2], &[planes, planes].concat())]).unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!((values(&images[1]), images[1].size()), (&expected[..], Size::new(2, 1)));
    let hwc = picture_output(&signature(0, any, any), &[("color", "rgb"), ("output_layout", "hwc")]);
    assert_eq!(values(&hwc.images(&[fp32(&[1, 2, 3], &pixels)]).unwrap()[0]), expected);
    let bgr = picture_output(&signature(0, any, any), &[("color", "rgb"), ("output_color", "bgr")]);
    assert_eq!(values(&bgr.images(&[fp32(&[3, 1, 2], &planes)]).unwrap()[0]), [255, 0, 128, 0, 51, 255]);
    let gray = picture_output(&signature(0, any, any), &[("output_color", "gray"), ("output_scale", "10")]);
    assert_eq!(values(&gray.images(&[fp32(&[1, 1, 2], &[1.0, 2.24])]).unwrap()[0]), [10, 22]);
}

#[test]
fn bytes_are_pixels_as_they_are() {
    let any = &[-1, -1, -1][..];
    let mut bytes = signature(0, any, any);
    bytes.outputs[0] = port("y", DataType::Uint8, any);
    let output = picture_output(&bytes, &[("color", "bgr"), ("output_layout", "hwc")]);
    let tensor = Tensor::raw(DataType::Uint8, Shape::new(vec![1, 2, 3]), Bytes::from_static(b"abcdef"));
    assert_eq!(values(&output.images(&[tensor.unwrap()]).unwrap()[0]), b"abcdef");
}

#[test]
fn pictures_are_encoded_one_element_a_row() {
    let any = &[-1, -1, -1][..];
    let output = picture_output(&signature(4, any, any), &[("color", "rgb")]);
    let mut bench = Workbench::new().unwrap();
    let tensor = fp32(&[2, 3, 4, 4], &[[0.5; 48], [1.0; 48]].concat());
    for codec in [Codec::Png, Codec::Jpeg, Codec::Webp, Codec::Raw(PixelFormat::Bgr24)] {
        let encoded = output.encode(std::slice::from_ref(&tensor), Encoding::new(codec), &mut bench).unwrap();
        assert_eq!(encoded.shape().dims(), [2]);
        let Data::Elements(elements) = encoded.into_data() else { panic!("byte strings") };
        if matches!(codec, Codec::Raw(_)) {
            assert_eq!(elements[1], [255; 48][..]);
            continue;
        }
        let picture = Encoded::with_header(elements[0].clone(), codec).unwrap();
        let image = picture.decode(Need { gray: false, at_least: None }, &mut bench).unwrap();
        assert!(values(&image).iter().all(|value| value.abs_diff(128) <= 2));
    }
}

#[test]
fn an_output_that_is_no_picture_is_the_models_fault() {
    let any = &[-1, -1, -1][..];
    let output = picture_output(&signature(4, any, any), &[("color", "rgb")]);
    for shape in [&[2, 4, 3, 1][..], &[3, 2, 4], &[24], &[1, 1, 4, 6]] {
        assert_eq!(
            output.images(&[fp32(shape, &[0.0; 24])]).unwrap_err().to_string(),
            format!("an output of shape {} holds no picture", Shape::new(shape.to_vec()))
        );
    }
    assert_eq!(output.images(&[fp32(&[0, 3, 4, 4], &[])]).unwrap().len(), 0);
}

#[test]
fn scores_become_names() {
    let parameters = [("task", "classification"), ("activation", "softmax"), ("labels", "labels.txt")];
    let Some(Task::Classification(classifier)) = pictures(&signature(4, &[3, 8, 8], &[3]), &parameters).task
    else {
        panic!("a classifier");
    };
    let found = classifier.best(&[fp32(&[1, 3], &[0.0, 1.0, -1.0])], 2, Some(1)).unwrap();
    assert_eq!((found.labels[0][0].name.as_str(), found.labels[0][0].class_id), ("dog", Some(1)));
    assert!((found.labels[0][0].score - 0.665_241).abs() < 1e-6);
    let Data::Elements(elements) = found.tensor.data() else { panic!("byte strings") };
    assert_eq!(elements[..], ["0.665241:1:dog", "0.244728:0:cat"]);
}
