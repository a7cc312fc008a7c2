//! What a ledger is set up with.

use serde::{Deserialize, Serialize};

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureMode {
    /// Every signature is checked; a wrong one is a status.
    #[default]
    Verify,
    /// Signatures are there but not looked at: for benchmarks of everything else, and for callers that checked them.
    Skip,
}

/// Set-up of a ledger; the same in every process that executes its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerConfig {
    /// Chain id that transactions must name.
    pub chain_id: u32,
    /// Whether signatures are checked.
    pub signatures: SignatureMode,
    /// Whether changes of numbers are commutative writes. Without, they are reads and plain writes: the same statuses
    /// and final state, for measuring what commutative writes bring.
    pub commutative: bool,
}
