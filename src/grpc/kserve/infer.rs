//! One inference request, from the message to the reply: for the unary call and for each of a stream.

use std::sync::Arc;

use prost::Message;
use tonic::Code;

use super::input::{self, Shared, Source};
use super::output::{self, Form, Head};
use super::parameters::{self, Window, Wishes};
use super::refusal::Refusal;
use super::shared_memory::Regions;
use crate::engine::{Asked, Engine, InferRequest, Served};
use crate::grpc::layer::CallContext;
use crate::limits::Credit;
use crate::model::Signature;
use crate::model::version::Treatment;
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::proto::inference::{ModelInferRequest, ModelInferResponse};
use crate::tensor::{DataType, Place};

/// What a client is told whose request comes too late.
pub fn going_down() -> Refusal {
    let text = "GRPC server is shutting down and has stopped accepting new requests.";
    Refusal::Other(Code::Unavailable, text.into())
}

/// What a client is told that asks about models meanwhile.
pub fn exiting() -> Refusal {
    Refusal::Other(Code::Unavailable, "Server exiting".into())
}

/// Who asks, and for how long it will wait.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What its call says besides the message.
    pub call: CallContext,
    /// Whether its tensors may lie in shared memory.
    pub shares_memory: bool,
}

/// A request that was read, and what its reply is to be like.
#[derive(Debug)]
pub struct Call {
    /// For the engine.
    pub request: InferRequest,
    windows: Vec<Option<Window>>,
    form: Form,
}

/// Answers one request.
pub async fn infer(
    engine: &Arc<Engine>,
    regions: &Regions,
    mut message: ModelInferRequest,
    caller: &Caller,
) -> Result<ModelInferResponse, Refusal> {
    let served = engine.routed(caller.call.route(), &message.model_name, &message.model_version).await?;
    let id = message.id.clone();
    let windows = windows(&mut message, engine.limits().max_message_bytes)?;
    if !caller.shares_memory && !windows.is_empty() {
        return Err(disabled());
    }
    let early = |(index, _): &(usize, Window)| is_read_early(&served, &message.inputs[*index]);
    let (early, late): (Vec<_>, Vec<_>) = windows.into_iter().partition(early);
    let room = room(engine, &early)?;
    let shared = shared(&message, early, late, regions).await?;
    let Call { mut request, windows, form } = Call::read(message, served.signature(), shared)?;
    // From here on the engine has an eye on it.
    drop(room);
    if !caller.shares_memory && windows.iter().any(Option::is_some) {
        return Err(disabled());
    }
    request.treatment.deadline = caller.call.deadline();
    for (asked, window) in request.outputs.iter_mut().zip(windows) {
        // Before the model works for nothing.
        let slot = window.map(|window| regions.slot(&asked.name, window)).transpose()?;
        asked.place = slot.map(|slot| Arc::new(slot) as Arc<dyn Place>);
    }
    let reply = engine.infer(&served, request).await.map_err(Refusal::of_request)?;
    let head = Head { model: served.name().into(), version: served.version() };
    let mut reply = output::reply(head, reply, form)?;
    reply.id = id;
    Ok(reply)
}

/// The refusal of whoever may not use shared memory.
pub fn disabled() -> Refusal {
    Refusal::unsupported(
        "Client shared memory is disabled: it is for clients on the server's own machine, unless the server was \
         started with --shared-memory everywhere.",
    )
}

impl Call {
    /// Reads a message. `shared` holds those inputs that lay in shared memory.
    pub fn read(
        mut message: ModelInferRequest,
        signature: &Signature,
        shared: Shared,
    ) -> Result<Self, Refusal> {
        let Wishes { priority, timeout, raw_outputs, codec } =
            parameters::of_request(std::mem::take(&mut message.parameters))?;
        let form = form(&message, raw_outputs);
        let inputs = input::read(&mut message, signature, shared)?;
        let (outputs, windows): (Vec<Asked>, Vec<_>) = message
            .outputs
            .into_iter()
            .map(|output| parameters::of_output(output.name, output.parameters))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let treatment = Treatment { priority, timeout, ..Treatment::default() };
        let request = InferRequest { inputs, outputs, treatment, codec };
        Ok(Call { request, windows, form })
    }
}

/// The form of the reply: that of the request, if it says nothing else.
fn form(message: &ModelInferRequest, raw: Option<bool>) -> Form {
    let typed =
        message.raw_input_contents.is_empty() && message.inputs.iter().any(|input| input.contents.is_some());
    if raw.map_or(typed, |raw| !raw) { Form::Typed } else { Form::Raw }
}

/// Which inputs lie in shared memory, and where. All of them together are held to the bound of a message.
pub fn windows(message: &mut ModelInferRequest, most: usize) -> Result<Vec<(usize, Window)>, Refusal> {
    let mut windows = Vec::new();
    let mut room = most as u64;
    for (index, InferInputTensor { name, parameters, .. }) in message.inputs.iter_mut().enumerate() {
        let Some(window) = parameters::window(name, parameters)? else { continue };
        let too_large = || {
            let text = format!(
                "the inputs in shared memory have more than {most} bytes, which is the limit (the server's \
                 --max-message-bytes raises it)"
            );
            Refusal::Other(Code::ResourceExhausted, text)
        };
        room = room.checked_sub(window.bytes).ok_or_else(too_large)?;
        windows.push((index, window));
    }
    Ok(windows)
}

/// Room for what is read of shared memory: a message of some bytes can ask for as much as the largest one.
fn room(engine: &Engine, windows: &[(usize, Window)]) -> Result<Option<Credit>, Refusal> {
    let bytes: u64 = windows.iter().map(|(_, window)| window.bytes).sum();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let room = (!windows.is_empty()).then(|| engine.credits().try_acquire(bytes));
    Ok(room.transpose()?)
}

/// What the inputs that lie in shared memory are taken from.
async fn shared(
    message: &ModelInferRequest,
    early: Vec<(usize, Window)>,
    late: Vec<(usize, Window)>,
    regions: &Regions,
) -> Result<Shared, Refusal> {
    let slot = |index: usize, window| regions.slot(&message.inputs[index].name, window);
    let mut shared = Shared::new();
    for (index, window) in late {
        let (bytes, slot) = (window.bytes, slot(index, window)?);
        shared.insert(index, Source::Place(bytes, Arc::new(slot)));
    }
    for (index, window) in early {
        let bytes = slot(index, window)?.read_in_turns().await?;
        shared.insert(index, Source::Bytes(bytes));
    }
    Ok(shared)
}

/// Whether an input is to be read before it waits for the model, since its bytes have to be looked at, or since a GPU
/// would have to wait while the thread that feeds it copies.
fn is_read_early(served: &Served, input: &InferInputTensor) -> bool {
    let looked_at = |datatype| matches!(datatype, DataType::Bytes | DataType::Bool);
    match served {
        Served::Pipeline(_) => true,
        Served::Model(version) if !version.is_on_cpu() => true,
        Served::Model(_) => DataType::from_name(&input.datatype).is_none_or(looked_at),
    }
}

/// Bytes that a request takes while it waits.
pub fn bytes(message: &ModelInferRequest) -> usize {
    message.encoded_len()
}
