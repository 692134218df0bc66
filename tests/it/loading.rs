//! How models come, change and go, while clients use them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use frameserve::Error;
use frameserve::config::{Config, Models};
use frameserve::model::registry::{IndexEntry, State};
use frameserve::model::{Backend, Backends, Control, Opened, Settings};
use frameserve::proto::inference::model_repository_parameter::ParameterChoice;
use frameserve::proto::inference::{
    ModelReadyRequest, ModelRepositoryParameter, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::TestServer;
use crate::puppet::{
    ALONE, Hold, InferClient, PATIENCE, Puppet, Shelf, answer, map, rows, start, start_with,
};

/// A puppet that answers with the number of its version.
fn numbered() -> Puppet {
    Puppet::new(|version, batch| {
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |_| version as f32)]).collect())
    })
}

fn load(name: &str) -> RepositoryModelLoadRequest {
    RepositoryModelLoadRequest { model_name: name.into(), ..RepositoryModelLoadRequest::default() }
}

fn unload(name: &str) -> RepositoryModelUnloadRequest {
    RepositoryModelUnloadRequest { model_name: name.into(), ..RepositoryModelUnloadRequest::default() }
}

fn all() -> Control {
    Control::Explicit(vec!["*".into()])
}

/// The registry's list, once it is as it should be.
async fn index_until(server: &TestServer, wanted: impl Fn(&[IndexEntry]) -> bool) -> Vec<IndexEntry> {
    let models = server.engine.models();
    let waiting = async {
        loop {
            let index = models.index(false).await;
            if wanted(&index) {
                return index;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(index) => index,
        Err(_) => panic!("it never came to that: {:?}", models.index(false).await),
    }
}

/// How often a model is loaded anew, and how many requests are answered before each time, by so many clients.
const RELOADS: u64 = 20;
const BEFORE_EACH: usize = 50;
const CLIENTS: usize = 10;

/// Has clients ask a model all the time while `publish` puts new versions beside the first one, which are loaded one
/// after the other. `check` sees the answers of each client, in order.
async fn ask_while_loading(
    client: &InferClient,
    publish: impl Fn(u64),
    check: impl Fn(&mut f32, &[f32]) + Copy + Send + 'static,
) {
    let (answered, done) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, answered, done) = (client.clone(), Arc::clone(&answered), done.clone());
            tokio::spawn(async move {
                let mut newest = 0.0;
                while !done.is_cancelled() {
                    let response = client.model_infer(rows("m", &[0.0], 4)).await.unwrap();
                    check(&mut newest, &answer(response.get_ref()));
                    answered.add_permits(1);
                }
            })
        })
        .collect();
    let mut client = client.clone();
    for number in 2..2 + RELOADS {
        let some = answered.acquire_many(BEFORE_EACH as u32);
        tokio::time::timeout(PATIENCE, some).await.expect("somebody failed").unwrap().forget();
        publish(number);
        client.repository_model_load(load("m")).await.unwrap();
    }
    done.cancel();
    for task in asking {
        task.await.unwrap();
    }
}

/// The newest version alone is left.
async fn newest_is_left(server: &TestServer) {
    let index =
        index_until(server, |index| index.iter().all(|entry| entry.state != Some(State::Unloading))).await;
    let ready: Vec<_> = index.iter().filter(|entry| entry.state == Some(State::Ready)).collect();
    assert_eq!(ready.len(), 1, "{index:?}");
    assert_eq!(ready[0].version, Some(1 + RELOADS));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_a_model_is_loaded_anew_again_and_again() {
    let shelf = Shelf::new();
    shelf.add("m", "instance_group { count: 2 kind: KIND_CPU }");
    let (server, mut client) = start(&shelf, &numbered(), all()).await;
    let publish = |number| shelf.version("m", number, "good");
    ask_while_loading(&client, publish, |newest, answer| {
        assert!(answer[0] >= *newest, "version {} after {newest}", answer[0]);
        *newest = answer[0];
    })
    .await;
    let last = client.model_infer(rows("m", &[0.0], 1)).await.unwrap();
    assert_eq!(answer(last.get_ref()), [1.0 + RELOADS as f32]);
    newest_is_left(&server).await;
}

#[cfg(feature = "torch")]
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_a_program_of_torch_is_loaded_anew_again_and_again() {
    let shelf = Shelf::new();
    let config = "platform: \"pytorch_libtorch\" max_batch_size: 8\n\
                  input { name: \"x\" data_type: TYPE_FP32 dims: [4] }\n\
                  output { name: \"y\" data_type: TYPE_FP32 dims: [4] }\n\
                  instance_group { count: 2 kind: KIND_CPU }";
    shelf.config("m", config);
    let publish = |number| {
        shelf.version("m", number, "");
        let file = shelf.0.path().join(format!("m/{number}/model.pt"));
        std::fs::copy(crate::torch::models().join("same.pt"), file).unwrap();
    };
    publish(1);
    let (server, client) = start(&shelf, &numbered(), all()).await;
    ask_while_loading(&client, publish, |_, answer| assert_eq!(answer, [0.0; 4])).await;
    newest_is_left(&server).await;
}

#[tokio::test]
async fn what_was_asked_of_the_old_version_it_still_answers() {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |version, batch| {
        if version == 1 {
            holding.batch(batch);
        }
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |_| version as f32)]).collect())
    });
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, mut client) = start(&shelf, &puppet, all()).await;
    let mut asking = client.clone();
    let old = tokio::spawn(async move { asking.model_infer(rows("m", &[0.0], 1)).await });
    hold.arrived(1).await;
    shelf.version("m", 2, "good");
    client.repository_model_load(load("m")).await.unwrap();
    let state = |index: &[IndexEntry]| index[0].state;
    assert_eq!(state(&server.engine.models().index(false).await), Some(State::Unloading));
    assert_eq!(answer(client.model_infer(rows("m", &[0.0], 1)).await.unwrap().get_ref()), [2.0]);
    hold.open(1);
    assert_eq!(answer(old.await.unwrap().unwrap().get_ref()), [1.0]);
    index_until(&server, |index| state(index) == Some(State::Unavailable)).await;
}

#[tokio::test]
async fn a_version_that_fails_leaves_the_old_one_serving_and_says_why() {
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (server, mut client) = start(&shelf, &numbered(), all()).await;
    shelf.version("m", 2, "broken");
    let refused = client.repository_model_load(load("m")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("this file is broken"), "{refused}");
    assert_eq!(answer(client.model_infer(rows("m", &[0.0], 1)).await.unwrap().get_ref()), [1.0]);
    let index = server.engine.models().index(false).await;
    assert_eq!((index[0].state, index[1].state), (Some(State::Ready), Some(State::Unavailable)));
    assert!(index[1].reason.contains("this file is broken"), "{index:?}");
    // The same with a configuration that can't be read.
    shelf.config("m", "max_batch_size: many");
    let refused = client.repository_model_load(load("m")).await.unwrap_err();
    assert!(refused.message().contains("config.pbtxt"), "{refused}");
    assert_eq!(answer(client.model_infer(rows("m", &[0.0], 1)).await.unwrap().get_ref()), [1.0]);
    let index = server.engine.models().index(false).await;
    assert!(index[0].reason.contains("config.pbtxt"), "{index:?}");
}

#[tokio::test]
async fn a_warm_up_that_fails_or_panics_makes_a_model_unavailable() {
    let puppet = Puppet::new(|version, _| match version {
        1 => panic!("too cold"),
        _ => Err(frameserve::Error::Model("still too cold".into())),
    });
    let shelf = Shelf::new();
    let warm = "model_warmup { name: \"w\" batch_size: 1 inputs { key: \"x\" value { data_type: TYPE_FP32 dims: [3] \
                zero_data: true } } }";
    shelf.add("n", &format!("{ALONE} version_policy {{ all {{}} }} {warm}"));
    shelf.version("n", 2, "good");
    let (server, mut client) = start(&shelf, &puppet, Control::None).await;
    let index = server.engine.models().index(false).await;
    let of =
        |version| index.iter().find(|entry| entry.name == "n" && entry.version == Some(version)).unwrap();
    for (version, why) in [(1, "too cold"), (2, "still too cold")] {
        assert_eq!(of(version).state, Some(State::Unavailable));
        assert!(of(version).reason.contains(why), "{index:?}");
    }
    let version = "1".to_owned();
    let refused = client.model_ready(ModelReadyRequest { name: "n".into(), version }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn clients_load_and_unload_only_where_that_is_up_to_them() {
    let shelf = Shelf::new();
    shelf.add("a", "");
    shelf.add("b", "");
    let (server, mut client) = start(&shelf, &numbered(), Control::Explicit(vec!["a".into()])).await;
    let states = |index: Vec<IndexEntry>| index.into_iter().map(|entry| entry.state).collect::<Vec<_>>();
    assert_eq!(states(server.engine.models().index(false).await), [Some(State::Ready), None]);
    let missing = client.model_infer(rows("b", &[0.0], 1)).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    client.repository_model_load(load("b")).await.unwrap();
    client.model_infer(rows("b", &[0.0], 1)).await.unwrap();
    client.repository_model_unload(unload("b")).await.unwrap();
    client.repository_model_unload(unload("nobody")).await.unwrap();
    assert_eq!(client.model_infer(rows("b", &[0.0], 1)).await.unwrap_err().code(), Code::NotFound);
    let unknown = client.repository_model_load(load("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Internal);
    assert!(
        unknown.message().contains("failed to load 'nobody', failed to poll from model repository"),
        "{unknown}"
    );
    let missing = client.model_infer(rows("nobody", &[0.0], 1)).await.unwrap_err();
    assert!(missing.message().contains("'nobody' is not found"), "{missing}");

    assert_eq!(server.engine.models().index(false).await.len(), 2, "what is not there is not remembered");
    let unknown = client.model_infer(rows("nobody", &[0.0], 1)).await.unwrap_err();
    assert!(unknown.message().ends_with("Request for unknown model: 'nobody' is not found"), "{unknown}");

    let (_server, mut client) = start(&shelf, &numbered(), Control::None).await;
    for refused in [
        client.repository_model_load(load("a")).await.unwrap_err(),
        client.repository_model_unload(unload("a")).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("explicit model load / unload is not allowed"), "{refused}");
    }
}

#[tokio::test]
async fn a_load_may_bring_its_own_configuration_and_files() {
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    let (_server, mut client) = start(&shelf, &numbered(), all()).await;
    let json = r#"{"backend":"puppet","max_batch_size":2,
        "input":[{"name":"x","data_type":"TYPE_FP32","dims":[4]}],
        "output":[{"name":"y","data_type":"TYPE_FP32","dims":[4]}]}"#;
    let parameter = |choice| ModelRepositoryParameter { parameter_choice: Some(choice) };
    let mut request = load("m");
    request.parameters.insert("config".into(), parameter(ParameterChoice::StringParam(json.into())));
    client.repository_model_load(request.clone()).await.unwrap();
    client.model_infer(rows("m", &[0.0], 4)).await.unwrap();
    let refused = client.model_infer(rows("m", &[0.0], 3)).await.unwrap_err();
    assert!(refused.message().contains("Expected [-1,4], got [1,3]"), "{refused}");
    request.model_name = "new".into();
    let file = parameter(ParameterChoice::BytesParam("good".into()));
    request.parameters.insert("file:7/model.pt".into(), file.clone());
    client.repository_model_load(request.clone()).await.unwrap();
    assert_eq!(answer(client.model_infer(rows("new", &[0.0], 4)).await.unwrap().get_ref()), [7.0; 4]);
    for name in ["", "..", "a/b", "nul\0", &"x".repeat(256)] {
        request.model_name = name.into();
        let refused = client.repository_model_load(request.clone()).await.unwrap_err();
        assert!(refused.message().contains("failed to poll from model repository"), "{refused}");
    }
    request.model_name = "new".into();
    request.parameters.insert("file:../7/model.pt".into(), file);
    client.repository_model_load(request).await.unwrap_err();
}

/// A backend that remembers the folders from which it loaded.
struct Remembers(Puppet, Arc<Mutex<Vec<PathBuf>>>);

impl Backend for Remembers {
    fn open(&self, settings: &Arc<Settings>, folder: &Path) -> Result<Box<dyn Opened>, Error> {
        self.1.lock().unwrap().push(folder.to_owned());
        self.0.open(settings, folder)
    }
}

#[tokio::test]
async fn files_that_a_load_brought_stay_for_as_long_as_they_are_served() {
    let (shelf, folders) = (Shelf::new(), Arc::new(Mutex::new(Vec::new())));
    let backends = Backends::default().with("puppet", Remembers(numbered(), Arc::clone(&folders)));
    let models = Models { backends, ..shelf.models(&numbered(), all()) };
    let (_server, mut client) = start_with(Config { models, ..Config::default() }).await;
    let json = r#"{"backend":"puppet","input":[{"name":"x","data_type":"TYPE_FP32","dims":[-1]}],
        "output":[{"name":"y","data_type":"TYPE_FP32","dims":[-1]}]}"#;
    let parameter = |choice| ModelRepositoryParameter { parameter_choice: Some(choice) };
    let mut request = load("brought");
    request.parameters.insert("config".into(), parameter(ParameterChoice::StringParam(json.into())));
    let file = |contents: &str| parameter(ParameterChoice::BytesParam(contents.to_owned().into()));
    request.parameters.insert("file:1/model.pt".into(), file("good"));
    client.repository_model_load(request.clone()).await.unwrap();
    request.parameters.insert("file:1/model.pt".into(), file("broken"));
    client.repository_model_load(request).await.unwrap_err();
    let folders = folders.lock().unwrap().clone();
    assert!(folders[0].join("model.pt").is_file(), "it serves on, and may have to be made anew");
    assert!(!folders[1].exists(), "what could not be loaded is not kept");
    client.repository_model_unload(unload("brought")).await.unwrap();
    let gone = async {
        while folders[0].exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the files of an unloaded model are still there");
}

/// What holds every batch, which is that of the warm-up, and a repository with two models to warm up.
pub fn slow() -> (Hold, Puppet, Shelf) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| vec![inputs[0].clone().unwrap()]).collect())
    });
    let shelf = Shelf::new();
    let warm = "model_warmup { name: \"w\" batch_size: 1 inputs { key: \"x\" value { data_type: TYPE_FP32 dims: [3] \
                zero_data: true } } }";
    for name in ["a", "b"] {
        shelf.add(name, &format!("{ALONE} {warm}"));
    }
    (hold, puppet, shelf)
}

#[tokio::test]
async fn the_index_does_not_wait_for_models_that_take_long_to_load() {
    let (hold, puppet, shelf) = slow();
    let (server, client) = start(&shelf, &puppet, Control::Explicit(Vec::new())).await;
    let loads: Vec<_> = ["a", "b"]
        .map(|name| {
            let mut client = client.clone();
            tokio::spawn(async move { client.repository_model_load(load(name)).await })
        })
        .into();
    hold.arrived(2).await;
    let index = tokio::time::timeout(PATIENCE, server.engine.models().index(false)).await.unwrap();
    let states: Vec<_> = index.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [Some(State::Loading); 2]);
    hold.open(2);
    for load in loads {
        load.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_load_goes_on_alone_when_its_client_goes_away() {
    let (hold, puppet, shelf) = slow();
    let (server, _client) = start(&shelf, &puppet, Control::Explicit(Vec::new())).await;
    let models = server.engine.models();
    let load = || tokio::spawn(Arc::clone(models).load("a", None, Vec::new()));
    let first = load();
    hold.arrived(1).await;
    first.abort();
    first.await.unwrap_err();
    let second = load();
    let together = tokio::time::timeout(Duration::from_millis(200), hold.arrived(2)).await;
    assert!(together.is_err(), "two loads of one model at a time");
    hold.open(2);
    second.await.unwrap().unwrap();
    assert_eq!(puppet.instances_made(), 2);
}

/// A backend whose first file grows while it is read, and that waits before it reads it again.
struct Grows {
    puppet: Puppet,
    read: Arc<Mutex<Vec<String>>>,
    again: Mutex<mpsc::Receiver<()>>,
}

impl Backend for Grows {
    fn open(&self, settings: &Arc<Settings>, folder: &Path) -> Result<Box<dyn Opened>, Error> {
        let path = folder.join("model.pt");
        let is_first = self.read.lock().unwrap().is_empty();
        if !is_first {
            self.again.lock().unwrap().recv().unwrap();
        }
        self.read.lock().unwrap().push(std::fs::read_to_string(&path).unwrap());
        if is_first {
            std::fs::write(&path, "all of it").unwrap();
        }
        self.puppet.open(settings, folder)
    }
}

#[tokio::test]
async fn a_file_that_is_still_being_copied_is_not_served() {
    let shelf = Shelf::new();
    shelf.add("m", ALONE);
    shelf.version("m", 1, "half of");
    let (go, again) = mpsc::channel();
    let read = Arc::default();
    let grows = Grows { puppet: numbered(), read: Arc::clone(&read), again: Mutex::new(again) };
    let backends = Backends::default().with("puppet", grows);
    let control = Control::Poll(Duration::from_millis(100));
    let models = Models { backends, ..shelf.models(&numbered(), control) };
    let (server, mut client) = start_with(Config { models, ..Config::default() }).await;
    let index = server.engine.models().index(false).await;
    assert_ne!(index[0].state, Some(State::Ready), "{index:?}");
    let refused = client.model_infer(rows("m", &[0.0], 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    go.send(()).unwrap();
    index_until(&server, |index| index[0].state == Some(State::Ready)).await;
    client.model_infer(rows("m", &[0.0], 1)).await.unwrap();
    assert_eq!(*read.lock().unwrap(), ["half of", "all of it"]);
}

#[tokio::test]
async fn a_polled_repository_is_followed() {
    let shelf = Shelf::new();
    shelf.add("m", "");
    let (server, mut client) = start(&shelf, &numbered(), Control::Poll(Duration::from_millis(100))).await;
    assert_eq!(answer(client.model_infer(rows("m", &[0.0], 1)).await.unwrap().get_ref()), [1.0]);
    shelf.version("m", 2, "good");
    shelf.add("late", "");
    let ready = |index: &[IndexEntry], name: &str, version| {
        let found = index.iter().find(|entry| entry.name == name && entry.version == Some(version));
        found.is_some_and(|entry| entry.state == Some(State::Ready))
    };
    index_until(&server, |index| ready(index, "m", 2) && ready(index, "late", 1)).await;
    std::fs::remove_dir_all(shelf.0.path().join("late")).unwrap();
    index_until(&server, |index| !ready(index, "late", 1)).await;
    assert_eq!(answer(client.model_infer(rows("m", &[0.0], 1)).await.unwrap().get_ref()), [2.0]);
}
