//! What the benchmarks of the command share: the progress bar, and the end with a report.

use crate::exit::Exit;
use crate::output::{print, print_error};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, stderr};

const TEMPLATE: &str = "{wide_bar} {pos}/{len}, {elapsed}, {msg}";

/// Shown on standard error when that is a terminal.
pub fn bar() -> ProgressBar {
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

/// Says how far it is and what begins.
pub fn show(bar: &ProgressBar, done: usize, total: usize, what: String) {
    bar.set_length(total as u64);
    bar.set_position(done as u64);
    bar.set_message(what);
}

/// Prints the report on standard output.
pub fn publish(text: io::Result<String>) -> Exit {
    match text.and_then(|text| print(&text)) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            print_error(format_args!(
                "cannot write the report: {error}; give standard output another place to go"
            ));
            Exit::Failed
        }
    }
}
