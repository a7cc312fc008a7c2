//! What a ledger transaction can come to.

use crate::types::StatusCode;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Status of a ledger transaction. The codes are part of the ledger's format and are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum LedgerStatus {
            $($(#[$doc])* $name = $code,)*
        }

        impl LedgerStatus {
            /// Every status, by ascending code.
            pub const ALL: &'static [LedgerStatus] = &[$(LedgerStatus::$name,)*];

            /// Its name for people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(LedgerStatus::$name => $text,)*
                }
            }
        }
    };
}

statuses! {
    /// The transaction did what it was asked to do.
    Success = 0, "success";
    /// The bytes are no transaction. No effect.
    Undecodable = 1, "undecodable";
    /// It names another chain. No effect.
    WrongChain = 2, "wrong chain";
    /// It expired before the block's time. No effect.
    Expired = 3, "expired";
    /// The highest possible fee does not fit 64 bits. No effect.
    FeeOverflow = 4, "fee overflow";
    /// Its sequence number is the last one, which cannot be used up. No effect.
    SequenceExhausted = 5, "sequence exhausted";
    /// The signature is not the sender's. No effect.
    BadSignature = 6, "bad signature";
    /// The sender has no account. No effect.
    SenderNotFound = 7, "sender not found";
    /// The sequence number was used before. No effect.
    SequenceTooOld = 8, "sequence too old";
    /// The sequence number is ahead of the account's. No effect.
    SequenceTooNew = 9, "sequence too new";
    /// The sender cannot pay the highest possible fee. No effect.
    InsufficientBalanceForGas = 10, "insufficient balance for gas";
    /// The beneficiary's balance would not fit 64 bits. No effect.
    BeneficiaryOverflow = 11, "beneficiary overflow";
    /// A key holds something that the ledger never writes. No effect; only a foreign genesis can cause it.
    StateFault = 12, "state fault";
    /// It needs more gas than its limit. Pays for the limit.
    OutOfGas = 13, "out of gas";
    /// A batch without recipients. Pays the fee.
    EmptyBatch = 14, "empty batch";
    /// A batch with more recipients than allowed. Pays the fee.
    TooManyRecipients = 15, "too many recipients";
    /// The amounts of a batch do not fit 64 bits. Pays the fee.
    AmountOverflow = 16, "amount overflow";
    /// A recipient has no account. Pays the fee.
    RecipientNotFound = 17, "recipient not found";
    /// The account to create exists. Pays the fee.
    AccountExists = 18, "account exists";
    /// The sender cannot pay the amount and the fee. Pays the fee.
    InsufficientBalance = 19, "insufficient balance";
    /// A recipient's balance would not fit 64 bits. Pays the fee.
    BalanceOverflow = 20, "balance overflow";
}

impl LedgerStatus {
    /// The code that outputs carry.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        StatusCode(self as u16)
    }

    /// The status of a code, or `None` if the ledger has no such code.
    #[must_use]
    pub fn from_code(code: StatusCode) -> Option<LedgerStatus> {
        LedgerStatus::ALL.iter().copied().find(|status| status.code() == code)
    }

    /// Whether a transaction that ends so uses up its sequence number and pays a fee.
    #[must_use]
    pub const fn pays(self) -> bool {
        matches!(self, LedgerStatus::Success) || self as u16 >= LedgerStatus::OutOfGas as u16
    }
}
