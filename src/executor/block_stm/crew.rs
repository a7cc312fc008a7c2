//! The threads: pinned, alive between blocks, asleep while there is none.

use crate::executor::block_stm::config::BlockStmConfig;
use crate::executor::block_stm::job::Job;
use crate::executor::block_stm::worker::{Harvest, Worker};
use crate::executor::error::ExecuteError;
use crate::executor::view::ViewBuffers;
use crate::topology::Host;
use crate::vm::{Vm, catch_panic};
use crossbeam::utils::CachePadded;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// Turns for which a thread looks for the next block before it sleeps, when there is a core for everyone: about the cost
/// of a wake-up.
const SPIN_TURNS: u32 = 2_000;
/// The order that ends a thread.
const STOP: u64 = u64::MAX;

/// What the caller and the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) job: RwLock<Job>,
    pub(super) harvests: Vec<CachePadded<Mutex<Harvest>>>,
    /// The block that each thread is called to, counted from 1.
    orders: Vec<CachePadded<AtomicU64>>,
    halted: AtomicBool,
    gate: Mutex<Gate>,
    left: Condvar,
}

/// Who is inside the present block.
#[derive(Debug, Default)]
struct Gate {
    /// The block that may be entered.
    open: u64,
    present: usize,
    /// Somebody came to the end: when the last one has left, all is done.
    finished: bool,
    /// A thread failed outside the virtual machine.
    failed: Option<String>,
}

/// How a block ended.
#[derive(Debug)]
pub(super) enum End {
    Finished,
    Late,
    Failed(String),
}

/// The threads of one executor.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    order: u64,
}

impl Crew {
    /// Starts and pins the threads.
    pub(super) fn start<V: Vm>(config: &BlockStmConfig, vm: &V, job: Job) -> Result<Crew, ExecuteError> {
        let count = config.threads.clamp(1, crate::MAX_SHARDS);
        let host = Host::detect()?;
        let spins = count <= host.cores();
        let shared = Arc::new(Shared {
            job: RwLock::new(job),
            harvests: (0..count).map(|_| CachePadded::default()).collect(),
            orders: (0..count).map(|_| CachePadded::default()).collect(),
            halted: AtomicBool::new(false),
            gate: Mutex::new(Gate::default()),
            left: Condvar::new(),
        });
        let mut crew = Crew { shared: Arc::clone(&shared), threads: Vec::new(), order: 0 };
        for thread in 0..count {
            let mut worker = Worker {
                vm: vm.clone(),
                thread,
                threads: count,
                spins,
                validation: config.validation,
                expects_writes: config.expects_writes && count > 1,
                view: ViewBuffers::default(),
            };
            let (shared, core) = (Arc::clone(&shared), host.core_of(thread));
            let started = std::thread::Builder::new().name(format!("phx-stm-{thread}")).spawn(move || {
                if let Err(error) = phalanx_ipc::pin_current_thread(core) {
                    tracing::warn!(thread, %error, "thread is not pinned");
                }
                shared.work(&mut worker);
            });
            crew.threads.push(started.map_err(ExecuteError::system)?);
        }
        Ok(crew)
    }

    /// Number of threads.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Has the first `threads` threads work on the job; returns when all have left it. After the deadline they leave
    /// as soon as they have ended the transaction that they are at.
    pub(super) fn run(&mut self, threads: usize, deadline: Instant) -> End {
        self.order += 1;
        let Shared { orders, halted, gate, left, .. } = &*self.shared;
        halted.store(false, Ordering::SeqCst);
        *gate.lock() = Gate { open: self.order, ..Gate::default() };
        for (order, thread) in orders.iter().zip(&self.threads).take(threads) {
            order.store(self.order, Ordering::SeqCst);
            thread.thread().unpark();
        }
        let mut gate = gate.lock();
        let mut late = false;
        while !(gate.present == 0 && (gate.finished || late || gate.failed.is_some())) {
            if late || gate.failed.is_some() {
                left.wait(&mut gate);
            } else if left.wait_until(&mut gate, deadline).timed_out() {
                late = true;
                halted.store(true, Ordering::SeqCst);
            }
        }
        // Whoever has not come yet is not needed any more.
        gate.open = 0;
        match gate.failed.take() {
            Some(note) => End::Failed(note),
            None if gate.finished => End::Finished,
            None => End::Late,
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.halted.store(true, Ordering::SeqCst);
        for (order, thread) in self.shared.orders.iter().zip(&self.threads) {
            order.store(STOP, Ordering::SeqCst);
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A thread's life: block after block, asleep in between.
    fn work<V: Vm>(&self, worker: &mut Worker<V>) {
        let Some(order) = self.orders.get(worker.thread) else { return };
        let mut last = 0;
        loop {
            let mut turns = if worker.spins { SPIN_TURNS } else { 0 };
            let called = loop {
                match order.load(Ordering::SeqCst) {
                    called if called != last => break called,
                    _ if turns > 0 => {
                        turns -= 1;
                        std::hint::spin_loop();
                    }
                    _ => std::thread::park(),
                }
            };
            if called == STOP {
                return;
            }
            last = called;
            self.take_part(worker, called);
        }
    }

    fn take_part<V: Vm>(&self, worker: &mut Worker<V>, called: u64) {
        let mut gate = self.gate.lock();
        if gate.open != called {
            return;
        }
        gate.present += 1;
        drop(gate);
        let result = catch_panic(|| {
            let (job, mut harvest) = (self.job.read(), self.harvests[worker.thread].lock());
            worker.run(&job, &mut harvest, &self.halted)
        });
        let mut gate = self.gate.lock();
        gate.present -= 1;
        match result {
            Ok(finished) => gate.finished |= finished,
            Err(note) => {
                gate.failed = Some(note.0);
                self.halted.store(true, Ordering::SeqCst);
            }
        }
        self.left.notify_all();
    }
}
