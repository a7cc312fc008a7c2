//! An EVM whose state can be replaced between blocks by a block of its own: every block of a replay has a state before it
//! that the one before did not leave.

use crate::supervisor::mark;
use bcs::{from_bytes, to_bytes};
use phalanx::types::{
    Block, BlockHeader, HintWriter, LimitExceeded, Outcome, PrepareError, PreparedBlock, StatusCode,
};
use phalanx::vm::evm::{EvmConfig, EvmStatus, EvmVm};
use phalanx::vm::{StateView, Vm};
use std::collections::HashMap;

/// First byte of a transaction that loads entries; no transaction of the EVM begins with it.
const LOAD: u8 = 0xff;
/// Keys and values of one such transaction, in bytes: with more keys it would take longer to tell them apart than to
/// write them.
const LOAD_BYTES: usize = 1 << 13;

/// Entries of a state by their keys.
pub type Entries = HashMap<Vec<u8>, Vec<u8>>;

/// A key and its new value; absent for `None`.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// An EVM that loads states as well. For replays only: whoever may submit blocks to it may write anything.
#[derive(Clone, Debug)]
pub struct LoadingEvm {
    evm: EvmVm,
}

impl LoadingEvm {
    /// A machine with this set-up.
    #[must_use]
    pub fn new(config: EvmConfig) -> LoadingEvm {
        LoadingEvm { evm: EvmVm::new(config) }
    }

    /// What a supervisor makes its copy from.
    ///
    /// # Errors
    /// None that can happen with this set-up; the encoder's type has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, bcs::Error> {
        Ok(mark(&to_bytes(&self.evm.config())?))
    }
}

/// A block that makes `target` out of the state `present`.
///
/// # Errors
/// [`PrepareError`] when the states are too large for one block.
pub fn loading_block(present: &Entries, target: &Entries) -> Result<PreparedBlock, PrepareError> {
    let gone = present.keys().filter(|key| !target.contains_key(*key)).map(|key| (key.clone(), None));
    let new = target.iter().filter(|(key, value)| present.get(*key) != Some(*value));
    let new = new.map(|(key, value)| (key.clone(), Some(value.clone())));
    let mut block = Block { header: BlockHeader::default(), transactions: Vec::new() };
    let (mut changes, mut bytes): (Vec<Change>, usize) = (Vec::new(), 0);
    for change in gone.chain(new) {
        bytes += change.0.len() + change.1.as_ref().map_or(0, Vec::len);
        changes.push(change);
        if bytes >= LOAD_BYTES {
            block.transactions.push(encode(&std::mem::take(&mut changes)));
            bytes = 0;
        }
    }
    block.transactions.push(encode(&changes));
    let mut prepared = PreparedBlock::new(block.header);
    for transaction in &block.transactions {
        prepared.push(transaction, |_| {})?;
    }
    Ok(prepared)
}

fn encode(changes: &[Change]) -> Vec<u8> {
    // Byte strings always encode.
    [&[LOAD][..], &to_bytes(changes).unwrap_or_default()].concat()
}

impl Vm for LoadingEvm {
    fn begin_block(&mut self, header: &BlockHeader) {
        if *header != BlockHeader::default() {
            self.evm.begin_block(header);
        }
    }

    fn declare(&self, header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        self.evm.declare(header, transaction, hint);
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        let Some((&LOAD, changes)) = transaction.split_first() else {
            return self.evm.execute(transaction, view);
        };
        let status = match from_bytes::<Vec<Change>>(changes) {
            Ok(changes) => load(&changes, view).map_or(EvmStatus::TooLarge, |()| EvmStatus::Success),
            Err(_) => EvmStatus::Undecodable,
        };
        Outcome { status: status.code(), gas_used: 0 }
    }

    fn status_name(&self, status: StatusCode) -> &'static str {
        self.evm.status_name(status)
    }
}

fn load(changes: &[Change], view: &mut dyn StateView) -> Result<(), LimitExceeded> {
    changes.iter().try_for_each(|(key, value)| match value {
        Some(value) => view.set(key, value),
        None => view.delete(key),
    })
}
