//! What is told of a state directory or a snapshot.

use phalanx::durable::{DirectoryReport, SnapshotHead};
use phalanx::types::BlockHash;
use serde::Serialize;
use std::fmt::Write;

/// Version of the JSON object: raised when a key changes its meaning or goes, not when one is added.
const SCHEMA_VERSION: u32 = 1;

/// What is told of a state directory. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    schema_version: u32,
    /// Whether everything was read and found whole.
    verified: bool,
    /// The last block in the store; `None` before the first.
    height: Option<u64>,
    block_hash: Option<String>,
    state_digest: String,
    entries: u64,
    store_bytes: u64,
    kept_blocks: u64,
    segments: u64,
    log_bytes: u64,
    log_records_read: u64,
    /// Blocks that the log has and the store lacks, and the last one of them.
    backlog_blocks: u64,
    backlog_height: Option<u64>,
    unfinished_bytes: u64,
}

impl StateReport {
    /// Of what a look at the directory came to.
    pub fn of(report: &DirectoryReport, verified: bool) -> StateReport {
        let block = report.head.block;
        StateReport {
            schema_version: SCHEMA_VERSION,
            verified,
            height: block.map(|(height, _)| height),
            block_hash: block.map(|(_, hash)| hash.to_string()),
            state_digest: report.head.digest.to_string(),
            entries: report.entries,
            store_bytes: report.store_bytes,
            kept_blocks: report.kept_blocks,
            segments: report.segments,
            log_bytes: report.log_bytes,
            log_records_read: report.log_records,
            backlog_blocks: report.backlog_blocks,
            backlog_height: report.backlog_height,
            unfinished_bytes: report.unfinished_bytes,
        }
    }

    /// The JSON object, on one line.
    ///
    /// # Errors
    /// None that can happen with these fields; the encoder's type has one.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let backlog = match self.backlog_height {
            Some(height) => format!("{} blocks, up to height {height}", self.backlog_blocks),
            None => "none".to_owned(),
        };
        let verified = if self.verified { "log and store are whole" } else { "not looked at" };
        table(&[
            ("block", block_line(self.height, self.block_hash.as_deref())),
            ("state digest", self.state_digest.clone()),
            ("entries", self.entries.to_string()),
            ("store", format!("{} bytes", self.store_bytes)),
            ("log", format!("{} bytes in {} segments", self.log_bytes, self.segments)),
            ("kept blocks", self.kept_blocks.to_string()),
            ("backlog", backlog),
            ("unfinished", format!("{} bytes", self.unfinished_bytes)),
            ("verified", verified.to_owned()),
        ])
    }
}

/// What is told of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotReport {
    block: Option<(u64, BlockHash)>,
    digest: String,
    entries: u64,
}

impl SnapshotReport {
    /// Of a snapshot that was written or read.
    pub fn of(head: &SnapshotHead) -> SnapshotReport {
        SnapshotReport { block: head.block, digest: head.digest.to_string(), entries: head.entries }
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let hash = self.block.map(|(_, hash)| hash.to_string());
        table(&[
            ("block", block_line(self.block.map(|(height, _)| height), hash.as_deref())),
            ("state digest", self.digest.clone()),
            ("entries", self.entries.to_string()),
        ])
    }
}

fn block_line(height: Option<u64>, hash: Option<&str>) -> String {
    match (height, hash) {
        (Some(height), Some(hash)) => format!("{height} ({hash})"),
        (_, _) => "none, the first state".to_owned(),
    }
}

fn table(rows: &[(&str, String)]) -> String {
    let mut table = String::new();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{name:<width$}  {value}");
    }
    table
}
