//! Greetings: a call, one whose metadata choose a model, and a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use frameserve::engine::Engine;
use frameserve::grpc::layer::CallContext;
use futures_util::{Stream, StreamExt, stream};
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status};

use crate::protos::user_defined_service_server::UserDefinedService;
use crate::protos::{UserDefinedMessage, UserDefinedMessage2, UserDefinedResponse, UserDefinedResponse2};

/// The service.
pub struct Greeter {
    /// What the rest of the server has.
    pub engine: Arc<Engine>,
}

/// Greetings of a stream, and the time between them.
const GREETINGS: i64 = 10;
const PAUSE: Duration = Duration::from_millis(100);

impl Greeter {
    /// What a call says of itself. If it names an application, that has to be there.
    fn call<T>(&self, request: &Request<T>) -> Result<CallContext, Status> {
        let call = CallContext::of(request.extensions());
        self.engine.check_application(call.route())?;
        Ok(call)
    }
}

#[tonic::async_trait]
impl UserDefinedService for Greeter {
    type StreamingStream = Pin<Box<dyn Stream<Item = Result<UserDefinedResponse, Status>> + Send>>;

    // In the protocol it is `__call__`.
    async fn call(
        &self,
        request: Request<UserDefinedMessage>,
    ) -> Result<Response<UserDefinedResponse>, Status> {
        let call = Greeter::call(self, &request)?;
        let UserDefinedMessage { name, origin, num } = request.into_inner();
        let double = doubled(num)?;
        call.set_trailing("num", &num.to_string())?;
        tracing::info!(num, "a greeting");
        Ok(Response::new(UserDefinedResponse {
            greeting: format!("Hello {name} from {origin}"),
            num: double,
        }))
    }

    async fn multiplexing(
        &self,
        request: Request<UserDefinedMessage2>,
    ) -> Result<Response<UserDefinedResponse2>, Status> {
        let call = Greeter::call(self, &request)?;
        let model = call.multiplexed_model_id().unwrap_or_default();
        let greeting = format!("Method2 called model, loading model: {model}");
        Ok(Response::new(UserDefinedResponse2 { greeting }))
    }

    async fn streaming(
        &self,
        request: Request<UserDefinedMessage>,
    ) -> Result<Response<Self::StreamingStream>, Status> {
        Greeter::call(self, &request)?;
        let UserDefinedMessage { name, origin, num } = request.into_inner();
        let double = doubled(num)?;
        let ticks = IntervalStream::new(tokio::time::interval(PAUSE)).zip(stream::iter(0..GREETINGS));
        let greetings = ticks.map(move |(_, i)| {
            let num = double.checked_add(i).ok_or_else(|| out_of_range(num))?;
            Ok(UserDefinedResponse { greeting: format!("{i}: Hello {name} from {origin}"), num })
        });
        Ok(Response::new(Box::pin(greetings)))
    }
}

fn doubled(num: i64) -> Result<i64, Status> {
    num.checked_mul(2).ok_or_else(|| out_of_range(num))
}

fn out_of_range(num: i64) -> Status {
    Status::invalid_argument(format!("num {num} is out of range: twice as much has to fit into 64 bits"))
}
