//! Services of one's own, beside those that a server has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::{SERVICES, Server};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::mounted::Mounted;

/// A service that was mounted.
pub(super) struct Mount {
    pub name: &'static str,
    pub descriptors: &'static [u8],
}

impl Server {
    /// Serves one more service, which `make` makes for this server's engine.
    ///
    /// `descriptors` is the description of its protocol, a `FileDescriptorSet` as
    /// `tonic_prost_build::Builder::file_descriptor_set_path` writes it. It tells which calls stream, and clients about the
    /// service by reflection.
    ///
    /// The service has all listeners, and shares with the others
    ///
    /// - the room for requests of unary calls and for replies to them ([`Calls`](crate::grpc::layer::Calls)). What one of its
    ///   streams holds it has to bound itself. The largest message is up to the generated server, which takes 4 MiB if
    ///   it is not told better;
    /// - the context of calls ([`CallContext`](crate::grpc::layer::CallContext)): their id, in what is logged and in what
    ///   follows each reply; their routing; metadata that follow a reply;
    /// - health, under its name, which is that of the models too;
    /// - the end: the server waits for its calls as long as for all others, and takes new ones on open connections until
    ///   then. A stream without an end can wait for [`Engine::drain`]. A call that panics is answered with INTERNAL.
    ///
    /// A service of this name must not be there yet, and `descriptors` has to describe it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use frameserve::config::Config;
    /// use frameserve::engine::Engine;
    /// use frameserve::grpc::layer::CallContext;
    /// use frameserve::server::Server;
    /// use tonic::{Request, Response, Status};
    ///
    /// mod protos {
    ///     tonic::include_proto!("userdefinedprotos");
    ///     pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("user_defined_protos");
    /// }
    /// use protos::image_classification_service_server::*;
    /// use protos::{ImageClass, ImageData};
    ///
    /// struct Classifier {
    ///     engine: Arc<Engine>,
    /// }
    ///
    /// #[tonic::async_trait]
    /// impl ImageClassificationService for Classifier {
    ///     async fn predict(&self, request: Request<ImageData>) -> Result<Response<ImageClass>, Status> {
    ///         let call = CallContext::of(request.extensions());
    ///         let model = self.engine.routed(call.route(), "classifier", "").await?;
    ///         call.set_trailing("model-version", &model.version().to_string())?;
    ///         // Here comes `self.engine.infer(&model, …)`.
    ///         Ok(Response::new(ImageClass::default()))
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), frameserve::Error> {
    /// let server = Server::new(Config::default())?.mount(protos::DESCRIPTORS, |engine| {
    ///     let largest = engine.limits().max_message_bytes;
    ///     let service = Classifier { engine: Arc::clone(engine) };
    ///     ImageClassificationServiceServer::new(service).max_decoding_message_size(largest)
    /// })?;
    /// # let _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mount<S>(
        mut self,
        descriptors: &'static [u8],
        make: impl FnOnce(&Arc<Engine>) -> S,
    ) -> Result<Self, Error>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let name = S::NAME;
        if SERVICES.contains(&name) || self.mounted.iter().any(|mount| mount.name == name) {
            return Err(Error::State(format!("a service named `{name}` is there already")));
        }
        let described = self.calls.know(descriptors)?;
        if !described.iter().any(|service| service == name) {
            let described = described.join(", ");
            return Err(Error::State(format!("the descriptors are of {described}, and not of `{name}`")));
        }
        let service = Mounted::new(make(&self.engine), Arc::clone(&self.engine), self.call_timeout);
        self.routes = self.routes.add_service(service);
        self.mounted.push(Mount { name, descriptors });
        Ok(self)
    }

    /// How long calls may take of services that are mounted from here on, to the end of their replies. Who takes longer is
    /// answered with DEADLINE_EXCEEDED. Without it they may take as long as their clients wait.
    pub fn with_call_timeout(self, timeout: Duration) -> Self {
        Server { call_timeout: Some(timeout), ..self }
    }
}
