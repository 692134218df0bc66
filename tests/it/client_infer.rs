//! `infer`, `models` and `bench` of the program against a server with answers known beforehand.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use frameserve::proto::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::InferRequestedOutputTensor;
use frameserve::proto::inference::model_infer_response::InferOutputTensor;
use frameserve::proto::inference::model_metadata_response::TensorMetadata;
use frameserve::proto::inference::repository_index_response::ModelIndex;
use frameserve::proto::inference::*;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::harness::jpeg;

type Answer<T> = Result<Response<T>, Status>;

/// Knows a few models, and says of each what a real server would.
#[derive(Debug, Default, Clone)]
struct Double {
    loads: Arc<Mutex<Vec<RepositoryModelLoadRequest>>>,
    /// Name of a region, and the name under which its memory can be opened.
    regions: Arc<Mutex<HashMap<String, String>>>,
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: name.into(), datatype: datatype.into(), shape: shape.into() }
}

fn metadata(model: &str) -> Result<ModelMetadataResponse, Status> {
    let picture = || tensor("x", "FP32", &[-1, 3, 8, 8]);
    let (platform, inputs, outputs) = match model {
        "classifier" => ("pytorch_libtorch", vec![picture()], vec![tensor("scores", "FP32", &[-1, 3])]),
        "detector" => ("pytorch_libtorch", vec![picture()], vec![tensor("boxes", "FP32", &[-1, 4])]),
        "embedder" => {
            let outputs = vec![tensor("vector", "FP32", &[-1, 2]), tensor("name", "BYTES", &[-1])];
            ("pytorch_libtorch", vec![picture()], outputs)
        }
        "canny" => {
            let outputs = vec![tensor("image", "BYTES", &[1]), tensor("findings", "BYTES", &[1])];
            ("opencv_pipeline", vec![tensor("image", "BYTES", &[1])], outputs)
        }
        "identity" => {
            let ports = |name| vec![tensor(name, "FP32", &[-1, -1])];
            ("identity", ports("INPUT0"), ports("OUTPUT0"))
        }
        "tensors_only" | "slow" => ("onnx", vec![picture()], vec![tensor("y", "FP32", &[-1])]),
        other => {
            return Err(Status::not_found(format!("Request for unknown model: '{other}' is not found")));
        }
    };
    let (name, platform, versions) = (model.into(), platform.into(), vec!["1".into()]);
    Ok(ModelMetadataResponse { name, versions, platform, inputs, outputs })
}

fn task(model: &str) -> Option<&'static str> {
    match model {
        "classifier" => Some("classification"),
        "detector" => Some("detection"),
        "embedder" => Some("embedding"),
        _ => None,
    }
}

fn output(name: &str, datatype: &str, shape: &[i64]) -> InferOutputTensor {
    let (name, datatype, shape) = (name.into(), datatype.into(), shape.into());
    InferOutputTensor { name, datatype, shape, ..InferOutputTensor::default() }
}

fn strings(name: &str, texts: &[&[u8]]) -> (InferOutputTensor, Bytes) {
    let raw = texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), *text].concat());
    (output(name, "BYTES", &[texts.len() as i64]), raw.collect())
}

fn floats(name: &str, values: &[f32]) -> (InferOutputTensor, Bytes) {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (output(name, "FP32", &[1, values.len() as i64]), raw)
}

fn number(parameters: &HashMap<String, InferParameter>, key: &str) -> u64 {
    match parameters.get(key).and_then(|parameter| parameter.parameter_choice.clone()) {
        Some(ParameterChoice::Int64Param(number)) => number as u64,
        other => panic!("{key} is {other:?}"),
    }
}

impl Double {
    fn infer(&self, request: &ModelInferRequest) -> Result<Vec<(InferOutputTensor, Bytes)>, Status> {
        let input = &request.inputs[0];
        if request.model_name == "identity" {
            return Ok(vec![self.identity(request)]);
        }
        if input.datatype != "BYTES" {
            return Ok(vec![floats("vector", &[1.0, 2.0])]);
        }
        // The length stands before it.
        let picture = &request.raw_input_contents[0][4..];
        if picture.ends_with(b"bad") {
            return Err(Status::invalid_argument("a picture that can't be decoded"));
        }
        let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_str()).collect();
        Ok(match (request.model_name.as_str(), wanted.as_slice()) {
            ("classifier", ["scores"]) => {
                let top = number(&request.outputs[0].parameters, "classification") as usize;
                let classes: [&[u8]; 3] = [b"0.700000:2:cat", b"0.200000:0:dog", b"0.100000:1:newt"];
                vec![strings("scores", &classes[..top.min(3)])]
            }
            ("detector", ["detections"]) => {
                let found = br#"[{"label":"face","class":0,"score":0.9,"box":[4,4,20,10],"points":[[8,8]]},
                    {"label":"nose","class":1,"score":0.3,"box":[1,1,2,2]}]"#;
                vec![strings("detections", &[found])]
            }
            ("canny", ["image", "findings"] | []) => {
                assert!(wanted.is_empty() || request.parameters.contains_key("codec"));
                vec![strings("image", &[picture]), strings("findings", &[b"[]"])]
            }
            ("canny", ["findings"]) => vec![strings("findings", &[br#"{"blur":0.5}"#])],
            ("embedder", []) => vec![floats("vector", &[0.5, -0.25]), strings("name", &[b"a\0"])],
            (model, _) => {
                let text =
                    format!("inference input 'x' data-type is 'BYTES', but model '{model}' expects 'FP32'");
                return Err(Status::invalid_argument(text));
            }
        })
    }

    /// The one input, back by the way by which it came.
    fn identity(&self, request: &ModelInferRequest) -> (InferOutputTensor, Bytes) {
        let input = &request.inputs[0];
        let reply = output("OUTPUT0", &input.datatype, &input.shape);
        if let Some(raw) = request.raw_input_contents.first() {
            return (reply, raw.clone());
        }
        let mut data = vec![0; number(&input.parameters, "shared_memory_byte_size") as usize];
        let at = number(&input.parameters, "shared_memory_offset");
        self.open(&input.parameters).read_exact_at(&mut data, at).unwrap();
        let InferRequestedOutputTensor { parameters, .. } = &request.outputs[0];
        self.open(parameters).write_all_at(&data, number(parameters, "shared_memory_offset")).unwrap();
        (reply, Bytes::new())
    }

    fn open(&self, parameters: &HashMap<String, InferParameter>) -> File {
        let Some(ParameterChoice::StringParam(region)) =
            parameters["shared_memory_region"].parameter_choice.clone()
        else {
            panic!("a region is named")
        };
        let key = self.regions.lock().unwrap()[&region].clone();
        OpenOptions::new().read(true).write(true).open(format!("/dev/shm{key}")).unwrap()
    }
}

/// What this server does not offer.
macro_rules! unimplemented {
    ($($method:ident: $request:ident -> $response:ident),* $(,)?) => {
        // As `async_trait` writes a method, which can't look into a macro.
        $(fn $method<'a, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("")) })
        })*
    };
}

#[tonic::async_trait]
impl GrpcInferenceService for Double {
    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        metadata(&request.get_ref().name).map(Response::new)
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let name = request.into_inner().name;
        metadata(&name)?;
        let parameter =
            |task: &str| ("frameserve.task".to_string(), ModelParameter { string_value: task.into() });
        let parameters = task(&name).map(parameter).into_iter().collect();
        let config = ModelConfig { name, max_batch_size: 4, parameters, ..ModelConfig::default() };
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let request = request.into_inner();
        if request.model_name == "slow" {
            std::future::pending::<()>().await;
        }
        let (outputs, raw): (Vec<_>, Vec<_>) = self.infer(&request)?.into_iter().unzip();
        Ok(Response::new(ModelInferResponse {
            model_name: request.model_name,
            model_version: "1".into(),
            outputs,
            // Shared memory leaves nothing for the message.
            raw_output_contents: raw.into_iter().filter(|raw| !raw.is_empty()).collect(),
            ..ModelInferResponse::default()
        }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let success = Some(StatisticDuration { count: 2, ns: 5_000_000 });
        let inference_stats = Some(InferStatistics { success, ..InferStatistics::default() });
        let name = request.into_inner().name;
        let stats = ModelStatistics { name, inference_stats, ..ModelStatistics::default() };
        Ok(Response::new(ModelStatisticsResponse { model_stats: vec![stats] }))
    }

    async fn repository_index(&self, _: Request<RepositoryIndexRequest>) -> Answer<RepositoryIndexResponse> {
        let model = |name: &str, state: &str, reason: &str| ModelIndex {
            name: name.into(),
            version: "1".into(),
            state: state.into(),
            reason: reason.into(),
        };
        let models = vec![model("classifier", "READY", ""), model("torn", "UNAVAILABLE", "no such file")];
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        self.loads.lock().unwrap().push(request.into_inner());
        Ok(Response::new(RepositoryModelLoadResponse::default()))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        let SystemSharedMemoryRegisterRequest { name, key, .. } = request.into_inner();
        self.regions.lock().unwrap().insert(name, key);
        Ok(Response::new(SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        self.regions.lock().unwrap().remove(&request.into_inner().name).unwrap();
        Ok(Response::new(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn model_stream_infer(
        &self,
        _: Request<tonic::Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        Err(Status::unimplemented(""))
    }

    unimplemented! {
        server_live: ServerLiveRequest -> ServerLiveResponse,
        server_ready: ServerReadyRequest -> ServerReadyResponse,
        model_ready: ModelReadyRequest -> ModelReadyResponse,
        server_metadata: ServerMetadataRequest -> ServerMetadataResponse,
        repository_model_unload: RepositoryModelUnloadRequest -> RepositoryModelUnloadResponse,
        system_shared_memory_status: SystemSharedMemoryStatusRequest -> SystemSharedMemoryStatusResponse,
        cuda_shared_memory_status: CudaSharedMemoryStatusRequest -> CudaSharedMemoryStatusResponse,
        cuda_shared_memory_register: CudaSharedMemoryRegisterRequest -> CudaSharedMemoryRegisterResponse,
        cuda_shared_memory_unregister: CudaSharedMemoryUnregisterRequest -> CudaSharedMemoryUnregisterResponse,
        trace_setting: TraceSettingRequest -> TraceSettingResponse,
        log_settings: LogSettingsRequest -> LogSettingsResponse,
    }
}

/// A server, and a directory with a few pictures in it.
struct Place {
    address: SocketAddr,
    double: Double,
    directory: TempDir,
}

impl Place {
    async fn new() -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let double = Double::default();
        let service = GrpcInferenceServiceServer::new(double.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let serving = Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let directory = TempDir::new().unwrap();
        for name in ["a.jpg", "b.jpg", "c.jpg"] {
            fs::write(directory.path().join(name), jpeg(64, 48)).unwrap();
        }
        let bad = [&jpeg(64, 48)[..], b"bad"].concat();
        fs::write(directory.path().join("b-bad.jpg"), bad).unwrap();
        Place { address, double, directory }
    }

    /// Runs the program; its exit code must be that one.
    fn client(&self, words: &str, code: i32) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
        command.args(words.split(' ')).env("FRAMESERVE_SERVER", self.address.to_string());
        command.current_dir(self.directory.path());
        let Output { status, stdout, stderr } = tokio::task::block_in_place(|| command.output().unwrap());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(stdout), text(stderr));
        assert_eq!(status.code(), Some(code), "{words}: {stdout}{stderr}");
        (stdout, stderr)
    }

    fn json(&self, words: &str, code: i32) -> Value {
        serde_json::from_str(&self.client(words, code).0).unwrap()
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let path = self.directory.path().join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_are_printed_best_first() {
    let place = Place::new().await;
    let (table, _) = place.client("infer classifier a.jpg", 0);
    assert_eq!(
        table,
        "   score  index  label\n  0.7000      2  cat\n  0.2000      0  dog\n  0.1000      1  newt\n"
    );
    let report = place.json("infer classifier a.jpg c.jpg --top 1 --json", 0);
    assert_eq!(report["results"][1]["source"], "c.jpg");
    assert_eq!(report["results"][0]["classes"][0]["label"], "cat");
    assert_eq!(report["results"][0]["classes"].as_array().unwrap().len(), 1);
    let (_, said) = place.client("infer classifier a.jpg -o a.png", 1);
    assert!(said.contains("classes are printed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_printed_and_drawn() {
    let place = Place::new().await;
    let (table, _) = place.client("infer detector a.jpg -o found.png --threshold 0.5", 0);
    assert!(table.contains("0.9000  face   4  4     20      10") && !table.contains("nose"), "{table}");
    assert!(table.contains("wrote found.png") && place.file("found.png").starts_with(b"\x89PNG"));
    let report = place.json("infer detector a.jpg --json", 0);
    assert_eq!(report["results"][0]["detections"][1]["label"], "nose");
    assert_eq!(report["results"][0]["version"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_a_model_too() {
    let place = Place::new().await;
    let (text, _) = place.client("infer canny a.jpg -o edges.jpg", 0);
    assert!(text.contains("picture 64x48, JPEG") && place.file("edges.jpg") == place.file("a.jpg"), "{text}");
    place.client("infer canny a.jpg -o edges.png", 0);
    assert!(place.file("edges.png").starts_with(b"\x89PNG"));
    place.client("infer canny a.jpg -o edges.bmp", 0);
    assert!(place.file("edges.bmp").starts_with(b"BM"));
    let (text, _) = place.client("infer canny a.jpg", 0);
    assert!(text.contains("  blur 0.5\n"), "{text}");
    let (_, said) = place.client("infer canny a.jpg c.jpg -o edges.png", 1);
    assert!(said.contains("2 pictures need a directory"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_reported_and_the_rest_goes_on() {
    let place = Place::new().await;
    let (text, said) = place.client("infer canny *.jpg -o out/", 4);
    let order: Vec<&str> =
        text.lines().filter(|line| line.ends_with(".jpg") && !line.contains("wrote")).collect();
    assert_eq!(order.len(), 3, "{text}");
    assert!(order.is_sorted() && place.file("out/c.jpg") == place.file("c.jpg"));
    assert!(said.contains("b-bad.jpg: ") && said.contains("INVALID_ARGUMENT"), "{said}");
    let report = place.json("infer classifier *.jpg --json --concurrency 1", 4);
    assert_eq!((report["results"].as_array().unwrap().len(), &report["exit_code"]), (4, &4.into()));
    fs::write(place.directory.path().join("empty.png"), b"").unwrap();
    let report = place.json("infer classifier a.jpg empty.png c.jpg --json", 1);
    assert!(report["results"][1]["error"].as_str().unwrap().contains("it is empty"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_come_and_go_as_npy() {
    let place = Place::new().await;
    let (text, _) = place.client("infer embedder a.jpg", 0);
    assert!(text.contains("vector  FP32 [1,2]  0.5, -0.25\n"), "{text}");
    place.client("infer embedder a.jpg --raw out", 0);
    assert_eq!(place.file("out/a.name.bin"), b"a\0");
    let vector = place.file("out/a.vector.npy");
    assert!(vector.starts_with(b"\x93NUMPY") && vector.ends_with(&(-0.25f32).to_le_bytes()));
    let (_, said) = place.client("infer embedder a.jpg -o a.npy", 1);
    assert!(said.contains("can't hold outputs vector, name"), "{said}");
    place.client("infer identity --input INPUT0=out/a.vector.npy -o back.npy", 0);
    assert_eq!(place.file("back.npy"), vector);
    let report = place.json("infer identity --input INPUT0=ones --shape INPUT0=2,3 --json", 0);
    assert_eq!(
        report["results"][0]["outputs"][0]["values"],
        serde_json::json!([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    );
    for (words, expected) in [
        ("infer identity --input INPUT0=ones", "give its dimensions"),
        ("infer identity --input INPUT9=ones", "no input 'INPUT9'; it has INPUT0"),
        ("infer identity --input INPUT0=a.jpg", "no .npy file"),
        ("infer identity", "input 'INPUT0' (FP32 [-1,-1]) gets no values"),
    ] {
        let (_, said) = place.client(words, 1);
        assert!(said.contains(expected), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_explained() {
    let place = Place::new().await;
    for (words, code, expected) in [
        ("infer nothing a.jpg", 3, "`frameserve-client models` lists"),
        ("infer slow a.jpg --timeout 0.1", 4, "gave no answer within 0.1 s"),
        ("infer tensors_only a.jpg", 4, "--input x=FILE.npy"),
        ("infer classifier a.jpg --server 127.0.0.1:1", 2, "cannot connect"),
        ("models unload m", 3, "does not offer RepositoryModelUnload"),
        ("bench nothing --seconds 1", 3, "nothing"),
    ] {
        let target = format!(" --target kserve://{}", place.address);
        let words = if words.starts_with("bench") { format!("{words}{target}") } else { words.into() };
        let (_, said) = place.client(&words, code);
        assert!(said.contains(expected), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_shown_and_loaded() {
    let place = Place::new().await;
    let (text, _) = place.client("models", 0);
    assert!(text.contains("torn        1        UNAVAILABLE  no such file"), "{text}");
    assert_eq!(place.json("models list --json", 0)[0]["state"], "READY");
    let (text, _) = place.client("models show classifier", 0);
    assert!(text.contains("x       FP32  [-1,3,8,8]  pictures") && text.contains("classification"), "{text}");
    let (text, _) = place.client("models config classifier", 0);
    assert!(text.contains("max_batch_size: 4"), "{text}");
    let config = place.json("models config classifier --json", 0);
    assert_eq!(config["parameters"]["frameserve.task"]["string_value"], "classification");
    assert_eq!(place.json("models stats classifier --json", 0)[0]["mean_ms"]["all"], 2.5);
    fs::write(place.directory.path().join("config.json"), config.to_string()).unwrap();
    let (text, _) = place.client("models load classifier --config config.json", 0);
    assert!(text.starts_with("classifier was loaded\n") && text.contains("READY"), "{text}");
    let loads = place.double.loads.lock().unwrap().clone();
    assert_eq!(loads[0].model_name, "classifier");
    assert!(loads[0].parameters.contains_key("config"));
    let (_, said) = place.client("models load classifier --config a.jpg", 1);
    assert!(said.contains("a.jpg"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_is_counted_and_its_content_checked() {
    let place = Place::new().await;
    let bench = format!("bench --target kserve://{} --seconds 0.3 --warmup 0.1 --json", place.address);
    let identity = "identity --shape INPUT0=1,64 --check-identity --concurrency 1,4";
    for words in ["--connections 2", "--shared-memory"] {
        let report = place.json(&format!("{bench} {identity} {words}"), 0);
        let levels = report["levels"].as_array().unwrap();
        assert_eq!((levels.len(), &levels[1]["concurrency"]), (2, &4.into()));
        assert!(levels.iter().all(|level| level["requests_per_second"].as_f64().unwrap() > 0.0), "{report}");
        assert_eq!(
            (&levels[0]["errors"], &report["outputs"][0]["shape"]),
            (&Value::Object(Default::default()), &serde_json::json!([1, 64]))
        );
    }
    assert!(place.double.regions.lock().unwrap().is_empty());
    let left = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
    let own = format!("frameserve-bench-{}", std::process::id());
    assert!(left.into_iter().all(|name| Path::new(&name) != Path::new(&own)));
    let (_, said) = place.client(&format!("{bench} embedder --check-identity"), 5);
    assert!(said.contains("--check-identity"), "{said}");
    let report = place.json(&format!("{bench} canny --picture a.jpg --concurrency 1"), 0);
    assert_eq!(report["inputs"][0]["datatype"], "BYTES");
}
