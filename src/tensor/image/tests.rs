//! Prepared pictures against the same, computed pixel by pixel.

use half::f16;
use opencv::core::{CV_8UC3, Mat, Scalar};
use opencv::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::tensor::DataType;

/// Another value in every channel of every pixel, as far as a byte has them.
fn picture(size: Size) -> Image {
    let mut mat = Mat::new_size_with_default(size.into(), CV_8UC3, Scalar::default()).unwrap();
    for (at, value) in mat.data_bytes_mut().unwrap().iter_mut().enumerate() {
        *value = (at * 37 + at / 256 * 11) as u8;
    }
    Image::new(mat).unwrap()
}

/// A slope across and down, on which every way to compute a pixel agrees.
fn slope(size: Size) -> Image {
    let mut mat = Mat::new_size_with_default(size.into(), CV_8UC3, Scalar::default()).unwrap();
    let columns = size.width as usize;
    for (at, pixel) in mat.data_bytes_mut().unwrap().as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = (at % columns, at / columns);
        *pixel = [
            (x * 255 / columns) as u8,
            (y * 255 / size.height as usize) as u8,
            ((x + y) * 255 / (columns + size.height as usize)) as u8,
        ];
    }
    Image::new(mat).unwrap()
}

fn recipe(resize: Resize) -> Recipe {
    Recipe {
        resize,
        crop: None,
        interpolation: Interpolation::Area,
        pad: 114,
        color: Color::Rgb,
        layout: Layout::Chw,
        scaling: Scaling::usual(DataType::Uint8),
    }
}

fn prepare(recipe: Recipe, datatype: DataType, image: &Image) -> (Vec<u8>, Geometry) {
    let preparation = Preparation::new(recipe, datatype).unwrap();
    let size = preparation.output_size(image.size()).unwrap();
    let mut bytes = vec![0xaa; preparation.byte_len(size).unwrap()];
    let geometry = preparation.apply(image, image.size(), &mut Scratch::default(), &mut bytes).unwrap();
    assert_eq!((geometry.picture(), geometry.prepared()), (image.size(), size));
    (bytes, geometry)
}

/// The channels of a pixel in the order of the tensor.
fn pixel(image: &Image, color: Color, x: usize, y: usize) -> Vec<u8> {
    let columns = image.size().width as usize;
    let bgr = &image.mat().data_bytes().unwrap()[(y * columns + x) * 3..][..3];
    match color {
        Color::Bgr => bgr.to_vec(),
        Color::Rgb => vec![bgr[2], bgr[1], bgr[0]],
        Color::Gray => {
            let [b, g, r] = [bgr[0], bgr[1], bgr[2]].map(f64::from);
            vec![(0.299 * r + 0.587 * g + 0.114 * b).round() as u8]
        }
    }
}

#[test]
fn every_color_and_layout_pixel_by_pixel() {
    let image = picture(Size::new(13, 7));
    for color in [Color::Rgb, Color::Bgr, Color::Gray] {
        for layout in [Layout::Chw, Layout::Hwc] {
            for crop in [None, Some(Size::new(5, 4))] {
                let recipe = Recipe { color, layout, crop, ..recipe(Resize::Keep) };
                let (found, _) = prepare(recipe, DataType::Uint8, &image);
                let (left, top) = if crop.is_some() { (4, 2) } else { (0, 0) };
                let size = crop.unwrap_or(image.size());
                let (wide, high) = (size.width as usize, size.height as usize);
                for y in 0..high {
                    for x in 0..wide {
                        let expected = pixel(&image, color, x + left, y + top);
                        let count = expected.len();
                        for (channel, expected) in expected.into_iter().enumerate() {
                            let at = match layout {
                                Layout::Chw => channel * wide * high + y * wide + x,
                                Layout::Hwc => (y * wide + x) * count + channel,
                            };
                            let error = found[at].abs_diff(expected);
                            // OpenCV weighs the channels with whole numbers.
                            let most = u8::from(color == Color::Gray);
                            assert!(error <= most, "{color:?} {layout:?} {x},{y}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_gray_picture_has_three_equal_channels_where_three_are_wanted() {
    let mut image = picture(Size::new(6, 5));
    image.make_gray(&mut Mat::default()).unwrap();
    let values = image.mat().data_bytes().unwrap();
    for color in [Color::Rgb, Color::Bgr] {
        let (planes, _) = prepare(Recipe { color, ..recipe(Resize::Keep) }, DataType::Uint8, &image);
        assert_eq!(planes, values.repeat(3));
        let hwc = Recipe { color, layout: Layout::Hwc, ..recipe(Resize::Keep) };
        let (pixels, _) = prepare(hwc, DataType::Uint8, &image);
        assert_eq!(pixels, values.iter().flat_map(|value| [*value; 3]).collect::<Vec<_>>());
        let (floats, _) = prepare(Recipe { color, ..recipe(Resize::Keep) }, DataType::Fp32, &image);
        let plane: Vec<u8> = values.iter().flat_map(|value| f32::from(*value).to_le_bytes()).collect();
        assert_eq!(floats, plane.repeat(3));
    }
    let (gray, _) = prepare(Recipe { color: Color::Gray, ..recipe(Resize::Keep) }, DataType::Uint8, &image);
    assert_eq!(gray, values);
}

#[test]
fn values_are_scaled_in_the_order_of_the_channels() {
    let scaling = Scaling { scale: 0.5, mean: [1.0, 2.0, 3.0], std: [1.0, 2.0, 4.0] };
    let image = picture(Size::new(5, 3));
    for layout in [Layout::Chw, Layout::Hwc] {
        for (datatype, size) in [(DataType::Fp32, 4), (DataType::Fp16, 2)] {
            let recipe = Recipe { scaling, layout, ..recipe(Resize::Keep) };
            let (found, _) = prepare(recipe, datatype, &image);
            for at in 0..15 {
                for (channel, value) in pixel(&image, Color::Rgb, at % 5, at / 5).into_iter().enumerate() {
                    let index = if layout == Layout::Chw { channel * 15 + at } else { at * 3 + channel };
                    let bytes = &found[index * size..][..size];
                    let found = match datatype {
                        DataType::Fp32 => f32::from_le_bytes(bytes.try_into().unwrap()),
                        _ => f16::from_le_bytes(bytes.try_into().unwrap()).to_f32(),
                    };
                    let exact =
                        (f32::from(value) * 0.5 - scaling.mean[channel] as f32) / scaling.std[channel] as f32;
                    assert!((found - exact).abs() <= exact.abs() / 1024.0, "{found}, not {exact}");
                }
            }
        }
    }
}

#[test]
fn sizes() {
    let sizes = |resize: Resize, wide, high| {
        let preparation = Preparation::new(recipe(resize), DataType::Uint8).unwrap();
        let (scaled, output) = (
            preparation.scaled_size(Size::new(wide, high)),
            preparation.output_size(Size::new(wide, high)).unwrap(),
        );
        (scaled.width, scaled.height, output.width, output.height)
    };
    assert_eq!(sizes(Resize::Keep, 31, 17), (31, 17, 31, 17));
    assert_eq!(sizes(Resize::Stretch(Size::new(8, 9)), 31, 17), (8, 9, 8, 9));
    // As torchvision has it: the longer side is cut down to a whole number.
    assert_eq!(sizes(Resize::Short(256), 1280, 721), (454, 256, 454, 256));
    assert_eq!(sizes(Resize::Short(256), 721, 1280), (256, 454, 256, 454));
    assert_eq!(sizes(Resize::Fit(Size::new(640, 640)), 1280, 721), (640, 361, 640, 640));
    assert_eq!(sizes(Resize::Fit(Size::new(640, 640)), 10_000, 1), (640, 1, 640, 640));
    assert_eq!(sizes(Resize::Fill(Size::new(640, 640)), 1280, 720), (1138, 640, 640, 640));
    assert_eq!(sizes(Resize::Short(16_384), u32::MAX, 1).0, u32::MAX);
}

#[test]
fn fit_fills_the_rest_and_fill_cuts_it_off() {
    let image = slope(Size::new(200, 100));
    let (fitted, geometry) = prepare(recipe(Resize::Fit(Size::new(80, 80))), DataType::Uint8, &image);
    let red = &fitted[..80 * 80];
    // 40 rows of the picture, between 20 above and 20 below.
    assert!(red[..80 * 20].iter().chain(&red[80 * 60..]).all(|value| *value == 114));
    assert!(red[80 * 20..80 * 60].windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(geometry.to_picture([0.0, 20.0]), [0.0, 0.0]);
    assert_eq!(geometry.to_picture([80.0, 60.0]), [200.0, 100.0]);
    let (_, geometry) = prepare(recipe(Resize::Fill(Size::new(80, 80))), DataType::Uint8, &image);
    assert_eq!(geometry.to_picture([0.0, 0.0]), [50.0, 0.0]);
    assert_eq!(geometry.to_picture([80.0, 80.0]), [150.0, 100.0]);
    // The rest is of odd width: more of it comes behind.
    let (_, geometry) = prepare(recipe(Resize::Fit(Size::new(105, 50))), DataType::Uint8, &image);
    assert_eq!(geometry.to_picture([2.0, 0.0]), [0.0, 0.0]);
}

#[test]
fn a_crop_larger_than_the_picture_names_both() {
    let recipe = Recipe { crop: Some(Size::new(20, 10)), ..recipe(Resize::Keep) };
    let preparation = Preparation::new(recipe, DataType::Uint8).unwrap();
    assert_eq!(
        preparation.output_size(Size::new(16, 16)).unwrap_err().to_string(),
        "a picture of 16x16, which is resized to 16x16, is smaller than the 20x10 to be cut out of it"
    );
}

#[test]
fn only_averages_are_made_of_reduced_pictures() {
    let need = |interpolation, resize| {
        let recipe = Recipe { interpolation, ..recipe(resize) };
        Preparation::new(recipe, DataType::Uint8).unwrap().need(Size::new(1280, 720)).at_least
    };
    let small = Resize::Short(90);
    assert_eq!(need(Interpolation::Area, small), Some(Size::new(160, 90)));
    assert_eq!(need(Interpolation::Area, Resize::Keep), None);
    assert_eq!(need(Interpolation::Bilinear, small), None);
}

#[test]
fn halves_are_means_of_all_that_they_cover() {
    let image = picture(Size::new(32, 20));
    let (found, geometry) = prepare(recipe(Resize::Stretch(Size::new(8, 5))), DataType::Uint8, &image);
    assert_eq!(geometry.to_picture([8.0, 5.0]), [32.0, 20.0]);
    for (x, y) in [(0, 0), (3, 2), (7, 4)] {
        let covered = (0..16).map(|at| pixel(&image, Color::Rgb, x * 4 + at % 4, y * 4 + at / 4)[0]);
        let mean = covered.map(f64::from).sum::<f64>() / 16.0;
        assert!((f64::from(found[y * 8 + x]) - mean).abs() <= 0.5);
    }
}

/// What every pixel of the prepared picture should show, on a slope: where it comes from is enough.
fn check_places(image: &Image, recipe: Recipe) {
    let (found, geometry) = prepare(recipe, DataType::Uint8, image);
    let size = geometry.prepared();
    let (wide, high) = (size.width as usize, size.height as usize);
    let (width, height) = (image.size().width as f32, image.size().height as f32);
    for y in 0..high {
        for x in 0..wide {
            let [from_x, from_y] = geometry.to_picture([x as f32 + 0.5, y as f32 + 0.5]);
            // A pixel at the edge of `fit` or of the picture may be a mixture.
            let step = geometry.to_picture([x as f32 + 1.5, y as f32 + 1.5]);
            let margin = [(step[0] - from_x).max(1.0), (step[1] - from_y).max(1.0)];
            let inside = from_x > margin[0]
                && from_y > margin[1]
                && from_x < width - margin[0]
                && from_y < height - margin[1];
            if !inside {
                continue;
            }
            // Blue is the slope across, green the one down; values were cut to whole ones.
            let green = f32::from(found[wide * high + y * wide + x]);
            let blue = f32::from(found[2 * wide * high + y * wide + x]);
            let expected = [(from_x - 0.5) * 255.0 / width, (from_y - 0.5) * 255.0 / height];
            let bound = [255.0 / width, 255.0 / height].map(|step| step.max(1.0) * 0.6 + 1.0);
            assert!(
                (blue - expected[0]).abs() <= bound[0] && (green - expected[1]).abs() <= bound[1],
                "{:?} of {}: at {x},{y} of {size} is {blue},{green}, not {expected:?}",
                recipe.resize,
                image.size()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_pixel_shows_what_the_geometry_says(
        (width, height) in (20..160_u32, 20..160_u32),
        (wide, high) in (8..100_u32, 8..100_u32),
        kind in 0..5,
        cut in 0..8_u32,
    ) {
        let target = Size::new(wide, high);
        let resize = match kind {
            0 => Resize::Keep,
            1 => Resize::Stretch(target),
            2 => Resize::Short(wide),
            3 => Resize::Fit(target),
            _ => Resize::Fill(target),
        };
        let image = slope(Size::new(width, height));
        let whole = Preparation::new(recipe(resize), DataType::Uint8).unwrap().output_size(image.size()).unwrap();
        let crop = (cut > 0).then(|| Size::new(whole.width - cut, whole.height.saturating_sub(2 * cut).max(1)));
        // `fit` to extreme proportions leaves a few pixels, of which each is an edge.
        check_places(&image, Recipe { crop, ..recipe(resize) });
    }

    #[test]
    fn there_and_back(
        (width, height) in (1..3000_u32, 1..3000_u32),
        (wide, high) in (1..700_u32, 1..700_u32),
        kind in 0..5_usize,
        place in (0.0..1.0_f32, 0.0..1.0_f32),
    ) {
        let target = Size::new(wide, high);
        let resize = [
            Resize::Keep,
            Resize::Stretch(target),
            Resize::Short(wide),
            Resize::Fit(target),
            Resize::Fill(target),
        ][kind];
        let preparation = Preparation::new(recipe(resize), DataType::Uint8).unwrap();
        let size = Size::new(width, height);
        let geometry = Geometry::new(&preparation.steps(size, size).unwrap());
        let place = [place.0 * width as f32, place.1 * height as f32];
        let back = geometry.to_picture(geometry.to_prepared(place));
        prop_assert!((back[0] - place[0]).abs() < 0.01 && (back[1] - place[1]).abs() < 0.01);
    }
}
