//! Writing to standard output and standard error such that a reader who has left is no reason to panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints to standard output. A reader who has left has seen what it wanted.
///
/// # Errors
/// Everything else, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints one line about a failure to standard error, if anyone listens there.
pub fn print_error(error: impl Display) {
    let line = format!("error: {}\n", error.to_string().replace('\n', " "));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
