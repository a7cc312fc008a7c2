//! How an Ethereum transaction can end.

use crate::types::StatusCode;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum EvmStatus {
    /// It did what it was asked to do.
    Success = 0,
    /// It took back what it did and said so; it paid.
    Reverted = 1,
    /// It ran out of gas or did what is not allowed; it paid.
    Halted = 2,
    /// It may not stand in a block: wrong nonce, too little balance or gas, or against the rules in force. Nothing was
    /// done, and a block with it is not valid.
    Invalid = 3,
    /// The bytes are no transaction. Nothing was done.
    Undecodable = 4,
    /// The header is not that of an Ethereum block. Nothing was done.
    BadHeader = 5,
    /// The state lacks a code, or the header a block hash, that it needs. Nothing was done.
    StateFault = 6,
    /// It wrote or logged more than an output holds ([`crate::types::MAX_OUTPUT_BYTES`]). What is there is not whole.
    TooLarge = 7,
}

impl EvmStatus {
    /// All of them.
    pub const ALL: [EvmStatus; 8] = [
        EvmStatus::Success,
        EvmStatus::Reverted,
        EvmStatus::Halted,
        EvmStatus::Invalid,
        EvmStatus::Undecodable,
        EvmStatus::BadHeader,
        EvmStatus::StateFault,
        EvmStatus::TooLarge,
    ];

    /// The status with this code, if there is one.
    #[must_use]
    pub fn of(code: StatusCode) -> Option<EvmStatus> {
        EvmStatus::ALL.get(usize::from(code.0)).copied()
    }

    /// The code in an output.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        StatusCode(self as u16)
    }

    /// Whether a block may hold a transaction that ended like this.
    #[must_use]
    pub const fn has_receipt(self) -> bool {
        matches!(self, EvmStatus::Success | EvmStatus::Reverted | EvmStatus::Halted)
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EvmStatus::Success => "success",
            EvmStatus::Reverted => "reverted",
            EvmStatus::Halted => "halted",
            EvmStatus::Invalid => "invalid",
            EvmStatus::Undecodable => "undecodable",
            EvmStatus::BadHeader => "bad header",
            EvmStatus::StateFault => "state fault",
            EvmStatus::TooLarge => "too large",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_code() {
        for (place, status) in EvmStatus::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.code().0), place);
            assert_eq!(EvmStatus::of(status.code()), Some(status));
        }
        assert_eq!(EvmStatus::of(StatusCode(8)), None);
    }
}
