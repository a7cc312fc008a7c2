//! The descriptors that a shard maps beside its channels.

use crate::executor::board::BoardReader;
use crate::executor::error::ExecuteError;
use crate::executor::memory::{CoordinatorMemory, MemoryConfig};
use crate::executor::output_arena::{OutputArenaLayout, OutputArenaWriter};
use crate::executor::overlay::{OverlayLimits, OverlayReader};
use crate::executor::shard::ShardMemory;
use crate::executor::span_region::{SpanWriter, span_region_bytes};
use crate::partition::{ArenaLimits, ArenaReader};
use crate::state::{StateConfig, StateReader};
use crate::telemetry::TimelineConfig;
use phalanx_ipc::{OsCause, Region, RegionError, RegionReader};
use std::os::fd::OwnedFd;

/// Read-only descriptors of the coordinator's regions.
#[derive(Debug)]
pub(crate) struct ShardFds {
    pub(crate) board: OwnedFd,
    pub(crate) arenas: [OwnedFd; 2],
    pub(crate) overlay: OwnedFd,
    pub(crate) base: OwnedFd,
}

/// Sizes that both ends must agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardLimits {
    pub(crate) arena: ArenaLimits,
    pub(crate) overlay: OverlayLimits,
    pub(crate) outputs: OutputArenaLayout,
    /// None: there are no regions for spans.
    pub(crate) timeline: Option<TimelineConfig>,
}

/// Bytes of regions as they are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionBytes {
    pub(crate) arena: u64,
    pub(crate) overlay: u64,
    pub(crate) base: u64,
    pub(crate) spans: Option<u64>,
}

impl ShardLimits {
    /// Greatest sizes of the shared regions, and of one for spans.
    pub(crate) fn bytes(&self, state: StateConfig) -> RegionBytes {
        RegionBytes {
            arena: self.arena.region_bytes(),
            overlay: self.overlay.region_bytes(),
            base: state.region_bytes(),
            spans: self.timeline.map(span_region_bytes).map(|bytes| bytes as u64),
        }
    }

    pub(crate) fn of(config: &MemoryConfig, timeline: Option<TimelineConfig>) -> ShardLimits {
        ShardLimits {
            arena: config.arena,
            overlay: config.overlay_limits(),
            outputs: config.output_layout(),
            timeline,
        }
    }
}

impl ShardFds {
    /// Re-opens the coordinator's regions read-only.
    pub(crate) fn of(memory: &CoordinatorMemory) -> Result<ShardFds, ExecuteError> {
        let [first, second] = &memory.arenas;
        Ok(ShardFds {
            board: memory.board.reader_fd().map_err(ExecuteError::system)?,
            arenas: [first.reader_fd()?, second.reader_fd()?],
            overlay: memory.overlay.reader_fd().map_err(ExecuteError::system)?,
            base: memory.base.reader_fd()?,
        })
    }

    /// A second set, for another shard.
    pub(crate) fn duplicate(&self) -> Result<ShardFds, ExecuteError> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| ExecuteError::system(OsCause::from(error)));
        Ok(ShardFds {
            board: copy(&self.board)?,
            arenas: [copy(&self.arenas[0])?, copy(&self.arenas[1])?],
            overlay: copy(&self.overlay)?,
            base: copy(&self.base)?,
        })
    }

    /// Maps everything that one shard reads, and its output arena; `spans` is its region for spans, if there is one.
    pub(crate) fn map(
        self,
        outputs: Region,
        spans: Option<Region>,
        limits: &ShardLimits,
    ) -> Result<ShardMemory, RegionError> {
        let [first, second] = self.arenas;
        let spans = spans.zip(limits.timeline);
        Ok(ShardMemory {
            board: BoardReader::map(self.board)?,
            arenas: [
                ArenaReader::new(quiet(first)?, limits.arena),
                ArenaReader::new(quiet(second)?, limits.arena),
            ],
            overlay: OverlayReader::new(quiet(self.overlay)?, limits.overlay),
            base: StateReader::new(quiet(self.base)?),
            cold: None,
            outputs: OutputArenaWriter::new(outputs, limits.outputs),
            spans: spans.map_or_else(SpanWriter::off, |(region, config)| SpanWriter::new(region, config)),
        })
    }
}

/// Maps a region that the coordinator writes only while no shard is in a round.
fn quiet(fd: OwnedFd) -> Result<RegionReader, RegionError> {
    // SAFETY: the coordinator alone can write these regions (their seal allows no other writable mapping), and it does
    // so only when every member of the last round that used them is parked or dead (`Coordinator::cut_short` and
    // `await_end`); a shard takes slices of them only between an announcement and parking (`Shard::run_round`).
    #[allow(unsafe_code, reason = "the one promise that readers of coordinator memory make")]
    unsafe {
        RegionReader::map(fd)
    }
}
