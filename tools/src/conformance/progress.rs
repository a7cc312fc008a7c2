//! The progress bar.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::path::Path;

const TEMPLATE: &str = "{wide_bar} {pos}/{len} files, {elapsed}, {msg}";

/// How far the tests are; shown on standard error when that is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For so many files.
    pub fn new(files: usize) -> Progress {
        let bar = if stderr().is_terminal() { ProgressBar::new(files as u64) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// One more file is through.
    pub fn count(&self, file: &Path) {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned());
        self.bar.set_message(name.unwrap_or_default());
        self.bar.inc(1);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
