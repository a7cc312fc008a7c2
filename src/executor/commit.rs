//! Commit: the block goes to the log, if there is one; then all its changed keys go to the base state, or none.

use crate::durable::{Journal, Step};
use crate::executor::acceptance::Acceptance;
use crate::executor::error::ExecuteError;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::{BaseState, Room, StateDigest};
use crate::types::PreparedBlock;

/// How much of the conserved quantity a key holds with a value; see [`crate::vm::Vm::conserved`].
pub(crate) type Conserved = Box<dyn Fn(&[u8], Option<&[u8]>) -> i128 + Send>;

/// Where a block's changes go.
pub(super) struct Target<'a> {
    pub(super) base: &'a mut BaseState,
    pub(super) journal: Option<&'a mut Journal>,
    pub(super) conserved: &'a Conserved,
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
    let Target { base, mut journal, conserved } = target;
    let height = block.header().height;
    if let Some(journal) = &mut journal {
        journal.begin();
        let outcomes = acceptance.outcomes(|status, gas_used| journal.outcome(status, gas_used));
        outcomes.map_err(ExecuteError::system)?;
    }
    let (mut room, mut difference, mut changes) = (Room::default(), 0_i128, StateDigest::default());
    acceptance.final_values(arena, base, watch, |key, old, new| {
        if old == new {
            return;
        }
        difference = difference.wrapping_add(conserved(key, new)).wrapping_sub(conserved(key, old));
        room.count(key, old, new);
        if new.is_none() && base.is_cache() {
            // What is removed stays, as a key without a value.
            room.count(key, old, Some(&[]));
        }
        if let Some(old) = old {
            changes.remove(key, old);
        }
        if let Some(new) = new {
            changes.insert(key, new);
        }
        if let Some(journal) = &mut journal {
            journal.write(key, new);
        }
    });
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
