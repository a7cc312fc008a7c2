//! The shard processes of a run, shared between the thread that submits blocks and the one that may end it all.

use crate::run::error::RunError;
use parking_lot::Mutex;
use phalanx::executor::{BlockOutput, ExecuteError};
use phalanx::supervisor::ShardHealth;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::{GenesisEntry, LedgerVm};
use phalanx::{Phalanx, PhalanxBuilder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shard processes: none yet, running, or ended for good.
#[derive(Debug, Default)]
pub struct Family {
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Running(Phalanx),
    Closed,
}

/// What the shards went through, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Casualties {
    /// Shard processes started in the place of dead ones.
    pub respawns: u64,
    /// Times that the supervisor had to be started again.
    pub supervisor_restarts: u64,
}

impl Family {
    /// Starts the processes. Whoever wants to end them meanwhile waits for that.
    ///
    /// # Errors
    /// `Launch`, or `Stopped` when the end came before the start.
    pub fn launch(
        &self,
        builder: PhalanxBuilder<LedgerVm>,
        genesis: &[GenesisEntry],
    ) -> Result<(), RunError> {
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Closed => Err(RunError::Stopped),
            Stage::Idle | Stage::Running(_) => {
                *stage = Stage::Running(builder.launch(genesis.iter().map(|(key, value)| (key, value)))?);
                Ok(())
            }
        }
    }

    /// Executes one block. The lock is not held meanwhile: [`close`](Self::close) cancels the block.
    ///
    /// # Errors
    /// [`ExecuteError`]; `Stopped` when no processes run.
    pub fn execute(
        &self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        let handle = match &*self.stage.lock() {
            Stage::Running(phalanx) => phalanx.submit(block, deadline)?,
            Stage::Idle | Stage::Closed => return Err(ExecuteError::Stopped),
        };
        handle.wait()
    }

    /// Number of shards; 0 unless they run.
    pub fn shards(&self) -> usize {
        match &*self.stage.lock() {
            Stage::Running(phalanx) => phalanx.health().len(),
            Stage::Idle | Stage::Closed => 0,
        }
    }

    /// What happened so far; nothing unless the processes run.
    pub fn casualties(&self) -> Casualties {
        match &*self.stage.lock() {
            Stage::Running(phalanx) => Casualties {
                respawns: respawns(&phalanx.health()),
                supervisor_restarts: phalanx.stats().supervisor_restarts,
            },
            Stage::Idle | Stage::Closed => Casualties::default(),
        }
    }

    /// Cancels what executes, ends all processes and waits for them; none can be started afterwards.
    ///
    /// Gives up after `patience` if a start is under way all that time: the supervisor then ends by itself when this
    /// process is gone.
    pub fn close(&self, patience: Duration) {
        let Some(mut stage) = self.stage.try_lock_for(patience) else { return };
        let last = std::mem::replace(&mut *stage, Stage::Closed);
        drop(stage);
        match last {
            Stage::Running(phalanx) => {
                if let Err(error) = phalanx.shutdown(Instant::now() + patience) {
                    tracing::warn!(%error, "the shards are left to their supervisor");
                }
            }
            Stage::Idle | Stage::Closed => {}
        }
    }
}

/// Every process of a shard beyond its first stands in for a dead one.
fn respawns(health: &[ShardHealth]) -> u64 {
    health.iter().map(|shard| shard.spawns.saturating_sub(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_family_starts_and_executes_nothing() {
        let family = Family::default();
        family.close(Duration::ZERO);
        let builder = Phalanx::builder(phalanx_bench_config());
        assert!(matches!(family.launch(builder, &[]), Err(RunError::Stopped)));
        let block = Arc::new(PreparedBlock::new(phalanx::types::BlockHeader::default()));
        assert!(matches!(family.execute(&block, Instant::now()), Err(ExecuteError::Stopped)));
        assert_eq!(family.casualties(), Casualties::default());
    }

    fn phalanx_bench_config() -> phalanx::vm::ledger::LedgerConfig {
        phalanx::vm::ledger::LedgerConfig {
            chain_id: phalanx_bench::WORKLOAD_CHAIN_ID,
            signatures: phalanx::vm::ledger::SignatureMode::Skip,
            commutative: true,
        }
    }
}
