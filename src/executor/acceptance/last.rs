//! What a complete block leaves: its outcomes, and the last value of every key that it changed.

use super::{Acceptance, key_state};
use crate::executor::key_states::{Backing, BasePlace, Held, value_in};
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::{BaseState, StateError};
use crate::types::{KeyId, OutputError, StatusCode};
use std::ops::Range;

/// Entries of the base state fetched ahead while changes are applied.
const APPLY_AHEAD: usize = 16;

impl Acceptance {
    /// How many keys accepted transactions changed.
    pub(in crate::executor) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Calls `each` with every key of a run of the changed ones, its value in the base state and its final value; `patrol` now
    /// and then.
    pub(in crate::executor) fn final_values(
        &self,
        run: Range<usize>,
        (arena, base): (&ArenaWriter, &BaseState),
        patrol: impl Fn(usize),
        mut each: impl FnMut(&[u8], Option<&[u8]>, Option<&[u8]>),
    ) {
        let backing = Backing { base, places: &self.places, arena, buffers: &self.buffers };
        for (index, &key) in self.changed.get(run).unwrap_or_default().iter().enumerate() {
            patrol(index);
            let mut buffer = [0; 32];
            let Ok((_, name)) = arena.key(key) else { continue };
            let new = backing.value(key, &key_state(&self.keys, key), &mut buffer);
            each(name, backing.base_value(key), new);
        }
    }

    /// Calls `each` with status and gas of every transaction, in block order; for a complete block.
    ///
    /// # Errors
    /// [`OutputError`], should an accepted output not be readable any more.
    pub(in crate::executor) fn outcomes(
        &self,
        mut each: impl FnMut(StatusCode, u64),
    ) -> Result<(), OutputError> {
        for record in &self.records {
            let view = self.view(record)?;
            each(view.status(), view.gas_used());
        }
        Ok(())
    }

    /// Puts every changed key's final value into the base state, but does not count it into the digest. Room must have been
    /// reserved.
    pub(in crate::executor) fn apply_final(
        &self,
        arena: &ArenaWriter,
        base: &mut BaseState,
        watch: &Watch<'_>,
    ) -> Result<(), StateError> {
        let place_of = |key: KeyId| self.places.get(key.index()).and_then(BasePlace::place);
        for (index, &key) in self.changed.iter().enumerate() {
            watch.patrol_at(index);
            if let Some(place) = self.changed.get(index + APPLY_AHEAD).and_then(|&later| place_of(later)) {
                base.prefetch_place(place);
            }
            let state = key_state(&self.keys, key);
            let Ok((hash, name)) = arena.key(key) else { continue };
            let mut buffer = [0; 32];
            match state.held() {
                // A delta that netted to nothing left the base value as it was.
                Held::Base => {}
                Held::Absent | Held::Number { .. } | Held::Bytes { .. } => {
                    let value = value_in(&self.buffers, &state, &mut buffer);
                    base.put_uncounted(place_of(key), hash, name, value)?;
                }
            }
        }
        Ok(())
    }
}
