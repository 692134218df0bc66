//! Requests of many clients for one model: put together, kept apart, answered each with its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use frameserve::Error;
use frameserve::config::Config;
use frameserve::limits::Limits;
use frameserve::model::Control;
use frameserve::model::registry::State;
use frameserve::pipeline::names::Names;
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{
    InferParameter, ModelInferRequest, ModelStatisticsRequest, infer_parameter,
};
use frameserve::server::Ended;
use tonic::{Code, Request};

use crate::gate::Gate;
use crate::puppet::{
    ALONE, Hold, InferClient, PATIENCE, Puppet, Shelf, answer, map, rows, start, start_with,
};

/// A puppet that holds every batch, and then gives back ten times what it got.
fn held() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |value| value * 10.0)]).collect())
    });
    (hold, puppet)
}

/// Sends a request, and comes back once the server has it in its queue or on a thread.
async fn send(
    client: &InferClient,
    request: impl tonic::IntoRequest<ModelInferRequest>,
) -> tokio::task::JoinHandle<Result<Vec<f32>, tonic::Status>> {
    let mut client = client.clone();
    let request = request.into_request();
    tokio::spawn(async move { client.model_infer(request).await.map(|reply| answer(reply.get_ref())) })
}

/// The request with this parameter.
fn with(
    name: &str,
    choice: infer_parameter::ParameterChoice,
    mut request: ModelInferRequest,
) -> ModelInferRequest {
    request.parameters.insert(name.into(), InferParameter { parameter_choice: Some(choice) });
    request
}

/// A request that shows a pipeline a gray picture.
fn picture(pipeline: &str, value: u8) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "image".into(),
        datatype: "UINT8".into(),
        shape: vec![8, 8, 1],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: pipeline.into(),
        inputs: vec![input],
        raw_input_contents: vec![vec![value; 64].into()],
        ..ModelInferRequest::default()
    }
}

/// Waits until so many requests wait for a model.
pub async fn queued(server: &crate::harness::TestServer, model: &str, count: usize) {
    let version = server.engine.models().find(model, None).unwrap();
    let waiting = async {
        while version.waiting() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("they never came");
}

#[tokio::test]
async fn what_came_meanwhile_is_run_together_and_each_gets_its_own() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let first = send(&client, rows("m", &[1.0], 2)).await;
    hold.arrived(1).await;
    let second = send(&client, rows("m", &[2.0, 3.0], 2)).await;
    queued(&server, "m", 1).await;
    let other = send(&client, rows("m", &[4.0], 3)).await;
    queued(&server, "m", 2).await;
    let third = send(&client, rows("m", &[5.0], 2)).await;
    queued(&server, "m", 3).await;
    hold.open(3);
    assert_eq!(first.await.unwrap().unwrap(), [10.0, 10.0]);
    assert_eq!(second.await.unwrap().unwrap(), [20.0, 20.0, 30.0, 30.0]);
    assert_eq!(other.await.unwrap().unwrap(), [40.0; 3]);
    assert_eq!(third.await.unwrap().unwrap(), [50.0, 50.0]);
    assert_eq!(hold.seen(), [vec![1.0], vec![2.0, 5.0], vec![4.0]], "shapes that differ are not mixed");
    let mut client = client;
    let asked = ModelStatisticsRequest { name: "m".into(), version: String::new() };
    let statistics = client.model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
    assert_eq!((statistics.inference_count, statistics.execution_count), (5, 3));
    let sizes: Vec<_> = statistics.batch_stats.iter().map(|batch| batch.batch_size).collect();
    assert_eq!(sizes, [1, 3]);
}

#[tokio::test]
async fn a_drained_server_answers_the_requests_that_it_took() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let taken = send(&client, rows("m", &[1.0], 2)).await;
    hold.arrived(1).await;
    let mut ended = std::pin::pin!(server.ended());
    // Longer than connections have for their farewell.
    let early = tokio::time::timeout(Duration::from_millis(1500), &mut ended).await;
    assert!(early.is_err(), "{early:?}");
    hold.open(1);
    assert_eq!(taken.await.unwrap().unwrap(), [10.0, 10.0]);
    drop(client);
    assert_eq!(ended.await, Ended::Drained);
}

#[tokio::test]
async fn what_a_model_does_not_take_is_none_of_its_failures() {
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let puppet = Puppet::new(|_, _| Err(Error::Model("it never works".into())));
    let (_server, mut client) = start(&shelf, &puppet, Control::None).await;
    client.model_infer(rows("m", &[1.0; 9], 1)).await.unwrap_err();
    client.model_infer(rows("m", &[1.0], 1)).await.unwrap_err();
    let asked = ModelStatisticsRequest { name: "m".into(), version: String::new() };
    let statistics = client.model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
    assert_eq!(statistics.inference_stats.unwrap().fail.unwrap().count, 1);
}

#[tokio::test]
async fn one_bad_request_does_not_fail_its_neighbours() {
    let (hold, _) = held();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        let bad = batch.iter().any(|inputs| crate::puppet::values(inputs[0].as_ref().unwrap())[0] == 13.0);
        if bad {
            return Err(Error::Model("13 is unlucky".into()));
        }
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let first = send(&client, rows("m", &[0.0], 1)).await;
    hold.arrived(1).await;
    let mut sent = Vec::new();
    for (index, value) in [1.0, 13.0, 2.0].into_iter().enumerate() {
        sent.push(send(&client, rows("m", &[value], 1)).await);
        queued(&server, "m", index + 1).await;
    }
    hold.open(usize::MAX);
    first.await.unwrap().unwrap();
    let (one, bad, two) = (sent.remove(0), sent.remove(0), sent.remove(0));
    assert_eq!(one.await.unwrap().unwrap(), [1.0]);
    let error = bad.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.message().contains("13 is unlucky"), "{error}");
    assert_eq!(two.await.unwrap().unwrap(), [2.0]);
}

#[tokio::test]
async fn who_goes_away_or_waits_too_long_never_reaches_the_model() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let first = send(&client, rows("m", &[1.0], 1)).await;
    hold.arrived(1).await;
    let gone = send(&client, rows("m", &[2.0], 1)).await;
    queued(&server, "m", 1).await;
    gone.abort();
    queued(&server, "m", 0).await;
    let mut impatient = rows("m", &[3.0], 1);
    let timeout =
        InferParameter { parameter_choice: Some(infer_parameter::ParameterChoice::Int64Param(5000)) };
    impatient.parameters.insert("timeout".into(), timeout);
    let impatient = send(&client, impatient).await.await.unwrap().unwrap_err();
    assert_eq!(
        (impatient.code(), impatient.message()),
        (Code::DeadlineExceeded, "[request id: <id_unknown>] Request timeout expired")
    );
    let mut hurried = Request::new(rows("m", &[4.0], 1));
    hurried.set_timeout(Duration::from_millis(5));
    let hurried = send(&client, hurried).await.await.unwrap().unwrap_err();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&hurried.code()), "{hurried}");
    queued(&server, "m", 0).await;
    let last = send(&client, rows("m", &[5.0], 1)).await;
    queued(&server, "m", 1).await;
    hold.open(usize::MAX);
    assert_eq!(first.await.unwrap().unwrap(), [10.0]);
    assert_eq!(last.await.unwrap().unwrap(), [50.0]);
    assert_eq!(hold.seen(), [[1.0], [5.0]]);
}

#[tokio::test]
async fn a_configuration_that_says_nothing_of_timeouts_leaves_them_to_requests() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add(
        "said",
        &format!("{ALONE} dynamic_batching {{ default_queue_policy {{ max_queue_size: 100 }} }}"),
    );
    shelf.add("unsaid", &format!("{ALONE} dynamic_batching {{ }}"));
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut first = Vec::new();
    for model in ["said", "unsaid"] {
        first.push(send(&client, rows(model, &[1.0], 1)).await);
    }
    hold.arrived(2).await;
    let timeout = infer_parameter::ParameterChoice::Int64Param(5000);
    let patient = send(&client, with("timeout", timeout.clone(), rows("said", &[2.0], 1))).await;
    queued(&server, "said", 1).await;
    let late = send(&client, with("timeout", timeout, rows("unsaid", &[2.0], 1))).await.await.unwrap();
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    hold.open(usize::MAX);
    assert_eq!(patient.await.unwrap().unwrap(), [20.0], "its model's policy lets it wait");
    for answered in first {
        answered.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn priorities_come_first_and_a_full_queue_refuses() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    let levels = "max_batch_size: 1 dynamic_batching { priority_levels: 2 default_priority_level: 2 \
                  default_queue_policy { max_queue_size: 2 } }";
    shelf.add("m", &format!("{ALONE} {levels}"));
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut sent = vec![send(&client, rows("m", &[0.0], 1)).await];
    hold.arrived(1).await;
    for (index, (value, priority)) in [(1.0, 2), (2.0, 0), (3.0, 1)].into_iter().enumerate() {
        let priority = infer_parameter::ParameterChoice::Uint64Param(priority);
        sent.push(send(&client, with("priority", priority, rows("m", &[value], 1))).await);
        queued(&server, "m", index + 1).await;
    }
    let refused = send(&client, rows("m", &[4.0], 1)).await.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("Exceeds maximum queue size"), "{refused}");
    hold.open(usize::MAX);
    for answered in sent {
        answered.await.unwrap().unwrap();
    }
    assert_eq!(hold.seen(), [[0.0], [3.0], [1.0], [2.0]]);
}

#[tokio::test]
async fn the_models_of_a_pipeline_heed_priorities() {
    let (hold, puppet) = crate::lookers::held();
    let shelf = Shelf::new();
    let levels = "max_batch_size: 1 dynamic_batching { priority_levels: 2 default_priority_level: 2 }";
    shelf.looker("m", "image", &format!("{ALONE} {levels}"));
    let mut pipelines = Names::default();
    pipelines.insert("p", "invert | model=m", "").unwrap();
    let models = shelf.models(&puppet, Control::None);
    let (server, client) = start_with(Config { pipelines, models, ..Config::default() }).await;
    let ask = |priority, value: u8| {
        let priority = infer_parameter::ParameterChoice::Uint64Param(priority);
        let (mut client, request) = (client.clone(), with("priority", priority, picture("p", 255 - value)));
        tokio::spawn(async move { client.model_infer(request).await })
    };
    let mut asked = vec![ask(0, 1)];
    hold.arrived(1).await;
    for (index, (priority, value)) in [(0, 2), (2, 3), (1, 4)].into_iter().enumerate() {
        asked.push(ask(priority, value));
        queued(&server, "m", index + 1).await;
    }
    hold.open(usize::MAX);
    for (answer, value) in asked.into_iter().zip(1..) {
        let reply = answer.await.unwrap().unwrap().into_inner();
        assert_eq!(reply.raw_output_contents[0], vec![value + 10; 64]);
    }
    assert_eq!(hold.seen(), [[1.0], [4.0], [2.0], [3.0]]);
}

#[tokio::test]
async fn fewer_can_be_run_together_on_a_cpu() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    let fewer = "parameters { key: \"frameserve.cpu_batch\" value { string_value: \"2\" } }";
    shelf.add("m", &format!("{ALONE} {fewer}"));
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut answers = vec![send(&client, rows("m", &[1.0], 1)).await];
    hold.arrived(1).await;
    for (waiting, value) in [2.0, 3.0, 4.0].into_iter().enumerate() {
        answers.push(send(&client, rows("m", &[value], 1)).await);
        queued(&server, "m", waiting + 1).await;
    }
    // One that has more rows by itself is run alone.
    answers.push(send(&client, rows("m", &[5.0, 6.0, 7.0], 1)).await);
    queued(&server, "m", 4).await;
    hold.open(usize::MAX);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(hold.seen(), [vec![1.0], vec![2.0, 3.0], vec![4.0], vec![5.0]]);
}

#[tokio::test]
async fn more_than_the_server_takes_is_refused_and_the_rest_is_answered() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let models = shelf.models(&puppet, Control::None);
    let limits = Limits { max_jobs: 2, ..Limits::default() };
    let (server, client) = start_with(Config { models, limits, ..Config::default() }).await;
    let first = send(&client, rows("m", &[1.0], 1)).await;
    hold.arrived(1).await;
    let second = send(&client, rows("m", &[2.0], 1)).await;
    queued(&server, "m", 1).await;
    let refused = send(&client, rows("m", &[3.0], 1)).await.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--max-jobs"), "{refused}");
    hold.open(usize::MAX);
    assert_eq!(first.await.unwrap().unwrap(), [10.0]);
    assert_eq!(second.await.unwrap().unwrap(), [20.0]);
    let third = send(&client, rows("m", &[3.0], 1)).await;
    assert_eq!(third.await.unwrap().unwrap(), [30.0], "what was answered makes room");
}

#[tokio::test]
async fn a_device_that_fails_is_tried_once_more_and_then_the_model_is_unavailable() {
    let lost = Arc::new(AtomicBool::new(false));
    let puppet = {
        let lost = Arc::clone(&lost);
        Puppet::new(move |_, batch| {
            if lost.load(Ordering::Relaxed) {
                return Err(Error::Device("CUDA error: an illegal memory access was encountered".into()));
            }
            Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
        })
    };
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let made = puppet.instances_made();
    for (then, instances) in [("it was loaded anew", made + 1), ("it is not loaded again", made + 1)] {
        lost.store(true, Ordering::Relaxed);
        let failed = send(&client, rows("m", &[1.0], 1)).await.await.unwrap().unwrap_err();
        assert_eq!(failed.code(), Code::Internal);
        assert!(failed.message().contains("device failed: CUDA error: an illegal memory"), "{failed}");
        lost.store(false, Ordering::Relaxed);
        let noted = async {
            while !server.engine.models().index(false).await[0].reason.ends_with(then) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, noted).await.expect("it is said what becomes of it");
        assert_eq!(puppet.instances_made(), instances);
    }
    assert_eq!(server.engine.models().index(false).await[0].state, Some(State::Unavailable));
    assert_eq!(send(&client, rows("m", &[1.0], 1)).await.await.unwrap().unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_device_that_can_not_be_had_again_is_the_end_of_its_models() {
    let lost = Arc::new(AtomicBool::new(false));
    let puppet = {
        let lost = Arc::clone(&lost);
        Puppet::new(move |_, batch| {
            if lost.load(Ordering::Relaxed) {
                return Err(Error::Device("CUDA error: unspecified launch failure".into()));
            }
            Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
        })
    };
    let shelf = Shelf::new();
    let warmup =
        "model_warmup { inputs { key: \"x\" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } }";
    shelf.add("m", &format!("{ALONE} {warmup}"));
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    lost.store(true, Ordering::Relaxed);
    send(&client, rows("m", &[1.0], 1)).await.await.unwrap().unwrap_err();
    let ended = async {
        while server.engine.models().find("m", None).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it goes on with a device that was lost");
    let index = server.engine.models().index(false).await;
    assert_eq!(index[0].state, Some(State::Unavailable));
    assert!(
        index[0].reason.contains("unspecified launch failure; it could not be loaded anew: "),
        "{index:?}"
    );
}

#[tokio::test]
async fn a_panic_fails_its_batch_and_the_model_is_loaded_anew_once() {
    let puppet = Puppet::new(|_, batch| {
        let value = crate::puppet::values(batch[0][0].as_ref().unwrap())[0];
        assert!(value != 13.0, "on purpose");
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let made = puppet.instances_made();
    let failed = send(&client, rows("m", &[13.0], 1)).await.await.unwrap().unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    assert!(failed.message().contains("on purpose"), "{failed}");
    assert_eq!(send(&client, rows("m", &[1.0], 1)).await.await.unwrap().unwrap(), [1.0]);
    assert_eq!(puppet.instances_made(), made + 1);
    let index = server.engine.models().index(false).await;
    assert!(index[0].reason.contains("panicked"), "{index:?}");
    send(&client, rows("m", &[13.0], 1)).await.await.unwrap().unwrap_err();
    let ended = async {
        while server.engine.models().find("m", None).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it goes on after the second panic");
    assert_eq!(puppet.instances_made(), made + 1);
    let refused = send(&client, rows("m", &[1.0], 1)).await.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
}

#[tokio::test]
async fn a_pipeline_heeds_a_timeout_in_its_queue_too() {
    let gate = Gate::new();
    let mut pipelines = Names::default();
    pipelines.insert_stages("held", gate.stages(), "").unwrap();
    let (server, client) = start_with(Config { pipelines, threads: 1, ..Config::default() }).await;
    let ask = |timeout_us| {
        let timeout = infer_parameter::ParameterChoice::Int64Param(timeout_us);
        let (mut client, request) = (client.clone(), with("timeout", timeout, picture("held", 7)));
        tokio::spawn(async move { client.model_infer(request).await })
    };
    // Who has its turn already is waited for, however long it takes.
    let first = ask(60_000_000);
    gate.arrived(1).await;
    let late = ask(5000).await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    gate.open(1);
    first.await.unwrap().unwrap();
    drop(server);
}
