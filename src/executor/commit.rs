//! Commit: the block goes to the log, if there is one; then all its changed keys go to the base state, or none.

use crate::durable::{Journal, Step};
use crate::executor::acceptance::Acceptance;
use crate::executor::error::ExecuteError;
use crate::executor::tally::{Counters, Tally};
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::BaseState;
use crate::types::PreparedBlock;

/// Where a block's changes go.
pub(super) struct Target<'a> {
    pub(super) base: &'a mut BaseState,
    pub(super) journal: Option<&'a mut Journal>,
    pub(super) counters: &'a mut Counters,
}

/// Logs and applies the final values of a complete block, to the end, whatever `watch` says of the caller, but does not wait
/// for the disk when he has given up. Shards must be quiet.
///
/// # Errors
/// `SupplyChanged`, `State` (no room), `Durable` (the log refused), with nothing applied; `StatePoisoned` when it failed
/// half-way.
pub(super) fn commit(
    acceptance: &Acceptance,
    arena: &ArenaWriter,
    target: Target<'_>,
    block: &PreparedBlock,
    watch: &Watch<'_>,
) -> Result<(), ExecuteError> {
    let Target { base, mut journal, counters } = target;
    let height = block.header().height;
    if let Some(journal) = &mut journal {
        journal.begin();
        let outcomes = acceptance.outcomes(|status, gas_used| journal.outcome(status, gas_used));
        outcomes.map_err(ExecuteError::system)?;
    }
    let tally = match &mut journal {
        None => Tally::of(acceptance, (arena, base), counters, watch),
        // The log has its order.
        Some(journal) => {
            let write = |key: &[u8], value: Option<&[u8]>| journal.write(key, value);
            Tally::in_order(acceptance, (arena, base), counters, watch, write)
        }
    };
    let Tally { room, difference, changes } = tally;
    if difference != 0 {
        return Err(ExecuteError::SupplyChanged { height, difference });
    }
    base.reserve(room)?;
    if let Some(journal) = &mut journal {
        let mut digest = base.digest();
        digest.merge(changes);
        let sequence = journal.append(height, block.hash(), digest, &|| watch.look().is_ok())?;
        base.begin_changes(sequence);
    }
    let pass = |step| journal.as_ref().map_or(Ok(()), |journal| journal.pass(step));
    let poisoned = |cause: String| ExecuteError::StatePoisoned { height, cause };
    pass(Step::Appended).map_err(|error| poisoned(error.to_string()))?;
    acceptance.apply_final(arena, base, watch).map_err(|error| poisoned(error.to_string()))?;
    base.count(changes);
    pass(Step::Applied).map_err(|error| poisoned(error.to_string()))
}
