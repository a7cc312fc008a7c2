//! Final values: computed by all threads side by side once everything is validated, applied by the caller.

use crate::executor::block_stm::job::{Job, KeyRef, Names};
use crate::executor::block_stm::key_cell::Seen;
use crate::executor::block_stm::observation::END;
use crate::executor::block_stm::version::Content;
use crate::state::{BaseState, Place, Room, StateDigest, StateError};
use crate::types::{PreparedBlock, TxnIndex, number_of};
use std::ops::Range;
use std::sync::Arc;

/// The final value of one key.
#[derive(Clone, Debug)]
enum Final {
    Absent,
    Short { length: u8, bytes: [u8; 32] },
    Long(Arc<[u8]>),
}

impl Final {
    fn value(&self) -> Option<&[u8]> {
        match self {
            Final::Absent => None,
            Final::Short { length, bytes } => bytes.get(..usize::from(*length)),
            Final::Long(bytes) => Some(bytes),
        }
    }
}

/// One key that the block changes.
#[derive(Debug)]
struct Change {
    number: u32,
    /// Where it stands in the base state, if it does.
    place: Option<Place>,
    value: Final,
}

/// The changes that one thread found, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    changes: Vec<Change>,
    scratch: Vec<u32>,
    pub(super) room: Room,
    pub(super) difference: i128,
    pub(super) digest: StateDigest,
}

/// Entries of the base state fetched ahead while changes are applied.
const APPLY_AHEAD: usize = 16;

impl Settlement {
    pub(super) fn clear(&mut self) {
        self.changes.clear();
        (self.room, self.difference, self.digest) = (Room::default(), 0, StateDigest::default());
    }

    /// Settles the keys whose last writer is in `run`.
    pub(super) fn settle(
        &mut self,
        job: &Job,
        block: &PreparedBlock,
        run: Range<u32>,
        conserved: impl Fn(&[u8], Option<&[u8]>) -> i128,
    ) {
        self.scratch.clear();
        for txn in run.map(TxnIndex) {
            let Some(transaction) = job.transaction(txn) else { continue };
            for &number in &transaction.record(job.stamp).written {
                if let Some(key) = job.key(block, number).filter(|key| key.cell.is_last_writer(txn)) {
                    job.base.prefetch(key.hash);
                    self.scratch.push(number);
                }
            }
        }
        for place in 0..self.scratch.len() {
            let number = self.scratch[place];
            if let Some(key) = job.key(block, number) {
                self.settle_key(job, key, number, &conserved);
            }
        }
    }

    fn settle_key(
        &mut self,
        job: &Job,
        key: KeyRef<'_>,
        number: u32,
        conserved: &impl Fn(&[u8], Option<&[u8]>) -> i128,
    ) {
        let found = job.base.locate(key.hash, key.name);
        let old = found.map(|(_, old)| old);
        let value = match key.cell.read(job.stamp, END, || number_of(old)) {
            Seen::Base | Seen::Blocked(_) => return,
            Seen::Sum { number, width, .. } => {
                let mut bytes = [0; 32];
                let length = u8::try_from(width.encode(number, &mut bytes).len()).unwrap_or(0);
                Final::Short { length, bytes }
            }
            Seen::Whole { content, .. } => match content {
                Content::Absent => Final::Absent,
                Content::Short { length, bytes: short } => {
                    let mut bytes = [0; 32];
                    bytes[..short.len()].copy_from_slice(&short);
                    Final::Short { length, bytes }
                }
                Content::Long(bytes) => Final::Long(bytes),
                Content::Expected | Content::Sum { .. } => return,
            },
        };
        let new = value.value();
        if old == new {
            return;
        }
        let gained = conserved(key.name, new).wrapping_sub(conserved(key.name, old));
        self.difference = self.difference.wrapping_add(gained);
        self.room.count(key.name, old, new);
        if let Some(old) = old {
            self.digest.remove(key.name, old);
        }
        if let Some(new) = new {
            self.digest.insert(key.name, new);
        }
        self.changes.push(Change { number, place: found.map(|(place, _)| place), value });
    }

    /// Puts all changes into the base state. Room must have been reserved.
    pub(super) fn apply(
        &self,
        block: &PreparedBlock,
        names: Names<'_>,
        base: &mut BaseState,
    ) -> Result<(), StateError> {
        for (index, change) in self.changes.iter().enumerate() {
            if let Some(place) = self.changes.get(index + APPLY_AHEAD).and_then(|later| later.place) {
                base.prefetch_place(place);
            }
            if let Some(key) = names.key(block, change.number) {
                base.put_uncounted(change.place, key.hash, key.name, change.value.value())?;
            }
        }
        base.count(self.digest);
        Ok(())
    }
}
