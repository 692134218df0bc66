//! The integration tests, in one program: one module for each topic.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop, and says where")]

#[cfg(feature = "torch")]
mod archives;
mod batching;
mod bounds;
mod change;
mod client;
mod client_infer;
mod client_program;
mod codecs;
mod documents;
mod gate;
mod handlers;
mod harness;
mod kserve;
mod layering;
mod loading;
mod lookers;
mod looking;
mod looking_change;
mod looking_limits;
mod looking_stages;
mod masks;
mod pictures;
mod pipeline_text;
mod program;
mod programs;
mod programs_infer;
#[cfg(feature = "torch")]
mod programs_looking;
#[cfg(feature = "torch")]
mod programs_torch;
#[cfg(feature = "torch")]
mod programs_torchserve;
mod puppet;
mod services;
mod shared_memory;
mod stage_limits;
mod stages;
mod stream;
#[cfg(feature = "torch")]
mod torch;
mod torchserve;
mod torchserve_models;
mod torchserve_store;
mod tracks;
mod trouble;
mod unary;
