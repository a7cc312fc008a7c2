//! Virtual machines: what executes one transaction. The rest of the library never looks into a transaction.

mod built_in;
mod finding;
mod panic;
mod prepare;
mod read_and_set;
mod view;

pub mod evm;
pub mod ledger;

pub use built_in::BuiltInVm;
pub use panic::{PanicNote, catch_panic};
pub use read_and_set::ReadAndSet;
pub use view::{Content, KeyMark, StateView};

pub use finding::Finding;

pub use crate::types::Outcome;

use crate::types::{BlockHeader, HintWriter, PrepareError, PreparedBlock, StatusCode};

/// Executes transactions. Every shard owns one instance and calls it from one thread.
///
/// Execution must be a pure function of the header, the transaction and what the view returned: no clock, no
/// randomness, no hash-map order. It may be run on values that turn out to be wrong; such an execution is thrown away,
/// so it must stop by itself on any values and any transaction bytes.
pub trait Vm: Clone + Send + 'static {
    /// Called before the first transaction of each block, on every instance that will execute some of it.
    fn begin_block(&mut self, header: &BlockHeader);

    /// Declares what `transaction` is expected to touch, and its cost. A hint: leaving it empty or wrong is allowed.
    fn declare(&self, header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>);

    /// Foresees in a block whose transactions are all there what they leave, where the block itself tells it. A hint, as what is
    /// declared; the default foresees nothing.
    ///
    /// # Errors
    /// [`PrepareError::TooLarge`].
    fn foresee(&self, block: &mut PreparedBlock) -> Result<(), PrepareError> {
        let _ = block;
        Ok(())
    }

    /// Executes one transaction. All effects go through `view`.
    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome;

    /// How many transactions [`examine`](Self::examine) likes to see at once; 0, the default, if it finds out nothing.
    fn examines_at_once(&self) -> usize {
        0
    }

    /// Looks at transactions that are executed soon, for what needs no state and is cheaper for many at once: signatures.
    /// Leaves what it finds out about each at the same place of `findings`, which are [`Finding::NOTHING`] before.
    ///
    /// Comes after [`begin_block`](Self::begin_block), and perhaps long before the values that the transactions wait for. No
    /// outcome may depend on what was examined, or whether.
    fn examine(&mut self, transactions: &[&[u8]], findings: &mut [Finding]) {
        let _ = (transactions, findings);
    }

    /// As [`execute`](Self::execute), for a transaction about which this is known.
    fn execute_examined(
        &mut self,
        transaction: &[u8],
        finding: Finding,
        view: &mut dyn StateView,
    ) -> Outcome {
        let _ = finding;
        self.execute(transaction, view)
    }

    /// How much of the conserved quantity (the total supply) the key holds with this value. The sum over all keys must
    /// not change by any block; the default watches nothing.
    fn conserved(&self, key: &[u8], value: Option<&[u8]>) -> i128 {
        let _ = (key, value);
        0
    }

    /// Name of a status for people.
    fn status_name(&self, status: StatusCode) -> &'static str;
}
