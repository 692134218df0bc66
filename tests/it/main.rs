//! The integration tests, in one program: one module for each topic.

mod change;
mod client;
mod client_program;
mod gate;
mod harness;
mod layering;
mod stream;
mod trouble;
