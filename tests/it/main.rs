//! The integration tests, in one program: one module for each topic.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop, and says where")]

mod applications;
#[cfg(feature = "torch")]
mod archives;
mod batching;
mod bounds;
mod certificates;
mod change;
mod client;
mod client_infer;
mod client_program;
mod codecs;
#[cfg(feature = "torch")]
mod convert;
#[cfg(feature = "torch")]
mod convert_served;
mod demos;
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
mod looking_every;
mod looking_limits;
mod looking_room;
mod looking_stages;
mod masks;
mod mindspore;
mod mounted;
mod not_ready;
mod pictures;
mod pictures_sent;
mod pipeline_text;
mod placements;
mod program;
mod programs;
#[cfg(feature = "torch")]
mod programs_dialects;
#[cfg(feature = "torch")]
mod programs_export;
mod programs_infer;
#[cfg(feature = "torch")]
mod programs_looking;
#[cfg(feature = "torch")]
mod programs_mindspore;
#[cfg(feature = "torch")]
mod programs_precision;
#[cfg(feature = "torch")]
mod programs_torch;
#[cfg(feature = "torch")]
mod programs_torchserve;
mod puppet;
mod ray;
mod services;
mod shared_memory;
mod stage_limits;
mod stages;
mod stream;
mod tls;
#[cfg(feature = "torch")]
mod torch;
mod torchserve;
mod torchserve_models;
mod torchserve_store;
mod track_measures;
mod tracks;
mod trouble;
mod unary;
mod uncopied;
mod unix;
