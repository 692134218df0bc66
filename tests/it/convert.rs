//! Pictures that go to the device as pixels of 8 bits, through the backend alone: what the device makes of them, here
//! the processor, is what the server's own threads make.

use std::collections::BTreeMap;

use bytes::Bytes;
use frameserve::frame::{Image, Workbench};
use frameserve::limits::Limits;
use frameserve::model::pictures::{PictureOutput, Pictures};
use frameserve::model::settings::Settings;
use frameserve::model::{Device, Inputs, Model, Pixels};
use frameserve::tensor::image::Scratch;
use frameserve::tensor::values::values_f32;
use frameserve::tensor::{DataType, Shape, Tensor};
use opencv::core::{CV_8UC3, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use crate::harness::jpeg;
use crate::torch::{fp32, inputs, models, open, settings};

const IN: Pixels = Pixels { input: true, output: false };
const OUT: Pixels = Pixels { input: false, output: true };
const BOTH: Pixels = Pixels { input: true, output: true };

/// Settings of a model that takes pictures.
fn seeing(mut settings: Settings, parameters: &[(&str, &str)]) -> Settings {
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(key, value)| (format!("frameserve.{key}"), (*value).to_owned())).collect();
    let no_labels = |file: &str| panic!("{file}");
    settings.pictures = Pictures::of(&parameters, &settings.signature, &no_labels).unwrap();
    settings
}

fn load(settings: &Settings) -> Box<dyn Model> {
    let opened = open(settings, &models()).unwrap();
    assert!(opened.takes_pixels());
    opened.instance(Device::Cpu).unwrap()
}

/// What a model that gives back its input gives for these pictures, both ways.
fn both_ways(settings: &Settings, sent: &[Bytes]) -> [Tensor; 2] {
    let pictures = settings.pictures.as_ref().unwrap();
    let (limits, mut bench) = (Limits::default(), Workbench::new().unwrap());
    let (tensor, geometry) = pictures.prepare(sent, &limits, &mut bench).unwrap();
    let (pixels, same) = pictures.prepare_pixels(sent, &limits, &mut bench).unwrap();
    assert_eq!(geometry, same);
    assert_eq!((pixels.datatype(), pixels.shape().dims()[0]), (DataType::Uint8, sent.len()));
    let mut model = load(settings);
    let host = model.infer(&[inputs(&[tensor])]).unwrap().remove(0).remove(0);
    let device = model.infer_pixels(&[inputs(&[pixels])], IN).unwrap().remove(0).remove(0);
    [host, device]
}

fn gray_jpeg(width: usize, height: usize) -> Bytes {
    let color = turbojpeg::decompress(&jpeg(width, height), turbojpeg::PixelFormat::GRAY).unwrap();
    Bytes::copy_from_slice(&turbojpeg::compress(color.as_deref(), 90, turbojpeg::Subsamp::Gray).unwrap())
}

/// The largest distance of two numbers in the same place.
fn apart(one: &Tensor, other: &Tensor) -> f32 {
    assert_eq!((one.shape(), one.datatype()), (other.shape(), other.datatype()));
    let (one, other) = (values_f32(one).unwrap(), values_f32(other).unwrap());
    one.iter().zip(&*other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn colors_layouts_and_scalings_are_those_of_the_host() {
    let scalings: [&[(&str, &str)]; 4] = [
        &[],
        &[("mean", "imagenet"), ("std", "imagenet")],
        &[("scale", "1"), ("mean", "127"), ("std", "128")],
        &[("scale", "1"), ("mean", "103.53,116.28,123.675"), ("std", "57.375,57.12,58.395")],
    ];
    for (color, layout, dims) in [
        ("rgb", "chw", "3,30,40"),
        ("bgr", "chw", "3,30,40"),
        ("rgb", "hwc", "30,40,3"),
        ("bgr", "hwc", "30,40,3"),
        ("gray", "chw", "1,30,40"),
        ("gray", "hwc", "30,40,1"),
    ] {
        for scaling in scalings {
            if color == "gray" && scaling.iter().any(|(_, value)| *value == "imagenet" || value.contains(','))
            {
                continue;
            }
            let parameters = [&[("color", color), ("layout", layout)], scaling].concat();
            let port = |name: &str| format!("{name} FP32 {dims}");
            let settings = seeing(settings("same", &[&port("x")], &[&port("y")], 8), &parameters);
            for sent in
                [&[jpeg(90, 60)][..], &[gray_jpeg(40, 30)], &[jpeg(41, 33), gray_jpeg(80, 60), jpeg(40, 30)]]
            {
                let [host, device] = both_ways(&settings, sent);
                assert_eq!(host, device, "{color} {layout} {scaling:?}");
            }
        }
    }
}

#[test]
fn every_type_of_number_and_every_kind_of_dims() {
    for datatype in DataType::ALL {
        if matches!(datatype, DataType::Bool | DataType::Bytes) {
            continue;
        }
        let port = |name: &str| format!("{name} {datatype} 3,24,32");
        for parameters in [
            &[("input", "x")][..],
            &[("scale", "1"), ("mean", "100,120.5,140"), ("std", "0.25,1,2")],
            &[("scale", "1000"), ("mean", "-7")],
        ] {
            let settings = seeing(settings("same", &[&port("x")], &[&port("y")], 0), parameters);
            let [host, device] = both_ways(&settings, &[jpeg(64, 48)]);
            // Halves are rounded from 32 bits on the way, and from 64 in the tables of the host.
            let close = match datatype {
                DataType::Fp16 => 0.51,
                DataType::Bf16 => 1000.0,
                _ => 0.0,
            };
            let largest =
                values_f32(&host).unwrap().iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let close = if largest < 2.0 { 0.004 * f32::from(u8::from(close > 0.0)) } else { close };
            let apart = if host == device { 0.0 } else { apart(&host, &device) };
            assert!(apart <= close, "{datatype} {parameters:?}: {apart}");
        }
    }
    for (max_batch, dims, sent) in
        [(0, "1,3,24,32", 1), (0, "-1,24,32,3", 2), (0, "24,32", 1), (4, "24,32", 3), (4, "3,-1,-1", 2)]
    {
        let port = |name: &str| format!("{name} FP32 {dims}");
        let settings = seeing(settings("same", &[&port("x")], &[&port("y")], max_batch), &[("input", "x")]);
        let [host, device] = both_ways(&settings, &vec![jpeg(64, 48); sent]);
        assert_eq!(host, device, "{dims}");
    }
    let mut reshaped = settings("same", &["x FP32 3,24,32"], &["y FP32 72,32"], 4);
    reshaped.signature.inputs[0].reshape = frameserve::tensor::Dims::new(&[72, 32]);
    let [host, device] = both_ways(&seeing(reshaped, &[("input", "x")]), &[jpeg(64, 48), jpeg(32, 24)]);
    assert_eq!(host, device);
}

#[test]
fn what_is_cut_and_filled_is_the_same() {
    for parameters in [
        &[("resize", "short=40"), ("crop", "32x24"), ("color", "bgr")][..],
        &[("resize", "fit=32x24"), ("pad", "7"), ("mean", "0.5")],
        &[("resize", "fill=32x24"), ("interpolation", "bicubic")],
        &[("crop", "32x24")],
    ] {
        let settings = seeing(settings("same", &["x FP32 3,24,32"], &["y FP32 3,24,32"], 8), parameters);
        let [host, device] = both_ways(&settings, &[jpeg(99, 60), jpeg(64, 64)]);
        assert_eq!(host, device, "{parameters:?}");
    }
}

#[test]
fn requests_of_a_batch_get_their_own_parts() {
    let settings = seeing(settings("same", &["x FP32 3,24,32"], &["y FP32 3,24,32"], 8), &[("input", "x")]);
    let pictures = settings.pictures.as_ref().unwrap();
    let mut bench = Workbench::new().unwrap();
    let sent = [&[jpeg(64, 48)][..], &[jpeg(90, 90), jpeg(32, 24)], &[jpeg(10, 70)]];
    let mut prepare = |sent: &[Bytes]| {
        let tensor = pictures.prepare(sent, &Limits::default(), &mut bench).unwrap().0;
        // A single gray picture would have another shape; these are all of three channels.
        (tensor, pictures.prepare_pixels(sent, &Limits::default(), &mut bench).unwrap().0)
    };
    let (tensors, pixels): (Vec<Tensor>, Vec<Tensor>) = sent.iter().map(|sent| prepare(sent)).unzip();
    let mut model = load(&settings);
    let batch: Vec<Inputs> = pixels.iter().map(|pixels| inputs(std::slice::from_ref(pixels))).collect();
    // The memory that they go through is used again, and grows; tensors go their own way between.
    for count in [1, 3, 2] {
        let outputs = model.infer_pixels(&batch[..count], IN).unwrap();
        for (outputs, expected) in outputs.iter().zip(&tensors) {
            assert_eq!(outputs, std::slice::from_ref(expected));
        }
        let plain = model.infer(&[inputs(&tensors[..1])]).unwrap();
        assert_eq!(plain, [[tensors[0].clone()]]);
    }
}

/// The picture of an output, both ways.
fn pictures_back(settings: &Settings, output: usize, tensor: &[Tensor]) -> [Vec<Image>; 2] {
    let picture: &PictureOutput = settings.pictures.as_ref().unwrap().picture_output().unwrap();
    assert_eq!(picture.output, output);
    let mut model = load(settings);
    let host = model.infer(&[inputs(tensor)]).unwrap().remove(0);
    let device = model.infer_pixels(&[inputs(tensor)], OUT).unwrap().remove(0);
    assert_eq!(device[output].datatype(), DataType::Uint8);
    [picture.images(&host).unwrap(), picture.of_pixels().images(&device).unwrap()]
}

fn same(one: &[Image], other: &[Image]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!((one.size(), one.is_gray()), (other.size(), other.is_gray()));
        assert_eq!(one.mat().data_bytes().unwrap(), other.mat().data_bytes().unwrap());
    }
}

/// Numbers around all that is rounded, and beyond all bounds.
fn values(count: usize, scale: f32) -> Vec<f32> {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e30, -3.0, 255.49, 255.5, 254.5, 0.5, 1.5];
    (0..count).map(|at| odd.get(at % 97).copied().unwrap_or((at * 37 % 521) as f32 / 2.0) / scale).collect()
}

#[test]
fn outputs_become_pixels_as_on_the_host() {
    for (max_batch, dims, color, layout, shape) in [
        (4, "3,-1,-1", "rgb", "chw", &[2, 3, 16, 12][..]),
        (4, "3,-1,-1", "bgr", "chw", &[1, 3, 16, 12]),
        (4, "-1,-1,3", "rgb", "hwc", &[2, 16, 12, 3]),
        (0, "16,12,3", "bgr", "hwc", &[16, 12, 3]),
        (0, "1,3,-1,-1", "rgb", "chw", &[1, 3, 16, 12]),
        (0, "-1,-1", "gray", "chw", &[16, 12]),
        (4, "1,-1,-1", "gray", "chw", &[3, 1, 16, 12]),
    ] {
        for scale in ["1", "255", "127.5"] {
            let port = |name: &str| format!("{name} FP32 {dims}");
            let parameters =
                [("task", "image"), ("color", color), ("layout", layout), ("output_scale", scale)];
            let settings = seeing(settings("same", &[&port("x")], &[&port("y")], max_batch), &parameters);
            let count = shape.iter().product();
            let tensor = fp32(shape, &values(count, scale.parse().unwrap()));
            let [host, device] = pictures_back(&settings, 0, &[tensor]);
            same(&host, &device);
        }
    }
    let bytes =
        Tensor::raw(DataType::Uint8, Shape::new(vec![1, 3, 8, 8]), (0..192).collect::<Vec<u8>>().into());
    let settings_of = |parameters: &[(&str, &str)]| {
        seeing(settings("same", &["x UINT8 3,8,8"], &["y UINT8 3,8,8"], 2), parameters)
    };
    for scale in ["1", "1.7"] {
        let settings = settings_of(&[("task", "image"), ("output_scale", scale)]);
        let [host, device] = pictures_back(&settings, 0, &[bytes.clone().unwrap()]);
        same(&host, &device);
    }
}

#[test]
fn the_picture_is_found_among_the_outputs() {
    let image = &[("task", "image"), ("input", "x"), ("image", "half"), ("output_scale", "1")][..];
    for (name, outputs) in [
        ("named", ["half FP32 3,8,8", "double FP32 3,8,8"]),
        ("named", ["double FP32 3,8,8", "half FP32 3,8,8"]),
        ("tuples", ["half FP32 3,8,8", "double FP32 3,8,8"]),
        ("nested", ["half FP32 3,8,8", "other FP32 3,8,8"]),
    ] {
        // Of a program that does not say what it gives, outputs are numbered.
        let outputs = if name == "nested" { ["half__2 FP32 3,8,8", "other__0 FP32 3,8,8"] } else { outputs };
        let image: Vec<_> = image
            .iter()
            .map(|(key, value)| (*key, if name == "nested" && *key == "image" { "half__2" } else { *value }))
            .collect();
        let settings = seeing(settings(name, &["x FP32 3,8,8"], &outputs, 4), &image);
        let at = outputs.iter().position(|output| output.starts_with("half")).unwrap();
        let tensor = fp32(&[1, 3, 8, 8], &values(192, 1.0));
        let [host, device] = pictures_back(&settings, at, std::slice::from_ref(&tensor));
        same(&host, &device);
        // The other one stays what it is.
        let mut model = load(&settings);
        let plain = model.infer(&[inputs(std::slice::from_ref(&tensor))]).unwrap().remove(0);
        let other = model.infer_pixels(&[inputs(&[tensor])], OUT).unwrap().remove(0);
        assert_eq!(plain[1 - at].bytes(), other[1 - at].bytes());
    }
}

#[test]
fn outputs_that_are_no_pictures_are_refused() {
    let settings =
        seeing(settings("same", &["x FP32 -1,-1,-1"], &["y FP32 -1,-1,-1"], 4), &[("task", "image")]);
    let mut model = load(&settings);
    let mut fail = |shape: &[usize]| {
        let tensor = fp32(shape, &vec![0.5; shape.iter().product()]);
        model.infer_pixels(&[inputs(&[tensor])], OUT).unwrap_err().to_string()
    };
    assert_eq!(fail(&[1, 4, 8, 8]), "an output of shape [1,4,8,8] holds no picture");
    assert_eq!(fail(&[2, 8, 8, 3]), "an output of shape [2,8,8,3] holds no picture");
    let narrow =
        seeing(self::settings("same", &["x FP32 3,-1,-1"], &["y FP32 3,8,8"], 4), &[("task", "image")]);
    let tensor = fp32(&[1, 3, 8, 9], &[0.5; 216]);
    let wrong = load(&narrow).infer_pixels(&[inputs(&[tensor])], OUT).unwrap_err().to_string();
    assert!(wrong.contains("should have the shape [-1,3,8,8]"), "{wrong}");
}

#[test]
fn a_frame_goes_there_and_comes_back_as_it_was() {
    for (color, layout, dims) in
        [("rgb", "chw", "3,-1,-1"), ("bgr", "hwc", "-1,-1,3"), ("gray", "chw", "1,-1,-1")]
    {
        let port = |name: &str| format!("{name} FP32 {dims}");
        let parameters = [("task", "image"), ("color", color), ("layout", layout)];
        let settings = seeing(settings("same", &[&port("x")], &[&port("y")], 8), &parameters);
        let pictures = settings.pictures.as_ref().unwrap();
        let mut mat = Mat::zeros(20, 30, CV_8UC3).unwrap().to_mat().unwrap();
        for (at, value) in mat.data_bytes_mut().unwrap().iter_mut().enumerate() {
            *value = (at * 7919 % 256) as u8;
        }
        let frame = Image::new(mat).unwrap();
        let (pixels, _) = pictures.image_pixels(&frame, &mut Scratch::default()).unwrap();
        assert_eq!(pixels.bytes().unwrap(), frame.mat().data_bytes().unwrap());
        let outputs = load(&settings).infer_pixels(&[inputs(&[pixels])], BOTH).unwrap().remove(0);
        let back = pictures.picture_output().unwrap().of_pixels().images(&outputs).unwrap();
        let mut expected = Mat::default();
        match color {
            "gray" => {
                imgproc::cvt_color_def(frame.mat(), &mut expected, imgproc::COLOR_BGR2GRAY).unwrap();
            }
            _ => frame.mat().copy_to(&mut expected).unwrap(),
        }
        assert_eq!(back[0].mat().data_bytes().unwrap(), expected.data_bytes().unwrap(), "{color}");
    }
}

#[test]
fn sixteen_bits_see_what_they_see_on_the_host() {
    for precision in ["fp16", "bf16"] {
        let mut settings = settings("network", &["x FP32 3,24,32"], &["y FP32 5"], 8);
        settings.parameters.insert("PRECISION".into(), precision.into());
        let settings = seeing(settings, &[("mean", "imagenet"), ("std", "imagenet")]);
        let [host, device] = both_ways(&settings, &[jpeg(64, 48), jpeg(90, 100)]);
        assert!(apart(&host, &device) < 1e-4, "{precision}");
    }
}

#[test]
fn on_a_gpu_pixels_become_what_they_become_on_the_host() {
    let Some(gpu) = crate::torch::gpu() else { return };
    let settings = settings("network", &["x FP32 3,24,32"], &["y FP32 5"], 8);
    let settings = seeing(settings, &[("mean", "imagenet"), ("std", "imagenet")]);
    let pictures = settings.pictures.as_ref().unwrap();
    let (sent, limits, mut bench) = ([jpeg(64, 48)], Limits::default(), Workbench::new().unwrap());
    let (tensor, _) = pictures.prepare(&sent, &limits, &mut bench).unwrap();
    let (pixels, _) = pictures.prepare_pixels(&sent, &limits, &mut bench).unwrap();
    let opened = open(&settings, &models()).unwrap();
    let host = opened.instance(Device::Cpu).unwrap().infer(&[inputs(&[tensor])]).unwrap();
    let device = opened.instance(gpu).unwrap().infer_pixels(&[inputs(&[pixels])], IN).unwrap();
    assert!(apart(&host[0][0], &device[0][0]) < 1e-4);
}

/// On a GPU, if there is one: everything is on its way on the streams of two instances at a time.
#[test]
fn instances_side_by_side_keep_their_pixels_apart() {
    let gpu = !frameserve::model::torch().cuda_devices.is_empty();
    let device = if gpu { Device::Cuda(0) } else { Device::Cpu };
    let port = |name: &str| format!("{name} FP32 3,-1,-1");
    let settings = seeing(settings("same", &[&port("x")], &[&port("y")], 8), &[("task", "image")]);
    let opened = open(&settings, &models()).unwrap();
    let picture = settings.pictures.as_ref().unwrap().picture_output().unwrap().of_pixels();
    std::thread::scope(|scope| {
        for worker in 0..2_usize {
            let (opened, picture) = (&opened, &picture);
            scope.spawn(move || {
                let mut model = opened.instance(device).unwrap();
                for round in 0..40_usize {
                    let (rows, side) = (1 + (worker + round) % 3, 8 + 40 * (round % 5));
                    let sent = |at: usize| -> Vec<u8> {
                        (0..rows * side * side * 3).map(|value| (value * 31 + at * 7 + round) as u8).collect()
                    };
                    let request = |at: usize| {
                        let shape = Shape::new(vec![rows, side, side, 3]);
                        inputs(&[Tensor::raw(DataType::Uint8, shape, sent(at).into()).unwrap()])
                    };
                    let outputs = model.infer_pixels(&[request(worker), request(2)], BOTH).unwrap();
                    for (outputs, at) in outputs.iter().zip([worker, 2]) {
                        let back = picture.images(outputs).unwrap();
                        let back: Vec<u8> = back
                            .iter()
                            .flat_map(|image| image.mat().data_bytes().unwrap())
                            .copied()
                            .collect();
                        assert_eq!(back, sent(at), "round {round} of {rows} rows");
                    }
                }
            });
        }
    });
}
