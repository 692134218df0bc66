//! Instances of one request: they run together, and succeed or fail each by itself.

use std::collections::HashMap;

use frameserve::Error;
use frameserve::model::Control;
use frameserve::proto::mindspore::ms_service_client::MsServiceClient;
use frameserve::proto::mindspore::tensor::TensorData;
use frameserve::proto::mindspore::{
    DataType, Instance, PredictReply, PredictRequest, ServableSpec, Tensor, TensorShape,
};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::batching::queued;
use crate::harness::TestServer;
use crate::puppet::{ALONE, Hold, Puppet, Shelf, map, start, values};

type Client = MsServiceClient<Channel>;

/// A puppet that holds every batch, gives back ten times what it got, and wants no 13.
fn held() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        if batch.iter().any(|inputs| values(inputs[0].as_ref().unwrap())[0] == 13.0) {
            return Err(Error::Model("13 is unlucky".into()));
        }
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |value| value * 10.0)]).collect())
    });
    (hold, puppet)
}

async fn serve(shelf: &Shelf, puppet: &Puppet) -> (TestServer, Client) {
    let (server, _) = start(shelf, puppet, Control::None).await;
    let client = MsServiceClient::new(server.channel().await);
    (server, client)
}

fn spec(name: &str, method: &str, version: u64) -> ServableSpec {
    ServableSpec { name: name.into(), method_name: method.into(), version_number: version }
}

fn floats(values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor {
        shape: Some(TensorShape { dims: vec![values.len() as i64] }),
        dtype: DataType::MsFloat32.into(),
        tensor_data: Some(TensorData::Data(data.into())),
        bytes_val: Vec::new(),
    }
}

fn instance(values: &[f32]) -> Instance {
    Instance { items: HashMap::from([("x".into(), floats(values))]), ..Instance::default() }
}

fn ask(spec: ServableSpec, instances: Vec<Instance>) -> PredictRequest {
    PredictRequest { servable_spec: Some(spec), instances }
}

fn answer(instance: &Instance) -> Vec<f32> {
    let Some(TensorData::Data(data)) = &instance.items["y"].tensor_data else { panic!("{instance:?}") };
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Codes and texts of a reply's errors.
fn errors(reply: &PredictReply) -> Vec<(i64, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    reply.error_msg.iter().map(|error| (error.error_code, text(&error.error_msg))).collect()
}

#[tokio::test]
async fn instances_run_in_batches_and_come_back_in_their_order() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, mut client) = serve(&shelf, &puppet).await;
    let request = ask(spec("m", "predict", 0), (1..=5).map(|value| instance(&[value as f32, 0.5])).collect());
    let asked = tokio::spawn(async move { client.predict(request).await });
    hold.arrived(1).await;
    // The thread is busy with those that it found, and the others wait for it together.
    let first = hold.seen()[0].len();
    queued(&server, "m", 5 - first).await;
    hold.open(usize::MAX);
    let reply = asked.await.unwrap().unwrap().into_inner();
    let answers: Vec<_> = reply.instances.iter().map(answer).collect();
    assert_eq!(answers, [[10.0, 5.0], [20.0, 5.0], [30.0, 5.0], [40.0, 5.0], [50.0, 5.0]]);
    assert_eq!((reply.error_msg.len(), reply.servable_spec), (0, Some(spec("m", "predict", 0))));
    assert!(hold.seen().len() <= 2, "{:?}", hold.seen());
    assert_eq!(reply.instances[0].items["y"].shape.as_ref().unwrap().dims, [2], "a row has no batch");
}

#[tokio::test]
async fn one_instance_fails_and_the_others_do_not() {
    let (hold, puppet) = held();
    hold.open(usize::MAX);
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (_server, mut client) = serve(&shelf, &puppet).await;
    let mut asked = async |values: &[f32]| {
        let instances = values.iter().map(|value| instance(&[*value])).collect();
        client.predict(ask(spec("m", "predict", 1), instances)).await.unwrap().into_inner()
    };
    let reply = asked(&[1.0, 13.0, 2.0]).await;
    let none = (0, String::new());
    assert_eq!(errors(&reply), [none.clone(), (1, "13 is unlucky".into()), none]);
    assert_eq!((answer(&reply.instances[0]), answer(&reply.instances[2])), (vec![10.0], vec![20.0]));
    assert_eq!(reply.instances[1], Instance::default());
    let reply = asked(&[13.0, 13.0]).await;
    assert_eq!((errors(&reply), reply.instances.len()), (vec![(1, "13 is unlucky".into())], 0));
}

#[tokio::test]
async fn what_is_wrong_with_a_whole_request_is_one_error() {
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let puppet = Puppet::new(|_, _| panic!("nobody is to be asked"));
    let (_server, mut client) = serve(&shelf, &puppet).await;
    let good = || instance(&[1.0]);
    let other = Instance { items: HashMap::from([("z".into(), floats(&[1.0]))]), ..Instance::default() };
    let mut short = good();
    short.items.get_mut("x").unwrap().tensor_data = Some(TensorData::Data(vec![0; 3].into()));
    let shared = Instance { output_buffers: HashMap::from([("y".into(), Default::default())]), ..good() };
    let cases = [
        (
            spec("no", "predict", 0),
            vec![good()],
            "Request servable(no) method(predict) , servable is not available",
        ),
        (
            spec("m", "predict", 7),
            vec![good()],
            "Request servable(m) method(predict)  version(7) , servable is not available",
        ),
        (spec("m", "add", 0), vec![good()], "Request servable(m) method(add) , method is not available"),
        (
            spec("m", "classify_top1", 0),
            vec![good()],
            "Request servable(m) method(classify_top1) , method is not available",
        ),
        (
            spec("m", "predict", 0),
            vec![],
            "Instances count of request cannot be 0, servable: m, method: predict",
        ),
        (
            spec("m", "predict", 0),
            vec![good(), other],
            "Cannot find input x in instance input , servable m, method predict",
        ),
        (
            spec("m", "predict", 0),
            vec![good(), short],
            "Instances input x check failed, detail: Tensor check failed: input data size 3 invalid",
        ),
        (
            spec("m", "predict", 0),
            vec![shared],
            "The output shared memory of output y is not supported: outputs come in the reply",
        ),
    ];
    for (spec, instances, text) in cases {
        let reply = client.predict(ask(spec, instances)).await.unwrap().into_inner();
        assert_eq!((errors(&reply), reply.instances.len()), (vec![(2, text.into())], 0));
    }
}

#[tokio::test]
async fn other_names_of_methods_and_numbers_of_another_type() {
    let (hold, puppet) = held();
    hold.open(usize::MAX);
    let shelf = Shelf::new();
    let methods =
        "parameters { key: \"frameserve.methods\" value { string_value: \"tenfold, any=predict_cast\" } }";
    shelf.add("m", &format!("{ALONE}\n{methods}"));
    shelf.add(
        "wrong",
        "parameters { key: \"frameserve.methods\" value { string_value: \"predict=detect\" } }",
    );
    let (server, mut client) = serve(&shelf, &puppet).await;
    let whole = Tensor {
        dtype: DataType::MsInt32.into(),
        tensor_data: Some(TensorData::Data(7_i32.to_le_bytes().to_vec().into())),
        ..floats(&[0.0])
    };
    let whole = || Instance { items: HashMap::from([("x".into(), whole.clone())]), ..Instance::default() };
    let reply = client.predict(ask(spec("m", "any", 0), vec![whole()])).await.unwrap().into_inner();
    assert_eq!(answer(&reply.instances[0]), [70.0]);
    let request = ask(spec("m", "tenfold", 0), vec![instance(&[1.0]), whole(), instance(&[2.0])]);
    let reply = client.predict(request).await.unwrap().into_inner();
    let text =
        "Given model input 0 data type kMSI_Int32 not match the data type kMSI_Float32 defined in model";
    let none = (0, String::new());
    assert_eq!(errors(&reply), [none.clone(), (2, text.into()), none]);
    let refused = server.engine.index(false).await.into_iter().find(|entry| entry.name == "wrong").unwrap();
    assert!(refused.reason.contains("it must be NAME=METHOD"), "{}", refused.reason);
}

#[tokio::test]
async fn who_goes_away_is_not_worked_for_and_late_ones_are_told() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = serve(&shelf, &puppet).await;
    let send = |value: f32| {
        let mut client = client.clone();
        tokio::spawn(
            async move { client.predict(ask(spec("m", "predict", 0), vec![instance(&[value])])).await },
        )
    };
    let first = send(1.0);
    hold.arrived(1).await;
    let gone = send(2.0);
    queued(&server, "m", 1).await;
    gone.abort();
    queued(&server, "m", 0).await;
    server.drain();
    server.engine.drain().cancelled().await;
    // While something is still worked on, the connection is kept.
    let late =
        client.clone().predict(Request::new(ask(spec("m", "predict", 0), vec![instance(&[3.0])]))).await;
    assert_eq!(late.unwrap_err().code(), Code::Unavailable);
    hold.open(usize::MAX);
    assert_eq!(answer(&first.await.unwrap().unwrap().get_ref().instances[0]), [10.0]);
    assert_eq!(hold.seen(), [[1.0]]);
}
