//! The channels of a shard process: rings in shared memory.

use crate::executor::{OutputArenaReader, Transport};
use crate::types::ShardId;
use phalanx_ipc::{Cell, Control, Inbox, Outlet};
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

    fn receive(&mut self, mut each: impl FnMut(ShardId, &Cell)) {
        let drained = self.inbox.drain(|from, cell| {
            if let Ok(from) = u32::try_from(from) {
                each(ShardId(from), cell);
            }
        });
        for producer in drained.freed_for.iter() {
            if let Some(Some(outlet)) = self.outlets.get(producer) {
                outlet.doorbell().ring();
            }
        }
        if let Some(producer) = drained.corrupt {
            // Nothing more comes out of that ring; whoever waits for it makes no progress, and the round is cut short
            // when nobody does.
            tracing::error!(producer, "ring is damaged and is passed over");
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: impl FnMut() -> bool) {
        self.inbox.wait(self.spins, timeout, ready);
    }

    fn ring_coordinator(&self) {
        self.control.bell().ring();
    }

    fn fetch(&self, from: ShardId, offset: u64, length: u32, into: &mut Vec<u8>) -> bool {
        let Some(Some(reader)) = self.readers.get(from.index()) else { return false };
        reader.fetch(offset, length, into)
    }
}
