//! Who answers a call: applications, and models that come when calls ask for them; and what every call has back.

use frameserve::config::{Application, Config};
use frameserve::engine::Route;
use frameserve::model::Control;
use frameserve::proto::inference::{
    ModelReadyRequest, ModelStatisticsRequest, RepositoryModelLoadRequest, TraceSettingRequest,
};
use frameserve::proto::ray::ray_serve_api_service_client::RayServeApiServiceClient;
use frameserve::proto::ray::{HealthzRequest, ListApplicationsRequest};
use frameserve::server::Ended;
use tonic::{Code, Request, Status};

use crate::harness::TestServer;
use crate::puppet::{
    ALONE, Hold, InferClient, PATIENCE, Puppet, Shelf, answer, map, rows, start, start_with,
};

const WARM: &str = "model_warmup { name: \"w\" batch_size: 1 inputs { key: \"x\" value { data_type: TYPE_FP32 dims: [3] \
                    zero_data: true } } }";

fn held(hold: &Hold) -> Puppet {
    let held = hold.clone();
    Puppet::new(move |_, batch| {
        held.batch(batch);
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |value| value)]).collect())
    })
}

fn same() -> Puppet {
    let hold = Hold::default();
    hold.open(usize::MAX);
    held(&hold)
}

/// A shelf of these models, each with one instance.
fn shelf(models: &[&str]) -> Shelf {
    let shelf = Shelf::new();
    models.iter().for_each(|name| shelf.add(name, ALONE));
    shelf
}

fn explicit(models: &[&str]) -> Control {
    Control::Explicit(models.iter().map(ToString::to_string).collect())
}

fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    request
}

/// Asks the model of this id, whatever the message names.
async fn ask(client: &InferClient, id: &str) -> Result<String, Status> {
    let request = with(rows("whatever", &[1.0], 1), &[("multiplexed_model_id", id)]);
    let reply = client.clone().model_infer(request).await?.into_inner();
    assert_eq!(answer(&reply), [1.0]);
    Ok(reply.model_name)
}

async fn ready(server: &TestServer) -> Vec<String> {
    let index = server.engine.models().index(true).await;
    index.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn calls_that_want_one_model_at_once_load_it_once() {
    let hold = Hold::default();
    let puppet = held(&hold);
    let shelf = Shelf::new();
    shelf.add("m", &format!("{ALONE} {WARM}"));
    let (_server, client) = start(&shelf, &puppet, explicit(&[])).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "m").await })
        })
        .collect();
    hold.arrived(1).await;
    // One of them goes away, and the load goes on for the others.
    calls[0].abort();
    hold.open(usize::MAX);
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap().unwrap(), "m");
    }
    assert_eq!(puppet.instances_made(), 1);
}

#[tokio::test]
async fn the_least_recent_makes_room_and_finishes_what_it_was_asked() {
    let hold = Hold::default();
    let shelf = shelf(&["a", "b", "c", "stays"]);
    let mut models = shelf.models(&held(&hold), explicit(&["stays"]));
    models.max_multiplexed = 2;
    let (server, client) = start_with(Config { models, ..Config::default() }).await;
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "a").await }
    });
    hold.arrived(1).await;
    for id in ["b", "c"] {
        let asked = tokio::spawn({
            let client = client.clone();
            async move { ask(&client, id).await }
        });
        let arrived = if id == "b" { 2 } else { 3 };
        hold.arrived(arrived).await;
        drop(asked);
    }
    assert_eq!(ready(&server).await, ["b", "c", "stays"]);
    hold.open(usize::MAX);
    assert_eq!(under_way.await.unwrap().unwrap(), "a");
    // What a client loads itself is not counted any more.
    let load = RepositoryModelLoadRequest { model_name: "b".into(), ..Default::default() };
    client.clone().repository_model_load(load).await.unwrap();
    ask(&client, "a").await.unwrap();
    ask(&client, "stays").await.unwrap();
    assert_eq!(ready(&server).await, ["a", "b", "c", "stays"]);
    ask(&client, "c").await.unwrap();
    let (a, c) = tokio::join!(ask(&client, "a"), ask(&client, "c"));
    assert_eq!((a.unwrap(), c.unwrap()), ("a".into(), "c".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_for_more_models_than_there_may_be_are_all_answered() {
    let shelf = shelf(&["a", "b", "c", "d"]);
    let mut models = shelf.models(&same(), explicit(&[]));
    models.max_multiplexed = 1;
    let (server, client) = start_with(Config { models, ..Config::default() }).await;
    let calls = (0..64).map(|index| {
        let (client, id) = (client.clone(), ["a", "b", "c", "d"][index % 4]);
        tokio::spawn(async move { assert_eq!(ask(&client, id).await.unwrap(), id) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(ready(&server).await.len(), 1);
}

#[tokio::test]
async fn a_model_that_can_not_be_had_is_told_with_its_reason() {
    let shelf = shelf(&["good", "broken"]);
    shelf.version("broken", 1, "broken");
    let (server, client) = start(&shelf, &same(), explicit(&[])).await;
    ask(&client, "good").await.unwrap();
    for (id, code, says) in [
        ("broken", Code::Internal, "this file is broken"),
        ("no-such", Code::NotFound, "'no-such' is not found"),
        ("gray | canny", Code::NotFound, "is not found"),
        ("../good", Code::NotFound, "is not found"),
    ] {
        let status = ask(&client, id).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let mut request = rows("x", &[1.0], 1);
    request.model_version = "7".into();
    let request = with(request, &[("multiplexed_model_id", "good")]);
    let status = client.clone().model_infer(request).await.unwrap_err();
    assert!(status.message().contains("version 7 is not found"), "{status}");
    assert_eq!(ready(&server).await, ["good"]);

    let mut models = shelf.models(&same(), Control::None);
    models.max_multiplexed = 0;
    let (_server, client) = start_with(Config { models, ..Config::default() }).await;
    assert_eq!(ask(&client, "good").await.unwrap(), "good", "it was loaded at the start");
    shelf.add("late", ALONE);
    assert_eq!(ask(&client, "late").await.unwrap_err().code(), Code::NotFound);
    let (_server, client) = start(&shelf, &same(), Control::None).await;
    std::fs::remove_dir_all(shelf.0.path().join("broken")).unwrap();
    shelf.add("later", ALONE);
    assert_eq!(ask(&client, "later").await.unwrap(), "later", "it came after the start");
}

/// An application of two models and a pipeline, and one of each alone.
async fn shop() -> (TestServer, InferClient, Shelf) {
    let shelf = shelf(&["a", "b", "c"]);
    let mut config = Config { models: shelf.models(&same(), explicit(&["*"])), ..Config::default() };
    config.pipelines.insert("edges", "canny", "").unwrap();
    config.pipelines.insert("mirror", "flip=horizontal", "").unwrap();
    let of = |models: &[&str], pipelines: &[&str]| Application {
        models: models.iter().map(ToString::to_string).collect(),
        pipelines: pipelines.iter().map(ToString::to_string).collect(),
    };
    config.applications =
        [("shop".into(), of(&["a", "b"], &["edges"])), ("one".into(), of(&["c"], &[]))].into();
    let (server, client) = start_with(config).await;
    (server, client, shelf)
}

#[tokio::test]
async fn all_calls_that_name_a_model_are_routed() {
    let (server, client, _shelf) = shop().await;
    let mut client = client;
    let refused = |status: Status| {
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().starts_with("Application 'one' has no model 'a': it has 'c'"), "{status}");
    };
    let (name, version) = ("a".to_string(), String::new());
    let one = [("application", "one")];
    let message = ModelReadyRequest { name: name.clone(), version: version.clone() };
    refused(client.model_ready(with(message, &one)).await.unwrap_err());
    let message = ModelStatisticsRequest { name: name.clone(), version };
    refused(client.model_statistics(with(message, &one)).await.unwrap_err());
    let message = TraceSettingRequest { model_name: name, ..Default::default() };
    refused(client.trace_setting(with(message, &one)).await.unwrap_err());
    refused(client.model_infer(with(rows("a", &[1.0], 1), &one)).await.unwrap_err());
    let requests = tokio_stream::iter([rows("a", &[1.0], 1), rows("c", &[1.0], 1)]);
    let mut replies = client.model_stream_infer(with(requests, &one)).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    refused(Status::not_found(reply.error_message));
    let reply = replies.message().await.unwrap().unwrap();
    assert_eq!(reply.infer_response.unwrap().model_name, "c");
    let counted = client.model_statistics(with(ModelStatisticsRequest::default(), &one)).await.unwrap();
    let names: Vec<_> = counted.get_ref().model_stats.iter().map(|stats| stats.name.as_str()).collect();
    assert_eq!(names, ["c"]);

    let routed = async |application: Option<&str>, model: Option<&str>, name: &str| {
        let owned = |text: Option<&str>| text.map(String::from);
        let route = Route { application: owned(application), model_id: owned(model) };
        let served = server.engine.routed(&route, name, "").await;
        served.map(|served| served.name().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(routed(Some("one"), None, "").await.unwrap(), "c");
    assert_eq!(routed(Some("shop"), None, "edges").await.unwrap(), "edges", "a pipeline is a model too");
    assert_eq!(routed(Some("shop"), Some("b"), "c").await.unwrap(), "b");
    assert_eq!(routed(None, Some("mirror"), "c").await.unwrap(), "mirror");
    assert_eq!(routed(Some("mirror"), None, "").await.unwrap(), "mirror");
    assert!(routed(Some("shop"), Some("c"), "a").await.unwrap_err().contains("no model 'c'"));
    assert!(routed(Some("shop"), None, "gray | canny").await.unwrap_err().contains("no model"));
    let which = routed(Some("shop"), None, "").await.unwrap_err();
    assert!(which.contains("'a', 'b', 'edges'") && which.contains("names no model"), "{which}");
    assert!(routed(None, None, "").await.unwrap_err().starts_with("Application metadata not set."));
    assert!(routed(Some("x"), None, "a").await.unwrap_err().starts_with("Application 'x' not found."));
    assert_eq!(server.engine.applications(), ["a", "b", "c", "edges", "mirror", "one", "shop"]);
}

#[tokio::test]
async fn a_server_with_one_application_needs_no_name_for_it() {
    let (server, mut client) = start(&shelf(&["only"]), &same(), explicit(&["*"])).await;
    assert_eq!(server.engine.applications(), ["only"]);
    let reply = client.model_infer(rows("", &[1.0], 1)).await.unwrap().into_inner();
    assert_eq!(reply.model_name, "only");
}

#[tokio::test]
async fn applications_that_can_not_be_are_refused_at_the_start() {
    let of = |models: &[&str], pipelines: &[&str]| Application {
        models: models.iter().map(ToString::to_string).collect(),
        pipelines: pipelines.iter().map(ToString::to_string).collect(),
    };
    for (name, application, says) in [
        ("", of(&["a"], &[]), "1 to 255"),
        ("häuser", of(&["a"], &[]), "printable ASCII"),
        ("x", of(&["../a"], &[]), "../a"),
        ("x", of(&[], &["no-such"]), "`no-such` of application `x`"),
    ] {
        let config = Config { applications: [(name.into(), application)].into(), ..Config::default() };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn who_is_connected_is_told_that_the_server_drains() {
    let hold = Hold::default();
    let (server, client) = start(&shelf(&["m"]), &held(&hold), explicit(&["m"])).await;
    let mut ray = RayServeApiServiceClient::new(server.channel().await);
    let message = ray.healthz(HealthzRequest {}).await.unwrap().into_inner().message;
    assert_eq!(message, "success");
    let mut asking = client.clone();
    let under_way = tokio::spawn(async move { asking.model_infer(rows("m", &[7.0], 1)).await });
    hold.arrived(1).await;
    server.drain();
    server.engine.drain().cancelled().await;
    for status in [
        ray.healthz(HealthzRequest {}).await.unwrap_err(),
        ray.list_applications(ListApplicationsRequest {}).await.unwrap_err(),
    ] {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "This node is being drained."));
        assert_eq!(status.metadata().get("request_id").unwrap().len(), 36);
    }
    // Nobody new is let in.
    let late = tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let refused = async { while late.connect().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("it still listens");
    hold.open(1);
    assert_eq!(answer(under_way.await.unwrap().unwrap().get_ref()), [7.0]);
    assert_eq!(server.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_server_that_still_loads_says_so() {
    let hold = Hold::default();
    let shelf = Shelf::new();
    shelf.add("m", &format!("{ALONE} {WARM}"));
    let models = shelf.models(&held(&hold), explicit(&["m"]));
    let server = TestServer::start(Config { models, ..Config::default() }).await;
    let mut ray = RayServeApiServiceClient::new(server.channel().await);
    hold.arrived(1).await;
    let status = ray.healthz(HealthzRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("still being loaded"), "{status}");
    hold.open(usize::MAX);
    server.loaded().await;
    let names = ray.list_applications(ListApplicationsRequest {}).await.unwrap().into_inner();
    assert_eq!(names.application_names, ["m"]);
}
