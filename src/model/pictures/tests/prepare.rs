//! From encoded pictures to a batch.

use super::*;
use crate::frame::{Codec, Encoded, Size, Workbench};
use crate::limits::Limits;
use crate::tensor::image::Scratch;

fn bench() -> Workbench {
    Workbench::new().unwrap()
}

#[test]
fn a_batch_holds_its_pictures_one_after_the_other() {
    let pictures = pictures(&signature(8, &[3, 32, 48], &[1]), &[("input", "x")]);
    let sent = [jpeg(96, 64), jpeg(480, 320), jpeg(10, 10)];
    let limits = Limits::default();
    let (batch, geometry) = pictures.prepare(&sent, &limits, &mut bench()).unwrap();
    assert_eq!(batch.shape().dims(), [3, 3, 32, 48]);
    let mut alone = Vec::new();
    for (picture, geometry) in sent.iter().zip(&geometry) {
        let (row, same) = pictures.prepare(std::slice::from_ref(picture), &limits, &mut bench()).unwrap();
        assert_eq!(same, [*geometry]);
        alone.extend(floats(&row));
    }
    assert_eq!(floats(&batch), alone);
    assert_eq!(geometry[1].picture(), Size::new(480, 320));
    assert_eq!(geometry[1].to_picture([48.0, 32.0]), [480.0, 320.0]);
    // The slopes of the picture: blue across, green down; red is even.
    let (red, blue) = (alone[..32 * 48].iter(), &alone[2 * 32 * 48..3 * 32 * 48]);
    assert!(red.clone().all(|value| (value - 200.0 / 255.0).abs() < 0.02));
    assert!(blue[0] < 0.05 && blue[47] > 0.95);
}

#[test]
fn shapes_with_and_without_a_number_of_pictures() {
    let shape = |max_batch, dims: &[i64], sent: &[Bytes]| {
        let pictures = pictures(&signature(max_batch, dims, &[1]), &[("input", "x")]);
        let prepared = pictures.prepare(sent, &Limits::default(), &mut bench());
        prepared.map(|(tensor, _)| tensor.shape().to_string()).map_err(|error| error.to_string())
    };
    let (one, two) = (&[jpeg(20, 10)][..], &[jpeg(20, 10), jpeg(20, 10)][..]);
    assert_eq!(shape(0, &[3, -1, -1], one).unwrap(), "[3,10,20]");
    assert_eq!(shape(0, &[1, 3, -1, -1], one).unwrap(), "[1,3,10,20]");
    assert_eq!(shape(0, &[-1, -1, -1, 3], two).unwrap(), "[2,10,20,3]");
    assert_eq!(shape(0, &[-1, -1], one).unwrap(), "[10,20]");
    assert_eq!(shape(2, &[1, -1, -1], two).unwrap(), "[2,1,10,20]");
    let wrong = "the number of pictures 2 is out of range: ";
    assert_eq!(
        shape(0, &[3, -1, -1], two).unwrap_err(),
        format!("{wrong}1, since the input's dims are those of one picture")
    );
    assert_eq!(
        shape(1, &[3, -1, -1], two).unwrap_err(),
        format!("{wrong}at most 1, the model's max_batch_size")
    );
    assert_eq!(shape(0, &[1, 3, -1, -1], two).unwrap_err(), format!("{wrong}1, as the input's dims say"));
    assert_eq!(
        shape(1, &[3, -1, -1], &[]).unwrap_err(),
        "the number of pictures 0 is out of range: at least 1"
    );
}

#[test]
fn what_can_not_be_taken_is_named() {
    let any = pictures(&signature(4, &[3, -1, -1], &[1]), &[("input", "x")]);
    let limits = Limits { max_pixels: 5000, ..Limits::default() };
    let refused = |sent: &[Bytes]| {
        let error = any.prepare(sent, &limits, &mut bench()).unwrap_err().to_string();
        assert_eq!(any.memory(sent, &limits).unwrap_err().to_string(), error);
        error
    };
    assert_eq!(
        refused(&[jpeg(20, 10), jpeg(10, 20)]),
        "the pictures of a batch must have one size: picture 0 is prepared as 20x10, picture 1 as 10x20 \
         (`frameserve.resize` can bring them to one)"
    );
    assert_eq!(
        refused(&[Bytes::from_static(b"no picture")]),
        "these 10 bytes are no JPEG, PNG or WebP (they begin with 6e 6f 20 70 69 63 74 75)"
    );
    assert_eq!(
        refused(&[jpeg(10, 20), Bytes::new()]),
        "picture 1: these 0 bytes are no JPEG, PNG or WebP (they begin with )"
    );
    assert_eq!(
        refused(&[jpeg(10, 20), jpeg(100, 51)]),
        "picture 1 of 100x51 has 5100 pixels, and the limit is 5000 (the server's --max-pixels raises it)"
    );
    let cut = jpeg(64, 64).slice(..300);
    let error = any.prepare(&[jpeg(64, 64), cut], &limits, &mut bench()).unwrap_err().to_string();
    assert!(error.starts_with("picture 1: this is no readable JPEG picture (300 bytes)"), "{error}");
    let short = pictures(&signature(4, &[3, -1, -1], &[1]), &[("resize", "short=64")]);
    let error = short.prepare(&[jpeg(100, 4)], &limits, &mut bench()).unwrap_err().to_string();
    assert_eq!(
        error,
        "the picture, once resized, of 1600x64 has 102400 pixels, and the limit is 5000 \
         (the server's --max-pixels raises it)"
    );
    let half = pictures(&signature(4, &[3, 10, -1], &[1]), &[("input", "x")]);
    let error = half.prepare(&[jpeg(20, 11)], &limits, &mut bench()).unwrap_err().to_string();
    assert_eq!(error, "a picture prepared as 20x11 is none of the input's anyx10");
}

#[test]
fn memory_is_that_of_the_tensor_and_of_the_largest_picture() {
    let pictures = pictures(&signature(4, &[3, 32, 48], &[1]), &[("input", "x")]);
    let memory = |sent: &[Bytes]| pictures.memory(sent, &Limits::default()).unwrap();
    let tensor = 3 * 32 * 48 * 4;
    let small = 3 * 32 * 48 * 2;
    assert_eq!(memory(&[jpeg(100, 50)]), tensor + 3 * 100 * 50 * 5 / 4 + small);
    assert_eq!(memory(&[jpeg(100, 50), jpeg(20, 20)]), 2 * tensor + 3 * 100 * 50 * 5 / 4 + small);
}

#[test]
fn a_reduced_picture_says_where_its_pixels_come_from() {
    // 8 times smaller when decoded, and of sides that 8 does not divide.
    let (width, height) = (1001, 723);
    let pictures = pictures(&signature(0, &[3, 31, 37], &[1]), &[("input", "x")]);
    let sent = Encoded::with_header(jpeg(width, height), Codec::Jpeg).unwrap();
    let mut bench = bench();
    let image = sent.decode(pictures.need(sent.size), &mut bench).unwrap();
    assert_eq!(image.size(), Size::new(126, 91));
    let (tensor, geometry) =
        pictures.prepare(std::slice::from_ref(&sent.bytes), &Limits::default(), &mut bench).unwrap();
    let values = floats(&tensor);
    for (x, y) in [(1, 1), (18, 15), (30, 5), (35, 29)] {
        let [from_x, from_y] = geometry[0].to_picture([x as f32 + 0.5, y as f32 + 0.5]);
        let (green, blue) = (values[(31 + y) * 37 + x], values[(62 + y) * 37 + x]);
        assert!((blue - from_x / width as f32).abs() < 0.01, "{x}: {blue}");
        assert!((green - from_y / height as f32).abs() < 0.01, "{y}: {green}");
    }
}

#[test]
fn pictures_of_all_sizes_to_sizes_that_are_smaller_and_larger() {
    let mut bench = bench();
    for (wide, high) in [(1, 1), (2, 3), (7, 5), (16, 9)] {
        let pictures = pictures(&signature(0, &[3, high, wide], &[1]), &[("input", "x")]);
        for width in (1..40).chain([127, 128, 129, 255, 257]) {
            for height in [1, 2, 11, 13, width, 2 * width + 1] {
                let (_, geometry) = pictures
                    .prepare(&[jpeg(width, height)], &Limits::default(), &mut bench)
                    .unwrap_or_else(|error| panic!("{width}x{height} to {wide}x{high}: {error}"));
                let end = geometry[0].to_picture([wide as f32, high as f32]);
                assert_eq!(end, [width as f32, height as f32]);
            }
        }
    }
}

#[test]
fn a_frame_of_a_stream_is_a_batch_of_one() {
    let parameters = [("resize", "fit=48x48"), ("mean", "imagenet"), ("std", "imagenet")];
    let pictures = pictures(&signature(8, &[3, 48, 48], &[1]), &parameters);
    let sent = Encoded::with_header(jpeg(90, 60), Codec::Jpeg).unwrap();
    let image = sent.decode(pictures.need(sent.size), &mut bench()).unwrap();
    let (tensor, geometry) = pictures.prepare_image(&image, &mut Scratch::default()).unwrap();
    let (same, all) =
        pictures.prepare(std::slice::from_ref(&sent.bytes), &Limits::default(), &mut bench()).unwrap();
    assert_eq!((tensor, geometry), (same, all[0]));
}

#[test]
fn a_tensor_is_its_own_picture() {
    let pictures = pictures(&signature(8, &[3, -1, -1], &[1]), &[("input", "x")]);
    let geometry = pictures.geometry(&Shape::new(vec![2, 3, 4, 5])).unwrap();
    assert_eq!(geometry.len(), 2);
    assert_eq!(geometry[1].picture(), Size::new(5, 4));
    assert_eq!(geometry[1].to_picture([1.5, 2.5]), [1.5, 2.5]);
    assert!(pictures.geometry(&Shape::new(vec![3, 4])).is_err());
}
