//! The progress bar.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

const TEMPLATE: &str = "{wide_bar} {pos}/{len} blocks, {elapsed}, {msg}";

/// How far the run is; shown on standard error when that is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    asked: u64,
    done: AtomicU64,
}

impl Progress {
    /// For a run of at most `blocks` blocks.
    pub fn new(blocks: u64) -> Progress {
        let bar = if stderr().is_terminal() { ProgressBar::new(blocks) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Progress { bar, asked: blocks, done: AtomicU64::new(0) }
    }

    /// Says what is being done.
    pub fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// One more block is through.
    pub fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
    }

    /// Blocks that are through.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Blocks that were asked for.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Takes the bar away: the run is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves the bar as it is: the run ends early.
    pub fn abandon(&self) {
        self.bar.abandon();
    }
}
