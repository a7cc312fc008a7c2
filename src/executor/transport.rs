//! What the shard loop needs of the channels between shards. Two kinds exist: rings between processes, crossbeam
//! channels between threads.

use crate::types::ShardId;
use phalanx_ipc::Cell;
use std::time::Duration;

/// One shard's ends of all its channels. No call waits for another shard except [`wait`](Self::wait).
pub(crate) trait Transport {
    /// Sends a cell, seen by the receiver after the next [`publish`](Self::publish) at the latest. False when there is
    /// no room: the caller keeps the cell, and is woken when there is room again.
    fn send(&mut self, to: ShardId, cell: &Cell) -> bool;

    /// Makes everything sent to `to` visible and wakes it if it sleeps.
    fn publish(&mut self, to: ShardId);

    /// Delivers everything that has arrived. Returns how many channels were found damaged.
    fn receive(&mut self, each: impl FnMut(ShardId, &Cell)) -> u64;

    /// Waits until something may have arrived, somebody rang, or the timeout (none: for ever). `ready` is looked at
    /// before sleeping. May return early.
    fn wait(&mut self, timeout: Option<Duration>, ready: impl FnMut() -> bool);

    /// Tells the coordinator that there is something to see in this shard's slot.
    fn ring_coordinator(&self);

    /// Appends to `into` a value that shard `from` left in its output arena; false if there is no such range.
    fn fetch(&self, from: ShardId, offset: u64, length: u32, into: &mut Vec<u8>) -> bool;
}
