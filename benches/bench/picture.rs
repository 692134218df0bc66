//! What the server adds to the time of a picture that comes as a JPEG: decoded, prepared and classified there.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use frameserve::config::{Config, Models};
use frameserve::engine::{Engine, Served};
use frameserve::frame::Workbench;
use frameserve::model::{Backends, Device};
use serde::{Deserialize, Serialize};

use crate::args::Task;
use crate::classifier::{missing, not_measured};
use crate::drive::Span;
use crate::inprocess::{Repeated, repeated};
use crate::models::{CLASSIFIER, Requests, classifier, frameserve, place, repository, version};
use crate::pairs::{Pairs, Sample, Spread, median};
use crate::report::{Table, verdict};
use crate::{Result, Setting, process};

/// In milliseconds.
const TARGET: f64 = 0.5;
/// A classification takes some 30 ms, so that a second has too few of them.
const LONGER: f64 = 3.0;

/// What is to be done in one process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {
    repository: PathBuf,
    picture: PathBuf,
    span: Span,
}

pub fn measure(setting: &Setting) -> Result<String> {
    if let Some(why) = missing() {
        return Ok(why);
    }
    let Some(file) = classifier()? else { return Ok(not_measured()) };
    let folder = repository(Some(&file))?;
    let clip = &setting.clips.easy;
    let picture = place("bench-picture.jpg");
    fs::write(&picture, clip.frames()?.first().ok_or("the clip is empty")?)?;
    let span = Span { seconds: setting.span.seconds * LONGER, ..setting.span };
    let server = frameserve(&folder, setting.cores.server)?;
    let told = vec!["--picture".into(), picture.to_string_lossy().into_owned()];
    let requests = Requests { model: CLASSIFIER, told, callers: 1, span };
    let mut p99 = Vec::new();
    let served = || {
        let answered = requests.all(&server, setting.cores.client)?;
        p99.push(answered.latency_ms.p99);
        Ok(Sample { value: answered.latency_ms.p50, cpu: answered.cpu })
    };
    let possible = || {
        let work = Work { repository: folder.clone(), picture: picture.clone(), span };
        let repeated: Repeated = process::ask(&Task::Picture(work), setting.cores.server)?;
        Ok(Sample { value: repeated.p50 * 1e3, cpu: repeated.cpu })
    };
    let pairs = Pairs::measure(setting.pairs, served, possible)?;
    let added = Spread::of(&pairs.differences());
    let [served, possible] = pairs.values();
    let mut table = Table::new(&[
        "picture",
        "through the server, p50",
        "p99",
        "in-process, p50",
        "added, ms",
        "target: under 0.5 ms",
        "processor ms a picture",
    ]);
    table.row([
        format!("{}x{}, {} kB", clip.width, clip.height, fs::metadata(&picture)?.len() / 1000),
        format!("{served:.2} ms"),
        format!("{:.2} ms", median(&p99)),
        format!("{possible:.2} ms"),
        added.to_string(),
        verdict(added.median, |added| added < TARGET),
        pairs.cpu(),
    ]);
    Ok(table.to_string())
}

/// The same functions of the library in a plain loop, on one thread.
pub async fn repeat(work: &Work) -> Result<Repeated> {
    let models = Models { repositories: vec![work.repository.clone()], ..Models::default() };
    let engine = Arc::new(Engine::new(Config { models, threads: 1, ..Config::default() })?);
    Arc::clone(engine.models()).open().await;
    let Served::Model(loaded) = engine.served(CLASSIFIER, "")? else {
        return Err(format!("{CLASSIFIER} is no model").into());
    };
    let settings = loaded.settings();
    let backends = Backends::default();
    let backend = backends.find(&settings.backend).ok_or("there is no libtorch")?;
    let mut model = backend.open(settings, &version(&work.repository))?.instance(Device::Cpu)?;
    let pictures = settings.pictures.as_ref().ok_or("it takes no pictures")?;
    let (limits, mut bench) = (engine.limits(), Workbench::new()?);
    let picture = Bytes::from(fs::read(&work.picture)?);
    repeated(work.span, || {
        let (tensor, _) = pictures.prepare(std::slice::from_ref(&picture), limits, &mut bench)?;
        black_box(model.infer(&[vec![Some(tensor)]])?);
        Ok(())
    })
}
