//! How a Block-STM executor is set up.

use crate::topology::IdleLatency;

/// How a Block-STM executor is made.
#[derive(Clone, Copy, Debug)]
pub struct BlockStmConfig {
    /// Number of threads, 1 ..= [`crate::MAX_SHARDS`]; each is pinned to a core, again from the first one when there are
    /// more threads than cores.
    pub threads: usize,
    /// Whether a declared write is expected before it happens, so that readers above wait for it instead of going on with
    /// what stands there. A wrong declaration costs time only.
    pub expects_writes: bool,
    /// How long cores may take to wake up as long as the executor is there.
    pub idle_latency: IdleLatency,
    /// Off only to show that the tests would notice missing validation.
    #[doc(hidden)]
    pub validation: bool,
}

impl Default for BlockStmConfig {
    fn default() -> BlockStmConfig {
        BlockStmConfig {
            threads: 1,
            expects_writes: true,
            idle_latency: IdleLatency::default(),
            validation: true,
        }
    }
}
