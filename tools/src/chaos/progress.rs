//! The live line of a trial, or a line now and then where nobody looks at a terminal.

use crate::chaos::fault::FaultKind;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{elapsed} {wide_msg}";

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Blocks found right.
    pub blocks: u64,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Deaths of shards.
    pub deaths: usize,
    /// From the moment the last death was known until the next life was ready.
    pub last_recovery: Option<Duration>,
}

/// Where it is shown.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Mutex<Instant>,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, begun: Instant::now(), said: Mutex::new(Instant::now()) }
    }

    /// Shows how things stand, if it is time to.
    pub fn show(&self, sight: &Sight) {
        match &self.bar {
            Some(bar) => bar.set_message(line_of(sight)),
            None => {
                let mut said = self.said.lock();
                if said.elapsed() >= LINE_EVERY {
                    *said = Instant::now();
                    let line = format!("{:>4} s: {}\n", self.begun.elapsed().as_secs(), line_of(sight));
                    // Nobody listens: then nobody needs it.
                    let _ = stderr().lock().write_all(line.as_bytes());
                }
            }
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
    let Sight { blocks, faults, deaths, last_recovery } = sight;
    let mut line = format!("{blocks} blocks, {deaths} deaths");
    if let Some(last) = last_recovery {
        // Writing to a string cannot fail.
        let _ = write!(line, ", last made good in {:.1} ms", last.as_secs_f64() * 1e3);
    }
    for (kind, count) in faults {
        let _ = write!(line, ", {kind} {count}");
    }
    line
}
