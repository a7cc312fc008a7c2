//! Which workload a state directory was made with, so that a run on it goes on with the same one.

use crate::cli::{RunOptions, WorkloadName};
use crate::kept_file;
use crate::run::error::RunError;
use phalanx::durable::DurableError;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the file in the state directory.
const NAME: &str = "workload.json";
const VERSION: u32 = 1;

/// What blocks are made from. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    version: u32,
    workload: String,
    skew: Option<f64>,
    accounts: Option<usize>,
    block_size: usize,
    seed: u64,
    signed: bool,
    commutative: bool,
}

impl Record {
    fn of(options: &RunOptions) -> Record {
        Record {
            version: VERSION,
            workload: options.workload.to_string(),
            skew: (options.workload == WorkloadName::Zipf).then_some(options.skew),
            accounts: (!matches!(options.workload, WorkloadName::File(_))).then_some(options.accounts),
            block_size: options.block_size,
            seed: options.seed,
            signed: !options.unsigned,
            commutative: !options.no_commutative,
        }
    }

    /// Each as it is given on the command line.
    fn options(&self) -> [String; 7] {
        let value = |name: &str, value: Option<String>| {
            value.map_or_else(|| format!("no --{name}"), |value| format!("--{name} {value}"))
        };
        let flag = |name: &str, on: bool| if on { format!("--{name}") } else { format!("no --{name}") };
        [
            value("workload", Some(self.workload.clone())),
            value("skew", self.skew.map(|skew| skew.to_string())),
            value("accounts", self.accounts.map(|accounts| accounts.to_string())),
            value("block-size", Some(self.block_size.to_string())),
            value("seed", Some(self.seed.to_string())),
            flag("unsigned", !self.signed),
            flag("no-commutative", !self.commutative),
        ]
    }
}

/// Refuses options that make other blocks than those that the directory has.
///
/// # Errors
/// `OtherWorkload`, `WorkloadFile`.
pub fn check(directory: &Path, options: &RunOptions) -> Result<(), RunError> {
    let path = directory.join(NAME);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed("read", path, cause)),
    };
    let kept: Record = match serde_json::from_slice::<Record>(&text) {
        Ok(kept) if kept.version == VERSION => kept,
        Ok(_) | Err(_) => return Err(RunError::WorkloadFile { path }),
    };
    let given = Record::of(options);
    let differing = kept.options().into_iter().zip(given.options()).find(|(kept, given)| kept != given);
    match differing {
        None => Ok(()),
        Some((kept, given)) => Err(RunError::OtherWorkload { directory: directory.to_owned(), kept, given }),
    }
}

/// Writes down the options with which an open state directory is used for the first time. Takes a sync.
///
/// # Errors
/// `Durable`.
pub fn keep(directory: &Path, options: &RunOptions) -> Result<(), RunError> {
    let path = directory.join(NAME);
    if path.exists() {
        return Ok(());
    }
    let text = serde_json::to_vec(&Record::of(options)).map_err(std::io::Error::from);
    let written = text.and_then(|text| kept_file::write(directory, NAME, &text));
    written.map_err(|cause| failed("write", path, cause))
}

fn failed(step: &'static str, path: PathBuf, cause: std::io::Error) -> RunError {
    RunError::Durable(DurableError::Io { step, path, cause })
}
