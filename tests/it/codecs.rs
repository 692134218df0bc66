//! Codecs: what goes in comes out, as exactly as the codec can, and no more is decoded than is needed.

use frameserve::frame::codec::{Chroma, Codec, Encoded, Encoding, Need, Workbench};
use frameserve::frame::{Image, PixelFormat, Size};
use opencv::core::{CV_8UC1, CV_8UC3, Mat, NORM_L2SQR};
use opencv::imgproc;
use opencv::prelude::*;
use proptest::prelude::*;

const WHOLE: Need = Need { gray: false, at_least: None };

/// A picture of smooth waves, since JPEG is not made for noise.
fn waves(size: Size, channels: usize) -> Image {
    let kind = if channels == 1 { CV_8UC1 } else { CV_8UC3 };
    let mut mat = Mat::zeros(size.height as i32, size.width as i32, kind).unwrap().to_mat().unwrap();
    for (at, value) in mat.data_bytes_mut().unwrap().iter_mut().enumerate() {
        let (pixel, channel) = (at / channels, at % channels);
        let (x, y) = ((pixel % size.width as usize) as f32, (pixel / size.width as usize) as f32);
        let phase = x / 17.0 + y / 23.0 * (channel as f32 + 1.0);
        *value = (127.0 + 100.0 * phase.sin()) as u8;
    }
    Image::new(mat).unwrap()
}

fn copy(image: &Image) -> Image {
    Image::new(image.mat().try_clone().unwrap()).unwrap()
}

fn round_trip(image: &Image, encoding: Encoding, need: Need) -> Image {
    let mut bench = Workbench::new().unwrap();
    let bytes = encoding.encode(copy(image), &mut bench).unwrap();
    let encoded = match encoding.codec {
        Codec::Raw(format) => Encoded::raw(bytes, format, image.size()).unwrap(),
        codec => {
            assert_eq!(Codec::sniff(&bytes), Some(codec));
            Encoded::with_header(bytes, codec).unwrap()
        }
    };
    assert_eq!(encoded.size, image.size());
    encoded.decode(need, &mut bench).unwrap()
}

/// Peak signal-to-noise ratio in decibels; infinite for equal pictures.
fn psnr(a: &Image, b: &Image) -> f64 {
    assert_eq!((a.size(), a.is_gray()), (b.size(), b.is_gray()));
    let squares = opencv::core::norm2(a.mat(), b.mat(), NORM_L2SQR, &opencv::core::no_array()).unwrap();
    let samples = a.mat().data_bytes().unwrap().len() as f64;
    10.0 * (255.0 * 255.0 * samples / squares).log10()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lossless_codecs_lose_nothing(width in 1..90_u32, height in 1..70_u32, seed in any::<u64>()) {
        for channels in [1, 3] {
            let mut image = waves(Size::new(width, height), channels);
            let mut state = seed | 1;
            for value in image.mat_mut().data_bytes_mut().unwrap() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *value ^= (state >> 33) as u8;
            }
            let raw = if channels == 1 { PixelFormat::Gray8 } else { PixelFormat::Bgr24 };
            for codec in [Codec::Png, Codec::Raw(raw)] {
                prop_assert_eq!(psnr(&round_trip(&image, Encoding::new(codec), WHOLE), &image), f64::INFINITY);
            }
            if channels == 3 {
                let rgb = Encoding::new(Codec::Raw(PixelFormat::Rgb24));
                prop_assert_eq!(psnr(&round_trip(&image, rgb, WHOLE), &image), f64::INFINITY);
            }
        }
    }

    #[test]
    fn lossy_codecs_lose_little(width in 1..60_u32, height in 1..60_u32) {
        let image = waves(Size::new(width * 2, height * 2), 3);
        for chroma in [Chroma::Quarter, Chroma::Half, Chroma::Full] {
            let jpeg = Encoding { quality: 95, chroma, ..Encoding::new(Codec::Jpeg) };
            prop_assert!(psnr(&round_trip(&image, jpeg, WHOLE), &image) > 30.0);
        }
        let webp = Encoding { quality: 95, ..Encoding::new(Codec::Webp) };
        prop_assert!(psnr(&round_trip(&image, webp, WHOLE), &image) > 25.0);
        for format in [PixelFormat::I420, PixelFormat::Nv12] {
            let planes = Encoding::new(Codec::Raw(format));
            prop_assert!(psnr(&round_trip(&image, planes, WHOLE), &image) > 28.0);
        }
    }

    #[test]
    fn any_bytes_are_a_picture_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), codec in 0..3_usize) {
        let begin: [&[u8]; 3] = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF\xff\0\0\0WEBPVP8 "];
        let bytes = bytes::Bytes::from([begin[codec], &bytes].concat());
        let mut bench = Workbench::new().unwrap();
        let codec = [Codec::Jpeg, Codec::Png, Codec::Webp][codec];
        if let Ok(encoded) = Encoded::with_header(bytes, codec)
            && u64::from(encoded.size.width) * u64::from(encoded.size.height) < 1 << 20
        {
            let _readable_or_not = encoded.decode(WHOLE, &mut bench);
        }
    }
}

#[test]
fn a_gray_result_is_encoded_as_one_plane() {
    let image = waves(Size::new(64, 48), 1);
    let decoded = round_trip(&image, Encoding::new(Codec::Jpeg), WHOLE);
    assert!(decoded.is_gray());
    assert!(psnr(&decoded, &image) > 35.0);
}

#[test]
fn only_the_luma_is_decoded_where_no_more_is_needed() {
    let image = waves(Size::new(64, 48), 3);
    let mut gray = copy(&image);
    gray.make_gray(&mut Mat::default()).unwrap();
    let need = Need { gray: true, at_least: None };
    for codec in [Codec::Jpeg, Codec::Raw(PixelFormat::I420), Codec::Raw(PixelFormat::Nv12)] {
        let decoded = round_trip(&image, Encoding { quality: 95, ..Encoding::new(codec) }, need);
        assert!(decoded.is_gray());
        assert!(psnr(&decoded, &gray) > 38.0, "{codec:?}: {}", psnr(&decoded, &gray));
    }
}

#[test]
fn a_picture_is_decoded_no_larger_than_it_is_needed() {
    let image = waves(Size::new(640, 360), 3);
    for (needed, decoded) in
        [((320, 180), (320, 180)), ((100, 50), (160, 90)), ((321, 10), (640, 360)), ((9, 9), (80, 45))]
    {
        let need = Need { gray: false, at_least: Some(Size::new(needed.0, needed.1)) };
        let small = round_trip(&image, Encoding { quality: 95, ..Encoding::new(Codec::Jpeg) }, need);
        assert_eq!(small.size(), Size::new(decoded.0, decoded.1));
        let mut expected = Mat::default();
        imgproc::resize(image.mat(), &mut expected, small.size().into(), 0.0, 0.0, imgproc::INTER_AREA)
            .unwrap();
        assert!(psnr(&small, &Image::new(expected).unwrap()) > 32.0);
    }
}
