//! Signs of life of a component, and the seat that only one of its lives has at a time.

use crate::quorum_store::{Component, ExecutorError};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as Seat, OwnedMutexGuard, watch};

/// How a component's task ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// It was asked to.
    Stopped,
    /// It panicked, with these words.
    Panicked(String),
    /// It cannot go on, for this reason; another life may.
    Failed(String),
    /// No other life could go on either.
    Fatal(ExecutorError),
}

/// What is known of a component, over all its lives.
#[derive(Debug)]
pub struct Vital {
    pub component: Component,
    hang_limit: Duration,
    begun: Instant,
    /// Milliseconds since the beginning until which the next sign of life has to come.
    due: AtomicU64,
    seat: Mutex<Arc<Seat<()>>>,
    /// The number of its present life.
    lives: AtomicU64,
    stop: watch::Sender<bool>,
}

impl Vital {
    pub fn new(component: Component, hang_limit: Duration) -> Arc<Vital> {
        Arc::new(Vital {
            component,
            hang_limit,
            begun: Instant::now(),
            due: AtomicU64::new(u64::MAX),
            seat: Mutex::default(),
            lives: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        })
    }

    fn expect_within(&self, limit: Duration) {
        let due = self.begun.elapsed() + limit;
        self.due.store(u64::try_from(due.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// By how long its next sign of life is late.
    pub fn overdue(&self) -> Option<Duration> {
        let due = Duration::from_millis(self.due.load(Ordering::Relaxed));
        self.begun.elapsed().checked_sub(due)
    }

    /// Asks the task to end after what it is doing.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// What blocks and does not come back keeps its seat: the next life gets another one.
    pub fn abandon_seat(&self) {
        *self.seat.lock() = Arc::default();
    }

    /// A new life.
    pub fn live(self: &Arc<Vital>) -> Life {
        self.expect_within(self.hang_limit);
        let (own, stop) = (Arc::clone(&self.seat.lock()), self.stop.subscribe());
        let number = self.lives.fetch_add(1, Ordering::SeqCst) + 1;
        Life { vital: Arc::clone(self), number, own, held: None, stop }
    }
}

/// One life of a component, held by its task.
#[derive(Debug)]
pub struct Life {
    vital: Arc<Vital>,
    number: u64,
    own: Arc<Seat<()>>,
    held: Option<OwnedMutexGuard<()>>,
    stop: watch::Receiver<bool>,
}

impl Life {
    /// Waits until whatever an earlier life left running is done, which may take so long.
    pub async fn take_seat(&mut self, limit: Duration) {
        self.vital.expect_within(limit);
        self.held = Some(Arc::clone(&self.own).lock_owned().await);
        self.beat();
    }

    /// For what this life does on other threads.
    pub fn ticket(&self) -> Ticket {
        Ticket { vital: Arc::clone(&self.vital), number: self.number }
    }

    /// A sign of life.
    pub fn beat(&self) {
        self.vital.expect_within(self.vital.hang_limit);
    }

    /// Whether the task is asked to end.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the task is asked to end.
    pub async fn stopped(&mut self) {
        // An error means that nobody can ask any more.
        let _ = self.stop.wait_for(|&stop| stop).await;
    }

    /// Does what may block, on a thread for that. The seat is held until it is done, also if this task ends meanwhile.
    pub async fn block<T: Send + 'static>(
        &mut self,
        limit: Option<Duration>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskEnd> {
        let seat = self.held.take();
        self.vital.expect_within(limit.unwrap_or(self.vital.hang_limit));
        let joined = tokio::task::spawn_blocking(move || (work(), seat)).await;
        self.beat();
        match joined {
            Ok((done, seat)) => {
                self.held = seat;
                Ok(done)
            }
            Err(error) if error.is_panic() => Err(TaskEnd::Panicked(words_of(&*error.into_panic()))),
            Err(_) => Err(TaskEnd::Failed("the runtime takes no more work".to_owned())),
        }
    }
}

/// Tells whether a life is still the present one: what hung and wakes up after it was replaced has nothing to say.
#[derive(Clone, Debug)]
pub struct Ticket {
    vital: Arc<Vital>,
    number: u64,
}

impl Ticket {
    /// Whether no other life has begun.
    pub fn is_valid(&self) -> bool {
        self.vital.lives.load(Ordering::SeqCst) == self.number
    }
}

/// What a panic said.
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}
