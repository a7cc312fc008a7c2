//! The channels of a shard process: rings in shared memory.

use crate::executor::{OutputArenaReader, Transport};
use crate::types::ShardId;
use phalanx_ipc::{Cell, Control, Drained, Inbox, Outlet, WakeCause};
use std::time::Duration;

/// One shard's ends of all rings.
#[derive(Debug)]
pub(super) struct RingTransport<'c> {
    pub(super) spins: u32,
    pub(super) inbox: Inbox,
    /// By receiver; none to itself.
    pub(super) outlets: Vec<Option<Outlet>>,
    pub(super) readers: Vec<Option<OutputArenaReader>>,
    pub(super) control: &'c Control,
    /// The last wait ended without a ring: a ring may have been lost to damage.
    pub(super) unrung: bool,
}

impl RingTransport<'_> {
    fn ring(&self, shard: usize) {
        if let Some(Some(outlet)) = self.outlets.get(shard) {
            outlet.doorbell().ring();
        }
    }

    /// Puts back every index of this shard that somebody scribbled on; returns how many there were.
    fn mend(&self) -> u64 {
        let (mut mended, heads) = (0, self.inbox.mend());
        for producer in heads.iter() {
            self.ring(producer);
            mended += 1;
        }
        mended + self.outlets.iter().flatten().map(|outlet| u64::from(outlet.mend())).sum::<u64>()
    }
}

impl Transport for RingTransport<'_> {
    fn send(&mut self, to: ShardId, cell: &Cell) -> bool {
        // There is no ring to a shard that does not exist, and nothing to wait for.
        let Some(Some(outlet)) = self.outlets.get_mut(to.index()) else { return true };
        if outlet.try_push(*cell).is_ok() {
            return true;
        }
        outlet.request_space() && outlet.try_push(*cell).is_ok()
    }

    fn publish(&mut self, to: ShardId) {
        if let Some(Some(outlet)) = self.outlets.get_mut(to.index()) {
            outlet.publish();
        }
    }

    fn receive(&mut self, mut each: impl FnMut(ShardId, &Cell)) -> u64 {
        let deliver = |from: usize, cell: &Cell| {
            if let Ok(from) = u32::try_from(from) {
                each(ShardId(from), cell);
            }
        };
        let unrung = std::mem::take(&mut self.unrung);
        let drained = if unrung { self.inbox.drain_all(deliver) } else { self.inbox.drain(deliver) };
        let Drained { cells, freed_for, corrupt } = drained;
        freed_for.iter().for_each(|producer| self.ring(producer));
        let mut damaged = 0;
        if let Some(producer) = corrupt {
            // Its producer puts its index back when it is rung for nothing; then it is looked at again.
            tracing::warn!(producer, "ring is damaged and is passed over for now");
            damaged += 1;
            self.ring(producer);
        }
        if unrung || cells == 0 {
            damaged += self.mend();
        }
        damaged
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: impl FnMut() -> bool) {
        self.unrung = self.inbox.wait(self.spins, timeout, ready) == WakeCause::TimedOut;
    }

    fn ring_coordinator(&self) {
        self.control.bell().ring();
    }

    fn fetch(&self, from: ShardId, offset: u64, length: u32, into: &mut Vec<u8>) -> bool {
        let Some(Some(reader)) = self.readers.get(from.index()) else { return false };
        reader.fetch(offset, length, into)
    }
}
