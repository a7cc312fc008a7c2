//! Virtual machines: what executes one transaction. The rest of the library never looks into a transaction.

mod built_in;
mod panic;
mod prepare;
mod read_and_set;
mod view;

pub mod evm;
pub mod ledger;

pub use built_in::BuiltInVm;
pub use panic::{PanicNote, catch_panic};
pub use read_and_set::ReadAndSet;
pub use view::StateView;

pub use crate::types::Outcome;

use crate::types::{BlockHeader, HintWriter, StatusCode};

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

    /// Executes one transaction. All effects go through `view`.
    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome;

    /// How much of the conserved quantity (the total supply) the key holds with this value. The sum over all keys must
    /// not change by any block; the default watches nothing.
    fn conserved(&self, key: &[u8], value: Option<&[u8]>) -> i128 {
        let _ = (key, value);
        0
    }

    /// Name of a status for people.
    fn status_name(&self, status: StatusCode) -> &'static str;
}
