//! The integration tests, in one program: one module for each topic.

mod stages;
