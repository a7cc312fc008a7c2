//! The live line of a node, or a line now and then where nobody looks at a terminal.

use crate::node::book::Counts;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{elapsed} {wide_msg}";

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// What became of transactions.
    pub counts: Counts,
    /// The last committed block.
    pub height: u64,
    /// Transactions committed in the last second.
    pub per_second: u64,
    /// Components that were started again.
    pub component_restarts: u64,
    /// Shard processes that were started again.
    pub respawns: u64,
    /// What is being done.
    pub phase: &'static str,
}

/// Where it is shown.
#[derive(Debug)]
pub struct LiveLine {
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Instant,
}

impl LiveLine {
    /// On standard error.
    pub fn new() -> LiveLine {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar
        });
        LiveLine { bar, begun: Instant::now(), said: Instant::now() }
    }

    /// Says a sentence that stays.
    pub fn say(&self, sentence: &str) {
        match &self.bar {
            Some(bar) => bar.println(sentence),
            // Nobody listens: then nobody needs it.
            None => _ = stderr().lock().write_all(format!("{sentence}\n").as_bytes()),
        }
    }

    /// Shows how things stand, if it is time to.
    pub fn show(&mut self, sight: &Sight) {
        match &self.bar {
            Some(bar) => bar.set_message(line_of(sight)),
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                self.say(&format!("{:>4} s: {}", self.begun.elapsed().as_secs(), line_of(sight)));
            }
            None => {}
        }
    }

    /// Takes the live line away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line_of(sight: &Sight) -> String {
    let Sight { counts, height, per_second, component_restarts, respawns, phase } = sight;
    format!(
        "{phase}: block {height}, {per_second} transactions/s, {} open, {} committed, {} expired, {} rejected; restarted: {component_restarts} components, {respawns} shards",
        counts.open(),
        counts.committed,
        counts.expired,
        counts.rejected
    )
}
