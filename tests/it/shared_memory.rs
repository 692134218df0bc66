//! Tensors in shared memory: when they are read and written, and what happens when the memory goes away meanwhile.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use frameserve::Error;
use frameserve::config::{Config, SharedMemory};
use frameserve::engine::{Asked, InferRequest};
use frameserve::model::Control;
use frameserve::model::check::Given;
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use frameserve::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStatisticsRequest,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryStatusRequest,
};
use frameserve::tensor::{DataType, Elsewhere, Kept, Place, Shape, Tensor};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::batching::queued;
use crate::harness::TestServer;
use crate::puppet::{ALONE, Hold, InferClient, Puppet, Shelf, rows, start};

/// A shared memory object, which is a region of the same name too.
struct Memory {
    name: String,
    file: File,
}

impl Memory {
    async fn new(client: &InferClient, bytes: u64) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("frameserve-shared-{}-{number}", std::process::id());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(format!("/dev/shm/{name}")).unwrap();
        file.set_len(bytes).unwrap();
        let register = SystemSharedMemoryRegisterRequest {
            name: name.clone(),
            key: format!("/{name}"),
            offset: 0,
            byte_size: bytes,
        };
        client.clone().system_shared_memory_register(register).await.unwrap();
        Memory { name, file }
    }

    fn put(&self, at: u64, value: f32) {
        self.file.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn value(&self, at: u64) -> f32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        f32::from_le_bytes(bytes)
    }

    fn parameters(&self, at: u64, bytes: u64) -> std::collections::HashMap<String, InferParameter> {
        let number = |number: u64| ParameterChoice::Int64Param(number.cast_signed());
        [
            ("shared_memory_region", ParameterChoice::StringParam(self.name.clone())),
            ("shared_memory_offset", number(at)),
            ("shared_memory_byte_size", number(bytes)),
        ]
        .map(|(key, choice)| (key.to_owned(), InferParameter { parameter_choice: Some(choice) }))
        .into()
    }

    /// A request for the model `m` whose one value lies at 0, and whose result is to be put at 4.
    fn request(&self) -> ModelInferRequest {
        self.request_of("m", ["FP32", "x", "y"], [4, 4])
    }

    /// A request with one element, of so many bytes as the input and as the output.
    fn request_of(&self, model: &str, [datatype, x, y]: [&str; 3], bytes: [u64; 2]) -> ModelInferRequest {
        let input = InferInputTensor {
            name: x.into(),
            datatype: datatype.into(),
            shape: vec![1, 1],
            parameters: self.parameters(0, bytes[0]),
            ..InferInputTensor::default()
        };
        let output =
            InferRequestedOutputTensor { name: y.into(), parameters: self.parameters(bytes[0], bytes[1]) };
        ModelInferRequest {
            model_name: model.into(),
            inputs: vec![input],
            outputs: vec![output],
            ..ModelInferRequest::default()
        }
    }

    /// What is said of it when it has been made shorter.
    fn shrunk(&self) -> String {
        let name = &self.name;
        format!("shared memory region '{name}' can't be used: '/{name}' is shorter than it was")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        std::fs::remove_file(format!("/dev/shm/{}", self.name)).unwrap();
    }
}

type Answer = Result<ModelInferResponse, Status>;

fn send(client: &InferClient, request: ModelInferRequest) -> JoinHandle<Answer> {
    let mut client = client.clone();
    tokio::spawn(async move { client.model_infer(request).await.map(tonic::Response::into_inner) })
}

/// A puppet that holds every batch, and then gives back what it got.
fn held() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    (hold, puppet)
}

fn fails_as_shrunk(answer: Answer, memory: &Memory) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, memory.shrunk().as_str()));
}

#[tokio::test]
async fn inputs_are_read_when_the_model_runs_and_who_has_none_left_fails_alone() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, mut client) = start(&shelf, &puppet, Control::None).await;
    let first = send(&client, rows("m", &[1.0], 1));
    hold.arrived(1).await;
    let (shrinks, stays) = (Memory::new(&client, 8).await, Memory::new(&client, 8).await);
    let mut sent = Vec::new();
    for (index, request) in [shrinks.request(), stays.request(), rows("m", &[4.0], 1)].into_iter().enumerate()
    {
        sent.push(send(&client, request));
        queued(&server, "m", index + 1).await;
    }
    shrinks.file.set_len(3).unwrap();
    stays.put(0, 3.0);
    hold.open(2);
    first.await.unwrap().unwrap();
    fails_as_shrunk(sent.remove(0).await.unwrap(), &shrinks);
    let answer = sent.remove(0).await.unwrap().unwrap();
    assert_eq!((answer.outputs[0].shape.as_slice(), answer.raw_output_contents[0].len()), (&[1, 1][..], 0));
    assert_eq!(stays.value(4), 3.0);
    assert_eq!(crate::puppet::answer(&sent.remove(0).await.unwrap().unwrap()), [4.0]);
    assert_eq!(hold.seen(), [vec![1.0], vec![3.0, 4.0]], "the others were run together, and once");
    let asked = ModelStatisticsRequest { name: "m".into(), version: String::new() };
    let statistics = client.model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
    assert_eq!((statistics.inference_count, statistics.execution_count), (3, 2));
    assert_eq!(statistics.inference_stats.unwrap().fail.unwrap().count, 1);
}

#[tokio::test]
async fn outputs_that_find_no_room_fail_alone_and_make_none() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let first = send(&client, rows("m", &[1.0], 1));
    hold.arrived(1).await;
    let (shrinks, small, stays) =
        (Memory::new(&client, 8).await, Memory::new(&client, 8).await, Memory::new(&client, 8).await);
    let mut sent = Vec::new();
    let too_small = small.request_of("m", ["FP32", "x", "y"], [4, 3]);
    for (index, request) in [shrinks.request(), too_small, stays.request()].into_iter().enumerate() {
        sent.push(send(&client, request));
        queued(&server, "m", index + 1).await;
    }
    stays.put(0, 5.0);
    hold.open(1);
    hold.arrived(2).await;
    shrinks.file.set_len(4).unwrap();
    hold.open(1);
    first.await.unwrap().unwrap();
    fails_as_shrunk(sent.remove(0).await.unwrap(), &shrinks);
    assert_eq!(shrinks.file.metadata().unwrap().len(), 4);
    let status = sent.remove(0).await.unwrap().unwrap_err();
    let text = "shared memory size specified with the request for output 'y' (3 bytes) should be at least 4 bytes to \
                hold the results";
    assert_eq!((status.code(), status.message()), (Code::Internal, text));
    sent.remove(0).await.unwrap().unwrap();
    assert_eq!(stays.value(4), 5.0);
    assert_eq!(hold.seen(), [vec![1.0], vec![0.0, 0.0, 5.0]]);
}

/// A place that counts what is done with it.
#[derive(Debug, Default)]
struct Counting {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Counting {
    fn counts(&self) -> [usize; 2] {
        [&self.reads, &self.writes].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Place for Counting {
    fn read(&self) -> Result<Bytes, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from_static(&[0; 4]))
    }

    fn write(&self, _: Tensor) -> Result<(), Error> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn who_goes_away_has_nothing_read_any_more_and_nothing_written() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let served = server.engine.served("m", "").unwrap();
    let ask = |place: &Arc<Counting>| {
        let (engine, served) = (Arc::clone(&server.engine), served.clone());
        let input: Arc<dyn Place> = Arc::<Counting>::clone(place);
        let elsewhere = Elsewhere::new(DataType::Fp32, Shape::new(vec![1, 1]), Arc::clone(&input));
        let request = InferRequest {
            inputs: vec![Given { name: "x".into(), tensor: Kept::Elsewhere(elsewhere) }],
            outputs: vec![Asked { place: Some(input), ..Asked::whole("y") }],
            ..InferRequest::default()
        };
        tokio::spawn(async move { engine.infer(&served, request).await })
    };
    let [running, waiting, stays]: [Arc<Counting>; 3] = Default::default();
    let runs = ask(&running);
    hold.arrived(1).await;
    let waits = ask(&waiting);
    queued(&server, "m", 1).await;
    runs.abort();
    waits.abort();
    assert!(runs.await.unwrap_err().is_cancelled());
    queued(&server, "m", 0).await;
    let last = ask(&stays);
    queued(&server, "m", 1).await;
    hold.open(usize::MAX);
    last.await.unwrap().unwrap();
    drop(client);
    assert_eq!([running.counts(), waiting.counts(), stays.counts()], [[1, 0], [0, 0], [1, 1]]);
}

#[tokio::test]
async fn strings_and_truths_and_pictures_go_through_it_too() {
    let shelf = Shelf::new();
    for datatype in ["STRING", "BOOL"] {
        let port =
            |kind: &str| format!("{kind} {{ name: \"t\" data_type: TYPE_{datatype} dims: [-1, -1] }}\n");
        let text = format!("name: \"{datatype}\" backend: \"identity\"\n{}{}", port("input"), port("output"));
        shelf.config(datatype, &text);
        shelf.version(datatype, 1, "good");
    }
    let (_server, mut client) = start(&shelf, &held().1, Control::None).await;
    let memory = Memory::new(&client, 64).await;
    memory.file.write_all_at(b"\x03\0\0\0abc", 0).unwrap();
    client.model_infer(memory.request_of("STRING", ["BYTES", "t", "t"], [7, 57])).await.unwrap();
    let mut found = [0; 8];
    memory.file.read_exact_at(&mut found, 7).unwrap();
    assert_eq!(&found, b"\x03\0\0\0abc\0");
    let status = client.model_infer(memory.request_of("BOOL", ["BOOL", "t", "t"], [1, 1])).await.unwrap_err();
    assert!(status.message().ends_with("is 3, and a BOOL is 0 or 1"), "{status}");
    let picture = memory.request_of("invert | invert | invert", ["UINT8", "image", "image"], [1, 1]);
    client.model_infer(picture).await.unwrap();
    memory.file.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(found[..2], [3, 252]);
}

/// An address of this machine that others can reach it by, if it has one. Nothing is sent for that.
fn outside() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // A block of addresses that is kept for documentation.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[tokio::test]
async fn who_comes_over_the_network_has_no_memory_to_share() {
    let Some(outside) = outside() else {
        println!("skipped: this machine has no address but its own");
        return;
    };
    for (shared_memory, allowed) in [(SharedMemory::ThisMachine, false), (SharedMemory::Everywhere, true)] {
        let listener = tokio::net::TcpListener::bind((outside, 0)).await.unwrap();
        let config = Config { shared_memory, ..Config::default() };
        let server = TestServer::start_on(config, vec![listener.into()]).await;
        let mut client = InferClient::new(server.channel().await);
        let status = client.system_shared_memory_status(SystemSharedMemoryStatusRequest::default()).await;
        let register = SystemSharedMemoryRegisterRequest {
            name: "r".into(),
            key: "/no-such".into(),
            byte_size: 4,
            offset: 0,
        };
        let registered = client.system_shared_memory_register(register).await.unwrap_err();
        if allowed {
            status.unwrap();
            assert_eq!(registered.code(), Code::Internal, "{registered}");
            continue;
        }
        for refused in [status.unwrap_err(), registered] {
            assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
            assert!(refused.message().contains("--shared-memory everywhere"), "{refused}");
        }
        server.loaded().await;
        let window = [
            ("shared_memory_region", ParameterChoice::StringParam("r".into())),
            ("shared_memory_byte_size", ParameterChoice::Int64Param(4)),
        ];
        let mut request = ModelInferRequest { raw_input_contents: Vec::new(), ..rows("invert", &[0.0], 1) };
        let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
        request.inputs[0].parameters = window.map(|(key, choice)| (key.into(), parameter(choice))).into();
        let refused = client.model_infer(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    }
}
