//! A server with services of its own beside those of frameserve: greetings, and pictures that are fetched, prepared and
//! classified by a model of the repository.
//!
//!     cargo run --example user_defined_service -- --model-repository samples/models --allow-folder pictures
//!
//! Clients made from `examples/user_defined_protos.proto` call it, in any language. Their metadata `application` may be
//! `app1` for the greetings, and `app2` for the pictures.

#[path = "user_defined_service/classify.rs"]
mod classify;
#[path = "user_defined_service/download.rs"]
mod download;
#[path = "user_defined_service/greet.rs"]
mod greet;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use frameserve::config::{Application, Config};
use frameserve::model::Control;
use frameserve::server::Server;
use tokio::net::TcpListener;

use classify::Classifier;
use download::Downloader;
use greet::Greeter;
use protos::image_classification_service_server::ImageClassificationServiceServer;
use protos::user_defined_service_server::UserDefinedServiceServer;

/// The messages and services, which `build.rs` generates.
mod protos {
    #![allow(missing_docs, clippy::all, clippy::restriction, reason = "it is generated code")]
    tonic::include_proto!("userdefinedprotos");

    /// Their description.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("user_defined_protos");
}

/// Serves greetings, and says what pictures show.
#[derive(Debug, Parser)]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Folder with a folder for each model
    #[arg(long)]
    model_repository: Vec<PathBuf>,
    /// The model that says what a picture shows
    #[arg(long, default_value = "classifier")]
    model: String,
    /// Folder whose files may be classified
    #[arg(long)]
    allow_folder: Vec<PathBuf>,
    /// HOST or HOST:PORT that pictures may be fetched from
    #[arg(long)]
    allow_host: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = Config::default();
    config.models.control = Control::Explicit(vec![args.model.clone()]);
    config.models.repositories = args.model_repository;
    config.applications = [
        ("app1".to_owned(), Application::default()),
        ("app2".to_owned(), Application { models: vec![args.model.clone()], ..Application::default() }),
    ]
    .into();
    let downloader = Downloader::new(&args.allow_folder, args.allow_host, config.limits.max_message_bytes)?;
    let server = Server::new(config)?
        .mount(protos::DESCRIPTORS, |engine| {
            UserDefinedServiceServer::new(Greeter { engine: Arc::clone(engine) })
        })?
        .mount(protos::DESCRIPTORS, |engine| {
            let engine = Arc::clone(engine);
            ImageClassificationServiceServer::new(Classifier { engine, downloader, model: args.model })
        })?;
    let listener = TcpListener::bind(&args.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "it can't be interrupted");
            std::future::pending().await
        }
    };
    let ended = server.serve(vec![listener], interrupted).await?;
    tracing::info!(?ended, "the server has ended");
    Ok(())
}
