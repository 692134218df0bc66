//! `frameserve-server`: arguments become a configuration, the configuration a server.

mod allocator;
mod args;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use frameserve::config::{Config, Services};
use frameserve::grpc::kserve::Levels;
use frameserve::server::{Ended, Listener, Listening, Server, SocketFile, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::reload::Handle;

use args::{Args, LogFormat, Settings};

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Config(#[from] frameserve::Error),
    #[error("{0}")]
    Tls(#[from] frameserve::tls::TlsError),
    #[error("{0}")]
    Listen(#[from] frameserve::server::ListenError),
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    #[error("{0}")]
    Serve(#[from] frameserve::server::ServeError),
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("frameserve-server: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let print = args.print_config;
    let settings = Settings::merge(args).map_err(Failure::Settings)?;
    let config = settings.config()?;
    if print {
        print!("{}", settings.to_toml(&config.validate()?));
        return Ok(());
    }
    let levels = log(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("async").enable_all().build()?;
    runtime.block_on(serve(config, levels))?;
    drop(runtime);
    // The threads of models end by themselves, and nobody waits for them: they may still give back what they had.
    leave()
}

async fn serve(config: Config, levels: Levels) -> Result<(), Failure> {
    let tls = config.tls.as_ref().map(Tls::read).transpose()?;
    let mut listeners = Vec::new();
    for (address, services) in config.listeners() {
        let socket = Listener::bind(&address, tls.as_ref()).await?;
        listeners.push(Listening { socket, services });
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::new(config)?.with_levels(levels);
    let mut out = std::io::stdout().lock();
    for Listening { socket, services } in &listeners {
        let what = match services {
            Services::Main | Services::MainAndManagement => "",
            Services::Inference => " (TorchServe's predictions)",
            Services::Management => " (TorchServe's management)",
        };
        // On standard output, for whoever started us with port 0; it may be closed.
        let _closed = writeln!(out, "listening on {}{what}", socket.address()?).and_then(|()| out.flush());
    }
    drop(out);
    let mut asked = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let files: Vec<_> = listeners.iter().filter_map(|listening| listening.socket.file()).collect();
    let (ask, once) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        asked().await;
        let _ended_by_itself = ask.send(());
        // Who asks twice does not want to wait.
        asked().await;
        files.iter().for_each(SocketFile::remove);
        leave();
    });
    let asked = async move {
        let _sender = once.await;
    };
    match server.serve(listeners, asked).await? {
        Ended::Drained => tracing::info!("everything that was taken is done"),
        Ended::CutOff { streams, requests } => {
            tracing::warn!(streams, requests, "what was not done at the deadline was cut off");
            leave();
        }
    }
    Ok(())
}

/// Ends the process while threads still compute or load models: the destructors of the libraries that they use must
/// not run.
fn leave() -> ! {
    // SAFETY: it ends the process, whatever its state.
    unsafe { libc::_exit(0) }
}

/// Begins to log, and returns how that can be changed.
fn log(settings: &Settings) -> Result<Levels, Failure> {
    let text = settings.log().to_owned();
    let filter =
        EnvFilter::try_new(&text).map_err(|error| Failure::Settings(format!("--log {text}: {error}")))?;
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    Ok(match settings.log_format() {
        LogFormat::Text => {
            let logs = logs.with_filter_reloading();
            let levels = levels(text, logs.reload_handle());
            logs.init();
            levels
        }
        LogFormat::Json => {
            let logs = logs.json().with_filter_reloading();
            let levels = levels(text, logs.reload_handle());
            logs.init();
            levels
        }
    })
}

/// Changes the level of what has none of its own in `text`, and leaves the others.
fn levels<S: 'static>(text: String, handle: Handle<EnvFilter, S>) -> Levels {
    let level = text.split(',').find_map(|part| part.trim().parse().ok()).unwrap_or(LevelFilter::ERROR);
    let set = move |level: LevelFilter| {
        let filter = EnvFilter::try_new(&text).map_err(|error| error.to_string())?;
        // What the libraries below tell in detail is of no use to who asks a server for more.
        let directive = match level {
            LevelFilter::DEBUG | LevelFilter::TRACE => format!("frameserve={level}"),
            level => level.to_string(),
        };
        let directive = directive.parse().map_err(|error: ParseError| error.to_string())?;
        handle.reload(filter.add_directive(directive)).map_err(|error| error.to_string())
    };
    Levels { level, set: Arc::new(set) }
}
