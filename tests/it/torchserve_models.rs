//! Models that TorchServe's clients register: beside those of the repository, there for all protocols, and scaled while
//! they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use frameserve::config::TorchServe;
use frameserve::model::registry::State;
use frameserve::proto::inference::{ModelConfigRequest, ModelStatisticsRequest, RepositoryIndexRequest};
use frameserve::proto::torchserve::management::*;
use tonic::Code;

use crate::puppet::{ALONE, Hold, PATIENCE, Puppet, answer, rows};
use crate::torchserve_store::{BAD, Served, mar, multiplier, parameter, plain, request, said, times};

/// Lines of the list that KServe's clients get, of one model.
async fn index(served: &mut Served, model: &str) -> Vec<(String, String, String)> {
    let index = served.kserve.repository_index(RepositoryIndexRequest::default()).await.unwrap();
    let models = index.into_inner().models.into_iter().filter(|entry| entry.name == model);
    models.map(|entry| (entry.version, entry.state, entry.reason)).collect()
}

#[tokio::test]
async fn one_model_is_there_for_all_protocols_from_when_it_is_registered() {
    let mut served = Served::start(&multiplier()).await;
    let said = served.register("m", "3.0", 0).await.unwrap();
    assert_eq!(
        said,
        "Model \"m\" Version: 3.0 registered with 0 initial workers. Use scale workers API to add workers for the model."
    );
    let idle = index(&mut served, "m").await;
    assert_eq!((idle[0].0.as_str(), idle[0].1.as_str()), ("3", "UNAVAILABLE"));
    assert!(idle[0].2.contains("no instance"), "{idle:?}");
    assert_eq!(served.kserve.model_infer(rows("m", &[1.0], 1)).await.unwrap_err().code(), Code::Unavailable);

    assert_eq!(served.scale("m", 2, 0).await.unwrap(), "Workers scaled to 2 for model: m");
    assert_eq!(index(&mut served, "m").await, [("3".into(), "READY".into(), String::new())]);
    let reply = served.kserve.model_infer(rows("m", &[1.0], 1)).await.unwrap();
    assert_eq!(answer(reply.get_ref()), [times("3.0")]);
    assert_eq!(served.predict("m", "3.0").await.unwrap(), "[30.0]");
    let config =
        served.kserve.model_config(ModelConfigRequest { name: "m".into(), ..Default::default() }).await;
    assert_eq!(config.unwrap().into_inner().config.unwrap().instance_group[0].count, 2);

    assert_eq!(served.unregister("m", "").await.unwrap(), "Model \"m\" unregistered");
    assert_eq!(said_of(served.predict("m", "").await), "Model not found: m");
    assert_eq!(served.kserve.model_infer(rows("m", &[1.0], 1)).await.unwrap_err().code(), Code::NotFound);
    assert!(index(&mut served, "m").await.is_empty(), "it is forgotten");
}

fn said_of<T: std::fmt::Debug>(refused: Result<T, tonic::Status>) -> String {
    said(refused).1
}

#[tokio::test]
async fn replies_to_registering_and_scaling_are_torchserves() {
    let mut served = Served::start(&multiplier()).await;
    assert_eq!(
        served.register("m", "1.0", 2).await.unwrap(),
        "Model \"m\" Version: 1.0 registered with 2 initial workers"
    );
    let asynchronous = RegisterModelRequest {
        url: "n.mar".into(),
        model_name: "another".into(),
        initial_workers: 1,
        ..RegisterModelRequest::default()
    };
    mar(&served.store, "n.mar", "n", "1.0", "");
    assert_eq!(served.register_as(asynchronous).await.unwrap(), "Processing worker updates...");
    let ready = async {
        while served.server.engine.models().find("another", None).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();
    let of_version = ScaleWorkerRequest {
        model_name: "m".into(),
        model_version: "1.0".into(),
        min_worker: 3,
        synchronous: true,
        ..ScaleWorkerRequest::default()
    };
    let said = served.management.scale_worker(of_version.clone()).await.unwrap().into_inner().msg;
    assert_eq!(said, "Workers scaled to 3 for model: m, version: 1.0");
    let asynchronous = ScaleWorkerRequest { synchronous: false, ..of_version };
    let said = served.management.scale_worker(asynchronous).await.unwrap().into_inner().msg;
    assert_eq!(said, "Processing worker updates...");
    // Neither above what there is nor below: nothing changes.
    served.scale("m", 2, 8).await.unwrap();
    let described = served.describe("m", "").await.unwrap();
    assert_eq!(
        (described[0]["minWorkers"].as_u64(), described[0]["maxWorkers"].as_u64()),
        (Some(2), Some(8))
    );
    assert_eq!(described[0]["workers"].as_array().unwrap().len(), 3);
    // Numbers that are not above 0 count as not given: that is one.
    assert_eq!(served.scale("m", 0, 0).await.unwrap(), "Workers scaled to 1 for model: m");
    assert_eq!(served.server.engine.models().find("m", None).unwrap().instances().len(), 1);
}

#[tokio::test]
async fn an_archive_says_how_many_workers_it_wants() {
    let mut served = Served::start(&multiplier()).await;
    mar(&served.store, "m.mar", "m", "1.0", "minWorkers: 2\nmaxWorkers: 4\nbatchSize: 4\nmaxBatchDelay: 10");
    let request =
        RegisterModelRequest { url: "m.mar".into(), synchronous: true, ..RegisterModelRequest::default() };
    let said = served.register_as(request).await.unwrap();
    assert_eq!(said, "Model \"m\" Version: 1.0 registered with 2 initial workers");
    let described = &served.describe("m", "").await.unwrap()[0];
    for (key, expected) in [("minWorkers", 2), ("maxWorkers", 4), ("batchSize", 4), ("maxBatchDelay", 10)] {
        assert_eq!(described[key].as_u64(), Some(expected), "{key}: {described:#}");
    }
}

#[tokio::test]
async fn versions_stand_beside_each_other_and_one_is_the_default() {
    let mut served = Served::with(
        &multiplier(),
        TorchServe { model_api: true, key_file: None, ..TorchServe::default() },
        |_, shelf| shelf.add("repository", ALONE),
    )
    .await;
    for version in ["1.0", "2.0", "1.1"] {
        served.register("m", version, 1).await.unwrap();
    }
    let numbers: Vec<_> = index(&mut served, "m").await.into_iter().map(|(number, _, _)| number).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    for version in ["1.0", "2.0", "1.1"] {
        let answered = served.predict("m", version).await.unwrap();
        assert_eq!(answered, format!("[{:.1}]", times(version)));
    }
    assert_eq!(served.predict("m", "").await.unwrap(), "[10.0]", "the first one is the default");
    let said = served.set_default("m", "1.1").await.unwrap();
    assert_eq!(said, "Default version successfully updated for model \"m\" to \"1.1\"");
    assert_eq!(served.predict("m", "").await.unwrap(), "[11.0]");
    let reply = served.kserve.model_infer(rows("m", &[1.0], 1)).await.unwrap().into_inner();
    assert_eq!((answer(&reply), reply.model_version.as_str()), (vec![11.0], "3"), "for other protocols too");
    let all = served.describe("m", "all").await.unwrap();
    let texts: Vec<_> =
        all.as_array().unwrap().iter().map(|one| one["modelVersion"].as_str().unwrap()).collect();
    assert_eq!(texts, ["1.0", "2.0", "1.1"]);
    served.unregister("m", "1.0").await.unwrap();
    served.unregister("m", "2.0").await.unwrap();
    served.unregister("m", "").await.unwrap();
    assert!(served.server.engine.models().held("m").is_empty());

    // Beside one of the repository, which stays what answers.
    served.register("repository", "7.0", 1).await.unwrap();
    assert_eq!(served.predict("repository", "").await.unwrap(), "[1.0]");
    assert_eq!(served.predict("repository", "7.0").await.unwrap(), "[70.0]");
    served.set_default("repository", "7.0").await.unwrap();
    served.unregister("repository", "1").await.unwrap();
    assert_eq!(
        said_of(served.predict("repository", "1.0").await),
        "Model version: 1.0 does not exist for model: repository"
    );
}

#[tokio::test]
async fn models_are_listed_page_by_page() {
    let mut served = Served::with(
        &multiplier(),
        TorchServe { model_api: true, key_file: None, ..TorchServe::default() },
        |_, shelf| shelf.add("b", ALONE),
    )
    .await;
    for name in ["c", "a"] {
        served.register(name, "1.0", 0).await.unwrap();
    }
    let mut list = async |limit, next_page_token| {
        let request = ListModelsRequest { limit, next_page_token };
        served.management.list_models(request).await.unwrap().into_inner().msg
    };
    let first = list(2, 0).await;
    assert_eq!(
        first,
        "{\n  \"nextPageToken\": \"2\",\n  \"models\": [\n    {\n      \"modelName\": \"a\",\n      \"modelUrl\": \
         \"a-1.0.mar\"\n    },\n    {\n      \"modelName\": \"b\",\n      \"modelUrl\": \"b\"\n    }\n  ]\n}"
    );
    let names = |text: &str| {
        let list: serde_json::Value = serde_json::from_str(text).unwrap();
        let models = list["models"].as_array().unwrap();
        let names: Vec<_> =
            models.iter().map(|model| model["modelName"].as_str().unwrap().to_owned()).collect();
        (names, list["nextPageToken"].as_str().map(String::from))
    };
    assert_eq!(names(&list(2, 2).await), (vec!["c".into()], None));
    // No limit is the largest.
    for limit in [0, -1, 101] {
        assert_eq!(names(&list(limit, 0).await), (vec!["a".into(), "b".into(), "c".into()], None));
    }
    assert_eq!(names(&list(10, 99).await), (vec![], None));
}

#[tokio::test]
async fn a_version_is_described_with_torchserves_keys() {
    let mut served = Served::start(&multiplier()).await;
    served.register("m", "1.0", 2).await.unwrap();
    let described = served.describe("m", "1.0").await.unwrap();
    let one = &described[0];
    for (key, expected) in [
        ("modelName", "\"m\""),
        ("modelVersion", "\"1.0\""),
        ("modelUrl", "\"m-1.0.mar\""),
        ("runtime", "\"python\""),
        ("minWorkers", "2"),
        ("maxWorkers", "2"),
        ("batchSize", "1"),
        ("maxBatchDelay", "100"),
        ("responseTimeout", "120"),
        ("startupTimeout", "120"),
        ("deviceType", "\"cpu\""),
        ("parallelType", "\"\""),
        ("sequenceMaxIdleMSec", "0"),
        ("useVenv", "false"),
        ("loadedAtStartup", "false"),
    ] {
        assert_eq!(one[key].to_string(), expected, "{key} of {one:#}");
    }
    let worker = &one["workers"][1];
    assert_eq!((worker["id"].as_str(), worker["status"].as_str()), (Some("9001"), Some("READY")));
    assert!(worker["startTime"].as_str().unwrap().ends_with('Z') && worker["gpu"] == false, "{worker}");
    assert_eq!(one["jobQueueStatus"]["pendingRequests"], 0);
    assert!(one["jobQueueStatus"]["remainingCapacity"].as_u64().unwrap() > 0);
    let customized =
        DescribeModelRequest { model_name: "m".into(), model_version: String::new(), customized: true };
    let message = served.management.describe_model(customized).await.unwrap().into_inner().msg;
    let described: serde_json::Value = serde_json::from_str(&message).unwrap();
    assert_eq!(described[0]["customizedMetadata"]["inputs"][0]["name"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_a_version_grows_and_shrinks() {
    let mut served = Served::start(&multiplier()).await;
    served.register("m", "1.0", 1).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, stop, answered) =
                (served.inference.clone(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let reply = client.predictions(request("m", "")).await.unwrap().into_inner();
                    assert_eq!(plain(&reply.prediction), "[10.0]");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..30 {
        let workers = [4, 1, 8, 2, 3][round % 5];
        let before = answered.load(Ordering::Relaxed);
        served.scale("m", workers, workers).await.unwrap();
        let version = served.server.engine.models().find("m", None).unwrap();
        assert_eq!(version.instances().len(), workers as usize);
        let progress = async {
            while answered.load(Ordering::Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, progress).await.expect("requests are answered");
    }
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.unwrap();
    }
    let gone = async {
        let version = served.server.engine.models().find("m", None).unwrap();
        while version.members().len() != version.instances().len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("those that were sent away end");
    let counted =
        served.kserve.model_statistics(ModelStatisticsRequest { name: "m".into(), ..Default::default() });
    let counted = counted.await.unwrap().into_inner().model_stats[0].clone();
    assert_eq!(counted.inference_count as usize, answered.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_other_versions_come_and_go() {
    let mut served = Served::start(&multiplier()).await;
    served.register("m", "1.0", 1).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, stop) = (served.inference.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let reply = client.predictions(request("m", "")).await.unwrap().into_inner();
                    assert!(["[10.0]", "[20.0]"].contains(&plain(&reply.prediction).as_str()));
                }
            })
        })
        .collect();
    for _ in 0..10 {
        served.register("m", "2.0", 1).await.unwrap();
        served.set_default("m", "2.0").await.unwrap();
        assert_eq!(served.predict("m", "").await.unwrap(), "[20.0]");
        served.set_default("m", "1.0").await.unwrap();
        served.unregister("m", "2.0").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.unwrap();
    }
}

/// A puppet that holds every batch until it is let go.
fn held() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    (hold, puppet)
}

#[tokio::test]
async fn the_last_instance_works_off_what_waits_before_it_goes() {
    let (hold, puppet) = held();
    let mut served = Served::start(&puppet).await;
    served.register("m", "1.0", 1).await.unwrap();
    let ask = |_| {
        let mut client = served.inference.clone();
        tokio::spawn(async move { client.predictions(request("m", "")).await })
    };
    let mut asking = vec![ask(0)];
    hold.arrived(1).await;
    asking.extend((1..5).map(ask));
    crate::batching::queued(&served.server, "m", 4).await;
    let models = served.server.engine.models();
    let version = models.find("m", None).unwrap();
    Arc::clone(models).scale(Arc::clone(&version), 0..=0).await.unwrap();
    assert!(version.instances().is_empty() && version.members()[0].leaving);
    let described = served.describe("m", "").await.unwrap();
    assert_eq!(described[0]["workers"][0]["status"], "UNLOADING");
    let refused = said_of(served.predict("m", "").await);
    assert!(refused.contains("has no worker"), "{refused}");
    assert_eq!(served.server.engine.models().index(false).await[0].state, Some(State::Unavailable));
    hold.open(usize::MAX);
    for task in asking {
        assert_eq!(plain(&task.await.unwrap().unwrap().into_inner().prediction), "[1.0]");
    }
    let gone = async {
        while !version.members().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it ends");
    served.scale("m", 1, 1).await.unwrap();
    assert_eq!(served.predict("m", "").await.unwrap(), "[1.0]");
}

#[tokio::test]
async fn who_is_sent_away_finishes_its_batch_and_takes_no_further() {
    let (hold, puppet) = held();
    let mut served = Served::start(&puppet).await;
    served.register("m", "1.0", 2).await.unwrap();
    let ask = |served: &Served| {
        let mut client = served.inference.clone();
        tokio::spawn(async move { client.predictions(request("m", "")).await })
    };
    let mut asking = vec![ask(&served)];
    hold.arrived(1).await;
    asking.push(ask(&served));
    hold.arrived(2).await;
    served.scale("m", 1, 1).await.unwrap();
    let version = served.server.engine.models().find("m", None).unwrap();
    assert_eq!((version.instances().len(), version.members().len()), (1, 2));
    asking.extend([ask(&served), ask(&served)]);
    crate::batching::queued(&served.server, "m", 2).await;
    hold.open(usize::MAX);
    for task in asking {
        task.await.unwrap().unwrap();
    }
    let gone = async {
        while version.members().len() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("one of them ends");
}

#[tokio::test]
async fn instances_that_can_not_be_made_change_nothing() {
    let mut served = Served::with(
        &multiplier(),
        TorchServe { model_api: true, key_file: None, ..TorchServe::default() },
        |_, shelf| shelf.add("broken", ALONE),
    )
    .await;
    // Of a registered one nothing is left if it can't even begin.
    let warmup = "  model_warmup: [{name: w, batch_size: 1, inputs: {x: {data_type: TYPE_FP32, dims: [1], zero_data: true}}}]";
    mar(&served.store, "bad.mar", "bad", "1.0", &format!("{}\n{warmup}", parameter(BAD)));
    let request = RegisterModelRequest {
        url: "bad.mar".into(),
        initial_workers: 1,
        synchronous: true,
        ..RegisterModelRequest::default()
    };
    let (code, text, _) = said(served.register_as(request).await);
    assert_eq!((code, text.as_str()), (Code::Internal, "Failed to start workers for model bad version: 1.0"));
    let gone = async {
        while !served.server.engine.models().held("bad").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is gone");
    assert_eq!(served.scale("broken", 300, 300).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(served.server.engine.models().find("broken", None).unwrap().instances().len(), 1);
}

#[tokio::test]
async fn archives_are_there_from_the_start_where_that_is_wanted() {
    let terms = |load: &[&str]| TorchServe {
        key_file: None,
        load_models: load.iter().map(ToString::to_string).collect(),
        ..TorchServe::default()
    };
    let fill = |store: &tempfile::TempDir, _: &crate::puppet::Shelf| {
        mar(store, "one.mar", "one", "1.0", "minWorkers: 2\nmaxWorkers: 2");
        mar(store, "two.mar", "two", "1.0", "");
    };
    let ready = async |served: &Served, name: &str| {
        let ready = async {
            while served.server.engine.models().find(name, None).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect(name);
        served.server.engine.models().find(name, None).unwrap().instances().len()
    };
    let mut served = Served::with(&multiplier(), terms(&["uno=one.mar"]), fill).await;
    assert_eq!(ready(&served, "uno").await, 2);
    let described = served.describe("uno", "").await.unwrap();
    assert_eq!(
        (&described[0]["loadedAtStartup"], &described[0]["modelUrl"]),
        (&true.into(), &"one.mar".into())
    );
    assert!(served.server.engine.models().held("two").is_empty());
    let served = Served::with(&multiplier(), terms(&["all"]), fill).await;
    assert_eq!(ready(&served, "one").await, 2);
    assert!(ready(&served, "two").await >= 1);
}
