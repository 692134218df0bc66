//! The integration tests, in one program: one module for each topic.

mod pipeline_text;
mod stage_limits;
mod stages;
