//! Draws the next transfer of a workload.

use crate::workload::accounts::{Stream, random};
use crate::workload::trace::Trace;
use crate::workload::{WorkloadError, WorkloadKind};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

/// Most that a drawn transfer moves.
const AMOUNT_MAX: u64 = 100;

/// Draws of a different recipient before the next rank is taken instead.
const REDRAWS_MAX: usize = 16;

/// One transfer between numbered accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) amount: u64,
}

/// Where transfers come from.
#[derive(Debug)]
pub(super) enum Pairs {
    Uniform { accounts: u32, random: ChaCha8Rng },
    Zipf { ranks: Vec<u32>, distribution: Zipf<f64>, random: ChaCha8Rng },
    Hot { accounts: u32, random: ChaCha8Rng },
    Batch { accounts: u32, recipients: usize, random: ChaCha8Rng },
    Trace { trace: Trace, next: usize, looped: bool },
}

impl Pairs {
    pub(super) fn new(kind: &WorkloadKind, accounts: usize, seed: u64) -> Result<Pairs, WorkloadError> {
        let random = random(seed, Stream::Transfers);
        Ok(match kind {
            WorkloadKind::Uniform => Pairs::Uniform { accounts: countable(accounts)?, random },
            WorkloadKind::Hot => Pairs::Hot { accounts: countable(accounts)?, random },
            WorkloadKind::Zipf { skew } => {
                let accounts = countable(accounts)?;
                let distribution = zipf(accounts, *skew)?;
                Pairs::Zipf { ranks: shuffled_ranks(accounts, seed), distribution, random }
            }
            WorkloadKind::Batch { recipients } => {
                let enough = recipients.saturating_add(1).max(2);
                if accounts < enough {
                    return Err(WorkloadError::TooFewAccounts { accounts });
                }
                Pairs::Batch { accounts: countable(accounts)?, recipients: *recipients, random }
            }
            WorkloadKind::Trace(path) => Pairs::Trace { trace: Trace::open(path)?, next: 0, looped: false },
            WorkloadKind::LoopedTrace(path) => {
                Pairs::Trace { trace: Trace::open(path)?, next: 0, looped: true }
            }
        })
    }

    /// The next transfer, or `None` at the end of a trace.
    pub(super) fn next(&mut self) -> Option<Transfer> {
        match self {
            Pairs::Uniform { accounts, random } | Pairs::Batch { accounts, random, .. } => {
                let from = random.random_range(0..*accounts);
                let to = other_than(from, *accounts, random);
                Some(Transfer { from, to, amount: random.random_range(1..=AMOUNT_MAX) })
            }
            Pairs::Hot { accounts, random } => {
                let from = other_than(0, *accounts, random);
                Some(Transfer { from, to: 0, amount: random.random_range(1..=AMOUNT_MAX) })
            }
            Pairs::Zipf { ranks, distribution, random } => {
                let from = draw_rank(ranks.len(), distribution, random);
                let to = (0..REDRAWS_MAX)
                    .map(|_| draw_rank(ranks.len(), distribution, random))
                    .find(|&to| to != from)
                    .unwrap_or((from + 1) % ranks.len());
                let amount = random.random_range(1..=AMOUNT_MAX);
                Some(Transfer { from: ranks[from], to: ranks[to], amount })
            }
            Pairs::Trace { trace, next, looped } => {
                if *looped && *next == trace.transfers.len() {
                    *next = 0;
                }
                let transfer = trace.transfers.get(*next).copied();
                *next += 1;
                transfer
            }
        }
    }

    /// Whom the transaction pays that `transfer` begins: its own recipient, and in a batch more of them, all different
    /// and none of them the sender.
    pub(super) fn extend(&mut self, transfer: &Transfer, recipients: &mut Vec<(u32, u64)>) {
        let start = recipients.len();
        recipients.push((transfer.to, transfer.amount));
        if let Pairs::Batch { accounts, recipients: wanted, random } = self {
            while recipients.len() - start < *wanted {
                let to = other_than(transfer.from, *accounts, random);
                if recipients[start..].iter().all(|&(known, _)| known != to) {
                    recipients.push((to, random.random_range(1..=AMOUNT_MAX)));
                }
            }
        }
    }
}

/// The number of accounts, if two of them can differ.
fn countable(accounts: usize) -> Result<u32, WorkloadError> {
    if accounts < 2 {
        return Err(WorkloadError::TooFewAccounts { accounts });
    }
    u32::try_from(accounts).map_err(|_| WorkloadError::TooManyAccounts { accounts })
}

fn zipf(accounts: u32, skew: f64) -> Result<Zipf<f64>, WorkloadError> {
    let exponent = Some(skew).filter(|skew| skew.is_finite());
    exponent.and_then(|skew| Zipf::new(f64::from(accounts), skew).ok()).ok_or(WorkloadError::BadSkew { skew })
}

/// The account of each rank.
fn shuffled_ranks(accounts: u32, seed: u64) -> Vec<u32> {
    let mut ranks: Vec<u32> = (0..accounts).collect();
    ranks.shuffle(&mut random(seed, Stream::Ranks));
    ranks
}

/// Any account but `from`, all equally likely.
fn other_than(from: u32, accounts: u32, random: &mut ChaCha8Rng) -> u32 {
    let drawn = random.random_range(0..accounts - 1);
    if drawn < from { drawn } else { drawn + 1 }
}

/// A rank from 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the distribution draws whole numbers from 1 to the number of ranks"
)]
fn draw_rank(ranks: usize, distribution: &Zipf<f64>, random: &mut ChaCha8Rng) -> usize {
    (distribution.sample(random) as usize).clamp(1, ranks) - 1
}
