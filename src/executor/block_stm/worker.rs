//! One thread at work on one block: enters keys, executes and validates by turns, settles final values.

use crate::executor::block_output::OutputPlace;
use crate::executor::block_stm::job::Job;
use crate::executor::block_stm::scheduler::Task;
use crate::executor::block_stm::settlement::Settlement;
use crate::executor::block_stm::source::{SourceBuffers, StmSource};
use crate::executor::block_stm::status::Attempt;
use crate::executor::block_stm::version::Version;
use crate::executor::examination::examine;
use crate::executor::view::{ViewBuffers, begin_block, execute_transaction};
use crate::types::{AccessMode, PreparedBlock, TransactionAccess, TxnIndex, number_of};
use crate::vm::{Finding, Vm};
use crossbeam::utils::Backoff;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of one output buffer. A block that needs more begins another one.
const OUTPUT_BYTES: usize = 1 << 30;
/// Accesses whose base entries are fetched ahead, per transaction.
const PREFETCH_MAX: usize = 16;
/// Turns between two looks at the clock while waiting for another transaction.
const TURNS_PER_LOOK: u32 = 32;
/// Bounds of such a wait. In between it takes up to twice as long as an execution takes on average: in that time the other
/// one is done, or it was not worth waiting for.
const WAIT_MIN: Duration = Duration::from_micros(2);
const WAIT_MAX: Duration = Duration::from_millis(1);

/// What one thread leaves of one block for the caller.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    pub(super) outputs: Vec<Vec<u8>>,
    /// Where the outputs of the transactions that it settled lie.
    pub(super) places: Vec<(TxnIndex, OutputPlace)>,
    pub(super) settlement: Settlement,
    /// The first transaction settled that panicked, and what it said.
    pub(super) poison: Option<(TxnIndex, Box<str>)>,
    pub(super) executions: u64,
    /// Bytes of outputs in the block before.
    expected_bytes: usize,
}

impl Harvest {
    /// Forgets the block before.
    pub(super) fn clear(&mut self) {
        self.outputs.clear();
        self.places.clear();
        self.settlement.clear();
        self.poison = None;
        self.executions = 0;
    }

    /// Keeps an output; its place among the buffers of all threads, which are numbered by turns.
    fn keep(&mut self, output: &[u8], thread: usize, threads: usize) -> OutputPlace {
        let full = |buffer: &Vec<u8>| buffer.len() + output.len() > OUTPUT_BYTES;
        if self.outputs.last().is_none_or(full) {
            self.outputs.push(Vec::with_capacity(self.expected_bytes.max(output.len())));
        }
        let buffer = self.outputs.len() - 1;
        let start = self.outputs[buffer].len();
        self.outputs[buffer].extend_from_slice(output);
        // Buffers stay below 4 GiB, and so does their number.
        OutputPlace {
            buffer: u32::try_from(buffer * threads + thread).unwrap_or(u32::MAX),
            start: u32::try_from(start).unwrap_or(u32::MAX),
        }
    }
}

/// What a thread keeps from block to block.
#[derive(Debug)]
pub(super) struct Worker<V> {
    pub(super) vm: V,
    pub(super) thread: usize,
    /// Threads of the executor.
    pub(super) threads: usize,
    /// Whether waiting for a transaction that is being executed may go by spinning: there is a core for everyone.
    pub(super) spins: bool,
    /// Off only to show that the tests would notice missing validation.
    pub(super) validation: bool,
    /// Whether declared writes are expected before they happen.
    pub(super) expects_writes: bool,
    pub(super) view: ViewBuffers,
}

impl<V: Vm> Worker<V> {
    /// Takes part in a block until there is nothing left to do; true unless it was halted.
    pub(super) fn run(&mut self, job: &Job, harvest: &mut Harvest, halted: &AtomicBool) -> bool {
        let Some(block) = &job.block else { return false };
        begin_block(&mut self.vm, block.header(), &mut self.view);
        let mut turn = Turn {
            job,
            block,
            worker: self,
            harvest,
            halted,
            buffers: SourceBuffers::default(),
            findings: Vec::new(),
            begun: Instant::now(),
        };
        turn.examine_all() && turn.execute_and_validate() && turn.settle()
    }
}

/// One thread's part of one block.
struct Turn<'a, 'w, V> {
    job: &'a Job,
    block: &'a PreparedBlock,
    worker: &'w mut Worker<V>,
    harvest: &'w mut Harvest,
    halted: &'a AtomicBool,
    buffers: SourceBuffers<'a>,
    findings: Vec<Finding>,
    begun: Instant,
}

impl<V: Vm> Turn<'_, '_, V> {
    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Examines all transactions, together with the other threads, if the machine finds out something; false if halted.
    fn examine_all(&mut self) -> bool {
        if self.worker.vm.examines_at_once() == 0 {
            return true;
        }
        while let Some(run) = self.job.examining.take() {
            self.examine_run(&run);
            self.job.examining.note_worked_off(&run);
            if self.is_halted() {
                return false;
            }
        }
        let backoff = Backoff::new();
        while !self.job.examining.is_worked_off() {
            if self.is_halted() {
                return false;
            }
            backoff.snooze();
        }
        true
    }

    fn examine_run(&mut self, run: &Range<u32>) {
        let (job, block) = (self.job, self.block);
        let transactions: Vec<&[u8]> =
            run.clone().map_while(|txn| block.transaction(TxnIndex(txn))).collect();
        examine(&mut self.worker.vm, &transactions, &mut self.findings);
        for (txn, &finding) in run.clone().map(TxnIndex).zip(&self.findings) {
            if let Some(transaction) = job.transaction(txn) {
                transaction.record(job.stamp).finding = finding;
            }
        }
    }

    /// Enters the versions that a transaction is expected to leave, before its first execution: readers above that come
    /// meanwhile wait for them.
    fn expect_writes(&self, txn: TxnIndex) {
        let job = self.job;
        let Some(transaction) = job.transaction(txn) else { return };
        let mut record = None;
        for number in self.block.accesses_of(txn).iter().filter(|it| expects(it)).map(|it| it.key.0) {
            let record = record.get_or_insert_with(|| transaction.record(job.stamp));
            if let Some(key) = job.key(self.block, number).filter(|_| !record.written.contains(&number)) {
                record.written.push(number);
                key.cell.publish(job.stamp, Version::expected(txn));
            }
        }
    }

    /// Works until every transaction is executed and validated; false if halted.
    fn execute_and_validate(&mut self) -> bool {
        let (job, backoff) = (self.job, Backoff::new());
        let mut next = None;
        job.scheduler.begin(self.worker.thread);
        loop {
            if self.is_halted() {
                return false;
            }
            match next.take().or_else(|| job.scheduler.next_task(job)) {
                Some(Task::Execute(txn, attempt)) => next = self.execute(txn, attempt),
                Some(Task::Validate(txn, attempt)) => next = self.validate(txn, attempt),
                None => {
                    while !job.scheduler.rest(self.worker.thread) {
                        if job.scheduler.is_done() {
                            return true;
                        }
                        if self.is_halted() {
                            return false;
                        }
                        backoff.snooze();
                    }
                    continue;
                }
            }
            backoff.reset();
        }
    }

    fn execute(&mut self, txn: TxnIndex, attempt: Attempt) -> Option<Task> {
        let job = self.job;
        self.prefetch(TxnIndex(txn.0.saturating_add(u32::try_from(2 * self.worker.threads).unwrap_or(0))));
        if attempt == Attempt(0) && self.worker.expects_writes {
            self.expect_writes(txn);
        }
        let finding = job.transaction(txn).map_or(Finding::NOTHING, |it| it.record(job.stamp).finding);
        loop {
            self.harvest.executions += 1;
            let (begun, executions) = (self.begun, self.harvest.executions);
            let (spins, halted) = (self.worker.spins, self.halted);
            let wait = |writer| spins && await_writer(job, writer, begun, executions, halted);
            let mut source = StmSource::new(job, self.block, txn, &mut self.buffers, wait);
            let examined = (self.block.transaction(txn).unwrap_or(&[]), finding);
            let view = &mut self.worker.view;
            let vm = &mut self.worker.vm;
            let (output, panic) =
                execute_transaction(vm, examined, &mut source, view, txn, attempt.incarnation());
            if let Some(writer) = source.blocked {
                if job.scheduler.suspend(job, txn, attempt, writer) {
                    return None;
                }
                if halted.load(Ordering::Relaxed) {
                    return None;
                }
                continue;
            }
            let place = self.harvest.keep(output, self.worker.thread, self.worker.threads);
            let shifted = source.publish(view, attempt, place, panic);
            return job.scheduler.finish_execution(job, txn, attempt, shifted);
        }
    }

    /// Fetches what a transaction will read of the base state.
    fn prefetch(&self, txn: TxnIndex) {
        for access in self.block.accesses_of(txn).iter().take(PREFETCH_MAX) {
            if let Some((hash, _)) = self.block.key(access.key) {
                self.job.base.prefetch(hash);
            }
        }
    }

    fn validate(&mut self, txn: TxnIndex, attempt: Attempt) -> Option<Task> {
        let job = self.job;
        if !self.worker.validation || self.holds(txn) || !job.scheduler.try_abort(job, txn, attempt) {
            return None;
        }
        if let Some(transaction) = job.transaction(txn) {
            for &number in &transaction.record(job.stamp).written {
                if let Some(key) = job.key(self.block, number) {
                    key.cell.mark_estimate(job.stamp, txn);
                }
            }
        }
        job.scheduler.finish_abort(job, txn, attempt)
    }

    /// Whether everything that the last execution rests on still stands.
    fn holds(&self, txn: TxnIndex) -> bool {
        let job = self.job;
        let Some(transaction) = job.transaction(txn) else { return true };
        let record = transaction.record(job.stamp);
        record.observations.iter().all(|observation| {
            job.key(self.block, observation.key).is_some_and(|key| {
                let base = || job.base.get(key.hash, key.name);
                let seen = key.cell.read(job.stamp, txn, || number_of(base()));
                observation.holds(&seen, base)
            })
        })
    }

    /// Computes final values, together with the other threads; false if halted.
    fn settle(&mut self) -> bool {
        let Turn { job, block, worker, harvest, .. } = self;
        while let Some(run) = job.settling.take() {
            for txn in run.clone().map(TxnIndex) {
                let Some(transaction) = job.transaction(txn) else { continue };
                let mut record = transaction.record(job.stamp);
                harvest.places.push((txn, record.place));
                if let Some(note) = record.panic.take()
                    && harvest.poison.as_ref().is_none_or(|(first, _)| txn < *first)
                {
                    harvest.poison = Some((txn, note));
                }
            }
            let conserved = |key: &[u8], value: Option<&[u8]>| worker.vm.conserved(key, value);
            harvest.settlement.settle(job, block, run, conserved);
            if self.halted.load(Ordering::Relaxed) {
                return false;
            }
        }
        let used: usize = harvest.outputs.iter().map(Vec::len).sum();
        harvest.expected_bytes = (used + used / 8).min(OUTPUT_BYTES);
        true
    }
}

/// Whether a declaration says that the transaction will write. Sums are left out: nobody needs to wait for them.
fn expects(access: &TransactionAccess) -> bool {
    matches!(access.access_mode(), AccessMode::Write | AccessMode::ReadWrite)
}

/// Waits a little for a writer that is being executed; false if that was in vain.
fn await_writer(job: &Job, writer: TxnIndex, begun: Instant, executions: u64, halted: &AtomicBool) -> bool {
    let start = Instant::now();
    let average = (start - begun) / u32::try_from(executions).unwrap_or(u32::MAX).max(1);
    let limit = (2 * average).clamp(WAIT_MIN, WAIT_MAX);
    while job.scheduler.is_executing(job, writer) {
        for _ in 0..TURNS_PER_LOOK {
            std::hint::spin_loop();
        }
        if start.elapsed() >= limit || halted.load(Ordering::Relaxed) {
            return false;
        }
    }
    job.scheduler.is_executed(job, writer)
}
