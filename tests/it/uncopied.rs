//! Large requests, however they come in pieces: those in one piece are read where they lie, and are answered as the
//! others are.

use bytes::{Buf, Bytes};
use frameserve::config::Config;
use frameserve::limits::Limits;
use frameserve::model::Control;
use frameserve::proto::framing::{HEADER, begin_with, header};
use frameserve::proto::inference::{ModelInferRequest, ModelInferResponse};
use http_body_util::BodyExt;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::puppet::{ALONE, Puppet, Shelf, answer, rows, start_with};

const LONGEST: usize = 2 << 20;

/// The same message cut in several ways, as HTTP/2's frames.
fn cuts(message: &ModelInferRequest, behind: &[u8]) -> Vec<Vec<Bytes>> {
    let encoded = [&message.encode_to_vec(), behind].concat();
    let all = Bytes::from([&header(encoded.len()), &encoded[..]].concat());
    let at = |cut: usize| vec![all.slice(..cut), all.slice(cut..)];
    let pieces = all.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    vec![vec![all.clone()], at(HEADER), at(2), at(HEADER + 1), at(all.len() - 1), pieces]
}

/// Sends these pieces, and waits for the reply.
async fn send(channel: &mut Channel, pieces: Vec<Bytes>) -> Result<ModelInferResponse, Status> {
    let request = http::Request::post("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(begin_with(pieces, Body::empty()))
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Err(status);
    }
    let mut message = response.into_body().collect().await.unwrap().to_bytes();
    message.advance(HEADER);
    Ok(ModelInferResponse::decode(message).unwrap())
}

#[tokio::test]
async fn a_large_request_is_answered_however_it_is_cut() {
    let echo = Puppet::new(|_, batch| {
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let limits = Limits { max_message_bytes: LONGEST, ..Limits::default() };
    let config = Config { models: shelf.models(&echo, Control::None), limits, ..Config::default() };
    let (server, _) = start_with(config).await;
    let mut channel = server.channel().await;
    let values = [0.0, 1.0, 2.0, 3.0];
    // Kilobytes: 400, 800.
    for width in [25_000, 50_000] {
        let request = rows("m", &values, width);
        let wanted: Vec<f32> = values.iter().flat_map(|value| std::iter::repeat_n(*value, width)).collect();
        for pieces in cuts(&request, &[]) {
            assert_eq!(answer(&send(&mut channel, pieces).await.unwrap()), wanted);
        }
        // A field that does not come.
        for pieces in cuts(&request, b"\x0a") {
            let status = send(&mut channel, pieces).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    }
    let request = rows("m", &[0.0], LONGEST / 4);
    for pieces in cuts(&request, &[]) {
        let status = send(&mut channel, pieces).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains(&LONGEST.to_string()), "{status}");
    }
}
