//! What a transaction of a mixed block is meant to be. What it comes to depends on the state as well.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What a transaction of a mixed block is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MixedKind {
    /// Between any two accounts, possibly the same.
    Transfer,
    /// To the one account that everyone pays.
    HotTransfer,
    /// To or from the block's beneficiary.
    BeneficiaryTransfer,
    /// To the sender.
    SelfTransfer,
    /// All that the sender has, or one unit more or less.
    WholeBalance,
    /// To several, with repetitions.
    Batch,
    /// A new account, used by later transactions.
    Create,
    /// An account that exists.
    CreateExisting,
    /// To an account that does not exist, alone or in a batch.
    MissingRecipient,
    /// From an account that does not exist.
    MissingSender,
    /// More gas than the sender can pay.
    PoorSender,
    /// A gas limit that is too low.
    OutOfGas,
    /// A sequence number too old or too new.
    WrongSequence,
    /// The last of all sequence numbers.
    LastSequence,
    /// Signed by someone else, or altered after signing.
    BadSignature,
    /// Expired.
    Expired,
    /// For another chain.
    WrongChain,
    /// A fee limit over 64 bits.
    FeeOverflow,
    /// No recipients.
    EmptyBatch,
    /// One recipient too many.
    LargeBatch,
    /// Amounts over 64 bits together.
    AmountOverflow,
    /// The largest account pays itself: its balance would overflow by the ledger's conservative rule.
    Overflow,
    /// Random bytes, or a transaction cut, lengthened or altered.
    Malformed,
}

/// Kinds and how often each occurs, in parts of their sum.
const WEIGHTS: [(MixedKind, u32); 23] = [
    (MixedKind::Transfer, 30),
    (MixedKind::HotTransfer, 10),
    (MixedKind::BeneficiaryTransfer, 4),
    (MixedKind::SelfTransfer, 3),
    (MixedKind::WholeBalance, 5),
    (MixedKind::Batch, 10),
    (MixedKind::Create, 6),
    (MixedKind::CreateExisting, 2),
    (MixedKind::MissingRecipient, 3),
    (MixedKind::MissingSender, 2),
    (MixedKind::PoorSender, 3),
    (MixedKind::OutOfGas, 3),
    (MixedKind::WrongSequence, 4),
    (MixedKind::LastSequence, 1),
    (MixedKind::BadSignature, 3),
    (MixedKind::Expired, 2),
    (MixedKind::WrongChain, 1),
    (MixedKind::FeeOverflow, 1),
    (MixedKind::EmptyBatch, 1),
    (MixedKind::LargeBatch, 1),
    (MixedKind::AmountOverflow, 1),
    (MixedKind::Overflow, 2),
    (MixedKind::Malformed, 4),
];

impl MixedKind {
    pub(super) fn draw(random: &mut ChaCha8Rng) -> MixedKind {
        let sum = WEIGHTS.iter().map(|&(_, weight)| weight).sum();
        let mut left: u32 = random.random_range(0..sum);
        for (kind, weight) in WEIGHTS {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        MixedKind::Transfer
    }
}
