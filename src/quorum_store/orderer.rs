//! Stands for consensus: decides who proposes at a height.

use crate::quorum_store::ValidatorId;
use std::fmt;

/// Decides who proposes. Every validator must come to the same answer.
pub trait Orderer: Send + Sync + fmt::Debug {
    /// Who proposes at a height, at the n-th attempt, from 0.
    fn proposer(&self, height: u64, attempt: u64) -> ValidatorId;
}

/// One after the other.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin {
    validators: u16,
}

impl RoundRobin {
    /// Among so many validators; at least one.
    #[must_use]
    pub fn new(validators: u16) -> RoundRobin {
        RoundRobin { validators: validators.max(1) }
    }
}

impl Orderer for RoundRobin {
    fn proposer(&self, height: u64, attempt: u64) -> ValidatorId {
        let turn = height.wrapping_add(attempt) % u64::from(self.validators);
        ValidatorId(u16::try_from(turn).unwrap_or(0))
    }
}
