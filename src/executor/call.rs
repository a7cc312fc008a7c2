//! A call: one block, and what its caller asks for.

use crate::executor::error::Death;
use crate::types::PreparedBlock;
use std::sync::Arc;
use std::time::Instant;

/// What the caller of one block asks for.
pub(crate) struct Call<'a> {
    pub(crate) block: &'a Arc<PreparedBlock>,
    pub(crate) deadline: Instant,
    /// Asked between steps.
    pub(crate) cancelled: &'a dyn Fn() -> bool,
    /// Asked once, right before the commit: false if the caller has given the block up meanwhile.
    pub(crate) claim: &'a dyn Fn() -> bool,
    /// Told after every round how many transactions are accepted, and the last death that was met.
    pub(crate) tell: &'a dyn Fn(usize, Option<&Death>),
    /// The block to plan ahead, if one waits.
    pub(crate) next: &'a dyn Fn() -> Option<Arc<PreparedBlock>>,
}

impl<'a> Call<'a> {
    /// One block until a deadline, from a caller who asks for nothing else.
    pub(crate) fn plain(block: &'a Arc<PreparedBlock>, deadline: Instant) -> Call<'a> {
        Call { block, deadline, cancelled: &|| false, claim: &|| true, tell: &|_, _| {}, next: &|| None }
    }
}
