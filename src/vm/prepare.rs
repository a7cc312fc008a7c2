//! Prepares a block with the hints of a virtual machine.

use crate::types::{Block, PrepareError, PreparedBlock};
use crate::vm::Vm;

impl PreparedBlock {
    /// Prepares a whole block with the hints that `vm` declares and foresees. Runs `vm.declare` and `vm.foresee` in the calling process.
    ///
    /// # Errors
    /// [`PrepareError::TooLarge`].
    pub fn prepare<V: Vm>(vm: &V, block: &Block) -> Result<PreparedBlock, PrepareError> {
        let mut prepared = PreparedBlock::with_room(block);
        for transaction in block.fetched() {
            prepared.push(transaction, |hint| vm.declare(&block.header, transaction, hint))?;
        }
        vm.foresee(&mut prepared)?;
        Ok(prepared)
    }
}
