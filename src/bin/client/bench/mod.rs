//! `frameserve-client bench`: how many requests a server of models answers, and how soon, at each of several
//! numbers of requests under way.

mod expected;
mod level;
mod load;
mod memory;
mod report;

use std::sync::Arc;
use std::time::Duration;

use frameserve::client::InferenceClient;
use tokio_util::sync::CancellationToken;

use crate::args::BenchArgs;
use crate::failure::{Exit, Failure};
use crate::hush::say;
use crate::infer::model::Model;
use crate::standard_output::print;
use level::{Level, Times, Worker};
use load::Load;
use memory::SharedLoad;
use report::{Report, header};

/// Runs the subcommand. Everything that went wrong has been said when it returns.
pub async fn bench(args: BenchArgs, stop: CancellationToken) -> Exit {
    let json = args.json;
    let run = async {
        let report = measure(&args, &stop).await?;
        print(&if json { report.json() } else { report.text() })?;
        Ok::<Exit, Failure>(report.exit())
    };
    match run.await {
        Ok(exit) => exit,
        Err(failure) => {
            say(&format!("error: {}", failure.message));
            failure.exit
        }
    }
}

async fn measure(args: &BenchArgs, stop: &CancellationToken) -> Result<Report, Failure> {
    let tls = args.tls.read()?;
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(InferenceClient::connect_with(&args.target.url, &tls).await?);
    }
    let client = &clients[0];
    let model = Model::look_up(client, &args.model, &args.fill.model_version).await?;
    let load = Load::prepare(args, &model, client).await?;
    let most = args.concurrency.iter().copied().max().unwrap_or(1);
    let shared = match args.shared_memory {
        true => Some(SharedLoad::prepare(&load, client, most).await?),
        false => None,
    };
    let workers: Vec<Arc<Worker>> = (0..most as usize)
        .map(|at| {
            let client = clients[at % clients.len()].clone();
            let (message, expected) = match &shared {
                Some(shared) => (shared.message(at), Arc::clone(&shared.expected)),
                None => (load.message.clone(), Arc::clone(&load.expected)),
            };
            Arc::new(Worker { client, message, expected })
        })
        .collect();
    let times =
        Times { warmup: Duration::from_secs_f64(args.warmup), window: Duration::from_secs_f64(args.seconds) };
    say(&header(args, &load));
    let mut levels = Vec::new();
    for concurrency in &args.concurrency {
        let level = Level::measure(&workers[..*concurrency as usize], times, stop).await;
        say(&level.line());
        levels.push(level);
        if stop.is_cancelled() {
            break;
        }
    }
    if let Some(shared) = shared {
        shared.unregister(client).await?;
    }
    let report = Report::new(args, load, levels);
    Ok(if stop.is_cancelled() { report.interrupted() } else { report })
}
