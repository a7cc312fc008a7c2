//! What the members of a round leave: copied out and judged, some of it while the round still runs.

use super::{Coordinator, cannot_go_on};
use crate::durable::Journal;
use crate::executor::acceptance::RoundState;
use crate::executor::call::Call;
use crate::executor::error::ExecuteError;
use crate::executor::fleet::{Fleet, Member};
use crate::executor::output_arena::Copied;
use crate::executor::progress::Progress;
use crate::executor::validate_error::{Damaged, ValidateError};
use crate::executor::watch::{Stop, Watch};
use crate::types::RoundId;
use std::time::Instant;

/// Most room made in advance for one output, in bytes.
const EXPECTED_OUTPUT_MAX: usize = 4096;
/// So many new outputs of a shard are worth taking in while the round runs.
const AHEAD_OUTPUTS: u32 = 16;
/// And so many are taken in at once: well under a millisecond of work, since the coordinator looks for deaths in between.
const AHEAD_OUTPUTS_MAX: u32 = 256;

/// How far the outputs of a block are collected.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// Who left each collected buffer of outputs, and in which round.
    sources: Vec<(Member, RoundId)>,
    /// By place among the members: how far their outputs of the present round are copied.
    copied: Vec<Copied>,
    /// Whether more may be judged before the present round is over.
    pub(super) goes_ahead: bool,
    /// Damage that was found while the round ran.
    damaged: Option<Damaged>,
}

impl Collection {
    /// Begins a round of so many members.
    pub(super) fn start_round(&mut self, members: usize, goes_ahead: bool) {
        self.copied.clear();
        self.copied.resize(members, Copied::default());
        self.goes_ahead = goes_ahead;
        self.damaged = None;
    }

    /// Nothing more is believed of what this member leaves in the present round.
    fn end_with(&mut self, place: usize) {
        if let Some(copied) = self.copied.get_mut(place) {
            copied.outputs = u32::MAX;
        }
    }

    /// Who left a buffer.
    pub(super) fn source(&self, buffer: usize) -> Option<Member> {
        self.sources.get(buffer).map(|&(member, _)| member)
    }

    /// Whether two buffers hold outputs of one shard and round.
    fn is_of_one_source(&self, left: usize, right: usize) -> bool {
        self.sources.get(left).is_some_and(|source| self.sources.get(right) == Some(source))
    }
}

impl<F: Fleet> Coordinator<F> {
    /// Takes in what the members left and judges it; returns how many transactions were accepted in the round.
    pub(super) fn collect_and_validate(
        &mut self,
        call: &Call<'_>,
        first_in_line: usize,
    ) -> Result<usize, ExecuteError> {
        if let Some(damaged) = self.run.collection.damaged.take() {
            self.declare_damaged(&damaged);
        }
        for place in 0..self.members.len() {
            // Zeros in the place of what was lost may look like something.
            if !self.run.disbelieved {
                self.collect(place, call)?;
            }
        }
        self.warm_up(call)?;
        let stopped = |stop: Stop| stop.after(first_in_line, call.block.len());
        while self.look_up_ahead() {
            Watch::new(call, &|now| self.fleet.patrol(now)).look().map_err(stopped)?;
        }
        // Afterwards: whether they are changed is not known before the next plan.
        self.take_in_names(call)?;
        loop {
            let (arena, patrol) = (&mut self.lanes[self.active].arena, |now| self.fleet.patrol(now));
            let watch = Watch::new(call, &patrol);
            let judged = self.acceptance.judge(arena, &self.base, RoundState::Over, &watch);
            let taught = self.acceptance.teach(arena, &watch);
            match judged.and(taught) {
                Ok(()) => break,
                Err(ValidateError::Damaged(damaged)) => {
                    let Damaged { buffer, .. } = damaged;
                    let collection = &self.run.collection;
                    self.acceptance.drop_buffers(|other| collection.is_of_one_source(buffer, other));
                    self.declare_damaged(&damaged);
                }
                Err(error) => return Err(cannot_go_on(error, call, self.acceptance.frontier())),
            }
        }
        if let Some((txn, note)) = self.acceptance.take_panic() {
            tracing::warn!(%txn, message = note, "transaction panicked on accepted values");
            let blame = self.run.suspicion.panicked(txn, &note);
            self.answer_for(txn, blame)?;
        }
        Ok(self.acceptance.frontier() - first_in_line)
    }

    /// Brings the keys that were given ids while the round ran into the plan.
    fn take_in_names(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        let (arena, patrol) = (&mut self.lanes[self.active].arena, |now| self.fleet.patrol(now));
        let watch = Watch::new(call, &patrol);
        let taken = arena.take_in_ahead(|| watch.look().map_err(ValidateError::Stopped));
        taken.map_err(|error| cannot_go_on(error, call, self.acceptance.frontier()))
    }

    /// Takes in some of what came while the round runs, and judges some of it. False if there is nothing to do now.
    ///
    /// Nobody is declared dead and nothing is mended here: what makes no sense is answered when the round is over.
    pub(super) fn judge_ahead(&mut self, call: &Call<'_>) -> bool {
        if !self.run.collection.goes_ahead {
            return false;
        }
        let (begun, before) = (Instant::now(), self.acceptance.judged());
        // That of the one who is furthest ahead: judging waits for all of them.
        let most = (0..self.members.len()).map(|place| (self.news_of(place, call), place)).max();
        let place = most.filter(|&(news, _)| news >= AHEAD_OUTPUTS).map(|(_, place)| place);
        let copied = place.map_or(Ok(()), |place| self.copy_in(place, AHEAD_OUTPUTS_MAX, call));
        let (arena, patrol) = (&mut self.lanes[self.active].arena, |now| self.fleet.patrol(now));
        let watch = Watch::new(call, &patrol);
        let judged = self.acceptance.judge(arena, &self.base, RoundState::Running, &watch);
        let progress = self.acceptance.judged() - before;
        self.run.collection.goes_ahead = copied.is_ok() && matches!(judged, Ok(false));
        if let (Err(ValidateError::Damaged(damaged)), Some(place)) = (copied, place) {
            self.run.collection.end_with(place);
            self.run.collection.damaged = Some(damaged);
        }
        if place.is_none() && progress == 0 {
            return false;
        }
        self.run.stats.judged_ahead += progress as u64;
        self.run.stats.validate += begun.elapsed();
        true
    }

    /// How many outputs of a member are not copied yet.
    fn news_of(&self, place: usize, call: &Call<'_>) -> u32 {
        let copied = self.run.collection.copied.get(place).map_or(u32::MAX, |copied| copied.outputs);
        let slot = self.members.get(place).and_then(|member| self.fleet.slot(member.shard));
        // A damaged word may say anything.
        let count =
            slot.map_or(0, |slot| Progress::of(slot, self.last_round).count.min(transactions_of(call)));
        count.saturating_sub(copied)
    }

    /// Brings what the outputs of the last round name into a base state that does not hold everything.
    fn warm_up(&mut self, call: &Call<'_>) -> Result<(), ExecuteError> {
        let Some(cold) = self.journal.as_ref().and_then(Journal::cold).filter(|_| !self.base.is_whole())
        else {
            return Ok(());
        };
        let patrol = |now| self.fleet.patrol(now);
        let arena = &mut self.lanes[self.active].arena;
        let warmed = self.acceptance.warm_up(arena, &mut self.base, cold.reads(), &Watch::new(call, &patrol));
        warmed.map_err(|error| cannot_go_on(error, call, self.acceptance.frontier()))
    }

    /// Takes in the outputs of one member that were not taken in yet.
    fn collect(&mut self, place: usize, call: &Call<'_>) -> Result<(), ExecuteError> {
        match self.copy_in(place, u32::MAX, call) {
            Ok(()) => Ok(()),
            Err(ValidateError::LostPage) => self.lose_outputs(self.members[place]),
            Err(ValidateError::Damaged(damaged)) => {
                self.run.collection.end_with(place);
                self.declare_damaged(&damaged);
                Ok(())
            }
            Err(error) => Err(cannot_go_on(error, call, self.acceptance.frontier())),
        }
    }

    /// Copies up to `at_most` outputs of one member that were not copied yet.
    fn copy_in(&mut self, place: usize, at_most: u32, call: &Call<'_>) -> Result<(), ValidateError> {
        let (Some(&member), Some(&done)) = (self.members.get(place), self.run.collection.copied.get(place))
        else {
            return Ok(());
        };
        let Some(outputs) = self.fleet.outputs(member.shard) else { return Ok(()) };
        let new = self.news_of(place, call).min(at_most);
        if new == 0 {
            return Ok(());
        }
        let patrol = |now| self.fleet.patrol(now);
        let watch = Watch::new(call, &patrol);
        let mut bytes = Vec::with_capacity(self.expected_output.saturating_mul(new as usize));
        let look = || watch.look().map_err(ValidateError::Stopped);
        let (count, most) = (done.outputs + new, transactions_of(call));
        let copied = outputs.copy_outputs(done, count, most, &mut bytes, look)?;
        self.run.collection.copied[place] = copied;
        self.expected_output = bytes.len().div_ceil(new as usize).min(EXPECTED_OUTPUT_MAX);
        self.run.collection.sources.push((member, self.last_round));
        self.acceptance.collect(bytes, new, &watch)
    }
}

fn transactions_of(call: &Call<'_>) -> u32 {
    u32::try_from(call.block.len()).unwrap_or(u32::MAX)
}
