//! What an EVM is set up with.

use serde::{Deserialize, Serialize};

/// Set-up of an EVM; the same in every process that executes its blocks. What changes from block to block is in the
/// block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmConfig {
    /// Chain id of the CHAINID instruction, and which transactions must name if they name one.
    pub chain_id: u64,
}

impl Default for EvmConfig {
    /// Mainnet.
    fn default() -> EvmConfig {
        EvmConfig { chain_id: 1 }
    }
}
