//! The thread that makes durable what was appended: all at once, off the path of the blocks.

use crate::durable::error::DurableError;
use crate::durable::progress::{Shared, SyncWork, Work};
use crate::durable::segment;
use crate::durable::step::{Step, Steps};

/// Until it is told to stop and all is durable, or the disk refuses.
pub(super) fn run(shared: &Shared, steps: &Steps) {
    while let Work::Do(work) = shared.next_sync() {
        match sync(&work, steps) {
            Ok(()) => shared.synced(&work),
            // What a failed sync leaves on the disk is not known, and trying again does not tell.
            Err(cause) => {
                let path = work.end.path;
                return shared.fail(&DurableError::Io { step: "sync", path, cause });
            }
        }
    }
}

fn sync(work: &SyncWork, steps: &Steps) -> std::io::Result<()> {
    steps.pass(Step::AboutToSync)?;
    work.end.file.sync_data()?;
    steps.pass(Step::Synced)?;
    // The mark outlives this process at once, and the machine with the next sync.
    segment::write_mark(&work.end.file, work.sequence, work.end.end)?;
    steps.pass(Step::Marked)
}
