//! The commit log as the tasks of a validator share it: one appends, all read, and nobody who reads waits for the disk.

use crate::quorum_store::{AppendError, CommitEntry, CommitLog, CommitStep, Cursor, Disk, DiskError, Micros};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Debug)]
pub struct CommitDesk {
    log: Mutex<CommitLog>,
    disk: Arc<dyn Disk>,
    /// Held from the plan of an append until it is shown.
    appending: Mutex<()>,
    head: watch::Sender<u64>,
}

impl CommitDesk {
    pub fn open(disk: Arc<dyn Disk>, window: Duration) -> Result<CommitDesk, DiskError> {
        let log = CommitLog::open(Arc::clone(&disk), window)?;
        let head = watch::Sender::new(log.head());
        Ok(CommitDesk { log: Mutex::new(log), disk, appending: Mutex::default(), head })
    }

    /// Appends an entry; it is durable when this returns, and everybody is woken. Blocks for the disk.
    pub fn append(&self, entry: CommitEntry) -> Result<(), AppendError> {
        let _appending = self.appending.lock();
        let planned = self.log.lock().plan(entry)?;
        if let Some(append) = planned {
            append.write(&*self.disk)?;
            self.log.lock().install(append);
            self.tell();
        }
        Ok(())
    }

    /// Goes on behind entries that others have, and nobody keeps any more.
    pub fn take_over(&self, through: u64, timestamp: Micros) {
        let _appending = self.appending.lock();
        self.log.lock().take_over(through, timestamp);
        self.tell();
    }

    fn tell(&self) {
        let head = self.log.lock().head();
        self.head.send_replace(head);
    }

    /// What a reader at `cursor` applies next; `None` at the end.
    pub fn next(&self, cursor: Cursor) -> Option<CommitStep> {
        self.log.lock().next(cursor)
    }

    /// Sequence of the last entry.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// The latest time in it.
    pub fn time(&self) -> Micros {
        self.log.lock().time()
    }

    /// Tells of every new head.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Entries that are kept.
    pub fn len(&self) -> usize {
        self.log.lock().len()
    }
}
