//! What the measurement came to.

use phalanx_bench::report::BenchReport;
use serde::Serialize;
use std::fmt::{self, Write};
use std::time::Duration;

/// A step on the way of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Decoding, checking the signature, mempool.
    Intake,
    /// Pulling, cutting, writing to the disk, the author's own signature.
    Batch,
    /// Encoding the message with the batches.
    Encode,
    /// Decoding and bounding it.
    Decode,
    /// Checking the batches, writing them to the disk, signing them.
    StoreAndSign,
    /// Collecting signatures, aggregating and checking them.
    Proof,
    /// Checking an author's proofs and queueing them.
    CheckProof,
    /// Pulling a block's batches from the queue.
    Order,
    /// Appending the block to the commit log, durably.
    Commit,
    /// All components apply the commit.
    Apply,
}

/// Who does a step, for each transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doer {
    /// The validator to which it was submitted.
    Author,
    /// Every other validator.
    Peer,
    /// Every validator.
    Everyone,
    /// The validator that proposes the block.
    Proposer,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 10] = [
        Step::Intake,
        Step::Batch,
        Step::Encode,
        Step::Decode,
        Step::StoreAndSign,
        Step::Proof,
        Step::CheckProof,
        Step::Order,
        Step::Commit,
        Step::Apply,
    ];

    /// Who does it.
    pub const fn doer(self) -> Doer {
        match self {
            Step::Intake | Step::Batch | Step::Encode | Step::Proof => Doer::Author,
            Step::Decode | Step::StoreAndSign | Step::CheckProof => Doer::Peer,
            Step::Order => Doer::Proposer,
            Step::Commit | Step::Apply => Doer::Everyone,
        }
    }

    /// How many validators of so many do it.
    fn times(self, validators: u16) -> u16 {
        match self.doer() {
            Doer::Author | Doer::Proposer => 1,
            Doer::Peer => validators.saturating_sub(1),
            Doer::Everyone => validators,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Intake => "intake",
            Step::Batch => "batch",
            Step::Encode => "encode",
            Step::Decode => "decode",
            Step::StoreAndSign => "store and sign",
            Step::Proof => "proof",
            Step::CheckProof => "check proof",
            Step::Order => "order",
            Step::Commit => "commit",
            Step::Apply => "apply",
        })
    }
}

/// One result. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QuorumRow {
    /// What a step costs once.
    Step {
        step: Step,
        doer: Doer,
        us_per_transaction: f64,
        /// With the steps that are done for a batch as a whole.
        us_per_batch: f64,
    },
    /// What all validators together spend.
    Total { validators: u16, transactions: u64, batches: u64, blocks: u64, us_per_transaction: f64 },
}

/// What was counted and measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub validators: u16,
    pub transactions: u64,
    pub batches: u64,
    pub blocks: u64,
    pub times: [Duration; Step::ALL.len()],
}

impl Measured {
    /// Does `work` on the clock of a step.
    pub fn time<R>(&mut self, step: Step, work: impl FnOnce() -> R) -> R {
        let begun = std::time::Instant::now();
        let result = work();
        self.times[step as usize] += begun.elapsed();
        result
    }

    /// As rows.
    pub fn rows(&self) -> Vec<QuorumRow> {
        let each =
            |time: Duration, count: u64| (time.as_secs_f64() * 1e6 / count.max(1) as f64 * 1e3).round() / 1e3;
        let mut total = Duration::ZERO;
        let mut rows = Vec::new();
        for step in Step::ALL {
            let time = self.times[step as usize];
            total += time * u32::from(step.times(self.validators));
            rows.push(QuorumRow::Step {
                step,
                doer: step.doer(),
                us_per_transaction: each(time, self.transactions),
                us_per_batch: each(time, self.batches),
            });
        }
        rows.push(QuorumRow::Total {
            validators: self.validators,
            transactions: self.transactions,
            batches: self.batches,
            blocks: self.blocks,
            us_per_transaction: each(total, self.transactions),
        });
        rows
    }
}

/// The report for people.
pub fn table(report: &BenchReport<QuorumRow>) -> String {
    let mut table = report.heading() + "\n";
    for row in &report.rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{}", line(row));
    }
    table
}

fn line(row: &QuorumRow) -> String {
    match row {
        QuorumRow::Step { step, doer, us_per_transaction, us_per_batch } => {
            let doer = match doer {
                Doer::Author => "author",
                Doer::Peer => "each peer",
                Doer::Everyone => "everyone",
                Doer::Proposer => "proposer",
            };
            let step = step.to_string();
            format!(
                "{step:<15} {doer:<10} {us_per_transaction:>9.2} us per transaction, {us_per_batch:>9.1} us per batch"
            )
        }
        QuorumRow::Total { validators, transactions, batches, blocks, us_per_transaction } => format!(
            "all {validators} validators together {us_per_transaction:.1} us per transaction; {transactions} transactions in \
             {batches} batches and {blocks} blocks"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_counted_for_each_validator_that_does_it() {
        let mut measured =
            Measured { validators: 4, transactions: 1_000, batches: 10, blocks: 1, ..Measured::default() };
        measured.times = [Duration::from_millis(1); Step::ALL.len()];
        let rows = measured.rows();
        assert_eq!(rows.len(), Step::ALL.len() + 1);
        let QuorumRow::Total { us_per_transaction, .. } = rows[Step::ALL.len()] else { panic!("{rows:?}") };
        // Five steps are done once, three by each of three peers, two by all four.
        assert!((us_per_transaction - f64::from(5 + 3 * 3 + 2 * 4)).abs() < 1e-9, "{us_per_transaction}");
        for (place, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, place, "{step}");
        }
    }
}
