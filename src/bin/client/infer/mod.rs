//! `frameserve-client infer`: runs a model on pictures or tensors, and shows what it says of each.

mod boxes;
mod found;
pub mod model;
mod place;
pub mod request;
mod shots;
mod show;

use std::time::{Duration, Instant};

use frameserve::client::{ClientError, Code, InferenceClient};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio_stream::wrappers::ReceiverStream;

use crate::args::InferArgs;
use crate::failure::{Exit, Failure};
use crate::hush::say;
use crate::inputs::Inputs;
use crate::source::Origin;
use crate::standard_output::print;
use crate::stream::overall;
use crate::tensors;
use found::Found;
use model::{Model, Task};
use place::{Place, Writer};
use request::Pattern;
use shots::{Next, Shot, Unread};

/// A run that is ready to begin.
struct Run<'a> {
    args: &'a InferArgs,
    client: InferenceClient,
    model: Model,
    pattern: Pattern,
    place: Place,
}

/// What became of one request.
struct Answer {
    shot: Shot,
    outcome: Result<(Found, String), Failure>,
    took: Duration,
}

/// Results, as they come.
struct Account<'a> {
    args: &'a InferArgs,
    writer: Writer,
    /// More than one result, so that each is named.
    several: bool,
    results: Vec<Value>,
    exit: Exit,
}

/// Runs the subcommand. Everything that went wrong has been said when it returns.
pub async fn infer(args: InferArgs) -> Exit {
    match run(&args).await {
        Ok(exit) => exit,
        Err(failure) => {
            say(&format!("error: {}", failure.message));
            if args.json {
                let report =
                    json!({ "exit_code": failure.exit as u8, "error": failure.message, "results": [] });
                return overall([failure.exit, print_json(&report)].into_iter());
            }
            failure.exit
        }
    }
}

async fn run(args: &InferArgs) -> Result<Exit, Failure> {
    let origins = match args.pictures.as_slice() {
        [] => Vec::new(),
        pictures => Origin::parse_all(pictures)?,
    };
    let run = Run::prepare(args, !origins.is_empty()).await?;
    let several = match origins.as_slice() {
        [] => false,
        [Origin::Pictures(files)] => files.len() > 1,
        _ => true,
    };
    if let (Place::File(file), true, [Origin::Pictures(files)]) = (&run.place, several, origins.as_slice()) {
        return Err(Failure::usage(format!(
            "-o {}: {} pictures need a directory, as in -o results/",
            file.display(),
            files.len()
        )));
    }
    run.place.prepare()?;
    let concurrency = usize::from(args.concurrency);
    let shots: std::pin::Pin<Box<dyn futures_util::Stream<Item = Next> + Send>> = if origins.is_empty() {
        let shot = Shot { source: args.model.clone(), stem: args.model.clone(), picture: None };
        Box::pin(tokio_stream::once(Ok(shot)))
    } else {
        Box::pin(ReceiverStream::new(shots::read(origins, concurrency)?))
    };
    let mut answers = shots.map(|next| run.answer(next)).buffered(concurrency);
    let writer = Writer::new(run.place.clone())?;
    let mut account = Account { args, writer, several, results: Vec::new(), exit: Exit::AllCameBack };
    let mut lost = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => block_in_place(|| account.take(answer))?,
            Err(broken) => {
                lost = Some(broken);
                break;
            }
        }
    }
    account.end(&run.model, lost)
}

impl<'a> Run<'a> {
    async fn prepare(args: &'a InferArgs, pictures: bool) -> Result<Run<'a>, Failure> {
        let mut client = args.server.connect_for_models().await?;
        if let Some(seconds) = args.timeout {
            client = client.with_timeout(Duration::from_secs_f64(seconds));
        }
        let model = Model::look_up(&client, &args.model, &args.fill.model_version).await?;
        let task = if args.raw.is_some() { Task::Tensors } else { model.task(args.top)? };
        let place = Place::choose(args, &task)?;
        let pattern = pattern(args, &model, task, pictures)?;
        if args.verbose {
            say(&describe(&model, &pattern));
        }
        Ok(Run { args, client, model, pattern, place })
    }

    /// Sends one request. An error is one that every other request would meet too.
    async fn answer(&self, next: Next) -> Result<Answer, Failure> {
        let shot = match next {
            Ok(shot) => shot,
            Err(Unread { source, failure }) => {
                let shot = Shot { source, stem: String::new(), picture: None };
                return Ok(Answer { shot, outcome: Err(failure), took: Duration::ZERO });
            }
        };
        let picture = shot.picture.as_ref().map(|(_, bytes)| bytes);
        let request = self.pattern.request(picture, self.place.codec(&shot));
        let sent: usize = request.raw_input_contents.iter().map(|raw| raw.len()).sum();
        let start = Instant::now();
        let reply = self.client.infer(request).await;
        let took = start.elapsed();
        let outcome = match reply {
            Err(error @ (ClientError::Lost { .. } | ClientError::Connect { .. })) => return Err(error.into()),
            Err(error) => Err(self.explain(error, shot.picture.is_some())),
            Ok(reply) => {
                let received: usize = reply.raw_output_contents.iter().map(|raw| raw.len()).sum();
                let version = reply.model_version.clone();
                let found = tensors::outputs(reply)
                    .and_then(|outputs| Found::read(&self.pattern.task, outputs, self.args.threshold));
                if self.args.verbose {
                    let ms = took.as_secs_f64() * 1e3;
                    say(&format!("{}: {ms:.1} ms, {sent} bytes up, {received} bytes down", shot.source));
                }
                found.map(|found| (found, version))
            }
        };
        Ok(Answer { shot, outcome, took })
    }

    /// A server that takes tensors only says that BYTES is the wrong type, which tells a user nothing.
    fn explain(&self, error: ClientError, picture: bool) -> Failure {
        let refused = error.code() == Some(Code::InvalidArgument);
        let failure = Failure::of_call(error, "ModelInfer");
        let Some(input) = self.pattern.picture.as_ref().filter(|_| picture && refused) else {
            return failure;
        };
        let input = &input.name;
        let inputs = self.inputs();
        let takes = inputs.describe(input);
        if self.model.takes_pictures() || takes.is_empty() || takes.starts_with("BYTES") {
            return failure;
        }
        let advice = format!(
            "Input '{input}' takes {takes}, and nothing on this server says how to make that of a picture: \
             give it with --input {input}=FILE.npy"
        );
        failure.with_advice(&advice)
    }

    fn inputs(&self) -> Inputs<'_> {
        inputs(self.args, &self.model)
    }
}

impl Account<'_> {
    fn take(&mut self, answer: Answer) -> Result<(), Failure> {
        let Answer { shot, outcome, took } = answer;
        let ms = took.as_secs_f64() * 1e3;
        let written = outcome.and_then(|(found, version)| {
            let files = self.writer.write(&shot, &found)?;
            Ok((found, version, files))
        });
        let (found, version, files) = match written {
            Ok(written) => written,
            Err(failure) => {
                self.failed(&shot, failure);
                return Ok(());
            }
        };
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        if self.args.json {
            let mut result = json!({ "source": shot.source, "version": version, "milliseconds": round(ms) });
            if let (Some(result), Value::Object(found)) = (result.as_object_mut(), found.json()) {
                result.extend(found);
            }
            if !files.is_empty() {
                result["written"] = files.into();
            }
            self.results.push(result);
            return Ok(());
        }
        let mut text = if self.several { format!("{}\n", shot.source) } else { String::new() };
        text += &show::text(&found);
        files.iter().for_each(|file| text += &format!("  wrote {file}\n"));
        print(&text)
    }

    /// The rest goes on.
    fn failed(&mut self, shot: &Shot, failure: Failure) {
        say(&format!("error: {}{}", self.heading(shot), failure.message));
        self.fail(match failure.exit {
            Exit::Refused => Exit::FramesFailed,
            other => other,
        });
        self.results.push(json!({ "source": shot.source, "error": failure.message }));
    }

    fn heading(&self, shot: &Shot) -> String {
        if shot.picture.is_some() { format!("{}: ", shot.source) } else { String::new() }
    }

    fn fail(&mut self, exit: Exit) {
        self.exit = overall([self.exit, exit].into_iter());
    }

    fn end(mut self, model: &Model, lost: Option<Failure>) -> Result<Exit, Failure> {
        let error = lost.map(|failure| {
            say(&format!("error: {}", failure.message));
            self.fail(failure.exit);
            failure.message
        });
        if !self.args.json {
            return Ok(self.exit);
        }
        let mut report =
            json!({ "exit_code": self.exit as u8, "model": model.name, "results": self.results });
        if let Some(error) = error {
            report["error"] = error.into();
        }
        Ok(overall([self.exit, print_json(&report)].into_iter()))
    }
}

/// What all requests have in common; fails where an input gets no values.
fn pattern(args: &InferArgs, model: &Model, task: Task, pictures: bool) -> Result<Pattern, Failure> {
    let inputs = inputs(args, model);
    inputs.check()?;
    let given: Vec<&str> = args.fill.input.iter().map(|input| input.name.as_str()).collect();
    let picture = pictures.then(|| model.picture_input(&given)).transpose()?;
    let mut fixed = Vec::new();
    for name in
        inputs.names().into_iter().filter(|name| picture.as_ref().is_none_or(|picture| picture.name != *name))
    {
        match inputs.filled(name) {
            Some(filled) => fixed.push(filled?),
            None if model.may_leave_out(name) => {}
            None => return Err(Failure::usage(missing(&inputs, name, pictures))),
        }
    }
    Ok(Pattern {
        model: model.name.clone(),
        version: model.version.clone(),
        picture_wanted: args.output.is_some() || fixed.iter().any(|input| input.name == "image"),
        task,
        picture,
        fixed,
    })
}

fn inputs<'a>(args: &'a InferArgs, model: &'a Model) -> Inputs<'a> {
    Inputs { described: &model.metadata.inputs, given: &args.fill.input, shapes: &args.fill.shape }
}

fn missing(inputs: &Inputs<'_>, name: &str, pictures: bool) -> String {
    let or = if pictures { "" } else { ", or name pictures if it takes such" };
    format!("input '{name}' ({}) gets no values: give --input {name}=FILE.npy{or}", inputs.describe(name))
}

fn describe(model: &Model, pattern: &Pattern) -> String {
    let platform = match (model.metadata.platform.as_str(), &model.config) {
        ("", Some(config)) => config.backend.as_str(),
        (platform, _) => platform,
    };
    let platform = if platform.is_empty() { String::new() } else { format!(" ({platform})") };
    let picture = pattern.picture.as_ref().map(|input| format!("; pictures go to '{}'", input.name));
    format!("{}{platform} gives {}{}", model.name, pattern.task, picture.unwrap_or_default())
}

/// To the microsecond.
fn round(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn print_json(report: &Value) -> Exit {
    let text = serde_json::to_string_pretty(report).expect("numbers and strings only");
    match print(&format!("{text}\n")) {
        Ok(()) => Exit::AllCameBack,
        Err(failure) => {
            say(&format!("error: {}", failure.message));
            failure.exit
        }
    }
}
