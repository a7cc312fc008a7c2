//! The shard processes of a run, shared between the thread that submits blocks and the one that may end it all.

use crate::run::error::RunError;
use parking_lot::Mutex;
use phalanx::durable::{DurableError, DurableState};
use phalanx::executor::{BlockOutput, ExecuteError};
use phalanx::supervisor::{Incidents, PlacementReport, ShardHealth};
use phalanx::telemetry::Timeline;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::{GenesisEntry, LedgerVm};
use phalanx::{Phalanx, PhalanxBuilder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the end of a run waits for what is still to be known of deaths.
const INCIDENT_PATIENCE: Duration = Duration::from_millis(500);

/// The longest wait for the disk that nobody can end.
const DURABLE_LOOK: Duration = Duration::from_millis(20);

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

/// What the processes begin with.
#[derive(Debug)]
pub enum FirstState<'a> {
    /// These entries, in memory.
    Genesis(&'a [GenesisEntry]),
    /// An open state directory.
    Durable(Box<DurableState>),
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
    pub fn launch(&self, builder: PhalanxBuilder<LedgerVm>, first: FirstState<'_>) -> Result<(), RunError> {
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Closed => Err(RunError::Stopped),
            Stage::Idle | Stage::Running(_) => {
                *stage = Stage::Running(match first {
                    FirstState::Genesis(genesis) => {
                        builder.launch(genesis.iter().map(|(key, value)| (key, value)))?
                    }
                    FirstState::Durable(state) => builder.launch_durable(*state)?,
                });
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

    /// Waits until the block at `height` is durable.
    ///
    /// # Errors
    /// [`DurableError`]; `NoDirectory` when no processes run.
    pub fn wait_durable(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        loop {
            // In short waits: whoever wants to end the processes meanwhile needs the lock.
            let until = deadline.min(Instant::now() + DURABLE_LOOK);
            let waited = match &*self.stage.lock() {
                Stage::Running(phalanx) => phalanx.wait_durable(height, until),
                Stage::Idle | Stage::Closed => return Err(DurableError::NoDirectory),
            };
            if !matches!(waited, Err(DurableError::NotYet { .. })) || until == deadline {
                return waited;
            }
        }
    }

    /// Where everything is, beside where it should be; `None` unless the processes run.
    ///
    /// # Errors
    /// [`ExecuteError`] when the kernel does not tell.
    pub fn placement_report(&self) -> Result<Option<PlacementReport>, ExecuteError> {
        match &*self.stage.lock() {
            Stage::Running(phalanx) => phalanx.placement_report(None).map(Some),
            Stage::Idle | Stage::Closed => Ok(None),
        }
    }

    /// Whether at least one shard is ready.
    pub fn is_well(&self) -> bool {
        match &*self.stage.lock() {
            Stage::Running(phalanx) => phalanx.health().iter().any(|shard| shard.ready),
            Stage::Idle | Stage::Closed => false,
        }
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

    /// Takes what was recorded and what befell since the last time; nothing unless the processes run.
    pub fn take_trace(&self) -> (Timeline, Incidents) {
        match &*self.stage.lock() {
            Stage::Running(phalanx) => (phalanx.take_timeline(), phalanx.take_incidents()),
            Stage::Idle | Stage::Closed => (Timeline::default(), Incidents::default()),
        }
    }

    /// Waits until every death so far can be told with its cause and its successor, for [`INCIDENT_PATIENCE`] at most.
    pub fn await_strength(&self) {
        let deadline = Instant::now() + INCIDENT_PATIENCE;
        let whole = || match &*self.stage.lock() {
            Stage::Running(phalanx) => {
                phalanx.health().iter().all(|shard| shard.ready && shard.deaths + 1 >= shard.spawns)
            }
            Stage::Idle | Stage::Closed => true,
        };
        while !whole() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
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
        assert!(matches!(family.launch(builder, FirstState::Genesis(&[])), Err(RunError::Stopped)));
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
