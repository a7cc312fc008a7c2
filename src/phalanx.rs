//! The library's face: launch a family of shard processes, submit blocks, wait for their outputs.

mod block_handle;
mod builder;

pub use block_handle::BlockHandle;
pub use builder::PhalanxBuilder;

use crate::durable::{DurableError, DurableProgress, JournalWatch};
use crate::executor::{BlockExecutor, BlockOutput, BlockStats, Call, ExecuteError};
#[cfg(feature = "fail-points")]
use crate::fail_points::{FailPointError, FailSpec};
use crate::phalanx::block_handle::Job;
use crate::state::StateDigest;
use crate::supervisor::{
    AuditFinding, AuditMark, HealthDesk, Incidents, LaunchError, Placement, PlacementDesk, PlacementReport,
    Processes, ShardHealth, SupervisorHealth,
};
use crate::telemetry::{Timeline, TimelineBook};
use crate::types::PreparedBlock;
use crate::vm::ledger::{LedgerConfig, LedgerVm};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use phalanx_ipc::OsCause;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Blocks that may wait behind the one that executes.
pub const QUEUE_LIMIT: usize = 2;

/// So much before the caller's deadline the coordinator gives a block up, if the deadline is far enough: its own error
/// says more than that the time is up. With 2.4 s or more it is longer than shards
/// get to leave a round at their deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(150);

/// A running family of shards. All methods take `&self`; share it between threads as you like.
#[derive(Debug)]
pub struct Phalanx {
    desk: Arc<Desk>,
    health: Arc<HealthDesk>,
    places: Arc<PlacementDesk>,
    timeline: Arc<TimelineBook>,
    /// With a state directory only.
    journal: Option<JournalWatch>,
    worker: Option<JoinHandle<()>>,
    /// Disconnected when the worker has stopped all processes.
    finished: Receiver<()>,
}

/// What the callers and the coordinator's thread share.
#[derive(Debug)]
struct Desk {
    inner: Mutex<DeskState>,
    /// Readable when there is a job, or the end.
    news: EventFd,
}

impl Desk {
    fn new() -> Result<Desk, LaunchError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let news = EventFd::from_flags(flags).map_err(|error| {
            LaunchError::Resource(format!("cannot make an event descriptor: {error}; see ulimit -n"))
        })?;
        Ok(Desk { inner: Mutex::default(), news })
    }

    /// Wakes the coordinator's thread.
    fn tell(&self) {
        // It fails only when the counter is full, and then the descriptor is readable.
        let _ = self.news.write(1);
    }
}

#[derive(Debug, Default)]
struct DeskState {
    queue: VecDeque<Job>,
    stopped: bool,
    totals: Totals,
    digest: StateDigest,
}

/// Sums over all blocks since the launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks committed.
    pub blocks: u64,
    /// Blocks that failed.
    pub failed_blocks: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Times the supervisor had to be started again.
    pub supervisor_restarts: u64,
    /// Sums of the blocks' own figures.
    pub stats: BlockStats,
}

impl DeskState {
    /// Takes blocks that their callers gave up out of the queue.
    fn drop_abandoned(&mut self) {
        self.queue.retain(|job| {
            let abandoned = job.is_abandoned();
            if abandoned {
                job.answer_cancelled();
            }
            !abandoned
        });
    }
}

impl Phalanx {
    /// A builder for the ledger.
    #[must_use]
    pub fn builder(config: LedgerConfig) -> PhalanxBuilder<LedgerVm> {
        PhalanxBuilder::ledger(config)
    }

    fn over(processes: Processes) -> Result<Phalanx, LaunchError> {
        let desk = Arc::new(Desk::new()?);
        desk.inner.lock().digest = processes.digest();
        let (health, timeline, journal) = (processes.desk(), processes.timeline(), processes.journal());
        let places = processes.places();
        let shared = Arc::clone(&desk);
        let (done, finished) = bounded(0);
        let worker = std::thread::Builder::new()
            .name("phx-coordinator".to_owned())
            .spawn(move || {
                processes.take_over();
                serve(processes, &shared);
                drop(done);
            })
            .map_err(|error| LaunchError::Resource(OsCause::from(error).to_string()))?;
        Ok(Phalanx { desk, health, places, timeline, journal, worker: Some(worker), finished })
    }

    /// Queues a block; at most [`QUEUE_LIMIT`] wait behind the one that executes. Blocks are executed in the order of
    /// submission. Does not wait.
    ///
    /// # Errors
    /// `Busy` when the queue is full, `Stopped` after a shutdown.
    pub fn submit(&self, block: &Arc<PreparedBlock>, deadline: Instant) -> Result<BlockHandle, ExecuteError> {
        if self.journal.is_some() {
            // Its name is needed later, where it would hold up other blocks.
            let _ = block.hash();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let margin = ANSWER_MARGIN.min(left / 16);
        let mut desk = self.desk.inner.lock();
        if desk.stopped {
            return Err(ExecuteError::Stopped);
        }
        desk.drop_abandoned();
        if desk.queue.len() >= QUEUE_LIMIT {
            return Err(ExecuteError::Busy { queued: desk.queue.len() });
        }
        let (job, handle) = Job::new(block, deadline.checked_sub(margin).unwrap_or(deadline), deadline);
        desk.queue.push_back(job);
        self.desk.tell();
        Ok(handle)
    }

    /// Executes and commits one block: [`submit`](Self::submit) and [`BlockHandle::wait`].
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing of the block is committed.
    pub fn execute(
        &self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        self.submit(block, deadline)?.wait()
    }

    /// Waits until the block at `height` survives the death of the machine. A block is *executed* when its output is there;
    /// it is *durable* some milliseconds later, together with others that came meanwhile.
    ///
    /// # Errors
    /// `NotYet` at the deadline, `Failed` when the disk refused, `NoDirectory` when nothing is made durable here.
    pub fn wait_durable(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        self.journal.as_ref().ok_or(DurableError::NoDirectory)?.await_durable(height, deadline)
    }

    /// Waits until the store has the block at `height`: otherwise it takes in many blocks at once, when much has come together
    /// or every two seconds. Opening has nothing to bring in then.
    ///
    /// # Errors
    /// `NotStored` at the deadline, `Failed` when the disk refused, `NoDirectory` when nothing is made durable here.
    pub fn wait_stored(&self, height: u64, deadline: Instant) -> Result<(), DurableError> {
        self.journal.as_ref().ok_or(DurableError::NoDirectory)?.await_stored(height, deadline)
    }

    /// How far blocks have come on their way to the disk; `None` without a state directory.
    #[must_use]
    pub fn durable_progress(&self) -> Option<DurableProgress> {
        self.journal.as_ref().map(JournalWatch::progress)
    }

    /// What is known of each shard now.
    #[must_use]
    pub fn health(&self) -> Vec<ShardHealth> {
        self.health.shards()
    }

    /// Where everything was decided to be.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        self.places.placement()
    }

    /// Where everything is: looks at the pin of every shard, and at every page of every region that has been touched, or at
    /// `limit` pages of each. Takes about a microsecond per page; disturbs nobody.
    ///
    /// # Errors
    /// `System` when the kernel does not tell.
    pub fn placement_report(&self, limit: Option<usize>) -> Result<PlacementReport, ExecuteError> {
        self.places.report(self.health.control(), limit)
    }

    /// The last audit of pins and pages that the supervisor made; none before the first, which comes with the first block.
    /// Their count begins anew with every supervisor.
    #[must_use]
    pub fn last_audit(&self) -> Option<AuditMark> {
        self.places.last_audit()
    }

    /// Takes what audits found since the last time: pins and pages that were not as planned, and what came of it. The
    /// last 1024 are kept.
    #[must_use]
    pub fn take_audit_findings(&self) -> Vec<AuditFinding> {
        self.places.take_findings()
    }

    /// Name of the control segment, in which tools find every process of this family.
    #[must_use]
    pub fn segment(&self) -> &str {
        self.health.segment()
    }

    /// Arms a fail point for this family and forgets the one before.
    ///
    /// # Errors
    /// For a name that cannot be one.
    #[cfg(feature = "fail-points")]
    pub fn arm_fail_point(&self, spec: FailSpec) -> Result<(), FailPointError> {
        self.health.control().arm_fail_point(spec)
    }

    /// Disarms it; returns how often the point was passed, and how often a passer failed.
    #[cfg(feature = "fail-points")]
    #[must_use]
    pub fn disarm_fail_point(&self) -> (u64, u64) {
        self.health.control().disarm_fail_point()
    }

    /// How often the armed point was passed, and how often a passer failed.
    #[cfg(feature = "fail-points")]
    #[must_use]
    pub fn fail_point_counts(&self) -> (u64, u64) {
        self.health.control().fail_point_counts()
    }

    /// What is known of the supervisor now.
    #[must_use]
    pub fn supervisor(&self) -> SupervisorHealth {
        self.health.supervisor()
    }

    /// Takes what befell the processes since the last time: deaths with their causes, and when they were known and made
    /// good, as far as that is complete. A death is complete when its cause is known and a successor is ready.
    #[must_use]
    pub fn take_incidents(&self) -> Incidents {
        self.health.take_incidents()
    }

    /// Takes what was recorded since the last time, block by block; empty unless [`PhalanxBuilder::timeline`] asked for it.
    /// A block is there once its result is.
    #[must_use]
    pub fn take_timeline(&self) -> Timeline {
        self.timeline.take()
    }

    /// Sums since the launch.
    #[must_use]
    pub fn stats(&self) -> Totals {
        let totals = self.desk.inner.lock().totals;
        Totals { supervisor_restarts: self.supervisor().restarts, ..totals }
    }

    /// Digest of the state after the last committed block.
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        self.desk.inner.lock().digest
    }

    /// Gives up what is queued or executing, stops all processes and waits for their end, until the deadline at most.
    /// It takes about a second at worst. Dropping does the same, without a deadline.
    ///
    /// # Errors
    /// `System` when the deadline passes first; the stop goes on in the background.
    pub fn shutdown(mut self, deadline: Instant) -> Result<(), ExecuteError> {
        self.ask_to_stop();
        if self.finished.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            // Not joined: the thread ends by itself.
            self.worker = None;
            return Err(ExecuteError::system(
                "the shutdown takes longer than its deadline and goes on in the background",
            ));
        }
        self.join();
        Ok(())
    }

    fn ask_to_stop(&self) {
        self.desk.inner.lock().stopped = true;
        self.desk.tell();
    }

    fn join(&mut self) {
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("coordinator's thread panicked");
        }
    }
}

impl Drop for Phalanx {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.join();
    }
}

/// The coordinator's thread.
fn serve(mut processes: Processes, desk: &Desk) {
    loop {
        match next_job(desk) {
            Next::Job(job) => execute(&mut processes, desk, &job),
            Next::Nothing => processes.idle(desk.news.as_fd()),
            Next::Stop => return,
        }
    }
}

fn execute(processes: &mut Processes, desk: &Desk, job: &Job) {
    let result = processes.call(&Call {
        block: &job.block,
        deadline: job.deadline,
        cancelled: &|| job.is_abandoned() || desk.inner.lock().stopped,
        claim: &|| job.claim(),
        tell: &|accepted, last_death| job.tell(accepted, last_death),
        next: &|| desk.inner.lock().queue.front().map(|next| Arc::clone(&next.block)),
    });
    let mut state = desk.inner.lock();
    state.digest = processes.digest();
    match &result {
        Ok(output) if output.is_recalled() => {}
        Ok(output) => state.totals.count(output),
        Err(_) => state.totals.failed_blocks += 1,
    }
    drop(state);
    job.answer(result);
}

/// What the coordinator's thread is to do.
enum Next {
    Job(Job),
    Nothing,
    Stop,
}

fn next_job(desk: &Desk) -> Next {
    // First: a job that comes after the look at the queue makes it readable again.
    let _ = desk.news.read();
    let mut state = desk.inner.lock();
    if state.stopped {
        state.queue.clear();
        return Next::Stop;
    }
    while let Some(job) = state.queue.pop_front() {
        if !job.is_abandoned() {
            return Next::Job(job);
        }
        job.answer_cancelled();
    }
    Next::Nothing
}

impl Totals {
    fn count(&mut self, output: &BlockOutput) {
        self.blocks += 1;
        self.transactions += output.len() as u64;
        self.stats.add(output.stats());
    }
}
