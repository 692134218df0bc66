//! The library's client against a server in this process.

use frameserve::client::{Client, ClientError, ServingStatus};
use frameserve::config::Config;
use frameserve::proto::StreamConfig;
use tonic::Code;

use crate::harness::{TestServer, config, gray, reply_as, value};

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_up_and_replies_come_back_in_order() {
    let server = TestServer::start(Config::default()).await;
    let client = Client::connect(&server.address.to_string()).await.unwrap();
    let asked =
        StreamConfig { reply_format: reply_as(frameserve::proto::Encoding::Raw), window: 3, ..config("") };
    let stream = client.open(asked).await.unwrap();
    assert_eq!(stream.settings.window, 3);
    let (sender, mut replies) = (stream.sender, stream.replies);
    let sending = tokio::spawn(async move {
        for shade in 0..100 {
            sender.send(gray(shade)).await.unwrap();
        }
    });
    for shade in 0..100 {
        let reply = replies.next().await.unwrap().expect("as many replies as frames");
        assert_eq!((reply.sequence, value(&reply)), (u64::from(shade), shade));
    }
    assert!(replies.next().await.unwrap().is_none(), "the dropped sender ends the stream");
    sending.await.unwrap();
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_describes_itself_and_is_well() {
    let server = TestServer::start(Config::default()).await;
    let client = Client::connect(&format!("http://{}/", server.address)).await.unwrap();
    let described = client.describe().await.unwrap();
    assert!(described.stages.iter().any(|stage| stage.name == "canny"));
    // As soon as it has looked for models, of which there are none.
    server.well("").await;
    assert_eq!(client.health("").await.unwrap(), ServingStatus::Serving);
    assert!(matches!(client.health("nothing").await, Err(ClientError::Refused { .. })));
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_server_and_the_reason() {
    let server = TestServer::start(Config::default()).await;
    let client = Client::connect(&server.address.to_string()).await.unwrap();
    let error = client.open(config("nonsense")).await.unwrap_err();
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
    let ClientError::Refused { status, .. } = error else { panic!("{error:?}") };
    assert_eq!(status.code(), Code::InvalidArgument);
    server.ended().await;
}
