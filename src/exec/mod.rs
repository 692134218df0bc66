//! Threads that compute, apart from the async runtime, which only waits. They know nothing of what they run.

pub mod batch;
pub mod courier;
pub mod line;
pub mod pool;
pub mod rest;
mod turns;
