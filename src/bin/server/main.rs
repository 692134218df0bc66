//! `frameserve-server`: arguments become a configuration, the configuration a server.

mod args;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use frameserve::config::Config;
use frameserve::server::{Ended, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, LogFormat, Settings};

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Config(#[from] frameserve::Error),
    #[error("can't listen on {address}: {error}")]
    Listen { address: std::net::SocketAddr, error: std::io::Error },
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
    log(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("async").enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut listeners = Vec::new();
    for address in config.listen.clone() {
        let listener =
            TcpListener::bind(address).await.map_err(|error| Failure::Listen { address, error })?;
        listeners.push(listener);
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::new(config)?;
    let mut out = std::io::stdout().lock();
    for listener in &listeners {
        // On standard output, for whoever started us with port 0; it may be closed.
        let _closed = writeln!(out, "listening on {}", listener.local_addr()?).and_then(|()| out.flush());
    }
    drop(out);
    let mut asked = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (ask, once) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        asked().await;
        let _ended_by_itself = ask.send(());
        // Who asks twice does not want to wait.
        asked().await;
        leave();
    });
    let asked = async move {
        let _sender = once.await;
    };
    match server.serve(listeners, asked).await? {
        Ended::Drained => tracing::info!("every stream had ended"),
        Ended::CutOff { streams } => {
            tracing::warn!(streams, "streams were cut off at the deadline");
            leave();
        }
    }
    Ok(())
}

/// Ends the process while threads still compute: the destructors of the libraries that they use must not run.
fn leave() -> ! {
    // SAFETY: it ends the process, whatever its state.
    unsafe { libc::_exit(0) }
}

fn log(settings: &Settings) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(settings.log())
        .map_err(|error| Failure::Settings(format!("--log {}: {error}", settings.log())))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format() {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
