//! Standard output, for what a subcommand has to say.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Writes the text. Who closed the pipe, as `head` does, doesn't want more, which is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    accept_closed_pipe(written)
}

/// The same for text that somebody else has written.
pub fn accept_closed_pipe(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
