//! The virtual machines that the `phalanx-supervisor` program knows.

use crate::vm::evm::EvmConfig;
use crate::vm::ledger::LedgerConfig;
use serde::{Deserialize, Serialize};

/// A built-in virtual machine and its set-up: what a supervisor is told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuiltInVm {
    /// The ledger.
    Ledger(LedgerConfig),
    /// The EVM.
    Evm(EvmConfig),
}

impl BuiltInVm {
    /// The bytes for [`crate::supervisor::ProcessesConfig`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain fields always encode; no bytes would be refused by the supervisor.
        bcs::to_bytes(self).unwrap_or_default()
    }

    /// The machine that the bytes stand for.
    ///
    /// # Errors
    /// When they stand for none.
    pub fn from_bytes(bytes: &[u8]) -> Result<BuiltInVm, bcs::Error> {
        bcs::from_bytes(bytes)
    }
}
