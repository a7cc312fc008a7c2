//! What a shutdown came to.

use crate::quorum_store::Component;

/// How a component ended in a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// It finished what it was doing.
    Stopped,
    /// It was dead already.
    Dead,
    /// It did not end in time, and was given up.
    GivenUp,
}

/// What a shutdown came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Every component, in the order in which they were stopped.
    pub steps: Vec<(Component, StepEnd)>,
    /// Whether the disk was closed: nothing is written after this report. Otherwise a write hangs in the system.
    pub closed: bool,
}

impl ShutdownReport {
    /// Whether the disk was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}
