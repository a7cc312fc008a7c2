//! Why an Ethereum block cannot be used.

use std::path::PathBuf;
use thiserror::Error;

/// A file that is broken or incomplete.
#[derive(Debug, Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {source}; give folders that hold block.json and prestate.json", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no JSON.
    #[error("{file} is no JSON: {source}", file = file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field is missing or is not what it should be.
    #[error("{file}: {field}: expected {expected}, found {found}", file = file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field, as in `transactions[3].gas`.
        field: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
}
