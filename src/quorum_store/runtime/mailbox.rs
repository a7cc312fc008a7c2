//! What waits for a component: control news in one queue, bulk in others, one for each peer. Nobody who puts something in ever
//! waits, and control is taken first, so that no amount of bulk holds it up.

use crate::quorum_store::{MailboxConfig, Refusal, ValidatorId};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

#[derive(Debug)]
struct Lane<M> {
    mail: VecDeque<(M, u64)>,
    bytes: u64,
}

#[derive(Debug)]
struct Queues<M> {
    open: bool,
    control: VecDeque<M>,
    lanes: Vec<Lane<M>>,
    /// The lane that is next.
    turn: usize,
}

/// What was not taken, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxCounts {
    /// Control news that found nobody there.
    pub control_closed: u64,
    /// Control news that found the queue full: its reader hangs.
    pub control_full: u64,
    /// Bulk that found nobody there.
    pub bulk_closed: u64,
    /// Bulk that found its peer's queue full.
    pub bulk_full: u64,
}

/// A component's mailbox. It outlives the component, and is empty for the next one.
#[derive(Debug)]
pub struct Mailbox<M> {
    config: MailboxConfig,
    queues: Mutex<Queues<M>>,
    news: Notify,
    dropped: [AtomicU64; 4],
    /// Control found the queue full, and the reader was not replaced since.
    overrun: AtomicBool,
}

impl<M> Mailbox<M> {
    /// A closed mailbox with lanes for so many peers.
    pub fn new(config: MailboxConfig, peers: usize) -> Mailbox<M> {
        let lanes = (0..peers).map(|_| Lane { mail: VecDeque::new(), bytes: 0 }).collect();
        let queues = Queues { open: false, control: VecDeque::new(), lanes, turn: 0 };
        Mailbox {
            config,
            queues: Mutex::new(queues),
            news: Notify::new(),
            dropped: Default::default(),
            overrun: AtomicBool::new(false),
        }
    }

    /// Whoever reads it is there, and begins with nothing.
    pub fn open(&self) {
        self.set(true);
    }

    /// Nobody reads it any more: what is in it is dropped.
    pub fn close(&self) {
        self.set(false);
    }

    fn set(&self, open: bool) {
        let mut queues = self.queues.lock();
        queues.open = open;
        self.overrun.store(false, Ordering::Relaxed);
        queues.control.clear();
        for lane in &mut queues.lanes {
            lane.mail.clear();
            lane.bytes = 0;
        }
    }

    /// Puts control news in.
    ///
    /// # Errors
    /// `MailboxClosed`; `MailboxFull`, and the mailbox is overrun. Both are counted.
    pub fn control(&self, mail: M) -> Result<(), Refusal> {
        let mut queues = self.queues.lock();
        if !queues.open {
            return Err(self.count(0, Refusal::MailboxClosed));
        }
        if queues.control.len() >= self.config.control {
            self.overrun.store(true, Ordering::Relaxed);
            return Err(self.count(1, Refusal::MailboxFull));
        }
        queues.control.push_back(mail);
        drop(queues);
        self.news.notify_one();
        Ok(())
    }

    /// Puts bulk of a peer in, of about so many bytes.
    ///
    /// # Errors
    /// `UnknownPeer`, `MailboxClosed`, `MailboxFull`: it is dropped. The last two are counted.
    pub fn bulk(&self, from: ValidatorId, mail: M, bytes: u64) -> Result<(), Refusal> {
        let mut queues = self.queues.lock();
        if !queues.open {
            return Err(self.count(2, Refusal::MailboxClosed));
        }
        let lane = queues.lanes.get_mut(from.index()).ok_or(Refusal::UnknownPeer)?;
        // One that is longer than all of it goes into an empty one.
        let over = !lane.mail.is_empty() && lane.bytes.saturating_add(bytes) > self.config.bulk_bytes;
        if over || lane.mail.len() >= self.config.bulk {
            return Err(self.count(3, Refusal::MailboxFull));
        }
        lane.bytes = lane.bytes.saturating_add(bytes);
        lane.mail.push_back((mail, bytes));
        drop(queues);
        self.news.notify_one();
        Ok(())
    }

    fn count(&self, place: usize, refusal: Refusal) -> Refusal {
        self.dropped[place].fetch_add(1, Ordering::Relaxed);
        refusal
    }

    /// All control news, and at most so much bulk, taken from the peers in turn.
    pub fn take(&self, most_bulk: usize) -> Vec<M> {
        let mut queues = self.queues.lock();
        let mut taken: Vec<M> = queues.control.drain(..).collect();
        let Queues { lanes, turn, .. } = &mut *queues;
        let (mut bulk, mut empty) = (0, 0);
        while bulk < most_bulk && empty < lanes.len() {
            let place = *turn % lanes.len();
            *turn = place + 1;
            match lanes[place].mail.pop_front() {
                Some((mail, bytes)) => {
                    lanes[place].bytes = lanes[place].bytes.saturating_sub(bytes);
                    taken.push(mail);
                    (bulk, empty) = (bulk + 1, 0);
                }
                None => empty += 1,
            }
        }
        if bulk == most_bulk {
            self.news.notify_one();
        }
        taken
    }

    /// Returns when something was put in since the last time, or earlier.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether control found its queue full: its reader does not read.
    pub fn is_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    /// What was dropped.
    pub fn counts(&self) -> MailboxCounts {
        let [control_closed, control_full, bulk_closed, bulk_full] =
            [0, 1, 2, 3].map(|place| self.dropped[place].load(Ordering::Relaxed));
        MailboxCounts { control_closed, control_full, bulk_closed, bulk_full }
    }
}
