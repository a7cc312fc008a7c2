//! The coordinator's regions, and the sizes that everyone must agree on.

use crate::executor::board::BoardWriter;
use crate::executor::error::ExecuteError;
use crate::executor::output_arena::OutputArenaLayout;
use crate::executor::overlay::{OverlayLimits, OverlayWriter};
use crate::partition::{ArenaLimits, ArenaWriter};
use crate::state::{BaseState, StateConfig};
use crate::types::OutOfRange;
use phalanx_ipc::Region;

/// Sizes of the shared memory. All of it is sparse: address space is reserved, memory is taken as it is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// The most that one block may hold.
    pub arena: ArenaLimits,
    /// The most that the base state may hold.
    pub state: StateConfig,
    /// Room for the outputs of one shard in one round, in bytes; 32 MiB ..= 4 GiB. A shard that fills it ends its part
    /// of the round, and the rest is planned again.
    pub output_arena_bytes: usize,
    /// Room for all rings between processes, in bytes; each ring gets its share, brought into 16 to 16,384 cells.
    pub ring_budget_bytes: usize,
}

impl Default for MemoryConfig {
    fn default() -> MemoryConfig {
        MemoryConfig {
            arena: ArenaLimits::default(),
            state: StateConfig::default(),
            output_arena_bytes: 4 << 30,
            ring_budget_bytes: 64 << 20,
        }
    }
}

impl MemoryConfig {
    /// Least size of an output arena: the longest output fits.
    pub(crate) const OUTPUT_ARENA_MIN: usize = 32 << 20;
    /// Greatest size: offsets in it have 32 bits.
    pub(crate) const OUTPUT_ARENA_MAX: usize = 4 << 30;

    /// Whether memory of these sizes can be made.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that cannot.
    pub fn check(&self) -> Result<(), OutOfRange> {
        self.arena.check()?;
        self.state.check()?;
        let range = Self::OUTPUT_ARENA_MIN as u64..=Self::OUTPUT_ARENA_MAX as u64;
        OutOfRange::check("output_arena_bytes", self.output_arena_bytes as u64, range)
    }

    pub(crate) fn output_layout(&self) -> OutputArenaLayout {
        OutputArenaLayout::of(self.output_arena_bytes)
    }

    pub(crate) fn overlay_limits(&self) -> OverlayLimits {
        let ArenaLimits { keys, accesses, transaction_bytes, .. } = self.arena;
        OverlayLimits { keys, versions: accesses, bytes: transaction_bytes.max(1 << 30) }
    }
}

/// What the coordinator writes.
#[derive(Debug)]
pub(crate) struct CoordinatorMemory {
    pub(crate) board: BoardWriter,
    pub(super) overlay: OverlayWriter,
    pub(crate) base: BaseState,
    pub(crate) arenas: [ArenaWriter; 2],
}

impl CoordinatorMemory {
    /// Its regions in the order in which shards are given them: board, two arenas, overlay, base.
    pub(crate) fn regions(&self) -> [&Region; 5] {
        let [first, second] = &self.arenas;
        [self.board.region(), first.region(), second.region(), self.overlay.region(), self.base.region()]
    }

    /// Creates the regions around a base state and lets only this process write them from now on.
    pub(crate) fn create(config: &MemoryConfig, base: BaseState) -> Result<CoordinatorMemory, ExecuteError> {
        config.check()?;
        let memory = CoordinatorMemory {
            board: BoardWriter::create().map_err(ExecuteError::system)?,
            overlay: OverlayWriter::create(config.overlay_limits()).map_err(ExecuteError::system)?,
            base,
            arenas: [
                ArenaWriter::create("phalanx-arena-0", config.arena)?,
                ArenaWriter::create("phalanx-arena-1", config.arena)?,
            ],
        };
        for region in memory.regions() {
            region.seal_writes().map_err(ExecuteError::system)?;
        }
        Ok(memory)
    }
}
