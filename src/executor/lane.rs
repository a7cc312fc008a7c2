//! A lane: one of the two block arenas with its planner, so that the next block is planned while one executes.

use crate::executor::error::ExecuteError;
use crate::partition::{ArenaWriter, PlanTotals, Planner, Standing};
use crate::types::{Incarnation, KeyId, PreparedBlock, RoundId, ShardId, TxnIndex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Transactions that are placed in one step: well under 100 us of work, since the
/// coordinator looks for deaths between steps.
const STEP: usize = 512;

/// How far the first plan of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Empty,
    /// Being copied into the arena.
    Loading,
    Placing,
    Planned,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) arena: ArenaWriter,
    planner: Planner,
    block: Option<Arc<PreparedBlock>>,
    stage: Stage,
    shards: Vec<ShardId>,
    /// Time spent on the present block.
    pub(super) spent: Duration,
}

impl Lane {
    pub(super) fn new(arena: ArenaWriter, planner: Planner) -> Lane {
        Lane { arena, planner, block: None, stage: Stage::Empty, shards: Vec::new(), spent: Duration::ZERO }
    }

    /// Whether this block is loaded here, or being loaded.
    pub(super) fn holds(&self, block: &Arc<PreparedBlock>) -> bool {
        self.block.as_ref().is_some_and(|held| Arc::ptr_eq(held, block))
    }

    /// Takes up a block; [`step`](Self::step) copies it in. The shards must have left the arena.
    ///
    /// # Errors
    /// `BlockTooLarge` before anything is written.
    pub(super) fn take_up(&mut self, block: &Arc<PreparedBlock>) -> Result<(), ExecuteError> {
        self.clear();
        let begun = Instant::now();
        self.arena.begin_load(block)?;
        self.block = Some(Arc::clone(block));
        self.stage = Stage::Loading;
        self.spent = begun.elapsed();
        Ok(())
    }

    /// Forgets the block.
    pub(super) fn clear(&mut self) {
        self.block = None;
        self.stage = Stage::Empty;
    }

    /// Goes on with the first plan of the block, for `shards`, by one step. True when it is done.
    pub(super) fn step(&mut self, shards: &[ShardId]) -> Result<bool, ExecuteError> {
        let begun = Instant::now();
        let done = self.step_untimed(shards);
        self.spent += begun.elapsed();
        done
    }

    fn step_untimed(&mut self, shards: &[ShardId]) -> Result<bool, ExecuteError> {
        let Some(block) = &self.block else { return Ok(true) };
        let block = Arc::clone(block);
        match self.stage {
            Stage::Empty => Ok(true),
            Stage::Loading => {
                if self.arena.load_step(&block)? {
                    self.begin(shards, Some(&block))?;
                }
                Ok(false)
            }
            Stage::Placing | Stage::Planned if self.shards != shards => {
                self.begin(shards, Some(&block))?;
                Ok(false)
            }
            Stage::Planned => Ok(true),
            Stage::Placing => {
                let first = |_| (Standing::Open, Incarnation(1));
                if self.planner.step(&mut self.arena, STEP, first)? {
                    self.stage = Stage::Planned;
                }
                Ok(self.stage == Stage::Planned)
            }
        }
    }

    /// What `foreseen` foresees is waited for by nobody.
    fn begin(&mut self, shards: &[ShardId], foreseen: Option<&PreparedBlock>) -> Result<(), ExecuteError> {
        self.shards.clear();
        self.shards.extend_from_slice(shards);
        self.planner.begin(&mut self.arena, shards)?;
        if let Some(block) = foreseen {
            if block.is_foreseen_whole() {
                self.planner.wait_for_nobody();
            } else {
                let keys = block.foreseen().filter_map(|write| self.arena.find(write.hash, write.key));
                keys.for_each(|key| self.planner.wait_not_for(key));
            }
        }
        self.stage = Stage::Placing;
        Ok(())
    }

    /// Plans what is left of the block over `shards`, which keep to the block's order if that is wanted; `between` is called after
    /// every step and may end it.
    pub(super) fn plan_rest(
        &mut self,
        (shards, in_order): (&[ShardId], bool),
        standing: impl Fn(TxnIndex) -> (Standing, Incarnation),
        mut between: impl FnMut() -> Result<(), ExecuteError>,
    ) -> Result<(), ExecuteError> {
        let begun = Instant::now();
        self.begin(shards, None)?;
        if in_order {
            self.planner.keep_order();
        }
        while !self.planner.step(&mut self.arena, STEP, &standing)? {
            between()?;
        }
        self.stage = Stage::Planned;
        self.spent += begun.elapsed();
        Ok(())
    }

    /// Whether the plan expects some transaction to change this key.
    pub(super) fn changes(&self, key: KeyId) -> bool {
        self.planner.changes(key)
    }

    /// Completes the plan as that of `round`.
    pub(super) fn seal(&mut self, round: RoundId, has_overlay: bool) -> Result<PlanTotals, ExecuteError> {
        Ok(self.planner.seal(&mut self.arena, round, has_overlay)?)
    }
}
