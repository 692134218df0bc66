//! The integration tests, in one program: one module for each topic.

mod change;
mod gate;
mod harness;
mod layering;
mod stream;
mod trouble;
