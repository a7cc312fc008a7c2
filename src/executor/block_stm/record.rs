//! What is known of one transaction of the present block.

use crate::executor::block_output::OutputPlace;
use crate::executor::block_stm::observation::Observations;
use crate::executor::block_stm::scheduler::Standing;
use crate::executor::block_stm::status::Stamp;
use crate::vm::Finding;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

/// What the last execution of a transaction looked at, wrote and put out.
#[derive(Debug, Default)]
pub(super) struct Record {
    stamp: Stamp,
    pub(super) observations: Observations,
    /// Keys that have a version of this transaction.
    pub(super) written: SmallVec<[u32; 6]>,
    pub(super) place: OutputPlace,
    /// What is known of it before its execution.
    pub(super) finding: Finding,
    /// What the virtual machine said when it panicked.
    pub(super) panic: Option<Box<str>>,
}

/// One transaction. Lines of their own: neighbours are executed by different threads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Transaction {
    pub(super) standing: Standing,
    record: Mutex<Record>,
}

impl Transaction {
    /// The record, empty if it is of an earlier block.
    pub(super) fn record(&self, stamp: Stamp) -> MutexGuard<'_, Record> {
        let mut record = self.record.lock();
        if record.stamp != stamp {
            record.stamp = stamp;
            record.observations.clear();
            record.written.clear();
            record.finding = Finding::NOTHING;
            record.panic = None;
        }
        record
    }
}
