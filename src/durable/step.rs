//! The steps on the way to the disk, at which tests have the process die or the disk refuse.

use std::io;

/// A step of the log, the store or the apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing of the block is written.
    AboutToAppend,
    /// Half of the record's bytes are in the file.
    RecordHalfWritten,
    /// The record is in the file, and nobody knows.
    RecordWritten,
    /// The block is in the log, the base state has not changed.
    Appended,
    /// The base state has changed.
    Applied,
    /// A segment is full.
    AboutToRoll,
    /// The next segment's file has its header, under another name.
    SegmentMade,
    /// It has its name.
    SegmentNamed,
    /// What was appended is about to be made durable.
    AboutToSync,
    /// It is durable, and nothing says so.
    Synced,
    /// The segment's mark says so, the callers do not know.
    Marked,
    /// The store's transaction is open, nothing is put.
    StoreBegun,
    /// All is put, nothing is committed.
    StorePut,
    /// The store's transaction is committed, and nobody knows.
    StoreCommitted,
    /// A segment that is not needed any more is about to be removed.
    AboutToPrune,
    /// It is removed.
    Pruned,
}

impl Step {
    /// All steps.
    pub const ALL: [Step; 16] = [
        Step::AboutToAppend,
        Step::RecordHalfWritten,
        Step::RecordWritten,
        Step::Appended,
        Step::Applied,
        Step::AboutToRoll,
        Step::SegmentMade,
        Step::SegmentNamed,
        Step::AboutToSync,
        Step::Synced,
        Step::Marked,
        Step::StoreBegun,
        Step::StorePut,
        Step::StoreCommitted,
        Step::AboutToPrune,
        Step::Pruned,
    ];
}

/// What a test does at each step: nothing, an error that the step then fails with, or the end of the process.
#[cfg(feature = "fail-points")]
#[derive(Clone)]
pub struct StepHook(std::sync::Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>);

#[cfg(feature = "fail-points")]
impl StepHook {
    /// Calls `hook` at every step.
    #[must_use]
    pub fn new(hook: impl Fn(Step) -> io::Result<()> + Send + Sync + 'static) -> StepHook {
        StepHook(std::sync::Arc::new(hook))
    }
}

#[cfg(feature = "fail-points")]
impl std::fmt::Debug for StepHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StepHook")
    }
}

/// Passes steps. Nothing at all in a build without fail points.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    #[cfg(feature = "fail-points")]
    pub(super) hook: Option<StepHook>,
}

impl Steps {
    /// Passes a step.
    ///
    /// # Errors
    /// As the test's hook has it.
    #[cfg(feature = "fail-points")]
    pub(super) fn pass(&self, step: Step) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| (hook.0)(step))
    }

    #[cfg(not(feature = "fail-points"))]
    #[inline(always)]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "with fail points it can fail")]
    pub(super) fn pass(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}
