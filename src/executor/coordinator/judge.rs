//! What a round came to: progress, deaths, and who is to blame.

use super::Coordinator;
use crate::executor::OnDeath;
use crate::executor::call::Call;
use crate::executor::error::{Death, DeathCause, ExecuteError};
use crate::executor::fleet::{Fleet, Member};
use crate::executor::round_end::{Cut, RoundEnd};
use crate::executor::suspicion::{Blame, Evidence};
use crate::executor::validate_error::Damaged;
use crate::types::TxnIndex;
use phalanx_ipc::oom_kills;
use std::time::{Duration, Instant};

/// How long the caller of a failed block waits for the kernel to tell how a shard ended. Tearing down a gigabyte of
/// mappings takes up to 50 ms.
const EXPLAIN_LIMIT: Duration = Duration::from_millis(150);
/// The same where the death is all that the caller hears of: a host that starves the supervisor may take longer to tell.
const FATAL_EXPLAIN_LIMIT: Duration = Duration::from_secs(2);
/// Global rounds in a row that may be cut short by deaths before the block is given up. Somebody who kills a shard every
/// few milliseconds on a loaded host easily hits a handful of rounds before their first transaction is done.
const CUT_GLOBAL_ROUNDS_MAX: u32 = 64;
/// The signal that nobody can raise by mistake in a computation.
const SIGKILL: i32 = 9;

impl<F: Fleet> Coordinator<F> {
    /// A block that was late may have been so because its shards were killed.
    pub(super) fn name_last_death(&mut self, error: ExecuteError) -> ExecuteError {
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

    /// Outputs that make no sense count as the crash of the shard that left them.
    pub(super) fn declare_damaged(&mut self, damaged: &Damaged) {
        let what = format!("output of transaction {}: {}", damaged.txn, damaged.error);
        if let Some(member) = self.run.collection.source(damaged.buffer) {
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

    /// The hardware has lost some of what a member left: nothing of it counts, and the member goes, too, since it would die at
    /// its next touch of that memory.
    pub(super) fn lose_outputs(&mut self, member: Member) -> Result<(), ExecuteError> {
        if !self.fleet.is_gone(member) {
            let cause = DeathCause::Damage("the hardware has lost some of its output arena".to_owned());
            let Member { shard, generation, pid } = member;
            self.run.lost.push(Death { shard, pid, generation, txn: None, cause: cause.clone() });
            self.fleet.kill(member, cause);
        }
        self.run.disbelieved = true;
        self.fleet.mend_memory(true).map(|_| ())
    }

    /// Counts rounds without progress and decides whether to go on after a cut.
    pub(super) fn judge_end(
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
        (call.tell)(done, self.run.last_death.as_ref());
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
        if !self.run.lost.is_empty()
            && let Some(journal) = &self.journal
        {
            journal.readers_died();
        }
        let lost = std::mem::take(&mut self.run.lost);
        if self.options.on_death == OnDeath::Fail {
            return self.fail_with(lost, call);
        }
        for death in lost {
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

    /// Fails the block if a shard died, with a death that was not only the answer to another one, if there is such a death.
    fn fail_with(&mut self, mut lost: Vec<Death>, call: &Call<'_>) -> Result<(), ExecuteError> {
        lost.sort_by_key(|death| matches!(death.cause, DeathCause::Late { .. }));
        let Some(first) = lost.into_iter().next() else { return Ok(()) };
        let limit = FATAL_EXPLAIN_LIMIT.min(call.deadline.saturating_duration_since(Instant::now()));
        Err(ExecuteError::ShardDied(self.fleet.explain(first, limit)))
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
    pub(super) fn answer_for(&mut self, txn: TxnIndex, blame: Blame) -> Result<(), ExecuteError> {
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
}
