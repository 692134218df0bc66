//! Models that paint: their files, our server with them, and Python that runs the same files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::Result;
use crate::clips::Clip;
use crate::drive::Span;
use crate::models::{Module, PYTHON, frameserve, place};
use crate::pairs::Sample;
use crate::peer;
use crate::process::{Server, confine};

/// A model that makes a picture of a picture.
pub struct Painter {
    pub name: &'static str,
    pub file: PathBuf,
    pub config: String,
    /// The memory format in which Python runs it faster.
    format: Format,
}

/// How a tensor of pictures lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    ChannelsFirst,
    ChannelsLast,
}

/// A Python process that runs such a model in a loop, whenever it is told to.
pub struct Loop {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

/// What it says.
#[derive(Deserialize)]
struct Repeated {
    frames_per_second: f64,
    cpu_ms: f64,
}

/// The one that frameserve comes with.
const WAVE: &str = "samples/models/wave";
const MAKE_CLASSIC: &str = "benches/peers/classic_style.py";
const LOOP: &str = "benches/peers/style_loop.py";

const CLASSIC_CONFIG: &str = r#"
backend: "pytorch"
max_batch_size: 1
input { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }
output { name: "drawn" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }
parameters { key: "frameserve.task" value { string_value: "image" } }
"#;

impl Painter {
    /// The compact model that frameserve comes with.
    pub fn compact() -> Result<Self> {
        let folder = Path::new(WAVE);
        let config = fs::read_to_string(folder.join("config.pbtxt"))?;
        let file = folder.join("1/model.pt");
        Ok(Painter { name: "wave", file, config, format: Format::ChannelsLast })
    }

    /// The architecture that most others have, made anew; `None` where there is nothing to make it with.
    pub fn classic() -> Result<Option<Self>> {
        if !Path::new(PYTHON).exists() {
            return Ok(None);
        }
        let file = place("bench-classic.pt");
        let made = Command::new(PYTHON).args(["-s", MAKE_CLASSIC]).arg(&file).status()?;
        if !made.success() {
            return Err(format!("{MAKE_CLASSIC}: {made}").into());
        }
        let config = CLASSIC_CONFIG.into();
        Ok(Some(Painter { name: "classic", file, config, format: Format::ChannelsFirst }))
    }

    /// The stage that it is.
    pub fn stage(&self) -> String {
        format!("style={}", self.name)
    }

    /// The Python server with this model, warmed up like ours; `threads` is torch's own choice where it is not told.
    pub fn python_server(&self, threads: Option<usize>, clips: &[&Clip]) -> Result<Server> {
        let mut command = Command::new(peer::PYTHON);
        command.args(["-s", peer::PROGRAM, "--listen", "127.0.0.1:0", "--pipeline", &self.stage()]);
        command.arg("--style").arg(&self.file).env_remove("OMP_NUM_THREADS");
        self.add_format(&mut command);
        command.arg("--warm-up").args(clips.iter().map(|clip| format!("{}x{}", clip.width, clip.height)));
        if let Some(threads) = threads {
            command.args(["--torch-threads", &threads.to_string()]);
        }
        Server::start(command, None)
    }

    fn add_format(&self, command: &mut Command) {
        if self.format == Format::ChannelsLast {
            command.arg("--channels-last");
        }
    }
}

/// Whether the Python server has a torch to run such models with.
pub fn python_server_has_torch() -> bool {
    let mut command = Command::new(peer::PYTHON);
    let asked = command.args(["-s", "-c", "import torch"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Our server with so many instances of each model, warmed up for pictures of these clips' sizes.
pub fn serving(painters: &[Painter], instances: usize, clips: &[&Clip]) -> Result<Server> {
    let group = format!("\ninstance_group {{ count: {instances} kind: KIND_CPU }}\n");
    let warm_up: String = clips.iter().map(|clip| warm_up(clip, 1)).collect();
    let models: Vec<_> =
        painters.iter().map(|painter| (painter, format!("{}{group}{warm_up}", painter.config))).collect();
    frameserve(&repository(&format!("bench-styles-{instances}"), &models)?, None)
}

/// What a model is to run before it is ready: the server optimises it for that, if that makes it faster.
pub fn warm_up(clip: &Clip, batch: usize) -> String {
    let Clip { width, height, .. } = clip;
    format!(
        r#"
model_warmup {{
  name: "{batch} of {width}x{height}" batch_size: {batch} count: 2
  inputs {{ key: "image" value {{ data_type: TYPE_FP32 dims: [ 3, {height}, {width} ] random_data: true }} }}
}}
"#
    )
}

/// A repository with these models and configurations.
pub fn repository(name: &str, models: &[(&Painter, String)]) -> Result<PathBuf> {
    let folder = place(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for (painter, config) in models {
        let model = folder.join(painter.name);
        fs::create_dir_all(model.join("1"))?;
        fs::write(model.join("config.pbtxt"), config)?;
        fs::copy(&painter.file, model.join("1/model.pt"))?;
    }
    Ok(folder)
}

impl Loop {
    /// On one thread.
    pub fn on_frames(painter: &Painter, module: Module) -> Result<Self> {
        let mut command = Loop::command(painter);
        command.env("OMP_NUM_THREADS", "1");
        painter.add_format(&mut command);
        if module == Module::Optimized {
            command.arg("--optimized");
        }
        Loop::start(command)
    }

    /// The model alone on a GPU.
    pub fn on_batches(painter: &Painter) -> Result<Self> {
        let mut command = Loop::command(painter);
        command.arg("--cuda");
        Loop::start(command)
    }

    fn command(painter: &Painter) -> Command {
        let mut command = Command::new(PYTHON);
        command.args(["-s", LOOP, "--model"]).arg(&painter.file);
        command
    }

    fn start(mut command: Command) -> Result<Self> {
        confine(&mut command, None);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let told = child.stdin.take().ok_or("a pipe was asked for")?;
        let says = BufReader::new(child.stdout.take().ok_or("a pipe was asked for")?);
        Ok(Loop { child, told, says })
    }

    /// Paints the frames of this file, which have the clip's size, for at least one frame.
    pub fn paint(&mut self, clip: &Clip, frames: &Path, span: Span) -> Result<Sample> {
        self.ask(&json!({
            "frames": frames, "width": clip.width, "height": clip.height,
            "warm_up": span.warm_up, "seconds": span.seconds,
        }))
    }

    /// Paints so many pictures of the clip's size at a time.
    pub fn paint_batches(&mut self, clip: &Clip, batch: usize, span: Span) -> Result<Sample> {
        self.ask(&json!({
            "batch": batch, "width": clip.width, "height": clip.height,
            "warm_up": span.warm_up, "seconds": span.seconds,
        }))
    }

    fn ask(&mut self, task: &serde_json::Value) -> Result<Sample> {
        writeln!(self.told, "{task}")?;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        let Repeated { frames_per_second: value, cpu_ms } =
            serde_json::from_str(&line).map_err(|error| format!("{LOOP} said '{}': {error}", line.trim()))?;
        Ok(Sample { value, cpu: cpu_ms / 1e3 })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
