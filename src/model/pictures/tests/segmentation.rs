//! From the outputs of segmentation to masks of the pictures that were sent.

use opencv::core::{CV_8UC3, Mat};
use opencv::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::frame::{Codec, Encoded, Encoding, Image, Mask, Need, Size, Workbench};
use crate::model::pictures::{Background, MaskDims, MaskForm, Segmenter, Task};
use crate::tensor::classification::Activation;
use crate::tensor::image::{Geometry, Layout, Scratch};
use crate::tensor::{Data, DataType};

const ANY: &[i64] = &[3, -1, -1];

fn with_task<'a>(parameters: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("task", "segmentation")], parameters].concat()
}

fn segmenter(max_batch: usize, output: &[i64], parameters: &[(&str, &str)]) -> Segmenter {
    match pictures(&signature(max_batch, ANY, output), &with_task(parameters)).task {
        Some(Task::Segmentation(segmenter)) => segmenter,
        other => panic!("{other:?}"),
    }
}

fn one(segmenter: &Segmenter, output: Tensor, size: Size) -> Mask {
    segmenter.masks(&[output], &[Geometry::identity(size)]).unwrap().remove(0)
}

fn bytes(image: &Image) -> &[u8] {
    image.mat().data_bytes().unwrap()
}

fn whole(datatype: DataType, shape: &[usize], values: &[u8]) -> Tensor {
    Tensor::raw(datatype, Shape::new(shape.to_vec()), Bytes::copy_from_slice(values)).unwrap()
}

/// A picture that is brighter the further right and down a pixel lies.
fn slope(size: Size) -> Image {
    let (width, height) = (size.width as usize, size.height as usize);
    let pixels: Vec<u8> = (0..width * height).flat_map(|at| [slope_at(at, width, height); 3]).collect();
    let mut mat = Mat::default();
    let flat = Mat::from_slice(&pixels).unwrap();
    flat.reshape(3, size.height.cast_signed()).unwrap().copy_to(&mut mat).unwrap();
    assert_eq!(mat.typ(), CV_8UC3);
    Image::new(mat).unwrap()
}

fn slope_at(at: usize, width: usize, height: usize) -> u8 {
    (40 + (at % width) * 100 / width + (at / width) * 100 / height) as u8
}

#[test]
fn one_class_in_the_pictures_own_size() {
    let values: Vec<f32> = (0..35_u8).map(|at| f32::from(at) / 34.0).collect();
    let size = Size::new(7, 5);
    let expected: Vec<u8> = values.iter().map(|value| (value * 255.0).round_ties_even() as u8).collect();
    for (dims, shape) in
        [(&[5, 7][..], &[5, 7][..]), (&[1, 1, 5, 7], &[1, 1, 5, 7]), (&[5, 7, 1], &[5, 7, 1])]
    {
        let mask = one(&segmenter(0, dims, &[]), fp32(shape, &values), size);
        assert_eq!((bytes(&mask.strength), mask.count, mask.background), (&expected[..], 1, None));
        assert_eq!(bytes(&mask.classes), [0; 35]);
        assert_eq!(bytes(&mask.foreground().unwrap()), expected);
    }
    let mut gray = signature(0, ANY, &[5, 7]);
    gray.outputs[0] = port("y", DataType::Uint8, &[5, 7]);
    let Some(Task::Segmentation(gray)) = pictures(&gray, &with_task(&[("form", "scores")])).task else {
        panic!("a segmenter");
    };
    assert_eq!(bytes(&one(&gray, whole(DataType::Uint8, &[5, 7], &expected), size).strength), expected);
    let scaled = segmenter(0, &[5, 7], &[("output_scale", "4080")]);
    let small: Vec<f32> = values.iter().map(|value| value / 16.0).collect();
    assert_eq!(bytes(&one(&scaled, fp32(&[5, 7], &small), size).strength), expected);
    let two = [&values[..], &[f32::NAN; 35]].concat();
    let geometry = [Geometry::identity(size), Geometry::identity(Size::new(70, 51))];
    let masks = segmenter(4, &[1, -1, -1], &[]).masks(&[fp32(&[2, 1, 5, 7], &two)], &geometry).unwrap();
    assert_eq!(bytes(&masks[0].strength), expected);
    assert_eq!((masks[1].strength.size(), bytes(&masks[1].strength)), (Size::new(70, 51), &[0; 70 * 51][..]));
}

#[test]
fn values_between_those_of_the_grid() {
    let segmenter = segmenter(0, &[2, 2], &[]);
    let mask = one(&segmenter, fp32(&[1, 2], &[0.0, 1.0]), Size::new(8, 1));
    // The middle of the first value lies at 2, that of the second at 6.
    assert_eq!(bytes(&mask.strength), [0, 0, 32, 96, 159, 223, 255, 255]);
    let mask = one(&segmenter, fp32(&[4, 1], &[0.0, 1.0, 1.0, 0.0]), Size::new(1, 2));
    assert_eq!(bytes(&mask.strength), [128, 128]);
}

#[test]
fn scores_that_are_none() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let scores = [nan, infinity, -infinity, -3.0, 7.0, 0.5];
    let strength = |activation| {
        let mask = segmenter(0, &[1, 6], &[("activation", activation)]);
        bytes(&one(&mask, fp32(&[1, 6], &scores), Size::new(6, 1)).strength).to_vec()
    };
    assert_eq!(strength("none"), [0, 255, 0, 0, 255, 128]);
    assert_eq!(strength("sigmoid"), [0, 255, 0, 12, 255, 159]);
    let several = segmenter(0, &[2, 1, -1], &[("activation", "softmax")]);
    let scores = [0.0, nan, infinity, -infinity, nan, 3.0, nan, 3.0, infinity, 900.0, nan, 1.0];
    let mask = one(&several, fp32(&[2, 1, 6], &scores), Size::new(6, 1));
    // Two that are beyond all bounds are alike, and the first counts; where nothing is known, it is the background.
    assert_eq!(bytes(&mask.classes), [0, 1, 0, 1, 0, 0]);
    assert_eq!(bytes(&mask.strength), [255, 255, 128, 255, 255, 225]);
}

#[test]
fn the_likeliest_of_several_classes() {
    let size = Size::new(2, 2);
    let classes = [[2.0, 0.0, 1.0, 0.0], [0.0, 3.0, 1.0, 0.0], [0.0, 0.0, 1.0, -9.0]];
    let parameters = [("activation", "softmax"), ("labels", "labels.txt"), ("output_layout", "chw")];
    let planes = one(&segmenter(0, &[3, 2, 2], &parameters), fp32(&[3, 2, 2], &classes.concat()), size);
    assert_eq!((bytes(&planes.classes), planes.count, planes.background), (&[0, 1, 0, 0][..], 3, Some(0)));
    assert_eq!(bytes(&planes.strength), [201, 232, 85, 127]);
    assert_eq!((planes.name(1), planes.name(2)), ("dog".into(), "2".into()));
    assert_eq!(planes.areas().unwrap(), [(1, 1)]);
    let pixels: Vec<f32> = (0..4).flat_map(|at| classes.map(|class| class[at])).collect();
    let hwc = [("activation", "softmax"), ("output_layout", "hwc"), ("background", "none")];
    let beside = one(&segmenter(0, &[-1, -1, -1], &hwc), fp32(&[2, 2, 3], &pixels), size);
    assert_eq!(bytes(&beside.classes), bytes(&planes.classes));
    assert_eq!(bytes(&beside.strength), bytes(&planes.strength));
    assert_eq!((beside.background, beside.areas().unwrap()), (None, vec![(0, 3), (1, 1)]));
    // Of what is something, how sure; of what is nothing, how unsure.
    assert_eq!(bytes(&planes.foreground().unwrap()), [54, 232, 170, 128]);
}

#[test]
fn maps_of_classes() {
    let mut map = signature(0, ANY, &[1, 2, 3]);
    map.outputs[0] = port("y", DataType::Int8, &[1, 2, 3]);
    let map = pictures(&map, &with_task(&[("background", "2")]));
    let classes = whole(DataType::Int8, &[1, 2, 3], &[0, 1, 2, 9, 0xff, 0x80]);
    let geometry = [Geometry::identity(Size::new(6, 2))];
    let mask = map.masks(std::slice::from_ref(&classes), &geometry).unwrap().remove(0);
    assert_eq!(bytes(&mask.classes), [0, 0, 1, 1, 2, 2, 9, 9, 2, 2, 2, 2]);
    assert_eq!((bytes(&mask.strength), mask.count), (&[255; 12][..], 256));
    let foreground = mask.foreground().unwrap();
    assert_eq!(bytes(&foreground), [255, 255, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0]);
    // Two pictures, which the first dimension counts.
    let maps = segmenter(0, &[-1, -1, -1], &[("form", "classes"), ("background", "none")]);
    let geometry = [Geometry::identity(Size::new(1, 1)); 2];
    let masks = maps.masks(&[fp32(&[2, 1, 1], &[5.0, 256.0])], &geometry).unwrap();
    assert_eq!((bytes(&masks[0].classes), bytes(&masks[0].strength)), (&[5][..], &[255][..]));
    assert_eq!((bytes(&masks[1].classes), bytes(&masks[1].strength)), (&[0][..], &[0][..]));
}

#[test]
fn what_was_cut_off_is_background() {
    let parameters = with_task(&[("resize", "fill=8x8"), ("interpolation", "bilinear")]);
    let sent = slope(Size::new(31, 9));
    for (classes, outside) in [(1, (0, 0)), (2, (0, 255))] {
        let pictures = pictures(&signature(0, ANY, &[classes, 8, 8]), &parameters);
        let (_, geometry) = pictures.prepare_image(&sent, &mut Scratch::default()).unwrap();
        let mut scores = vec![0.0; 64 * classes as usize];
        let all = scores.len();
        scores[all - 64..].fill(1.0);
        let output = fp32(&[classes as usize, 8, 8], &scores);
        let mask = pictures.masks(&[output], &[geometry]).unwrap().remove(0);
        assert_eq!(mask.strength.size(), sent.size());
        for x in 0..31 {
            let inside = (11..20).contains(&x);
            let found = (bytes(&mask.classes)[x], bytes(&mask.strength)[31 * 8 + x]);
            let expected = if inside { (classes as u8 - 1, 255) } else { outside };
            assert_eq!(found, expected, "{x} of {classes}");
        }
    }
}

#[test]
fn masks_are_encoded_one_element_a_picture() {
    let mut bench = Workbench::new().unwrap();
    let outputs = [fp32(&[2, 1, 1], &[0.2, 1.0])];
    let geometry = [Geometry::identity(Size::new(9, 4)); 2];
    let png = Encoding::new(Codec::Png);
    let masks = segmenter(1, &[1, 1], &[]).encode(&outputs, &geometry, png, &mut bench).unwrap();
    let Data::Elements(elements) = masks.into_data() else { panic!("byte strings") };
    let picture = Encoded::with_header(elements[0].clone(), Codec::Png).unwrap();
    let image = picture.decode(Need { gray: true, at_least: None }, &mut bench).unwrap();
    assert_eq!((elements.len(), image.size(), bytes(&image)), (2, Size::new(9, 4), &[51; 36][..]));
    let classes = [fp32(&[3, 1, 1], &[0.0, 0.1, 0.2])];
    let masks = segmenter(0, &[3, -1, -1], &[]).encode(&classes, &geometry[..1], png, &mut bench).unwrap();
    let Data::Elements(elements) = masks.into_data() else { panic!("byte strings") };
    let picture = Encoded::with_header(elements[0].clone(), Codec::Png).unwrap();
    let image = picture.decode(Need { gray: true, at_least: None }, &mut bench).unwrap();
    assert_eq!(bytes(&image), [2; 36]);
}

#[test]
fn an_output_that_is_no_mask_is_the_models_fault() {
    let wrong = |segmenter: &Segmenter, shape: &[usize], pictures: usize| {
        let values = vec![0.0; shape.iter().product()];
        let geometry = vec![Geometry::identity(Size::new(4, 4)); pictures];
        segmenter.masks(&[fp32(shape, &values)], &geometry).unwrap_err().to_string()
    };
    let any = segmenter(0, &[-1, -1, -1, -1], &[]);
    assert_eq!(wrong(&any, &[2, 1, 4, 4], 1), "an output of shape [2,1,4,4] holds no mask of 1 pictures");
    assert_eq!(wrong(&any, &[1, 4, 4], 2), "an output of shape [1,4,4] holds no mask of 2 pictures");
    assert_eq!(wrong(&any, &[1, 1, 0, 4], 1), "an output of shape [1,1,0,4] holds no mask of 1 pictures");
    assert_eq!(
        wrong(&any, &[1, 257, 1, 1], 1),
        "a mask of shape [1,257,1,1] has 257 values for each pixel, and may have 1 to 256"
    );
    let map = segmenter(0, &[-1, -1, -1, -1], &[("form", "classes")]);
    assert_eq!(
        wrong(&map, &[1, 2, 4, 4], 1),
        "a mask of shape [1,2,4,4] has 2 values for each pixel, and may have 1, since it has their numbers"
    );
    assert!(segmenter(4, &[2, 2], &[]).masks(&[], &[]).is_err());
}

#[test]
fn parameters() {
    let found = segmenter(0, &[1, 21, 520, 520], &[]);
    let expected = Segmenter {
        output: 0,
        form: MaskForm::Scores(Activation::None),
        scale: 255.0,
        dims: MaskDims::Three,
        layout: Layout::Chw,
        background: Background::Usual,
        labels: Arc::default(),
    };
    assert_eq!(found, expected);
    let layout = |dims: &[i64], parameters: &[(&str, &str)]| segmenter(0, dims, parameters).layout;
    assert_eq!(layout(&[1, 256, 256, 1], &[]), Layout::Hwc);
    assert_eq!(layout(&[256, 256, 2], &[("labels", "labels.txt")]), Layout::Hwc);
    assert_eq!(layout(&[2, 256, 256], &[("labels", "labels.txt")]), Layout::Chw);
    assert_eq!(layout(&[8, 8, 2], &[]), Layout::Chw);
    assert_eq!(layout(&[8, 8, 1], &[("output_layout", "chw")]), Layout::Chw);
    assert_eq!(segmenter(2, &[8, 8], &[("mask", "y")]).dims, MaskDims::Two);
    assert_eq!(segmenter(0, &[4, 8, 8], &[("background", "3")]).background, Background::Class(3));
    let no =
        |dims: &[i64], parameters: &[(&str, &str)]| refused(&signature(0, ANY, dims), &with_task(parameters));
    for (dims, parameters, says) in [
        (
            &[8][..],
            &[][..],
            "`frameserve.mask`: `y` is no mask: its dims [8] are not [height,width], [classes,height,width] or \
             [height,width,classes], with or without a number of pictures before them",
        ),
        (
            &[300, 8, 8],
            &[],
            "`frameserve.mask`: `y`, whose dims are [300,8,8], has 300 values for each pixel, and may have 1 to 256",
        ),
        (
            &[1, 2, 8, 8],
            &[("form", "classes")],
            "`frameserve.mask`: `y`, whose dims are [1,2,8,8], has 2 values for each pixel, and may have 1, since it \
             has their numbers",
        ),
        (
            &[8, 8],
            &[("activation", "softmax")],
            "`frameserve.activation`: `softmax` makes 1 of every score where there is one class",
        ),
        (
            &[8, 8],
            &[("activation", "sigmoid"), ("form", "classes")],
            "`frameserve.activation`: it goes with scores, and the mask has numbers of classes",
        ),
        (
            &[8, 8],
            &[("activation", "sigmoid"), ("output_scale", "2")],
            "`frameserve.output_scale`: it goes with scores that no `frameserve.activation` changes",
        ),
        (
            &[8, 8],
            &[("background", "0")],
            "`frameserve.background` is `0`, which is none of what is allowed: none, as there is one class",
        ),
        (
            &[4, 8, 8],
            &[("background", "4")],
            "`frameserve.background` is `4`, which is none of what is allowed: none, or the number of a class from 0 \
             to 3",
        ),
    ] {
        assert_eq!(no(dims, parameters), says);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model here gives the picture that it gets.
    #[test]
    fn masks_lie_where_the_picture_does(
        width in 17..200_u32,
        height in 17..200_u32,
        resize in prop::sample::select(vec!["64x64", "fit=96x64", "fill=64x96", "short=48", "90x70"]),
        crop in prop::sample::select(vec![None, Some("48x48")]),
        interpolation in prop::sample::select(vec!["area", "bilinear"]),
    ) {
        let mut parameters = with_task(&[("resize", resize), ("interpolation", interpolation)]);
        parameters.extend(crop.map(|crop| ("crop", crop)));
        let pictures = pictures(&signature(0, ANY, &[-1, -1, -1]), &parameters);
        let size = Size::new(width, height);
        let (tensor, geometry) = pictures.prepare_image(&slope(size), &mut Scratch::default()).unwrap();
        let &[_, rows, columns] = tensor.shape().dims() else { panic!("{:?}", tensor.shape()) };
        let output = fp32(&[1, rows, columns], &floats(&tensor)[..rows * columns]);
        let mask = pictures.masks(&[output], &[geometry]).unwrap().remove(0);
        prop_assert_eq!(mask.strength.size(), size);
        let (wide, high) = (width as usize, height as usize);
        for (at, value) in bytes(&mask.strength).iter().enumerate() {
            let place = [(at % wide) as f32 + 0.5, (at / wide) as f32 + 0.5];
            let [x, y] = geometry.to_prepared(place);
            let depth = x.min(y).min(columns as f32 - x).min(rows as f32 - y);
            if depth < 0.0 {
                prop_assert_eq!(*value, 0);
            } else if place.iter().zip([wide, high]).all(|(at, side)| *at > 6.0 && *at < side as f32 - 6.0) && depth > 1.0 {
                let apart = value.abs_diff(slope_at(at, wide, high));
                prop_assert!(apart <= 6, "{} at {:?}, {} apart", value, place, apart);
            }
        }
    }

    #[test]
    fn nothing_panics(
        dims in prop::collection::vec(0..5_usize, 1..5),
        numbers in prop::collection::vec(prop_oneof![
            any::<f32>(), 0.0..1.0_f32, Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY),
        ], 625),
        form in prop::sample::select(vec!["scores", "classes"]),
        activation in prop::sample::select(vec!["none", "softmax", "sigmoid"]),
        layout in prop::sample::select(vec!["chw", "hwc"]),
        max_batch in 0..2_usize,
        pictures in 0..3_usize,
        resize in prop::sample::select(vec!["3x4", "fit=4x3", "fill=3x4", "short=5"]),
        size in (1..40_u32, 1..40_u32),
    ) {
        let parameters =
            with_task(&[("form", form), ("activation", activation), ("output_layout", layout), ("resize", resize)]);
        let rank = dims.len() - max_batch;
        let Ok(Some(read)) = read(&signature(max_batch, ANY, &vec![-1; rank]), &parameters) else { return Ok(()) };
        let (_, geometry) =
            read.prepare_image(&slope(Size::new(size.0, size.1)), &mut Scratch::default()).unwrap();
        let output = fp32(&dims, &numbers[..dims.iter().product()]);
        if let Ok(masks) = read.masks(&[output], &vec![geometry; pictures]) {
            for mask in masks {
                prop_assert_eq!(mask.classes.size(), geometry.picture());
                let known = mask.background.is_none() || !bytes(&mask.strength).contains(&0);
                prop_assert!(known);
                mask.areas().unwrap();
                mask.foreground().unwrap();
            }
        }
    }
}
