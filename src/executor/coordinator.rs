//! The coordinator: executes a block in rounds over a fleet of shards, accepts, and commits.

use crate::durable::Journal;
use crate::executor::acceptance::Acceptance;
use crate::executor::block_output::{BlockOutput, BlockStats, KeyDirectory};
use crate::executor::board::{Announcement, BoardWriter};
use crate::executor::call::Call;
use crate::executor::commit::{Conserved, Target, commit};
use crate::executor::error::{Death, DeathCause, ExecuteError};
use crate::executor::fleet::{Fleet, Member, Phase};
use crate::executor::lane::Lane;
use crate::executor::memory::CoordinatorMemory;
use crate::executor::overlay::OverlayWriter;
use crate::executor::progress::Progress;
use crate::executor::recorder::Recorder;
use crate::executor::round_end::{Cut, Motion, RoundEnd};
use crate::executor::shard::counter;
use crate::executor::suspicion::{Blame, Evidence, Suspicion};
use crate::executor::validate_error::{Damaged, ValidateError};
use crate::executor::watch::{Stop, Watch};
use crate::partition::CostModel;
use crate::state::BaseState;
use crate::telemetry::{SpanKind, TimelineBook};
use crate::types::{RoundId, ShardId, TxnIndex};
use phalanx_ipc::{Activity, oom_kills};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// While a round runs the coordinator never sleeps longer: deaths are found by looking.
const PROBE_INTERVAL: Duration = Duration::from_micros(250);
/// How long into a round the coordinator spins between looks: in a longer one the wake-up at its end does not count, and
/// a spinner slows down a shard that shares its core.
const SPIN_LIMIT: Duration = Duration::from_millis(1);
/// Where processes outnumber cores, how long the coordinator works ahead in a round until it gives its core to the shard
/// that may share it: a signal reaches a process only when it runs.
const STRETCH: Duration = Duration::from_micros(200);
/// And for how long.
const REST: Duration = Duration::from_micros(50);
/// How long shards may take to leave a round whose deadline has passed or whose caller has gone.
const LATE_PARK_LIMIT: Duration = Duration::from_millis(100);
/// How long a killed shard may take to be gone. Only one in an uninterruptible wait takes longer than a moment. Counted
/// in looks, so that time in which the whole host or this process stood still does not count.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// The most that one look counts for.
const LOOK_MAX: Duration = Duration::from_millis(10);
/// How long the caller of a failed block waits for the kernel to tell how a shard ended. Tearing down a gigabyte of
/// mappings takes up to 50 ms.
const EXPLAIN_LIMIT: Duration = Duration::from_millis(150);
/// Undisturbed rounds after which all that is left goes to one shard: a block whose transactions depend on each other in
/// ways that no round foresees is done faster there than by guessing on.
const SPECULATIVE_ROUNDS_MAX: u32 = 5;
/// Stall limits without any motion after which a round is cut short while some member says that it works. A hang is found
/// before, by the member's own CPU time or sleep; this is for members that the host starves.
const STARVED_PATIENCE: u32 = 16;
/// Global rounds in a row that may be cut short by deaths before the block is given up. Somebody who kills a shard every
/// few milliseconds on a loaded host easily hits a handful of rounds before their first transaction is done.
const CUT_GLOBAL_ROUNDS_MAX: u32 = 64;

/// Planning that took longer than this may have outlived some shards.
const LONG_PLAN: Duration = Duration::from_millis(2);
/// After this long without motion of any member all doorbells are rung again: a damaged one may have swallowed a ring.
const NUDGE_INTERVAL: Duration = Duration::from_millis(20);

/// What to do when a shard dies while a block executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDeath {
    /// Cut the round short, replace the shard, go on from what was accepted.
    #[default]
    Resume,
    /// Fail the call with [`ExecuteError::ShardDied`]; the shard is replaced for the next block.
    Fail,
}

/// How blocks are executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecuteOptions {
    pub(crate) on_death: OnDeath,
    /// Rounds without progress after which all that is left goes to one shard.
    pub(crate) rounds_without_progress: u32,
    pub(crate) costs: CostModel,
    /// Off only in the negative control of the equivalence test.
    pub(crate) validation: bool,
}

impl Default for ExecuteOptions {
    fn default() -> ExecuteOptions {
        ExecuteOptions {
            on_death: OnDeath::Resume,
            rounds_without_progress: 3,
            costs: CostModel::default(),
            validation: true,
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
    conserved: Conserved,
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
    run: BlockRun,
    timeline: Recorder,
}

/// What is counted while one block executes.
#[derive(Default)]
struct BlockRun {
    stats: BlockStats,
    without_progress: u32,
    /// Rounds that ran to their end.
    finished: u32,
    last_death: Option<Death>,
    /// Who left each collected buffer of outputs.
    sources: Vec<Member>,
    /// What the first transaction in line has done.
    suspicion: Suspicion,
    /// Members that the last round lost, if it was cut short.
    lost: Vec<Death>,
}

impl<F: Fleet> Coordinator<F> {
    pub(crate) fn new(
        fleet: F,
        memory: CoordinatorMemory,
        conserved: Conserved,
        options: ExecuteOptions,
    ) -> Self {
        let CoordinatorMemory { board, overlay, base, arenas } = memory;
        Coordinator {
            fleet,
            board,
            overlay,
            base,
            lanes: arenas.map(|arena| Lane::new(arena, options.costs)),
            active: 0,
            acceptance: Acceptance::default(),
            conserved,
            journal: None,
            options,
            last_round: RoundId(0),
            members: Vec::new(),
            last_members: Vec::new(),
            shards: Vec::new(),
            poisoned: None,
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
        let began = self.timeline.now();
        self.timeline.begin(height, call.block.len());
        let result = self.execute_rounds(call).and_then(|()| self.commit(call));
        let result = result.map_err(|error| self.name_last_death(error));
        self.timeline.end(began);
        if let Err(ExecuteError::StatePoisoned { cause, .. }) = &result {
            self.poisoned = Some(cause.clone());
        }
        let spent = self.lanes[self.active].spent;
        self.lanes[self.active].clear();
        self.active = 1 - self.active;
        let mut output = result?;
        output.stats.plan = spent;
        Ok(output)
    }

    /// A block that was late may have been so because its shards were killed.
    fn name_last_death(&mut self, error: ExecuteError) -> ExecuteError {
        let of_last_round = std::mem::take(&mut self.run.lost).into_iter();
        let told = of_last_round.map(|death| self.fleet.explain(death, Duration::ZERO));
        // Who was killed for being late itself explains nothing.
        let last = told.filter(|death| !matches!(death.cause, DeathCause::Late { .. })).last();
        let last = last.or_else(|| self.run.last_death.take());
        let ExecuteError::DeadlineExceeded { accepted, transactions, last_death } = error else {
            return error;
        };
        ExecuteError::DeadlineExceeded { accepted, transactions, last_death: last_death.or(last) }
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
        self.run.stats.shards_used = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        Ok(())
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
            self.fleet.bell().wait(0, Some(PROBE_INTERVAL), || false);
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
        lane.plan_rest(&self.shards, |txn| acceptance.standing(txn), between)?;
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

    /// Announces the planned round and waits for its end; afterwards every member is parked or gone.
    fn run_round(&mut self, call: &Call<'_>) -> Result<RoundEnd, ExecuteError> {
        self.last_round.0 += 1;
        let (round, sealing) = (self.last_round, self.timeline.now());
        self.timeline.enter(round);
        let totals = self.lanes[self.active].seal(round, self.run.stats.rounds > 0)?;
        self.timeline.note(SpanKind::Seal, sealing);
        self.fleet.pass("plan sealed");
        self.acceptance.start_round();
        self.run.stats.rounds += 1;
        self.run.stats.cross_shard_edges += u64::from(totals.edges);
        let waited_before = self.waited_ns();
        let (begun, began) = (Instant::now(), self.timeline.now());
        for member in &self.members {
            let announcement = Announcement { round, generation: member.generation, arena: self.active };
            self.board.announce(member.shard, announcement).map_err(ExecuteError::system)?;
            self.fleet.ring(member.shard);
            self.fleet.pass("round announced to one shard");
        }
        self.fleet.pass("round announced");
        if self.members != self.last_members {
            // Somebody died since the last round, perhaps halfway through waking a peer: plain rings would pass that
            // peer over.
            self.fleet.ring_all();
            self.last_members.clone_from(&self.members);
        }
        let end = self.await_end(call, round);
        if let RoundEnd::CutShort(cut) = &end {
            self.run.stats.rounds_cut_short += 1;
            let limit = self.fleet.park_limit();
            let patience = match cut {
                // One that hangs is found by its own CPU time or sleep long before: this is for those that the host
                // starves.
                Cut::Death | Cut::Stall | Cut::Partial if self.options.on_death == OnDeath::Resume => {
                    let left = call.deadline.saturating_duration_since(Instant::now());
                    limit.map(|limit| limit.saturating_mul(STARVED_PATIENCE).min(left.max(LATE_PARK_LIMIT)))
                }
                Cut::Death | Cut::Stall | Cut::Partial => limit,
                Cut::Deadline | Cut::Cancelled => limit.map(|limit| limit.min(LATE_PARK_LIMIT)),
            };
            let cutting = self.timeline.now();
            self.cut_short(call, round, patience)?;
            self.timeline.note(SpanKind::CutShort, cutting);
            let lost = self.members.iter().filter(|&&member| self.fleet.is_gone(member));
            self.run.lost = lost.map(|&member| self.fleet.death_of(member)).collect();
        }
        self.fleet.pass("round over");
        let executed = begun.elapsed();
        self.timeline.note(SpanKind::Round, began);
        self.timeline.take_in(&self.fleet, &self.members);
        self.run.stats.execute += executed;
        // What a shard tells may be damaged: nobody waits longer than the round lasts.
        let waited = Duration::from_nanos(self.waited_ns().wrapping_sub(waited_before));
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.run.stats.waited += waited.min(executed.saturating_mul(members));
        Ok(end)
    }

    /// How long the members have waited for values since they were made, in nanoseconds, as they tell it.
    fn waited_ns(&self) -> u64 {
        let slots = self.members.iter().filter_map(|member| self.fleet.slot(member.shard));
        slots.fold(0, |sum, slot| sum.wrapping_add(slot.counters[counter::WAITED_NS].load(Ordering::Relaxed)))
    }

    fn await_end(&mut self, call: &Call<'_>, round: RoundId) -> RoundEnd {
        let begun = Instant::now();
        let (mut motion, mut nudged, mut rested) = (Motion::new(begun), begun, begun);
        loop {
            if self.all_parked(round) {
                return RoundEnd::Finished;
            }
            if self.fleet.probe(&self.members, round, Phase::Open).is_some() {
                return RoundEnd::CutShort(Cut::Death);
            }
            if self.is_partial(round) {
                return RoundEnd::CutShort(Cut::Partial);
            }
            if Instant::now() >= call.deadline {
                return RoundEnd::CutShort(Cut::Deadline);
            }
            if (call.cancelled)() {
                return RoundEnd::CutShort(Cut::Cancelled);
            }
            if self.is_stalled(&mut motion) {
                return RoundEnd::CutShort(Cut::Stall);
            }
            if motion.since().max(nudged).elapsed() >= NUDGE_INTERVAL {
                self.fleet.ring_all();
                nudged = Instant::now();
            }
            let began = self.timeline.now();
            if self.fleet.spins() == 0 && rested.elapsed() >= STRETCH {
                self.fleet.bell().wait(0, Some(REST), || self.all_parked(round));
                self.timeline.go_on(SpanKind::Wait, began);
                rested = Instant::now();
            } else if self.look_up_ahead() {
                self.timeline.go_on(SpanKind::LookUp, began);
            } else if self.plan_ahead(call) {
                self.timeline.go_on(SpanKind::PlanAhead, began);
            } else {
                let spins = if begun.elapsed() < SPIN_LIMIT { self.fleet.spins() } else { 0 };
                self.fleet.bell().wait(spins, Some(PROBE_INTERVAL), || self.all_parked(round));
                self.timeline.go_on(SpanKind::Wait, began);
                rested = Instant::now();
            }
        }
    }

    /// Whether a member has left the round with some of its transactions undone (its output arena is full): others may
    /// wait for them in vain.
    fn is_partial(&self, round: RoundId) -> bool {
        let arena = &self.lanes[self.active].arena;
        self.members.iter().any(|&member| {
            self.fleet.is_parked(member, round)
                && self
                    .fleet
                    .slot(member.shard)
                    .is_some_and(|slot| Progress::of(slot, round) < arena.sub_block_len(member.shard))
        })
    }

    /// Whether no member has moved for the stall limit. A hanging one is found and killed a little before that.
    fn is_stalled(&self, motion: &mut Motion) -> bool {
        let slots = self.members.iter().filter_map(|member| self.fleet.slot(member.shard));
        let seen = slots.fold(0_u64, |sum, slot| {
            let words =
                [&slot.progress, &slot.current, &slot.parked].map(|word| word.load(Ordering::Relaxed));
            words.iter().fold(sum, |sum, word| sum.rotate_left(7) ^ word)
        });
        // A member that says it works is looked after by the fleet, by its own CPU time: it may only be starved.
        let works = |member: &Member| {
            self.fleet.slot(member.shard).is_some_and(|s| s.activity() == Activity::Running)
        };
        let patience = if self.members.iter().any(works) { STARVED_PATIENCE } else { 1 };
        let limit = self.fleet.stall_limit().map(|limit| limit.saturating_mul(patience));
        motion.is_older_than(seen, limit)
    }

    fn all_parked(&self, round: RoundId) -> bool {
        self.members.iter().all(|&member| self.fleet.is_parked(member, round))
    }

    /// Looks up some of the keys that the block will change; false when all are known.
    fn look_up_ahead(&mut self) -> bool {
        let lane = &self.lanes[self.active];
        self.acceptance.look_up_ahead(&lane.arena, &self.base, |key| lane.changes(key))
    }

    /// Goes on with the plan of the next block by one step; false when there is nothing to do.
    fn plan_ahead(&mut self, call: &Call<'_>) -> bool {
        let Some(next) = (call.next)() else { return false };
        let lane = &mut self.lanes[1 - self.active];
        // An error shows again when the block's turn comes.
        if !lane.holds(&next) && lane.take_up(&next).is_err() {
            return false;
        }
        matches!(lane.step(&self.shards), Ok(false))
    }

    /// Ends a round before its end: afterwards every member is parked or gone.
    /// Whoever has not left after `patience`, or soon after the caller has gone, is killed.
    fn cut_short(
        &mut self,
        call: &Call<'_>,
        round: RoundId,
        patience: Option<Duration>,
    ) -> Result<(), ExecuteError> {
        self.board.abort_upto(round).map_err(ExecuteError::system)?;
        self.fleet.pass("round cut short");
        self.fleet.ring_all();
        let begun = Instant::now();
        let mut limit = patience.and_then(|limit| begun.checked_add(limit));
        let (mut killed, mut last_look) = (None, begun);
        loop {
            if (call.cancelled)() {
                // Threads cannot be killed: without a limit there is none now.
                limit = limit.map(|limit| limit.min(last_look + LATE_PARK_LIMIT));
            }
            let look = std::mem::replace(&mut last_look, Instant::now());
            if let Some(awaited) = &mut killed {
                *awaited += look.elapsed().min(LOOK_MAX);
            }
            let late: Vec<Member> = self
                .members
                .iter()
                .copied()
                .filter(|&member| !self.fleet.is_parked(member, round) && !self.fleet.is_gone(member))
                .collect();
            if late.is_empty() {
                return Ok(());
            }
            if killed.is_some_and(|awaited: Duration| awaited >= KILL_LIMIT) {
                // It may still touch what the next block would rewrite.
                let cause = format!("shard {} cannot be ended; look for a process in state D", late[0].shard);
                self.poisoned = Some(cause.clone());
                return Err(ExecuteError::System(cause));
            }
            if killed.is_none() && limit.is_some_and(|limit| Instant::now() >= limit) {
                killed = Some(Duration::ZERO);
                for member in late {
                    let waited = begun.elapsed();
                    self.fleet.kill(member, DeathCause::Late { waited });
                }
            } else {
                // Whoever is to carry out the kill may be gone or stopped: that is found by looking, as in a round.
                let _ = self.fleet.probe(&late, round, Phase::Cut);
            }
            self.fleet.bell().wait(0, Some(PROBE_INTERVAL), || false);
        }
    }

    /// Takes in what the members left and judges it; returns how many transactions were accepted.
    fn collect_and_validate(&mut self, call: &Call<'_>, first_in_line: usize) -> Result<usize, ExecuteError> {
        for place in 0..self.members.len() {
            self.collect(self.members[place], call)?;
        }
        let stopped = |stop: Stop| stop.after(first_in_line, call.block.len());
        while self.look_up_ahead() {
            Watch::new(call, &|now| self.fleet.patrol(now)).look().map_err(stopped)?;
        }
        loop {
            let (arena, patrol) = (&mut self.lanes[self.active].arena, |now| self.fleet.patrol(now));
            match self.acceptance.validate(arena, &self.base, first_in_line, &Watch::new(call, &patrol)) {
                Ok(verdict) => {
                    if let Some((txn, note)) = verdict.panicked {
                        tracing::warn!(%txn, message = note, "transaction panicked on accepted values");
                        let blame = self.run.suspicion.panicked(txn, &note);
                        self.answer_for(txn, blame)?;
                    }
                    return Ok(self.acceptance.frontier() - first_in_line);
                }
                Err(ValidateError::Damaged(damaged)) => {
                    self.acceptance.drop_buffer(damaged.buffer);
                    self.declare_damaged(&damaged);
                }
                Err(error) => return Err(cannot_go_on(error, call, self.acceptance.frontier())),
            }
        }
    }

    /// Takes in the outputs of one member.
    fn collect(&mut self, member: Member, call: &Call<'_>) -> Result<(), ExecuteError> {
        let (Some(slot), Some(outputs)) = (self.fleet.slot(member.shard), self.fleet.outputs(member.shard))
        else {
            return Ok(());
        };
        let count = Progress::of(slot, self.last_round);
        if count == 0 {
            return Ok(());
        }
        let patrol = |now| self.fleet.patrol(now);
        let (arena, watch, accepted) =
            (&self.lanes[self.active].arena, Watch::new(call, &patrol), self.acceptance.frontier());
        let mut bytes = Vec::new();
        let txns = arena.sub_block(member.shard)?.take(count as usize).map(|(txn, _)| txn);
        let copied = outputs.copy_outputs(txns, &mut bytes, || watch.look().map_err(ValidateError::Stopped));
        copied.map_err(|error| cannot_go_on(error, call, accepted))?;
        let expected = arena.sub_block(member.shard)?;
        self.run.sources.push(member);
        match self.acceptance.collect(bytes, count, expected, &watch) {
            Ok(()) => Ok(()),
            Err(ValidateError::Damaged(damaged)) => {
                self.declare_damaged(&damaged);
                Ok(())
            }
            Err(error) => Err(cannot_go_on(error, call, accepted)),
        }
    }

    /// Outputs that make no sense count as the crash of the shard that left them.
    fn declare_damaged(&mut self, damaged: &Damaged) {
        let what = format!("output of transaction {}: {}", damaged.txn, damaged.error);
        if let Some(&member) = self.run.sources.get(damaged.buffer) {
            self.run.stats.damaged += 1;
            if self.fleet.is_gone(member) {
                // It has a cause of death already.
                return;
            }
            let cause = DeathCause::Damage(what);
            let Member { shard, generation, pid } = member;
            self.run.lost.push(Death { shard, pid, generation, txn: None, cause: cause.clone() });
            self.fleet.kill(member, cause);
        }
    }

    /// Counts rounds without progress and decides whether to go on after a cut.
    fn judge_end(
        &mut self,
        call: &Call<'_>,
        end: RoundEnd,
        first_in_line: usize,
        accepted: usize,
    ) -> Result<(), ExecuteError> {
        let global = self.is_global();
        self.run.finished += u32::from(matches!(end, RoundEnd::Finished));
        self.run.without_progress = if accepted > 0 { 0 } else { self.run.without_progress + 1 };
        let (done, transactions) = (self.acceptance.frontier(), call.block.len());
        if self.acceptance.is_complete() {
            return Ok(());
        }
        let patience = if matches!(end, RoundEnd::Finished) { 0 } else { CUT_GLOBAL_ROUNDS_MAX };
        match end {
            RoundEnd::CutShort(Cut::Deadline) => {
                return Err(ExecuteError::DeadlineExceeded {
                    accepted: done,
                    transactions,
                    last_death: None,
                });
            }
            RoundEnd::CutShort(Cut::Cancelled) => {
                return Err(ExecuteError::Cancelled { accepted: done, transactions });
            }
            RoundEnd::CutShort(Cut::Stall) => {
                tracing::warn!(accepted = done, transactions, "no shard made progress; the rest goes to one");
                self.run.without_progress =
                    self.run.without_progress.max(self.options.rounds_without_progress);
            }
            RoundEnd::CutShort(Cut::Death | Cut::Partial) | RoundEnd::Finished => {}
        }
        self.judge_deaths(call, first_in_line)?;
        let limit = self.options.rounds_without_progress.saturating_add(patience);
        if global && self.run.without_progress > limit {
            let error = self.no_progress();
            if !self.fleet.fall_back(&error) {
                return Err(error);
            }
            self.run.without_progress = self.options.rounds_without_progress;
        }
        Ok(())
    }

    /// Answers the deaths of the last round. Only the transaction that was first in line when it began was sure to run on
    /// accepted values, and can be to blame.
    fn judge_deaths(&mut self, call: &Call<'_>, first_in_line: usize) -> Result<(), ExecuteError> {
        let limit = EXPLAIN_LIMIT.min(call.deadline.saturating_duration_since(Instant::now()));
        let first = TxnIndex(u32::try_from(first_in_line).unwrap_or(u32::MAX));
        for death in std::mem::take(&mut self.run.lost) {
            if self.options.on_death == OnDeath::Fail {
                return Err(ExecuteError::ShardDied(self.fleet.explain(death, limit)));
            }
            tracing::warn!(%death, "shard died");
            if death.txn == Some(first) {
                let death = self.fleet.explain(death, limit);
                self.judge_death(first, death)?;
            } else {
                self.run.last_death = Some(death);
            }
        }
        Ok(())
    }

    /// A shard died while it executed `first`, the first transaction in line.
    fn judge_death(&mut self, first: TxnIndex, death: Death) -> Result<(), ExecuteError> {
        let slot = self.fleet.slot(death.shard);
        let evidence = Evidence {
            cause: &death.cause,
            fault: slot.and_then(|slot| slot.fault_of(death.generation.0)),
            last_words: slot.and_then(|slot| slot.last_words_of(death.generation.0)),
            oom_kills: (death.cause == DeathCause::Signal(SIGKILL)).then(oom_kills).flatten(),
        };
        let blame = self.run.suspicion.died(first, &evidence);
        self.run.last_death = Some(death);
        self.answer_for(first, blame)
    }

    /// Fails the block if the first transaction in line is to blame, or nobody knows who is and it would not end.
    fn answer_for(&mut self, txn: TxnIndex, blame: Blame) -> Result<(), ExecuteError> {
        match blame {
            Blame::Nobody => Ok(()),
            Blame::Poison(what) => Err(ExecuteError::PoisonTransaction { txn, what }),
            Blame::GiveUp => Err(self.no_progress()),
        }
    }

    fn no_progress(&mut self) -> ExecuteError {
        ExecuteError::NoProgress {
            rounds: self.run.without_progress,
            accepted: self.acceptance.frontier(),
            transactions: self.acceptance.len(),
            last_death: self.run.last_death.take(),
        }
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
        let (base, journal, conserved) = (&mut self.base, self.journal.as_mut(), &self.conserved);
        commit(&self.acceptance, arena, Target { base, journal, conserved }, block, &watch)?;
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
        ValidateError::Stopped(stop) => stop.after(accepted, call.block.len()),
        ValidateError::Damaged(damaged) => ExecuteError::System(format!(
            "output of transaction {} cannot be read again: {}",
            damaged.txn, damaged.error
        )),
    }
}

/// The signal that nobody can raise by mistake in a computation.
const SIGKILL: i32 = 9;
