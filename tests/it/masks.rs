//! Masks over the KServe V2 protocol: as the tensor that they are, and as pictures in the size that was sent.

use bytes::Bytes;
use frameserve::model::Control;
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use frameserve::proto::inference::{InferParameter, ModelInferRequest, ModelInferResponse};

use crate::harness::jpeg;
use crate::puppet::{Puppet, Shelf, start};

/// A model whose mask is the picture that it gets, in gray.
const CONFIG: &str = r#"
    backend: "identity"
    input { name: "x" data_type: TYPE_FP32 dims: [1, 1, -1, -1] }
    output { name: "y" data_type: TYPE_FP32 dims: [1, 1, -1, -1] }
    parameters { key: "frameserve.task" value { string_value: "segmentation" } }
    parameters { key: "frameserve.resize" value { string_value: "fit=64x64" } }
"#;

fn request(datatype: &str, shape: &[i64], raw: Vec<u8>, codec: Option<&str>) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.into(),
        ..InferInputTensor::default()
    };
    let codec = codec.map(|codec| {
        let choice = ParameterChoice::StringParam(codec.into());
        ("codec".to_string(), InferParameter { parameter_choice: Some(choice) })
    });
    ModelInferRequest {
        model_name: "masks".into(),
        inputs: vec![input],
        outputs: vec![InferRequestedOutputTensor {
            name: "y".into(),
            parameters: codec.into_iter().collect(),
        }],
        raw_input_contents: vec![Bytes::from(raw)],
        ..ModelInferRequest::default()
    }
}

/// An element of a BYTES tensor: its length, and then itself.
fn element(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// The only picture of an answer, which is gray.
fn picture(answer: &ModelInferResponse) -> (u32, u32, Vec<u8>) {
    assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape[..]), ("BYTES", &[1][..]));
    let (length, bytes) = answer.raw_output_contents[0].split_first_chunk().unwrap();
    assert_eq!(u32::from_le_bytes(*length) as usize, bytes.len());
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Grayscale);
    (info.width, info.height, pixels)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_has_the_size_of_the_picture_that_was_sent() {
    let shelf = Shelf::new();
    shelf.config("masks", CONFIG);
    shelf.version("masks", 1, "good");
    let puppet = Puppet::new(|_, _| Ok(Vec::new()));
    let (_server, mut client) = start(&shelf, &puppet, Control::Explicit(vec!["*".into()])).await;

    let sent = jpeg(150, 90);
    let answer = client.model_infer(request("BYTES", &[1], element(&sent), None)).await.unwrap();
    assert_eq!(answer.get_ref().outputs[0].shape, [1, 1, 64, 64]);

    let answer = client.model_infer(request("BYTES", &[1], element(&sent), Some("png"))).await.unwrap();
    let (width, height, mask) = picture(answer.get_ref());
    assert_eq!((width, height), (150, 90));
    let gray = turbojpeg::decompress(&sent, turbojpeg::PixelFormat::GRAY).unwrap().pixels;
    let inside = (0..mask.len()).filter(|at| (8..142).contains(&(at % 150)) && (8..82).contains(&(at / 150)));
    let apart = inside.map(|at| mask[at].abs_diff(gray[at])).max().unwrap();
    assert!(apart <= 12, "{apart} apart");

    // Of a tensor, it has the size of that.
    let values: Vec<u8> =
        [0.0, 1.0, 0.4_f32, 7.0, f32::NAN, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let answer = client.model_infer(request("FP32", &[1, 1, 2, 3], values, Some("png"))).await.unwrap();
    assert_eq!(picture(answer.get_ref()), (3, 2, vec![0, 255, 102, 255, 0, 0]));
}
