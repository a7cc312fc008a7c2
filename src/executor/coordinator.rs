//! The coordinator: executes a block in rounds over a fleet of shards, accepts, and commits.

mod collection;
mod judge;
mod round;

use crate::durable::Journal;
use crate::executor::acceptance::Acceptance;
use crate::executor::block_output::{BlockOutput, BlockStats, KeyDirectory};
use crate::executor::board::BoardWriter;
use crate::executor::call::Call;
use crate::executor::commit::{Target, commit};
use crate::executor::error::{Death, ExecuteError};
use crate::executor::fleet::{Fleet, Member};
use crate::executor::lane::Lane;
use crate::executor::memory::CoordinatorMemory;
use crate::executor::overlay::{OverlayWriter, Shown};
use crate::executor::recorder::Recorder;
use crate::executor::suspicion::Suspicion;
use crate::executor::tally::Counters;
use crate::executor::validate_error::ValidateError;
use crate::executor::watch::Watch;
use crate::partition::{ArenaError, CostModel, Planner};
use crate::state::BaseState;
use crate::telemetry::{SpanKind, TimelineBook};
use crate::topology::CostMatrix;
use crate::types::{Incarnation, KeyId, Origin, RoundId, ShardId};
use collection::Collection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Undisturbed rounds after which all that is left goes to one shard: a block whose transactions depend on each other in
/// ways that no round foresees is done faster there than by guessing on.
const SPECULATIVE_ROUNDS_MAX: u32 = 5;

/// Planning that took longer than this may have outlived some shards.
const LONG_PLAN: Duration = Duration::from_millis(2);

/// What to do when a shard dies while a block executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDeath {
    /// Cut the round short, replace the shard, go on from what was accepted.
    #[default]
    Resume,
    /// Fail the call with [`ExecuteError::ShardDied`]; the shard is replaced for the next block.
    Fail,
}

/// When the outputs of a round are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JudgeAhead {
    /// As they come, while the round still runs, if there are more cores than shards; otherwise when it is over: on a core that
    /// it shares the coordinator takes from a shard what it saves later.
    #[default]
    WithSpareCore,
    /// As they come, on any host.
    Always,
    /// When the round is over.
    AfterRound,
}

/// How blocks are executed.
#[derive(Clone, Debug)]
pub(crate) struct ExecuteOptions {
    pub(crate) on_death: OnDeath,
    pub(crate) judge_ahead: JudgeAhead,
    /// Rounds without progress after which all that is left goes to one shard.
    pub(crate) rounds_without_progress: u32,
    pub(crate) costs: CostModel,
    /// What communication costs by pairs of shards, if that is known.
    pub(crate) matrix: Option<CostMatrix>,
    /// Off only in the negative control of the equivalence test.
    pub(crate) validation: bool,
}

impl Default for ExecuteOptions {
    fn default() -> ExecuteOptions {
        ExecuteOptions {
            on_death: OnDeath::Resume,
            judge_ahead: JudgeAhead::default(),
            rounds_without_progress: 3,
            costs: CostModel::default(),
            matrix: None,
            validation: true,
        }
    }
}

impl ExecuteOptions {
    fn planner(&self) -> Planner {
        let planner = Planner::new(self.costs);
        match &self.matrix {
            Some(matrix) => planner.over(matrix.clone()),
            None => planner,
        }
    }
}

/// Executes blocks over a fleet.
pub(crate) struct Coordinator<F> {
    fleet: F,
    board: BoardWriter,
    overlay: OverlayWriter,
    base: BaseState,
    lanes: [Lane; 2],
    active: usize,
    acceptance: Acceptance,
    counters: Counters,
    /// What was executed is written here, if it is to be durable.
    journal: Option<Journal>,
    options: ExecuteOptions,
    last_round: RoundId,
    /// Members of the present round.
    members: Vec<Member>,
    /// Those of the round before.
    last_members: Vec<Member>,
    shards: Vec<ShardId>,
    poisoned: Option<String>,
    /// Bytes of an output, from those collected last: room is made for so many.
    expected_output: usize,
    run: BlockRun,
    timeline: Recorder,
}

/// What is counted while one block executes.
#[derive(Default)]
struct BlockRun {
    stats: BlockStats,
    /// Whether the overlay shows what the block foresees.
    foreseen: bool,
    without_progress: u32,
    /// Rounds that ran to their end.
    finished: u32,
    last_death: Option<Death>,
    /// What was collected, and of whom.
    collection: Collection,
    /// What the first transaction in line has done.
    suspicion: Suspicion,
    /// Members that the last round lost, if it was cut short.
    lost: Vec<Death>,
    /// Memory was lost in the last round: nothing more that its members left counts.
    disbelieved: bool,
}

impl<F: Fleet> Coordinator<F> {
    pub(crate) fn new(
        fleet: F,
        memory: CoordinatorMemory,
        counters: Counters,
        options: ExecuteOptions,
    ) -> Self {
        let CoordinatorMemory { board, overlay, base, arenas } = memory;
        Coordinator {
            fleet,
            board,
            overlay,
            base,
            lanes: arenas.map(|arena| Lane::new(arena, options.planner())),
            active: 0,
            acceptance: Acceptance::default(),
            counters,
            journal: None,
            options,
            last_round: RoundId(0),
            members: Vec::new(),
            last_members: Vec::new(),
            shards: Vec::new(),
            poisoned: None,
            expected_output: 0,
            run: BlockRun::default(),
            timeline: Recorder::default(),
        }
    }

    /// Records a timeline from now on.
    pub(crate) fn record_into(&mut self, book: Arc<TimelineBook>) {
        self.timeline = Recorder::into_book(book);
    }

    /// Writes every block to a journal from now on.
    pub(crate) fn keep_journal(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Whoever coordinates from now on is the calling thread.
    pub(crate) fn take_seat(&self) {
        if let Some(cold) = self.journal.as_ref().and_then(Journal::cold) {
            cold.take_seat();
        }
    }

    pub(crate) fn base(&self) -> &BaseState {
        &self.base
    }

    pub(crate) fn fleet_mut(&mut self) -> &mut F {
        &mut self.fleet
    }

    /// Executes and commits one block.
    pub(crate) fn execute(&mut self, call: &Call<'_>) -> Result<BlockOutput, ExecuteError> {
        let height = call.block.header().height;
        if let Some(cause) = &self.poisoned {
            return Err(ExecuteError::StatePoisoned { height, cause: cause.clone() });
        }
        if let Some(journal) = &mut self.journal
            && let Some(recalled) = journal.recall(height, call.block.hash())?
        {
            return Ok(BlockOutput::recalled(height, &recalled));
        }
        self.trim()?;
        let began = self.timeline.now();
        self.timeline.begin(height, call.block.len());
        let result = self.execute_rounds(call).and_then(|()| self.commit(call));
        let result = result.map_err(|error| self.name_last_death(error));
        self.timeline.end(began);
        match &result {
            Err(ExecuteError::StatePoisoned { cause, .. }) => self.poisoned = Some(cause.clone()),
            Err(error @ ExecuteError::MemoryLost { .. }) => self.poisoned = Some(error.to_string()),
            Err(_) | Ok(_) => {}
        }
        let spent = self.lanes[self.active].spent;
        self.lanes[self.active].clear();
        self.active = 1 - self.active;
        let mut output = result?;
        output.stats.plan = spent;
        Ok(output)
    }

    /// Has the base state let go what it has no room for, and the store hurry if it cannot. Between blocks everybody is quiet.
    fn trim(&mut self) -> Result<(), ExecuteError> {
        let Some(journal) = self.journal.as_ref().filter(|_| self.base.is_cache()) else { return Ok(()) };
        if !self.base.trim(journal.backlog())? {
            journal.hurry();
        }
        journal.note_cache(self.base.cache_stats());
        Ok(())
    }

    fn execute_rounds(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        self.run = BlockRun::default();
        self.lanes[self.active].arena.admits(call.block)?;
        let (transactions, patrol) = (call.block.len(), |now| self.fleet.patrol(now));
        let started =
            self.acceptance.start_block(transactions, self.options.validation, &Watch::new(call, &patrol));
        started.map_err(|stop| stop.after(0, transactions))?;
        self.plan_first(call)?;
        while !self.acceptance.is_complete() {
            let first_in_line = self.acceptance.frontier();
            let end = self.run_round(call)?;
            let (begun, began) = (Instant::now(), self.timeline.now());
            let accepted = self.collect_and_validate(call, first_in_line)?;
            self.run.stats.validate += begun.elapsed();
            self.timeline.note(SpanKind::Validate, began);
            self.fleet.pass("outputs validated");
            self.judge_end(call, end, first_in_line, accepted)?;
            if !self.acceptance.is_complete() {
                self.plan_again(call)?;
                self.fleet.pass("rest planned");
            }
        }
        Ok(())
    }

    /// Plans the first round, or what is left to plan of it.
    fn plan_first(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        loop {
            self.gather(call)?;
            let (begun, began) = (Instant::now(), self.timeline.now());
            let patrol = |now| self.fleet.patrol(now);
            let (lane, watch) = (&mut self.lanes[self.active], Watch::new(call, &patrol));
            if !lane.holds(call.block) {
                lane.take_up(call.block)?;
            }
            while !lane.step(&self.shards)? {
                watch.look().map_err(|stop| stop.after(0, call.block.len()))?;
            }
            self.timeline.note(SpanKind::Plan, began);
            if begun.elapsed() < LONG_PLAN || self.follow_successors() {
                break;
            }
        }
        self.run.foreseen = self.show_foreseen(call)?;
        self.run.stats.shards_used = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Shows the values that the block foresees to the first round; false if there are none. Their origins are of no execution
    /// that ever was, so that validation believes none of them. They are hints: if they find no room they are left out.
    fn show_foreseen(&mut self, call: &Call<'_>) -> Result<bool, ExecuteError> {
        if !call.block.has_foreseen() {
            return Ok(false);
        }
        let patrol = |now| self.fleet.patrol(now);
        let (lane, watch) = (&mut self.lanes[self.active], Watch::new(call, &patrol));
        self.overlay.clear();
        let mut last: Option<(*const [u8], KeyId)> = None;
        for (place, write) in call.block.foreseen().enumerate() {
            watch.look_at(place).map_err(|stop| stop.after(0, call.block.len()))?;
            // Writes of one key mostly come in a row.
            let same = last.filter(|(name, _)| std::ptr::eq(*name, write.key));
            let key = match same {
                Some((_, key)) => key,
                None => match lane.arena.intern(write.hash, write.key) {
                    Ok(key) => key,
                    Err(_) => return Ok(false),
                },
            };
            last = Some((write.key, key));
            let origin = Origin::written_by(write.txn, Incarnation(0));
            self.overlay.show(key, origin, write.value.map_or(Shown::Delete, Shown::Set));
        }
        match self.overlay.publish(lane.arena.keys(), || watch.look().map_err(ValidateError::Stopped)) {
            Ok(()) => Ok(true),
            Err(ValidateError::Arena(ArenaError::BlockTooLarge { .. })) => Ok(false),
            Err(error) => Err(cannot_go_on(error, call, 0)),
        }
    }

    /// Puts the present lives of the planned shards in the place of those that died meanwhile; false if one is missing.
    fn follow_successors(&mut self) -> bool {
        let mut ready = Vec::new();
        self.fleet.ready(&mut ready);
        self.members.iter_mut().all(|member| {
            let successor = ready.iter().find(|now| now.shard == member.shard);
            successor.map(|&now| *member = now).is_some()
        })
    }

    /// Fills `members` and `shards` with those that are ready, waiting for the first one if there is none.
    fn gather(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        let (deadline, began) = (call.deadline, self.timeline.now());
        loop {
            if let Err(error) = self.fleet.recover(deadline, call.cancelled) {
                let (accepted, transactions) = (self.acceptance.frontier(), call.block.len());
                return Err(if (call.cancelled)() {
                    ExecuteError::Cancelled { accepted, transactions }
                } else {
                    error
                });
            }
            self.fleet.ready(&mut self.members);
            if !self.members.is_empty() {
                break;
            }
            // The one that was ready has just died.
            if Instant::now() >= deadline {
                return Err(ExecuteError::NoShards("none is ready".to_owned()));
            }
            self.fleet.bell().wait(0, Some(Duration::from_micros(250)), || false);
        }
        self.shards.clear();
        self.shards.extend(self.members.iter().map(|member| member.shard));
        self.timeline.note(SpanKind::Recover, began);
        Ok(())
    }

    fn plan_again(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        self.gather(call)?;
        if self.is_global() {
            // All that is left on one shard, another one each time, on accepted values alone: nothing can be rejected.
            self.acceptance.give_up_provisional();
            let turn = usize::try_from(self.run.stats.rounds).unwrap_or(0) % self.members.len();
            self.members = vec![self.members[turn]];
            self.shards = vec![self.shards[turn]];
        }
        let (begun, began) = (Instant::now(), self.timeline.now());
        let patrol = |now| self.fleet.patrol(now);
        let (lane, watch) = (&mut self.lanes[self.active], Watch::new(call, &patrol));
        let shown = self.acceptance.show_all(&lane.arena, &self.base, &mut self.overlay, &watch);
        let (acceptance, accepted) = (&self.acceptance, self.acceptance.frontier());
        shown.map_err(|error| cannot_go_on(error, call, accepted))?;
        let between = || watch.look().map_err(|stop| stop.after(accepted, call.block.len()));
        // Whoever brings its shard down is to be first in line soon: what stands before it is done first from now on.
        let in_order = self.run.stats.rounds_cut_short > 0;
        lane.plan_rest((&self.shards, in_order), |txn| acceptance.standing(txn), between)?;
        self.timeline.note(SpanKind::Plan, began);
        if begun.elapsed() >= LONG_PLAN {
            // One that is missing is found dead as soon as the round begins.
            self.follow_successors();
        }
        Ok(())
    }

    /// Whether the next round is a global round.
    fn is_global(&self) -> bool {
        self.run.without_progress >= self.options.rounds_without_progress
            || self.run.finished >= SPECULATIVE_ROUNDS_MAX
    }

    fn commit(&mut self, call: &Call<'_>) -> Result<BlockOutput, ExecuteError> {
        let (begun, began, block) = (Instant::now(), self.timeline.now(), call.block);
        self.fleet.pass("about to commit");
        if !(call.claim)() {
            return Err(ExecuteError::Cancelled { accepted: block.len(), transactions: block.len() });
        }
        let height = block.header().height;
        let arena = &self.lanes[self.active].arena;
        let patrol = |now| self.fleet.patrol(now);
        let watch = Watch::new(call, &patrol);
        let (base, journal, counters) = (&mut self.base, self.journal.as_mut(), &mut self.counters);
        commit(&self.acceptance, arena, Target { base, journal, counters }, block, &watch)?;
        self.fleet.pass("block committed");
        let mut stats = self.run.stats;
        stats.reexecuted = self.acceptance.reexecuted();
        let (records, bytes) = arena.all_keys()?;
        let learned = bytes.get(block.key_bytes().len()..).unwrap_or(&[]).to_vec();
        let keys = KeyDirectory::Planned { block: Arc::clone(block), records: records.to_vec(), learned };
        let (places, buffers) = self.acceptance.take_outputs();
        stats.commit = begun.elapsed();
        self.timeline.note(SpanKind::Commit, began);
        Ok(BlockOutput { height, places, buffers, keys, digest: self.base.digest(), stats })
    }
}

fn cannot_go_on(error: ValidateError, call: &Call<'_>, accepted: usize) -> ExecuteError {
    match error {
        ValidateError::Arena(error) => error.into(),
        ValidateError::State(error) => error.into(),
        ValidateError::Store(error) => error.into(),
        ValidateError::Stopped(stop) => stop.after(accepted, call.block.len()),
        ValidateError::LostPage => ExecuteError::System("memory is lost where no shard writes".to_owned()),
        ValidateError::Damaged(damaged) => ExecuteError::System(format!(
            "output of transaction {} cannot be read again: {}",
            damaged.txn, damaged.error
        )),
    }
}
