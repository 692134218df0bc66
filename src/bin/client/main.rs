//! The program `frameserve-client`.

mod args;
mod codec;
mod console;
mod doctor;
mod download;
mod failure;
mod hush;
mod ledger;
mod lettering;
mod picture;
mod pipelines;
mod progress;
mod report;
mod run;
mod samples;
mod sink;
mod source;
mod stream;
mod upload;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use args::{Cli, Command};
use failure::{Exit, Failure};

fn main() -> ExitCode {
    quiet_libraries();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code for bad usage is 2, which here means that the server can't be reached.
            let exit = if error.use_stderr() { Exit::UsageOrFile } else { Exit::AllCameBack };
            return ExitCode::from(exit as u8);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(Exit::UsageOrFile as u8);
        }
    };
    let exit = runtime.block_on(command(cli.command));
    // A thread may still be waiting for a camera or standard input; nothing of it is wanted any more.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

async fn command(command: Command) -> Exit {
    let result = match command {
        Command::Stream(args) => {
            let stop = CancellationToken::new();
            tokio::spawn(stop_on_interrupt(stop.clone()));
            return stream::stream(*args, stop).await;
        }
        Command::Pipelines(args) => pipelines::pipelines(&args).await.map(|text| print(&text)),
        Command::Doctor(args) => doctor::doctor(&args, print).await,
    };
    match result {
        Ok(()) => Exit::AllCameBack,
        Err(Failure { exit, message }) => {
            eprintln!("error: {message}");
            exit
        }
    }
}

/// The first Ctrl-C ends the streams in an orderly way; a second one doesn't wait for them.
async fn stop_on_interrupt(stop: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    eprintln!("\nfinishing what is under way; Ctrl-C again stops at once");
    stop.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(Exit::Interrupted as i32);
    }
}

/// Who closed the pipe, as `head` does, doesn't want more.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
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
