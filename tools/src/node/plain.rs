//! What the quorum store is measured against: one queue from which blocks are made, in one process, with nothing on a disk.

use crate::node::book::Book;
use crate::node::commits::enter_block;
use crate::node::error::NodeError;
use crate::node::phalanx_executor::PhalanxExecutor;
use parking_lot::Mutex;
use phalanx::quorum_store::{
    BlockConfig, BlockExecutor, BlockToExecute, Clock, ExecutorError, PooledTxn, QuorumStoreConfig, Refusal,
    TxnBytes,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The pipeline.
#[derive(Debug)]
pub struct Plain {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<VecDeque<TxnBytes>>,
    capacity: usize,
    head: AtomicU64,
    stopped: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Plain {
    /// Makes blocks from now on, as large and as often as a proposer does.
    ///
    /// # Errors
    /// `Resource` when no thread can be had.
    pub fn start(executor: Arc<PhalanxExecutor>, book: Arc<Mutex<Book>>) -> Result<Plain, NodeError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            capacity: QuorumStoreConfig::default().mempool.capacity,
            head: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let thread = std::thread::Builder::new().name("phx-plain".to_owned());
        let own = Arc::clone(&shared);
        let thread = thread.spawn(move || own.run(&executor, &book))?;
        Ok(Plain { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a transaction.
    ///
    /// # Errors
    /// `MempoolFull`.
    pub fn submit(&self, txn: &PooledTxn) -> Result<(), Refusal> {
        let mut queue = self.shared.queue.lock();
        if queue.len() >= self.shared.capacity {
            return Err(Refusal::MempoolFull);
        }
        queue.push_back(txn.bytes.clone());
        Ok(())
    }

    /// Height of the last block.
    pub fn head(&self) -> u64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// Why it ended by itself, if it did.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Ends it after the present block.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if self.thread.lock().take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the plain pipeline panicked");
        }
    }
}

impl Shared {
    fn run(&self, executor: &PhalanxExecutor, book: &Mutex<Book>) {
        let (limits, clock) = (BlockConfig::default(), Clock::start());
        while !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(limits.interval);
            let most = usize::try_from(limits.max_txns).unwrap_or(usize::MAX);
            let transactions: Vec<TxnBytes> = {
                let mut queue = self.queue.lock();
                let taken = queue.len().min(most);
                queue.drain(..taken).collect()
            };
            if transactions.is_empty() {
                continue;
            }
            let height = self.head.load(Ordering::Relaxed) + 1;
            let block = BlockToExecute { height, timestamp: clock.now(), transactions };
            if let Err(error) = self.bring(executor, &block) {
                *self.failure.lock() = Some(error.to_string());
                return;
            }
            self.head.store(height, Ordering::Release);
            enter_block(height, block.timestamp, executor, book);
        }
    }

    fn bring(&self, executor: &PhalanxExecutor, block: &BlockToExecute) -> Result<(), ExecutorError> {
        loop {
            match executor.execute(block) {
                Err(ExecutorError::Again { .. }) if !self.stopped.load(Ordering::Relaxed) => {}
                result => return result.map(|_| ()),
            }
        }
    }
}
