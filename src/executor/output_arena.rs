//! A shard's output arena: the encoded outputs of its present round one after the other, then room for values too
//! long for a cell. The shard writes, everyone reads copies.

use phalanx_ipc::{PeerReader, Region, RegionError};
use std::os::fd::OwnedFd;

const USED: usize = 0;
const OUTPUTS: usize = 4096;

/// Sizes of an output arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputArenaLayout {
    /// Room for outputs.
    pub(crate) outputs: usize,
    /// Room for long values.
    pub(crate) values: usize,
}

impl OutputArenaLayout {
    /// Splits an arena of `bytes`: three quarters for outputs.
    pub(crate) fn of(bytes: usize) -> OutputArenaLayout {
        let values = (bytes / 4).next_multiple_of(4096);
        OutputArenaLayout { outputs: values * 3, values }
    }

    fn values_start(&self) -> usize {
        OUTPUTS + self.outputs
    }

    /// Length of the region.
    pub(crate) fn bytes(&self) -> usize {
        self.values_start() + self.values
    }
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct OutputArenaWriter {
    region: Region,
    layout: OutputArenaLayout,
    used: usize,
    values_used: usize,
}

impl OutputArenaWriter {
    pub(crate) fn new(region: Region, layout: OutputArenaLayout) -> OutputArenaWriter {
        OutputArenaWriter { region, layout, used: 0, values_used: 0 }
    }

    /// Starts a round: everything before is given up.
    pub(crate) fn clear(&mut self) {
        (self.used, self.values_used) = (0, 0);
    }

    /// Appends one encoded output; false when there is no room. Publish the progress counter afterwards.
    pub(crate) fn push(&mut self, output: &[u8]) -> bool {
        let end = self.used + output.len();
        if end > self.layout.outputs {
            return false;
        }
        let Ok(target) = self.region.slice_mut::<u8>(OUTPUTS + self.used, output.len()) else { return false };
        target.copy_from_slice(output);
        self.used = end;
        self.region.store_u64(USED, end as u64).is_ok()
    }

    /// Keeps a long value for a peer to fetch; its offset in the arena, or `None` when there is no room.
    pub(crate) fn keep_value(&mut self, value: &[u8]) -> Option<u64> {
        let start = self.layout.values_start() + self.values_used;
        let end = self.values_used + value.len().next_multiple_of(8);
        if end > self.layout.values {
            return None;
        }
        self.region.slice_mut::<u8>(start, value.len()).ok()?.copy_from_slice(value);
        self.values_used = end;
        Some(start as u64)
    }
}

/// Everyone else's end.
#[derive(Debug)]
pub(crate) struct OutputArenaReader {
    region: PeerReader,
    layout: OutputArenaLayout,
}

impl OutputArenaReader {
    pub(crate) fn map(fd: OwnedFd, layout: OutputArenaLayout) -> Result<OutputArenaReader, RegionError> {
        Ok(OutputArenaReader { region: PeerReader::map(fd)?, layout })
    }

    /// Appends a copy of the outputs from byte `from` on to `into` and returns how many bytes there were. Load the
    /// progress counter first: all outputs that it counts are in the copy.
    pub(crate) fn copy_outputs(&self, from: usize, into: &mut Vec<u8>) -> Result<usize, RegionError> {
        let used = self.region.load_u64(USED)?;
        let used = usize::try_from(used).unwrap_or(usize::MAX).min(self.layout.outputs) / 8 * 8;
        let more = used.saturating_sub(from);
        self.region.copy_out(OUTPUTS + from, more, into)?;
        Ok(more)
    }

    /// Appends a copy of a long value; false if the range is none of the arena.
    pub(crate) fn fetch(&self, offset: u64, length: u32, into: &mut Vec<u8>) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        offset >= self.layout.values_start() && self.region.copy_out(offset, length as usize, into).is_ok()
    }
}
