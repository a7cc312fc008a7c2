//! A network within the process: frames arrive late, in another order, twice or not at all, as a seed and the options decide.

use crate::quorum_store::{FrameSink, MAX_FRAME_BYTES, Network, SignerSet, ValidatorId};
use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What goes wrong in a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFaults {
    /// The least delay of a frame.
    pub min_delay: Duration,
    /// The most. If it is more than the least, frames overtake each other.
    pub max_delay: Duration,
    /// Frames of a thousand that are lost.
    pub lost_per_mille: u32,
    /// Frames of a thousand that come twice.
    pub doubled_per_mille: u32,
}

/// What became of frames, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Handed over by their senders.
    pub sent: u64,
    /// Given to their receivers.
    pub delivered: u64,
    /// Lost as the options say.
    pub lost: u64,
    /// Not let through by a partition.
    pub cut: u64,
    /// Longer than any frame, or for nobody.
    pub refused: u64,
    /// Dropped since too much was under way.
    pub dropped: u64,
}

/// Frames, and bytes of them, that may be under way to one validator.
const UNDER_WAY: (usize, u64) = (10_000, 256 << 20);

struct Late {
    due: Instant,
    number: u64,
    from: ValidatorId,
    to: ValidatorId,
    frame: Arc<[u8]>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Late) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Late) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Late) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// A frame that is due, and who hears it if it is still there.
type Delivery = (Late, Option<Arc<dyn FrameSink>>);

struct Wires {
    faults: NetworkFaults,
    random: ChaCha8Rng,
    sinks: HashMap<ValidatorId, Arc<dyn FrameSink>>,
    /// These hear each other only, and so do the others.
    island: SignerSet,
    late: BinaryHeap<Reverse<Late>>,
    under_way: HashMap<ValidatorId, (usize, u64)>,
    numbers: u64,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

struct Shared {
    wires: Mutex<Wires>,
    news: Notify,
    counts: Counts,
}

/// The network.
pub struct LocalNetwork {
    shared: Arc<Shared>,
    /// Delivers what is late.
    postman: JoinHandle<()>,
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNetwork").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        self.postman.abort();
    }
}

impl LocalNetwork {
    /// A network whose faults are those of `seed`. What is late is delivered by a task of the runtime.
    #[must_use]
    pub fn new(runtime: &Handle, seed: u64, faults: NetworkFaults) -> LocalNetwork {
        let wires = Wires {
            faults,
            random: ChaCha8Rng::seed_from_u64(seed),
            sinks: HashMap::new(),
            island: SignerSet::default(),
            late: BinaryHeap::new(),
            under_way: HashMap::new(),
            numbers: 0,
        };
        let shared =
            Arc::new(Shared { wires: Mutex::new(wires), news: Notify::new(), counts: Counts::default() });
        let postman = runtime.spawn(deliver_late(Arc::clone(&shared)));
        LocalNetwork { shared, postman }
    }

    /// From now on these faults.
    pub fn set_faults(&self, faults: NetworkFaults) {
        self.shared.wires.lock().faults = faults;
    }

    /// These hear each other only, and so do the others. An empty set: everybody hears everybody.
    pub fn partition(&self, island: SignerSet) {
        self.shared.wires.lock().island = island;
    }

    /// What became of frames so far.
    #[must_use]
    pub fn counts(&self) -> NetworkCounts {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Atomic::Relaxed);
        NetworkCounts {
            sent: read(&counts.sent),
            delivered: read(&counts.delivered),
            lost: read(&counts.lost),
            cut: read(&counts.cut),
            refused: read(&counts.refused),
            dropped: read(&counts.dropped),
        }
    }
}

impl Network for LocalNetwork {
    fn attach(&self, validator: ValidatorId, sink: Arc<dyn FrameSink>) {
        self.shared.wires.lock().sinks.insert(validator, sink);
    }

    fn detach(&self, validator: ValidatorId) {
        self.shared.wires.lock().sinks.remove(&validator);
    }

    fn send(&self, from: ValidatorId, to: ValidatorId, frame: Arc<[u8]>) {
        let shared = &self.shared;
        count(&shared.counts.sent);
        let now = {
            let mut wires = shared.wires.lock();
            if frame.len() > MAX_FRAME_BYTES || !wires.sinks.contains_key(&to) {
                count(&shared.counts.refused);
                return;
            }
            if wires.island.contains(from) != wires.island.contains(to) {
                count(&shared.counts.cut);
                return;
            }
            let NetworkFaults { lost_per_mille, doubled_per_mille, .. } = wires.faults;
            if wires.chance(lost_per_mille) {
                count(&shared.counts.lost);
                return;
            }
            let twice = wires.chance(doubled_per_mille);
            let mut now = Vec::new();
            for _ in 0..=u8::from(twice) {
                let delay = wires.delay();
                if delay.is_zero() {
                    now.extend(wires.sinks.get(&to).cloned());
                } else if !wires.delay_frame(delay, from, to, &frame) {
                    count(&shared.counts.dropped);
                }
            }
            now
        };
        shared.news.notify_one();
        for sink in now {
            count(&shared.counts.delivered);
            sink.deliver(from, Arc::clone(&frame));
        }
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Atomic::Relaxed);
}

impl Wires {
    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.next_u32() % 1_000 < per_mille
    }

    fn delay(&mut self) -> Duration {
        let NetworkFaults { min_delay, max_delay, .. } = self.faults;
        let range = u64::try_from(max_delay.saturating_sub(min_delay).as_micros()).unwrap_or(u64::MAX);
        if range == 0 { min_delay } else { min_delay + Duration::from_micros(self.random.next_u64() % range) }
    }

    /// False if too much is under way already.
    fn delay_frame(
        &mut self,
        delay: Duration,
        from: ValidatorId,
        to: ValidatorId,
        frame: &Arc<[u8]>,
    ) -> bool {
        let under_way = self.under_way.entry(to).or_default();
        if under_way.0 >= UNDER_WAY.0 || under_way.1 + frame.len() as u64 > UNDER_WAY.1 {
            return false;
        }
        *under_way = (under_way.0 + 1, under_way.1 + frame.len() as u64);
        self.numbers += 1;
        let late =
            Late { due: Instant::now() + delay, number: self.numbers, from, to, frame: Arc::clone(frame) };
        self.late.push(Reverse(late));
        true
    }

    /// The next late frame that is due, with its receiver; or when one will be.
    fn take_due(&mut self) -> Result<Delivery, Option<Instant>> {
        let due = self.late.peek().map(|Reverse(late)| late.due);
        match self.late.pop() {
            Some(Reverse(late)) if late.due <= Instant::now() => {
                if let Some((frames, bytes)) = self.under_way.get_mut(&late.to) {
                    (*frames, *bytes) =
                        (frames.saturating_sub(1), bytes.saturating_sub(late.frame.len() as u64));
                }
                let sink = self.sinks.get(&late.to).cloned();
                Ok((late, sink))
            }
            Some(early) => {
                self.late.push(early);
                Err(due)
            }
            None => Err(None),
        }
    }
}

async fn deliver_late(shared: Arc<Shared>) {
    loop {
        let taken = shared.wires.lock().take_due();
        match taken {
            Ok((late, Some(sink))) => {
                count(&shared.counts.delivered);
                sink.deliver(late.from, late.frame);
            }
            Ok((_, None)) => count(&shared.counts.refused),
            Err(due) => {
                let wait = due
                    .map_or(Duration::from_secs(3_600), |due| due.saturating_duration_since(Instant::now()));
                // Whichever is first: either way it is looked at again.
                let _ = tokio::time::timeout(wait, shared.news.notified()).await;
            }
        }
    }
}
