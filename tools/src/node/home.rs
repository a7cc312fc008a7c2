//! The directory of a node, and what it was made with.

use crate::kept_file;
use crate::node::error::NodeError;
use crate::node::options::NodeOptions;
use crate::node::scratch::Scratch;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the file that says what the directory was made with.
const NAME: &str = "node.json";
const VERSION: u32 = 1;

/// What a directory is made with. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    validators: usize,
    accounts: usize,
    seed: u64,
}

impl Record {
    fn of(options: &NodeOptions) -> Record {
        let NodeOptions { validators, accounts, seed, .. } = *options;
        Record { version: VERSION, validators, accounts, seed }
    }

    /// Each as it is given on the command line.
    fn options(&self) -> [String; 3] {
        [
            format!("--validators {}", self.validators),
            format!("--accounts {}", self.accounts),
            format!("--seed {}", self.seed),
        ]
    }
}

/// Where everything lies that must survive. A temporary directory goes with it.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Empty if the directory is to stay.
    scratch: Scratch,
}

impl Home {
    /// Makes or finds the directory, and refuses options that are not those it was made with. Where none is named it is one in
    /// `scratch`.
    ///
    /// # Errors
    /// `Home`, `OtherNode`, `NodeFile`.
    pub fn open(options: &NodeOptions, scratch: &Scratch) -> Result<Home, NodeError> {
        let path = match &options.state_dir {
            Some(path) => path.clone(),
            None => scratch.make().map_err(failed("make a directory in", std::env::temp_dir()))?,
        };
        std::fs::create_dir_all(&path).map_err(failed("make", path.clone()))?;
        let home = Home { path, scratch: scratch.clone() };
        home.check(options)?;
        Ok(home)
    }

    fn check(&self, options: &NodeOptions) -> Result<(), NodeError> {
        let file = self.path.join(NAME);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(failed("read", file)(cause)),
        };
        let kept = match serde_json::from_slice::<Record>(&text) {
            Ok(kept) if kept.version == VERSION => kept,
            Ok(_) | Err(_) => return Err(NodeError::NodeFile { path: file }),
        };
        let given = Record::of(options);
        match kept.options().into_iter().zip(given.options()).find(|(kept, given)| kept != given) {
            None => Ok(()),
            Some((kept, given)) => Err(NodeError::OtherNode { directory: self.path.clone(), kept, given }),
        }
    }

    /// Writes down the options, once everything in the directory is open for the first time. Takes a sync.
    ///
    /// # Errors
    /// `Home`.
    pub fn keep(&self, options: &NodeOptions) -> Result<(), NodeError> {
        let file = self.path.join(NAME);
        if file.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec(&Record::of(options)).map_err(std::io::Error::from);
        text.and_then(|text| kept_file::write(&self.path, NAME, &text)).map_err(failed("write", file))
    }

    /// The ledger's state directory.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// The directory: also that of the validators' own.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.scratch.remove();
    }
}

fn failed(step: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> NodeError {
    move |cause| NodeError::Home { step, path, cause }
}
