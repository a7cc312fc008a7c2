//! Keys that the plan did not know: outputs spell them out, and each gets its id when the output is first looked at.

use super::{Acceptance, RoundState, view_in};
use crate::executor::block_output::OutputPlace;
use crate::executor::key_states::UNTOUCHED;
use crate::executor::validate_error::ValidateError;
use crate::partition::ArenaWriter;
use crate::state::BaseState;
use crate::types::{OUTPUT_SPELLED, note_ids};

impl Acceptance {
    /// Gives ids to the keys that an output spells out and notes them in it, so that nobody looks them up again. While a round
    /// runs they come beside the plan.
    pub(super) fn name_keys(
        &mut self,
        arena: &mut ArenaWriter,
        base: &BaseState,
        place: OutputPlace,
        round: RoundState,
    ) -> Result<(), ValidateError> {
        let Acceptance { buffers, named, keys, .. } = &mut *self;
        let Ok(view) = view_in(buffers, place) else { return Ok(()) };
        if view.header().flags & OUTPUT_SPELLED == 0 {
            return Ok(());
        }
        named.clear();
        // A damaged output ends at its first unreadable record; checking it reports the damage.
        for (at, key) in view.spelled() {
            let hash = base.hasher().hash(key);
            // The output is checked as soon as its keys have ids.
            base.prefetch(hash);
            let id = match round {
                RoundState::Running => arena.intern_ahead(hash, key)?,
                RoundState::Over => arena.intern(hash, key)?,
            };
            named.push((at, id));
        }
        let bytes = buffers.get_mut(place.buffer as usize);
        if let Some(output) = bytes.and_then(|bytes| bytes.get_mut(place.start as usize..)) {
            note_ids(output, named);
        }
        keys.resize(arena.keys().max(keys.len()), UNTOUCHED);
        Ok(())
    }
}
