//! Commit: all changed keys of an accepted block go to the base state, or none.

use crate::executor::acceptance::Acceptance;
use crate::executor::error::ExecuteError;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::{BaseState, Room};

/// How much of the conserved quantity a key holds with a value; see [`crate::vm::Vm::conserved`].
pub(crate) type Conserved = Box<dyn Fn(&[u8], Option<&[u8]>) -> i128 + Send>;

/// Applies the final values of a complete block, to the end, whatever `watch` says of the caller. Shards must be quiet.
///
/// # Errors
/// `SupplyChanged`, `State` (no room), with nothing applied; `StatePoisoned` when it failed half-way.
pub(super) fn commit(
    acceptance: &Acceptance,
    arena: &ArenaWriter,
    base: &mut BaseState,
    height: u64,
    conserved: &Conserved,
    watch: &Watch<'_>,
) -> Result<(), ExecuteError> {
    let (mut room, mut difference) = (Room::default(), 0_i128);
    acceptance.final_values(arena, base, watch, |key, old, new| {
        difference = difference.wrapping_add(conserved(key, new)).wrapping_sub(conserved(key, old));
        room.count(key, old, new);
        Ok::<(), ExecuteError>(())
    })?;
    if difference != 0 {
        return Err(ExecuteError::SupplyChanged { height, difference });
    }
    base.reserve(room)?;
    let poisoned = |cause: String| ExecuteError::StatePoisoned { height, cause };
    acceptance.apply_final(arena, base, watch).map_err(|error| poisoned(error.to_string()))
}
