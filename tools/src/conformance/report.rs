//! What a run of tests comes to.

use crate::conformance::verdict::{Ending, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// All tests. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub passed: u64,
    /// Tests, and files that are none.
    pub failed: u64,
    pub skipped: u64,
    /// Blocks that were judged, valid or not.
    pub blocks: u64,
    /// Blocks that were rejected as they should be.
    pub rejected: u64,
    /// Transactions of valid blocks.
    pub transactions: u64,
    pub files: usize,
    pub executor: String,
    pub shards: usize,
    pub jobs: usize,
    pub seconds: f64,
    pub failures: Vec<Failure>,
    pub skips: Vec<Skip>,
    pub rejections: Vec<Rejected>,
}

/// A test that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub file: String,
    /// `None` for a file that is not one with tests.
    pub test: Option<String>,
    pub cause: String,
    /// Whether the file is broken, so that the test says nothing of the executor.
    pub broken: bool,
}

/// Tests that were skipped for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Skip {
    pub reason: String,
    pub count: usize,
    pub tests: Vec<String>,
}

/// A block that was rejected as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    pub test: String,
    pub block: usize,
    pub expected: String,
    pub reason: String,
}

/// What one file came to.
#[derive(Debug)]
pub enum FileEnding {
    /// Its tests by their names; a broken one is described.
    Tests(Vec<(String, Result<Verdict, String>)>),
    /// The file is broken.
    Broken(String),
}

impl Report {
    /// Takes a file in.
    pub fn take(&mut self, file: &Path, ending: FileEnding) {
        self.files += 1;
        let file = file.display().to_string();
        let tests = match ending {
            FileEnding::Tests(tests) => tests,
            FileEnding::Broken(cause) => return self.fail(Failure { file, test: None, cause, broken: true }),
        };
        for (test, verdict) in tests {
            match verdict {
                Ok(verdict) => self.take_verdict(&file, test, verdict),
                Err(cause) => {
                    self.fail(Failure { file: file.clone(), test: Some(test), cause, broken: true })
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        self.failures.push(failure);
    }

    fn take_verdict(&mut self, file: &str, test: String, verdict: Verdict) {
        self.blocks += verdict.blocks;
        self.transactions += verdict.transactions;
        self.rejected += verdict.rejections.len() as u64;
        self.rejections.extend(verdict.rejections.into_iter().map(|one| Rejected {
            test: test.clone(),
            block: one.block,
            expected: one.expected,
            reason: one.reason,
        }));
        match verdict.ending {
            Ending::Passed => self.passed += 1,
            Ending::Failed(cause) => {
                self.fail(Failure { file: file.to_owned(), test: Some(test), cause, broken: false });
            }
            Ending::Skipped(reason) => {
                self.skipped += 1;
                self.skips.push(Skip { reason, count: 1, tests: vec![test] });
            }
        }
    }

    /// Puts skips for the same reason together.
    pub fn gather(&mut self) {
        let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for skip in self.skips.drain(..) {
            by_reason.entry(skip.reason).or_default().extend(skip.tests);
        }
        let skip = |(reason, tests): (String, Vec<String>)| Skip { reason, count: tests.len(), tests };
        self.skips = by_reason.into_iter().map(skip).collect();
    }

    /// The report for people; with the reasons of rejections if wanted.
    pub fn text(&self, reasons: bool) -> String {
        let mut text = String::new();
        for one in self.rejections.iter().filter(|_| reasons) {
            let Rejected { test, block, expected, reason } = one;
            let _ = writeln!(text, "rejected {test}: block {block}: {reason} (expected {expected})");
        }
        for Skip { reason, count, tests } in &self.skips {
            let _ = writeln!(text, "skipped {count}: {reason}");
            for test in tests {
                let _ = writeln!(text, "    {test}");
            }
        }
        for Failure { file, test, cause, .. } in &self.failures {
            let _ = match test {
                Some(test) => writeln!(text, "FAILED {file}: {test}: {cause}"),
                None => writeln!(text, "FAILED {file}: {cause}"),
            };
        }
        let _ = writeln!(
            text,
            "{} passed, {} failed, {} skipped; {} blocks ({} rejected as they should be), {} transactions in {} \
             files; {}, {} shards, {} jobs, {:.1} s",
            self.passed,
            self.failed,
            self.skipped,
            self.blocks,
            self.rejected,
            self.transactions,
            self.files,
            self.executor,
            self.shards,
            self.jobs,
            self.seconds
        );
        text
    }

    /// Sets how long it all took, to a thousandth of a second.
    pub fn took(&mut self, time: Duration) {
        self.seconds = (time.as_secs_f64() * 1e3).round() / 1e3;
    }
}
