//! A file in which fault transactions count their executions, over processes and their lives.

use std::fs;
use std::path::PathBuf;

/// Counts nothing until it is opened, so that the oracle can go first. The file is removed when dropped.
pub struct Tally(PathBuf);

impl Tally {
    /// One that no other test calls by this name.
    pub fn new(name: &str) -> Tally {
        Tally(std::env::temp_dir().join(format!("phalanx-tally-{}-{name}", std::process::id())))
    }

    /// For a transaction's order.
    pub fn path(&self) -> Option<String> {
        Some(self.0.to_str().unwrap().to_owned())
    }

    /// Counts from now on.
    pub fn open(&self) {
        fs::write(&self.0, b"").unwrap();
    }

    pub fn executions(&self) -> u64 {
        fs::metadata(&self.0).map_or(0, |file| file.len())
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // It may never have been opened.
        let _ = fs::remove_file(&self.0);
    }
}
