//! State directories for tests: small, and with a hand on every step to the disk.

use super::{Scene, small_memory};
use phalanx::durable::{DurableConfig, DurableState, Step, StepHook};
use phalanx::{Phalanx, PhalanxBuilder};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Segments as small as they can be, a store that takes little address space.
pub fn small_durable(directory: &Path) -> DurableConfig {
    DurableConfig {
        segment_bytes: 64 << 10,
        backlog_bytes: 4 << 20,
        store_bytes: 256 << 20,
        ..DurableConfig::new(directory)
    }
}

/// A directory for states on a disk that has room.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("phalanx-durable-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Fails one step with a system error, from some pass on, so many times.
#[derive(Clone, Default)]
pub struct Refusals {
    passes_left: Arc<AtomicU64>,
    refusals_left: Arc<AtomicU64>,
}

impl Refusals {
    /// After `passes` passes the next `times` fail.
    pub fn arm(&self, passes: u64, times: u64) {
        self.refusals_left.store(0, Ordering::SeqCst);
        self.passes_left.store(passes, Ordering::SeqCst);
        self.refusals_left.store(times, Ordering::SeqCst);
    }

    pub fn hook(&self, step: Step, errno: i32) -> StepHook {
        let this = self.clone();
        StepHook::new(move |passed| {
            let take = |word: &AtomicU64| {
                word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
            };
            if passed != step || this.refusals_left.load(Ordering::SeqCst) == 0 || take(&this.passes_left) {
                return Ok(());
            }
            if take(&this.refusals_left) { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
        })
    }
}

impl Scene {
    /// A family on a state directory.
    pub fn durable(&self, shards: usize, config: DurableConfig) -> Phalanx {
        self.launch(self.durable_builder(shards, config))
    }

    pub fn durable_builder(
        &self,
        shards: usize,
        config: DurableConfig,
    ) -> PhalanxBuilder<phalanx::vm::ledger::LedgerVm> {
        self.builder(shards).state_dir(config)
    }

    /// The directory's state, without any process.
    pub fn open(&self, config: &DurableConfig) -> Result<DurableState, phalanx::durable::DurableError> {
        let genesis = self.genesis.iter().map(|(key, value)| (key, value));
        DurableState::open(config, small_memory().state, genesis)
    }
}
