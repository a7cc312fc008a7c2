//! What a benchmark reports: where and how it ran, and rows of a kind of its own.
//!
//! A row is a serde type with a `kind` tag; rows that several benchmarks have ([`Ratio`]) are here.

mod host;
pub mod page;
mod statistics;
mod verdict;

use serde::Serialize;

pub use host::{Host, command_line, commit};
pub use statistics::{Spread, median, median_ratio, percentile};
pub use verdict::{Bound, Ratio, Verdict};

/// Version of the JSON object: raised when a key changes its meaning or goes, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// What a benchmark came to. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport<R> {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// Where it ran.
    pub host: Host,
    /// The commit of the working directory's repository, with `-dirty` if it was changed; `unknown` without one.
    pub commit: String,
    /// The command line.
    pub command: String,
    /// What was measured.
    pub rows: Vec<R>,
}

impl<R: Serialize> BenchReport<R> {
    /// A report of these rows, about this host and this command line.
    pub fn new(rows: Vec<R>) -> BenchReport<R> {
        let (host, commit, command) = (Host::read(), commit(), command_line());
        BenchReport { schema: SCHEMA_VERSION, host, commit, command, rows }
    }

    /// The JSON object, on one line.
    ///
    /// # Errors
    /// When a row cannot be encoded.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Two lines for people: host and commit, command.
    pub fn heading(&self) -> String {
        let Host { cores, model, kernel } = &self.host;
        format!("{model}, {cores} cores, Linux {kernel}, commit {}\n{}\n", self.commit, self.command)
    }
}
