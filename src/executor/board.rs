//! The board: words by which the coordinator talks to all shards. Only the coordinator can write them.

use crate::MAX_SHARDS;
use crate::types::{Generation, RoundId, ShardId};
use phalanx_ipc::{PeerReader, Region, RegionError};
use std::os::fd::OwnedFd;

const ABORTED_UPTO: usize = 0;
/// One cache line per shard.
const ANNOUNCEMENTS: usize = 4096;
const STRIDE: usize = 64;

/// Bits of a generation that an announcement carries.
const GENERATION_BITS: u32 = 23;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// A round as announced to a shard: its id, the life of the shard that is to take part, and the arena that holds its
/// plan; one word, so that they cannot be seen apart. 2^40 rounds last for decades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) round: RoundId,
    /// Its lower 23 bits count.
    pub(crate) generation: Generation,
    /// 0 or 1.
    pub(crate) arena: usize,
}

impl Announcement {
    /// Whether this life of the shard is meant.
    pub(crate) fn is_for(&self, generation: Generation) -> bool {
        self.generation.0 == generation.0 & GENERATION_MASK
    }

    fn encode(self) -> u64 {
        let generation = u64::from(self.generation.0 & GENERATION_MASK);
        self.round.0 << (GENERATION_BITS + 1) | generation << 1 | (self.arena as u64 & 1)
    }

    fn decode(word: u64) -> Announcement {
        let generation = u32::try_from(word >> 1 & u64::from(GENERATION_MASK)).unwrap_or(0);
        Announcement {
            round: RoundId(word >> (GENERATION_BITS + 1)),
            generation: Generation(generation),
            arena: usize::from(word & 1 == 1),
        }
    }
}

/// The coordinator's end.
#[derive(Debug)]
pub(crate) struct BoardWriter {
    region: Region,
    aborted_upto: RoundId,
}

impl BoardWriter {
    pub(crate) fn create() -> Result<BoardWriter, RegionError> {
        let region = Region::create("phalanx-board", ANNOUNCEMENTS + MAX_SHARDS * STRIDE)?;
        Ok(BoardWriter { region, aborted_upto: RoundId(0) })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn reader_fd(&self) -> Result<OwnedFd, RegionError> {
        self.region.reader_fd()
    }

    /// Tells `shard` of a round; ring it afterwards.
    pub(crate) fn announce(&self, shard: ShardId, announcement: Announcement) -> Result<(), RegionError> {
        self.region.store_u64(place_of(shard), announcement.encode())
    }

    /// Cuts short all rounds up to `round`; ring every doorbell afterwards. Never goes back.
    pub(crate) fn abort_upto(&mut self, round: RoundId) -> Result<(), RegionError> {
        self.aborted_upto = self.aborted_upto.max(round);
        self.region.store_u64(ABORTED_UPTO, self.aborted_upto.0)
    }
}

/// A shard's end.
#[derive(Debug)]
pub(crate) struct BoardReader {
    region: PeerReader,
}

impl BoardReader {
    pub(crate) fn map(fd: OwnedFd) -> Result<BoardReader, RegionError> {
        Ok(BoardReader { region: PeerReader::map(fd)? })
    }

    /// The newest round announced to `shard`.
    pub(crate) fn announced(&self, shard: ShardId) -> Announcement {
        Announcement::decode(self.region.load_u64(place_of(shard)).unwrap_or(0))
    }

    /// Whether `round` is cut short.
    pub(crate) fn is_aborted(&self, round: RoundId) -> bool {
        // An unreadable board means that there is nobody to work for.
        self.region.load_u64(ABORTED_UPTO).map_or(true, |upto| upto >= round.0)
    }
}

fn place_of(shard: ShardId) -> usize {
    ANNOUNCEMENTS + shard.index().min(MAX_SHARDS - 1) * STRIDE
}
