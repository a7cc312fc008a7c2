//! Before outputs are judged on a cache: what they name is brought into the table, so that judging and committing find it
//! there as they find everything in a table that holds the whole state.

use super::{Acceptance, view_in};
use crate::durable::ColdReads;
use crate::executor::validate_error::ValidateError;
use crate::executor::watch::Watch;
use crate::partition::ArenaWriter;
use crate::state::BaseState;
use crate::types::{KeyId, Observed, OutputView, ReadRecord};

/// The table, and the store below it.
pub(in crate::executor) struct Warmer<'a, 'c> {
    pub(in crate::executor) arena: &'a mut ArenaWriter,
    pub(in crate::executor) base: &'a mut BaseState,
    pub(in crate::executor) cold: ColdReads<'c>,
    /// Keys by id that are in the table for the rest of the block.
    warm: &'a mut Vec<bool>,
    /// Whether entries have moved in the table.
    moved: bool,
}

impl Acceptance {
    /// Fills the table with what the outputs of the last round name: with the values that shards fetched, and for all else
    /// from the store itself. Shards must be quiet. Nothing may be let go before the block is over.
    ///
    /// # Errors
    /// `Stopped`; `Arena`, `State` when there is no room, `Store`.
    pub(in crate::executor) fn warm_up<'c>(
        &mut self,
        arena: &mut ArenaWriter,
        base: &mut BaseState,
        cold: ColdReads<'c>,
        watch: &Watch<'_>,
    ) -> Result<(), ValidateError> {
        let Acceptance { records, buffers, warm, frontier, .. } = self;
        let mut warmer = Warmer { arena, base, cold, warm, moved: false };
        for (index, record) in records.iter().enumerate().skip(*frontier).filter(|(_, record)| record.fresh) {
            watch.look_at(index)?;
            // Judging finds the damage.
            let Ok(view) = view_in(buffers, record.place) else { continue };
            warmer.take_fetched(&view)?;
            warmer.look_up_named(&view, watch)?;
        }
        if warmer.moved {
            // They are looked up again.
            self.places.clear();
        }
        Ok(())
    }
}

impl Warmer<'_, '_> {
    /// Takes in what a shard fetched from the store.
    fn take_fetched(&mut self, view: &OutputView<'_>) -> Result<(), ValidateError> {
        for ReadRecord { key_id, key, observed, .. } in view.cold().map_while(Result::ok) {
            let value = match observed {
                Observed::Absent => None,
                Observed::Value(value) => Some(value),
                Observed::Long | Observed::There => continue,
            };
            let Some(id) = self.cold_key(key_id, key)? else { continue };
            let (hash, name) = self.arena.key(id)?;
            self.moved |= self.base.fill(hash, name, value)?;
        }
        Ok(())
    }

    /// Looks up every key that an output reads or writes.
    fn look_up_named(&mut self, view: &OutputView<'_>, watch: &Watch<'_>) -> Result<(), ValidateError> {
        let reads = view.reads().map_while(Result::ok).map(|read| (read.key_id, read.key));
        let writes = view.writes().map_while(Result::ok).map(|write| (write.key_id, write.key));
        for (key_id, key) in reads.chain(writes) {
            let Some(id) = self.cold_key(key_id, key)? else { continue };
            watch.look()?;
            let (hash, name) = self.arena.key(id)?;
            let value = self.cold.get(name).map_err(ValidateError::Store)?;
            self.moved |= self.base.fill(hash, name, value)?;
        }
        Ok(())
    }

    /// The key's id if the table does not hold it; from now on it counts as warm.
    fn cold_key(&mut self, id: KeyId, key: &[u8]) -> Result<Option<KeyId>, ValidateError> {
        let id = if id == KeyId::UNKNOWN {
            self.arena.intern(self.base.hasher().hash(key), key)?
        } else if id.index() < self.arena.keys() {
            id
        } else {
            // Damage.
            return Ok(None);
        };
        if self.warm.len() <= id.index() {
            self.warm.resize((id.index() + 1).next_multiple_of(1024), false);
        }
        let known = self.warm.get_mut(id.index()).is_none_or(|warm| std::mem::replace(warm, true));
        if known {
            return Ok(None);
        }
        let (hash, name) = self.arena.key(id)?;
        Ok((!self.base.touch(hash, name)?).then_some(id))
    }
}
