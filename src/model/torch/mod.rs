//! TorchScript models, run by libtorch.

mod find;
mod instance;
mod kinds;
mod module;
mod names;
mod open;
mod pixels;
mod plan;
mod probe;
mod raw;
mod samples;
mod text;
mod tune;

pub use find::find;
pub use names::{Argument, Graph, Takes};
pub use open::{TorchScript, graph};
