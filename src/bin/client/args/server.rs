//! Which server is asked, and how it is told from others over TLS.

use std::path::PathBuf;

use clap::Args;
use frameserve::client::{Client, DEFAULT_URL, InferenceClient, Tls};
use frameserve::tls::{Pem, TlsError};

use crate::failure::Failure;

/// Of every subcommand that asks a server for anything but a benchmark.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server: http://HOST:PORT, or HOST:PORT; https://HOST:PORT for TLS; unix:PATH for a Unix domain socket.
    #[arg(short, long, value_name = "URL", env = "FRAMESERVE_SERVER", default_value = DEFAULT_URL, global = true)]
    pub server: String,
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// What goes with https://.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS (https://)")]
pub struct TlsArgs {
    /// Trust the certificate authorities in this PEM file, instead of those that this machine trusts.
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_CLIENT_TLS_CA", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// Show this certificate, a PEM file, to a server that asks its clients for one.
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_CLIENT_TLS_CERT", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file.
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_CLIENT_TLS_KEY", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Expect the server's certificate to be for this name, and not for the host in the URL.
    #[arg(long, value_name = "NAME", env = "FRAMESERVE_CLIENT_TLS_SERVER_NAME", global = true)]
    pub tls_server_name: Option<String>,
}

impl ServerArgs {
    /// A connection for frames.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect_with(&self.server, &self.tls.read()?).await?)
    }

    /// A connection for models.
    pub async fn connect_for_models(&self) -> Result<InferenceClient, Failure> {
        Ok(InferenceClient::connect_with(&self.server, &self.tls.read()?).await?)
    }
}

impl TlsArgs {
    /// What the files hold.
    pub fn read(&self) -> Result<Tls, Failure> {
        let mut tls = Tls::default();
        let flag = |flag: &'static str| move |error: TlsError| Failure::usage(format!("{flag}: {error}"));
        if let Some(authorities) = &self.tls_ca {
            let wrong = flag("--tls-ca");
            tls = tls.with_authorities(&Pem::read(authorities).map_err(wrong)?).map_err(wrong)?;
        }
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => {}
            (Some(certificate), Some(key)) => {
                let certificate = Pem::read(certificate).map_err(flag("--tls-cert"))?;
                let key = Pem::read(key).map_err(flag("--tls-key"))?;
                tls = tls.with_identity(&certificate, &key).map_err(flag("--tls-cert and --tls-key"))?;
            }
            _ => return Err(Failure::usage("--tls-cert and --tls-key go together: one of them is missing")),
        }
        match &self.tls_server_name {
            Some(name) => Ok(tls.with_server_name(name)),
            None => Ok(tls),
        }
    }
}
