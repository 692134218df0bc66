//! The program `frameserve-client`.

// A line that is written while standard error is closed for a library's sake would be lost; what `hush::say` writes is not.
#![deny(clippy::print_stderr)]

mod args;
mod bench;
mod codec;
mod console;
mod doctor;
mod download;
mod failure;
mod hush;
mod infer;
mod inputs;
mod ledger;
mod lettering;
mod models;
mod npy;
mod picture;
mod pipelines;
mod progress;
mod receive;
mod report;
mod run;
mod samples;
mod sink;
mod source;
mod standard_output;
mod stream;
mod table;
mod tensors;
mod upload;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use args::{Cli, Command};
use failure::{Exit, Failure};
use hush::say;
use standard_output::{accept_closed_pipe, print};

fn main() -> ExitCode {
    frameserve::memory::keep_freed();
    quiet_libraries();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            return ExitCode::from(usage(&error) as u8);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: cannot start: {error}"));
            return ExitCode::from(Exit::UsageOrFile as u8);
        }
    };
    let exit = runtime.block_on(command(cli.command));
    // A thread may still be waiting for a camera or standard input; nothing of it is wanted any more.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

/// Prints what clap has to say: the help that was asked for, or what is wrong with the command line.
fn usage(error: &clap::Error) -> Exit {
    let printed = error.print();
    // clap's own code for bad usage is 2, which here means that the server can't be reached.
    if error.use_stderr() { Exit::UsageOrFile } else { told(accept_closed_pipe(printed)) }
}

async fn command(command: Command) -> Exit {
    let result = match command {
        Command::Stream(args) => {
            let stop = CancellationToken::new();
            tokio::spawn(stop_on_interrupt(stop.clone()));
            return stream::stream(*args, stop).await;
        }
        Command::Infer(args) => return infer::infer(*args).await,
        Command::Bench(args) => {
            let stop = CancellationToken::new();
            tokio::spawn(stop_on_interrupt(stop.clone()));
            return bench::bench(*args, stop).await;
        }
        Command::Models(args) => models::models(&args).await,
        Command::Pipelines(args) => pipelines::pipelines(&args).await.and_then(|text| print(&text)),
        Command::Doctor(args) => doctor::doctor(&args, print).await,
    };
    told(result)
}

/// Says what went wrong, if anything did.
fn told(result: Result<(), Failure>) -> Exit {
    match result {
        Ok(()) => Exit::AllCameBack,
        Err(Failure { exit, message }) => {
            say(&format!("error: {message}"));
            exit
        }
    }
}

/// The first Ctrl-C, or the system's request to end, lets the streams end in an orderly way; a second one
/// doesn't wait for them.
async fn stop_on_interrupt(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut asked = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    asked().await;
    stop.cancel();
    say("\nfinishing what is under way; Ctrl-C again stops at once");
    asked().await;
    std::process::exit(Exit::Interrupted as i32);
}

/// The ffmpeg libraries in OpenCV write their warnings to standard error, which name nothing that a user
/// could do. They read the variable when they are first used.
fn quiet_libraries() {
    let name = "OPENCV_FFMPEG_LOGLEVEL";
    if std::env::var_os(name).is_none() {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::set_var(name, "-8") };
    }
}
