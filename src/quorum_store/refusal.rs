//! Why something from a peer or client was refused. Every refusal is counted; none of them disturbs anything else.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why something was refused or dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            /// Every reason.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];

            /// Its name for people and counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Refusal::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    /// The frame is longer than any message.
    FrameTooLong = "frame_too_long";
    /// The frame is no message.
    Malformed = "malformed";
    /// The peer sent more than its rate.
    TooFast = "too_fast";
    /// No such validator.
    UnknownPeer = "unknown_peer";
    /// The mailbox was full.
    MailboxFull = "mailbox_full";
    /// The component was not there.
    MailboxClosed = "mailbox_closed";
    /// A message without content.
    Empty = "empty";
    /// More batches than a message may have.
    TooManyBatches = "too_many_batches";
    /// More transactions than allowed.
    TooManyTxns = "too_many_txns";
    /// More bytes than allowed.
    TooManyBytes = "too_many_bytes";
    /// The sender is not who it says.
    NotSender = "not_sender";
    /// Of another epoch.
    OtherEpoch = "other_epoch";
    /// Digest or sums are not those of the transactions.
    WrongDigest = "wrong_digest";
    /// A transaction does not decode.
    BadTransaction = "bad_transaction";
    /// The filter does not let a transaction pass.
    Filtered = "filtered";
    /// The expiration is further away than any validator may ask for.
    ExpirationTooFar = "expiration_too_far";
    /// It has expired.
    Expired = "expired";
    /// The author's quota of batches is used up.
    BatchQuota = "batch_quota";
    /// The author's quota of bytes on disk is used up.
    DbQuota = "db_quota";
    /// The disk refused.
    Storage = "storage";
    /// The same is known already.
    Known = "known";
    /// Another batch has this author and number.
    KeyCollision = "key_collision";
    /// The signature is not the signer's.
    BadSignature = "bad_signature";
    /// Fewer signers than a quorum.
    NoQuorum = "no_quorum";
    /// The batch is not one's own.
    WrongAuthor = "wrong_author";
    /// The batch is not there.
    NotFound = "not_found";
    /// The batch was given up, or is committed.
    TooLate = "too_late";
    /// Nobody asked for this.
    NotAsked = "not_asked";
    /// The mempool is full.
    MempoolFull = "mempool_full";
    /// The sender has too many transactions in the mempool.
    SenderFull = "sender_full";
    /// The sequence number was used before.
    SequenceTooOld = "sequence_too_old";
    /// The sequence number is too far ahead.
    SequenceTooFar = "sequence_too_far";
    /// Another transaction of the sender has this sequence number, and this one does not pay more.
    Underpriced = "underpriced";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each reason occurred.
#[derive(Clone, Debug)]
pub struct RefusalCounts([u64; Refusal::ALL.len()]);

impl Default for RefusalCounts {
    fn default() -> RefusalCounts {
        RefusalCounts([0; Refusal::ALL.len()])
    }
}

impl RefusalCounts {
    /// Counts one.
    pub fn count(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }

    /// How often it occurred.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// All that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.iter().map(|&refusal| (refusal, self.of(refusal))).filter(|&(_, count)| count > 0)
    }

    /// Adds those of another count.
    pub fn add(&mut self, other: &RefusalCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, more)| *mine += more);
    }
}
