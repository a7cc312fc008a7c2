//! The command line of `phalanx state`.

use crate::cli::Format;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of `phalanx state`.
#[derive(Clone, Debug, Args)]
pub struct StateOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// What can be done with state directories.
#[derive(Clone, Debug, Subcommand)]
pub enum StateCommand {
    /// Writes the state, as the store has it, into a snapshot: one file with checksums, as of one block.
    ///
    /// The directory's owner may go on meanwhile. The store may be some blocks behind the log; after an orderly end it is not.
    Export(ExportArguments),
    /// Makes a new state directory from a snapshot.
    ///
    /// Results of blocks before the snapshot are not in it. If anything is wrong, no state is made.
    Import(ImportArguments),
    /// Reads every record of the log and every entry of the store, and compares checksums and the digest.
    ///
    /// The directory's owner may go on meanwhile. The first thing that is wrong is told with file and offset.
    Verify(LookArguments),
    /// Tells at which block the state stands, how large it is, and what the log has beyond it.
    Stat(LookArguments),
}

/// Options of `phalanx state export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    /// The state directory.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The snapshot; `-` for standard output. A file that is there is replaced when the new one is whole.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Options of `phalanx state import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArguments {
    /// The snapshot; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The state directory, which must not hold a state.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Options of `phalanx state verify` and `phalanx state stat`.
#[derive(Clone, Debug, Args)]
pub struct LookArguments {
    /// The state directory.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Prints the result on standard output as a table (text) or as exactly one JSON object (json). Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
}
