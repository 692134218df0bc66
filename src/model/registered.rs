//! What is known of a version that a client registered, and its operator may want to hear.

use std::time::Duration;

use super::archive::ModelArchive;

/// A version's archive, and the terms that it was registered on.
#[derive(Debug)]
pub struct Registered {
    /// Its files, and what its packager says of it. They are there for as long as this is.
    pub archive: ModelArchive,
    /// Where the archive came from, as who registered it wrote it.
    pub url: String,
    /// It was there from the start.
    pub at_start: bool,
    /// How long an answer may take.
    pub response_timeout: Duration,
    /// How long its instances may take to be ready.
    pub startup_timeout: Duration,
}
