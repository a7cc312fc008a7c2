//! How far blocks have come: executed, durable, stored. What the threads and the callers share.

use crate::durable::appender::{Appended, LogEnd};
use crate::durable::error::DurableError;
use crate::durable::log_scan::{LoggedBlock, SegmentInfo};
use crate::state::{Backlog, CacheStats};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far blocks have come. Each height is at most the one before it; `None` before the first block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurableProgress {
    /// The last block that was executed and committed.
    pub executed: Option<u64>,
    /// The last block that survives the death of the machine.
    pub durable: Option<u64>,
    /// The last block that the store has.
    pub stored: Option<u64>,
    /// Bytes of the log that the store lacks.
    pub backlog_bytes: u64,
    /// Times that the log was made durable: several blocks at once when they come fast.
    pub syncs: u64,
    /// The state in memory as a cache of the store, when the last block began; `None` if it is none.
    pub cache: Option<CacheStats>,
}

/// So much backlog is brought into the store at once.
const BATCH_BYTES: u64 = 16 << 20;
/// The store waits so long for more, unless there is much already: blocks change the same entries again and again, and
/// entries of one page are cheaper together. What it lacks meanwhile is in the log, and costs opening after a crash
/// milliseconds.
const STORE_PAUSE: Duration = Duration::from_secs(2);
/// How long slots of readers that died are looked for: one may have died without a slot, or another process freed it.
const CLEAR_LIMIT: Duration = Duration::from_secs(1);
/// Time between two looks.
const CLEAR_LOOK: Duration = Duration::from_millis(10);
/// How long the store goes on taking in what it lacks when all is to stop; the next opening does the rest.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// Between two questions whether to wait on.
const ROOM_LOOK: Duration = Duration::from_millis(2);

/// What the threads and the callers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    progress: DurableProgress,
    appended_sequence: u64,
    synced_sequence: u64,
    stored_sequence: u64,
    /// Where the log ends, until it is durable up to there.
    unsynced: Option<LogEnd>,
    /// Blocks that the store lacks, in order.
    pending: VecDeque<LoggedBlock>,
    segments: Vec<SegmentInfo>,
    failed: Option<String>,
    /// Until when the store goes on after it was told to stop.
    stopping: Option<Instant>,
    /// Up to this height the store is not to wait for more.
    hurry_to: Option<u64>,
    /// Until when slots of dead readers are looked for: the kernel takes its time to let go of the dead.
    clearing: Option<Instant>,
}

impl State {
    fn check(&self) -> Result<(), DurableError> {
        let failed = self.failed.clone();
        failed.map_or(Ok(()), |cause| Err(DurableError::Failed { cause }))
    }
}

/// What a thread is to do.
#[derive(Debug)]
pub(super) enum Work<T> {
    Do(T),
    Stop,
}

/// What the store's thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreWork {
    /// Bring in the blocks.
    Apply,
    /// Free the slots of dead readers.
    ClearReaders,
    Stop,
}

/// What is to be made durable.
#[derive(Debug)]
pub(super) struct SyncWork {
    pub(super) end: LogEnd,
    pub(super) sequence: u64,
    height: Option<u64>,
}

impl Shared {
    /// For a log whose blocks are all durable, of which the store lacks `pending`.
    pub(super) fn new(
        last_sequence: u64,
        height: Option<u64>,
        stored: Option<u64>,
        pending: Vec<LoggedBlock>,
        segments: Vec<SegmentInfo>,
    ) -> Shared {
        let backlog_bytes = pending.iter().map(|block| block.bytes).sum();
        let stored_sequence = last_sequence - pending.len() as u64;
        let progress = DurableProgress {
            executed: height,
            durable: height,
            stored,
            backlog_bytes,
            ..Default::default()
        };
        let state = State {
            progress,
            appended_sequence: last_sequence,
            synced_sequence: last_sequence,
            stored_sequence,
            pending: pending.into(),
            segments,
            ..State::default()
        };
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn progress(&self) -> DurableProgress {
        self.state.lock().progress
    }

    pub(super) fn synced_sequence(&self) -> u64 {
        self.state.lock().synced_sequence
    }

    /// Which blocks the store lacks.
    pub(super) fn backlog(&self) -> Backlog {
        let state = self.state.lock();
        Backlog { applied: state.appended_sequence, stored: state.stored_sequence }
    }

    /// The store is to take in what it lacks up to this height without waiting for more.
    pub(super) fn hurry(&self, height: u64) {
        let mut state = self.state.lock();
        state.hurry_to = state.hurry_to.max(Some(height));
        self.changed.notify_all();
    }

    /// The store is to take in all that it lacks without waiting for more.
    pub(super) fn hurry_all(&self) {
        let executed = self.state.lock().progress.executed;
        executed.into_iter().for_each(|height| self.hurry(height));
    }

    pub(super) fn note_cache(&self, stats: CacheStats) {
        self.state.lock().progress.cache = Some(stats);
    }

    /// Slots of dead readers are to be looked for.
    pub(super) fn readers_died(&self) {
        self.state.lock().clearing = Some(Instant::now() + CLEAR_LIMIT);
        self.changed.notify_all();
    }

    /// So many slots of dead readers were freed.
    pub(super) fn cleared(&self, slots: usize) {
        if slots > 0 {
            self.state.lock().clearing = None;
        }
    }

    /// Waits until the store lacks less than `limit` bytes of the log and, with `synced`, until all that was appended is
    /// durable; as long as `go_on` says so, which is asked between short waits.
    ///
    /// # Errors
    /// `Backlog` when `go_on` ends it, `Failed`.
    pub(super) fn await_room(
        &self,
        limit: u64,
        synced: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), DurableError> {
        loop {
            let mut state = self.state.lock();
            state.check()?;
            let bytes = state.progress.backlog_bytes;
            if bytes < limit && (!synced || state.synced_sequence == state.appended_sequence) {
                return Ok(());
            }
            // Whoever is asked may take time.
            self.changed.wait_for(&mut state, ROOM_LOOK);
            drop(state);
            if !go_on() {
                return Err(DurableError::Backlog { bytes, limit });
            }
        }
    }

    /// Waits until the block at `height` is durable.
    ///
    /// # Errors
    /// `NotYet` at the deadline, `Failed`.
    pub(super) fn await_durable(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        let late = |durable| DurableError::NotYet { height, durable };
        self.await_height(height, deadline, |progress| progress.durable, late)
    }

    /// Waits until the store has the block at `height`; it does not wait for more blocks meanwhile.
    ///
    /// # Errors
    /// `NotStored` at the deadline, `Failed`.
    pub(super) fn await_stored(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        self.hurry(height);
        let late = |stored| DurableError::NotStored { height, stored };
        self.await_height(height, deadline, |progress| progress.stored, late)
    }

    fn await_height(
        &self,
        height: u64,
        deadline: Instant,
        reached: impl Fn(&DurableProgress) -> Option<u64>,
        late: impl FnOnce(Option<u64>) -> DurableError,
    ) -> Result<(), DurableError> {
        let mut state = self.state.lock();
        loop {
            let last = reached(&state.progress);
            if last >= Some(height) {
                return Ok(());
            }
            state.check()?;
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(late(last));
            }
        }
    }

    /// A block was appended; it counts as executed when its writes are in the base state.
    pub(super) fn appended(&self, appended: Appended) {
        let Appended { block, end, new_segment } = appended;
        let mut state = self.state.lock();
        if new_segment {
            // An attempt before may have made the segment, without a block.
            state.segments.retain(|segment| segment.first_sequence != block.place.segment);
            let first_height = Some(block.mark.height);
            state.segments.push(SegmentInfo { first_sequence: block.place.segment, first_height });
        }
        state.pending.push_back(block);
        state.progress.backlog_bytes += block.bytes;
        state.progress.executed = Some(block.mark.height);
        state.appended_sequence = block.sequence;
        state.unsynced = Some(end);
        self.changed.notify_all();
    }

    /// Waits for something to be made durable.
    pub(super) fn next_sync(&self) -> Work<SyncWork> {
        let mut state = self.state.lock();
        loop {
            if state.failed.is_some() {
                return Work::Stop;
            }
            if let Some(end) = state.unsynced.take() {
                let (sequence, height) = (state.appended_sequence, state.progress.executed);
                return Work::Do(SyncWork { end, sequence, height });
            }
            if state.stopping.is_some() {
                return Work::Stop;
            }
            self.changed.wait(&mut state);
        }
    }

    pub(super) fn synced(&self, work: &SyncWork) {
        let mut state = self.state.lock();
        state.synced_sequence = work.sequence;
        state.progress.durable = work.height;
        state.progress.syncs += 1;
        self.changed.notify_all();
    }

    /// Waits for durable blocks that the store lacks, and takes some of them, or for dead readers; the blocks stay pending
    /// until [`stored`](Self::stored). Does not stop before the last one. `last` is when the store last changed, and when
    /// dead readers were last looked for.
    pub(super) fn next_store(&self, last: (Instant, Instant), blocks: &mut Vec<LoggedBlock>) -> StoreWork {
        let (last_store, last_look) = last;
        let mut state = self.state.lock();
        loop {
            if state.failed.is_some() {
                return StoreWork::Stop;
            }
            let now = Instant::now();
            state.clearing = state.clearing.filter(|&end| now < end);
            let look = state.clearing.map(|_| last_look + CLEAR_LOOK);
            if look.is_some_and(|look| now >= look) {
                return StoreWork::ClearReaders;
            }
            let synced = state.synced_sequence;
            let first = state.pending.front().filter(|block| block.sequence <= synced);
            let (ready, hurried) =
                (first.is_some(), first.is_some_and(|block| Some(block.mark.height) <= state.hurry_to));
            let all_synced = state.unsynced.is_none() && synced == state.appended_sequence;
            let stop = state.stopping.is_some() && all_synced;
            let due = last_store + STORE_PAUSE;
            if stop && ready && state.stopping.is_some_and(|end| now >= end) {
                let (blocks, bytes) = (state.pending.len(), state.progress.backlog_bytes);
                tracing::info!(blocks, bytes, "the store lacks some blocks; the next opening brings them in");
                return StoreWork::Stop;
            }
            if ready {
                let enough = state.progress.backlog_bytes >= BATCH_BYTES;
                if enough || hurried || state.stopping.is_some() || now >= due {
                    take_batch(&state.pending, synced, blocks);
                    return StoreWork::Apply;
                }
            } else if stop {
                return StoreWork::Stop;
            }
            match ready.then_some(due).into_iter().chain(look).min() {
                Some(until) => _ = self.changed.wait_until(&mut state, until),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Some of what the store lacks; for who opens the directory.
    pub(super) fn lacking(&self, blocks: &mut Vec<LoggedBlock>) {
        let state = self.state.lock();
        take_batch(&state.pending, state.synced_sequence, blocks);
    }

    pub(super) fn stored(&self, blocks: &[LoggedBlock]) {
        let mut state = self.state.lock();
        for block in blocks {
            if state.pending.front().is_some_and(|first| first.sequence == block.sequence) {
                state.pending.pop_front();
                state.progress.backlog_bytes -= block.bytes;
                state.progress.stored = Some(block.mark.height);
                state.stored_sequence = block.sequence;
            }
        }
        self.changed.notify_all();
    }

    /// The block at a height, if the store lacks it.
    pub(super) fn pending_at(&self, height: u64) -> Option<LoggedBlock> {
        let state = self.state.lock();
        let place = state.pending.binary_search_by_key(&height, |block| block.mark.height).ok()?;
        state.pending.get(place).copied()
    }

    pub(super) fn segments(&self) -> Vec<SegmentInfo> {
        self.state.lock().segments.clone()
    }

    pub(super) fn pruned(&self, first_sequence: u64) {
        self.state.lock().segments.retain(|segment| segment.first_sequence != first_sequence);
    }

    /// Nothing is promised from now on.
    pub(super) fn fail(&self, error: &DurableError) {
        let mut state = self.state.lock();
        tracing::error!(%error, "durable state failed");
        state.failed.get_or_insert_with(|| error.to_string());
        self.changed.notify_all();
    }

    /// Whether it failed.
    ///
    /// # Errors
    /// `Failed`.
    pub(super) fn check(&self) -> Result<(), DurableError> {
        self.state.lock().check()
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping.get_or_insert_with(|| Instant::now() + STOP_LIMIT);
        self.changed.notify_all();
    }
}

fn take_batch(pending: &VecDeque<LoggedBlock>, synced: u64, blocks: &mut Vec<LoggedBlock>) {
    let mut bytes = 0;
    blocks.clear();
    blocks.extend(pending.iter().take_while(|block| {
        let fits = block.sequence <= synced && (bytes == 0 || bytes + block.bytes <= BATCH_BYTES);
        bytes += block.bytes;
        fits
    }));
}
