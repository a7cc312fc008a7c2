//! Commit: all changed keys of an accepted block go to the base state, or none.

use crate::executor::acceptance::Acceptance;
use crate::executor::error::ExecuteError;
use crate::partition::ArenaWriter;
use crate::state::BaseState;

/// How much of the conserved quantity a key holds with a value; see [`crate::vm::Vm::conserved`].
pub(crate) type Conserved = Box<dyn Fn(&[u8], Option<&[u8]>) -> i128 + Send>;

/// Applies the final values of a complete block. Shards must be quiet.
///
/// # Errors
/// `SupplyChanged`, `State` (no room), with nothing applied; `StatePoisoned` when it failed half-way.
pub(super) fn commit(
    acceptance: &Acceptance,
    arena: &ArenaWriter,
    base: &mut BaseState,
    height: u64,
    conserved: &Conserved,
) -> Result<(), ExecuteError> {
    let (mut entries, mut bytes, mut difference) = (0, 0, 0_i128);
    acceptance.final_values(arena, base, |key, old, new| {
        difference = difference.wrapping_add(conserved(key, new)).wrapping_sub(conserved(key, old));
        entries += usize::from(old.is_none() && new.is_some());
        bytes += key.len() + new.map_or(0, <[u8]>::len);
        Ok::<(), ExecuteError>(())
    })?;
    if difference != 0 {
        return Err(ExecuteError::SupplyChanged { height, difference });
    }
    base.reserve(entries, bytes)?;
    let poisoned = |cause: String| ExecuteError::StatePoisoned { height, cause };
    acceptance.apply_final(arena, base).map_err(|error| poisoned(error.to_string()))
}
