//! What clients of the KServe V2 protocol are told while the server still loads its models, and while it ends.

use frameserve::config::Config;
use frameserve::model::Control;
use frameserve::proto::inference::*;
use frameserve::server::Ended;
use tonic::{Code, Status};

use crate::harness::TestServer;
use crate::loading::slow;
use crate::puppet::{ALONE, Hold, InferClient, Puppet, Shelf, rows, start};

/// What each call that is about this model is told: code and text, and those of a request on a stream.
async fn refusals(client: &mut InferClient, name: &str) -> Vec<(Code, String)> {
    let (name, version) = (name.to_owned(), String::new());
    let ready = ModelReadyRequest { name: name.clone(), version: version.clone() };
    let metadata = ModelMetadataRequest { name: name.clone(), version: version.clone() };
    let config = ModelConfigRequest { name: name.clone(), version: version.clone() };
    let statistics = ModelStatisticsRequest { name: name.clone(), version };
    let said = |status: Status| (status.code(), status.message().to_owned());
    let refused = vec![
        client.model_ready(ready).await.map(drop).map_err(said),
        client.model_metadata(metadata).await.map(drop).map_err(said),
        client.model_config(config).await.map(drop).map_err(said),
        client.model_statistics(statistics).await.map(drop).map_err(said),
        client.model_infer(rows(&name, &[0.0], 3)).await.map(drop).map_err(said),
    ];
    refused.into_iter().map(Result::unwrap_err).collect()
}

/// What a request for this model is told on a stream.
async fn on_a_stream(client: &mut InferClient, name: &str) -> String {
    let requests = tokio_stream::iter([rows(name, &[0.0], 3)]);
    let mut replies = client.model_stream_infer(requests).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap().error_message
}

#[tokio::test]
async fn models_that_are_still_being_loaded_are_not_unknown() {
    let (hold, puppet, shelf) = slow();
    // These go first, and there are two threads that load.
    shelf.add("0", ALONE);
    shelf.add("1", ALONE);
    shelf.version("1", 1, "broken");
    let config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    let server = TestServer::start(config).await;
    let mut client = InferClient::new(server.channel().await);
    hold.arrived(2).await;
    assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    for name in ["a", "b", "no-such"] {
        for refused in refusals(&mut client, name).await {
            assert_eq!(refused, (Code::Unavailable, "Server not ready".into()), "{name}");
        }
        assert_eq!(on_a_stream(&mut client, name).await, "Server not ready", "{name}");
    }
    // What is decided already is told.
    let ready = |name: &str| ModelReadyRequest { name: name.into(), version: String::new() };
    assert!(client.model_ready(ready("0")).await.unwrap().into_inner().ready);
    assert!(client.model_ready(ready("canny")).await.unwrap().into_inner().ready);
    let failed = client.model_ready(ready("1")).await.unwrap_err();
    assert_eq!(failed.code(), Code::NotFound, "{failed}");
    hold.open(usize::MAX);
    server.loaded().await;
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    for name in ["a", "b"] {
        assert!(client.model_ready(ready(name)).await.unwrap().into_inner().ready);
        client.model_infer(rows(name, &[0.0], 3)).await.unwrap();
    }
    let unknown = client.model_ready(ready("no-such")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
}

#[tokio::test]
async fn who_is_still_connected_is_told_that_the_server_ends() {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| vec![inputs[0].clone().unwrap()]).collect())
    });
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, mut client) = start(&shelf, &puppet, Control::Explicit(vec!["m".into()])).await;
    let mut other = client.clone();
    // The server does not end before this is answered.
    let taken = tokio::spawn(async move { other.model_infer(rows("m", &[1.0], 1)).await });
    hold.arrived(1).await;
    server.drain();
    server.engine.drain().cancelled().await;
    for name in ["m", "no-such"] {
        let mut refused = refusals(&mut client, name).await;
        let going_down = "GRPC server is shutting down and has stopped accepting new requests.";
        assert_eq!(refused.pop(), Some((Code::Unavailable, going_down.into())), "{name}");
        for refused in refused {
            assert_eq!(refused, (Code::Unavailable, "Server exiting".into()), "{name}");
        }
    }
    let exiting = |refused: Status| {
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "Server exiting"));
    };
    exiting(client.server_ready(ServerReadyRequest {}).await.unwrap_err());
    let load = RepositoryModelLoadRequest { model_name: "m".into(), ..Default::default() };
    exiting(client.repository_model_load(load).await.unwrap_err());
    let unload = RepositoryModelUnloadRequest { model_name: "m".into(), ..Default::default() };
    exiting(client.repository_model_unload(unload).await.unwrap_err());
    let refused = client.model_stream_infer(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("GRPC server is shutting down"), "{refused}");
    assert!(
        client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live,
        "it lives until it has ended"
    );
    hold.open(1);
    taken.await.unwrap().unwrap();
    assert_eq!(server.ended().await, Ended::Drained);
}
