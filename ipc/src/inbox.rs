//! Inboxes: one region per consumer, with its doorbell first and then one ring per producer.

use std::mem::{align_of, size_of};
use std::ptr::NonNull;
use std::time::Duration;

use crate::cell::{Cell, CellSpace};
use crate::doorbell::{Doorbell, MAX_PRODUCERS, NEWS_BITS, NEWS_WORDS, WakeCause};
use crate::fail_point::fail_point;
use crate::region::{Region, RegionError};
use crate::ring::{CAPACITY_MAX, CAPACITY_MIN, Consumer, Full, Producer, RingError, RingHeader, ring_bytes};

/// Fewest cells of a ring that a budget yields.
pub const BUDGET_CAPACITY_MIN: usize = 16;
/// Most cells of a ring that a budget yields: 1 MiB, beyond which more does not help.
pub const BUDGET_CAPACITY_MAX: usize = 16_384;
/// Most turns between two looks at a stream: about as long as it takes to publish a hundred cells. A quarter of it would
/// not do, since that is how long the line takes from one core to another and back.
const PACE_MAX: u32 = 63;
/// Looks into rings before a reader waits for news only: some tens of microseconds.
const LOOKS_MAX: u32 = 1_024;
/// With no more producers than this, it does not matter how many of those with news have nothing.
const TIDY_FROM: usize = 8;
/// Cells after which a drain gives room back although it is not done.
const RELEASE_EVERY: u64 = 256;

const _: () = assert!(size_of::<Doorbell>().is_multiple_of(align_of::<RingHeader>()));
const _: () = assert!(size_of::<RingHeader>().is_multiple_of(align_of::<CellSpace>()));

/// Why an inbox could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// Too few or too many producers.
    #[error("an inbox cannot serve {producers} producers; use 1 to {MAX_PRODUCERS}")]
    BadProducers {
        /// The number asked for.
        producers: usize,
    },
    /// No such producer in this layout.
    #[error("producer {producer} does not exist in an inbox of {producers}; number them from 0")]
    NoSuchProducer {
        /// The producer asked for.
        producer: usize,
        /// Producers of the layout.
        producers: usize,
    },
    /// The region does not hold the layout.
    #[error("the inbox needs {needed} bytes, its region has {len}; make it with InboxLayout::bytes()")]
    RegionTooSmall {
        /// Bytes of the layout.
        needed: usize,
        /// Bytes of the region.
        len: usize,
    },
    /// A ring could not be attached.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Shape of an inbox. All processes that attach to one must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLayout {
    /// Rings, one per producer: 1 to [`MAX_PRODUCERS`].
    pub producers: usize,
    /// Cells per ring: a power of two.
    pub capacity: usize,
}

impl InboxLayout {
    /// A layout of these numbers, if they are possible.
    pub fn new(producers: usize, capacity: usize) -> Result<InboxLayout, InboxError> {
        let layout = InboxLayout { producers, capacity };
        layout.check()?;
        Ok(layout)
    }

    /// The layout for a full mesh of `producers` processes whose rings together take about `budget_bytes`.
    ///
    /// Each of the `producers * producers` rings gets an equal share, rounded down to a power of two cells, but at least
    /// [`BUDGET_CAPACITY_MIN`] (which can exceed a tiny budget) and at most [`BUDGET_CAPACITY_MAX`]. The number of
    /// producers is brought into its range.
    pub fn for_budget(producers: usize, budget_bytes: usize) -> InboxLayout {
        let producers = producers.clamp(1, MAX_PRODUCERS);
        let share = budget_bytes / (producers * producers);
        let cells = share.saturating_sub(ring_bytes(0)) / size_of::<CellSpace>();
        let power = if cells == 0 { 1 } else { 1 << cells.ilog2() };
        InboxLayout { producers, capacity: power.clamp(BUDGET_CAPACITY_MIN, BUDGET_CAPACITY_MAX) }
    }

    /// Bytes of a region that holds the inbox.
    pub fn bytes(&self) -> usize {
        self.producers.saturating_mul(self.ring_stride()).saturating_add(size_of::<Doorbell>())
    }

    fn ring_stride(&self) -> usize {
        self.capacity.saturating_mul(size_of::<CellSpace>()).saturating_add(size_of::<RingHeader>())
    }

    fn check(&self) -> Result<(), InboxError> {
        if self.producers == 0 || self.producers > MAX_PRODUCERS {
            return Err(InboxError::BadProducers { producers: self.producers });
        }
        if !self.capacity.is_power_of_two() || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&self.capacity) {
            return Err(RingError::BadCapacity { capacity: self.capacity }.into());
        }
        Ok(())
    }

    fn check_region(&self, region: &Region) -> Result<(), InboxError> {
        self.check()?;
        match self.bytes() {
            needed if needed > region.len() => Err(InboxError::RegionTooSmall { needed, len: region.len() }),
            _ => Ok(()),
        }
    }

    /// Where the ring of a producer lies.
    ///
    /// # Safety
    ///
    /// check_region() must have passed, and `producer` be below `producers`.
    unsafe fn ring(&self, region: &Region, producer: usize) -> (NonNull<RingHeader>, NonNull<CellSpace>) {
        let offset = size_of::<Doorbell>() + producer * self.ring_stride();
        // SAFETY: producer < producers, so the whole ring ends within bytes(), which the region holds; both offsets are
        // multiples of the alignments (const-asserted above; the capacity is even, so the stride is a multiple of 128).
        unsafe {
            let header = region.base().add(offset);
            (header.cast(), header.add(size_of::<RingHeader>()).cast())
        }
    }
}

#[inline]
fn doorbell_of(region: &Region) -> &Doorbell {
    // SAFETY: the region is at least one page, its base page-aligned, and every inbox begins with its doorbell, which
    // is made of atomics only; attach() checked the size; the reference borrows the region and so the mapping.
    unsafe { region.base().cast::<Doorbell>().as_ref() }
}

/// A set of producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerSet([u64; NEWS_WORDS]);

impl ProducerSet {
    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Whether `producer` is in it.
    pub fn contains(&self, producer: usize) -> bool {
        self.0.get(producer / NEWS_BITS).is_some_and(|word| word >> (producer % NEWS_BITS) & 1 == 1)
    }

    /// Its members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        self.0
            .into_iter()
            .enumerate()
            .flat_map(|(index, word)| bits_of(word).map(move |bit| index * NEWS_BITS + bit))
    }

    fn insert(&mut self, producer: usize) {
        if let Some(word) = self.0.get_mut(producer / NEWS_BITS) {
            *word |= 1 << (producer % NEWS_BITS);
        }
    }
}

/// Positions of the bits that are set, ascending.
fn bits_of(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Cells delivered.
    pub cells: usize,
    /// Producers that had asked for room and now have some: ring their doorbells.
    pub freed_for: ProducerSet,
    /// A producer whose ring is damaged, if any; its ring was skipped. Kill and replace it. If there are several, the
    /// next drain reports the next.
    pub corrupt: Option<usize>,
}

/// The reading ends of all rings of one process, and its doorbell.
///
/// A news bit stays set as long as its ring keeps delivering: the producer then rings by loads only, and the reader finds
/// cells by their ring's index, one transfer of a cache line earlier. Bits are taken when there is nothing more, always
/// before the owner sleeps; the rings are looked at once more after that.
#[derive(Debug)]
pub struct Inbox {
    rings: Vec<Consumer>,
    /// Turns that the next look waits first.
    pace: u32,
    region: Region,
}

impl Inbox {
    /// Takes the reading ends. A successor adopts what its predecessor had released; see [`Consumer::attach`].
    ///
    /// The region must have been made for this layout, be used by ring ends only, and have no other living inbox.
    pub fn attach(region: Region, layout: InboxLayout) -> Result<Inbox, InboxError> {
        layout.check_region(&region)?;
        let attach = |producer| {
            // SAFETY: check_region() passed and producer < producers.
            let (header, cells) = unsafe { layout.ring(&region, producer) };
            // SAFETY: the ring lies inside the region, which the Inbox owns and keeps mapped longer than its consumers
            // (it is the later field); the one-consumer rule is this function's contract.
            unsafe { Consumer::attach(header, cells, layout.capacity) }
        };
        let rings = (0..layout.producers).map(attach).collect::<Result<Vec<_>, _>>()?;
        Ok(Inbox { rings, pace: 0, region })
    }

    /// The doorbell of the process that reads here.
    #[inline]
    pub fn doorbell(&self) -> &Doorbell {
        doorbell_of(&self.region)
    }

    /// Delivers the cells of all producers with news, in each producer's order, and gives their room back.
    ///
    /// Delivers what was published when it came to a ring, so it ends however fast the producers are. Never waits. After
    /// a drain that delivered something, [`Doorbell::has_news`] may stay true until the next one.
    pub fn drain(&mut self, mut each: impl FnMut(usize, &Cell)) -> Drained {
        let mut drained = Drained::default();
        let tidy = self.drain_looking(&mut each, &mut drained);
        if tidy || drained.cells == 0 {
            self.drain_taking(&mut each, &mut drained);
        }
        drained
    }

    /// Drains the rings of the producers with news, which stays. True if it must be taken: too many of these rings had nothing,
    /// or one is damaged.
    fn drain_looking(&mut self, each: &mut impl FnMut(usize, &Cell), drained: &mut Drained) -> bool {
        let (mut looked, mut found, mut damage) = (0_usize, 0_usize, false);
        for index in 0..self.words() {
            for bit in bits_of(self.doorbell().look_at_news(index)) {
                let cells = self.drain_ring(index * NEWS_BITS + bit, each, drained);
                looked += 1;
                found += usize::from(cells != Ok(0));
                damage |= cells.is_err();
            }
        }
        damage || (looked > TIDY_FROM && found * 4 < looked)
    }

    /// Drains the rings of the producers with news, which is taken first; reports damage.
    fn drain_taking(&mut self, each: &mut impl FnMut(usize, &Cell), drained: &mut Drained) {
        for index in 0..NEWS_WORDS {
            for bit in bits_of(self.doorbell().take_news(index)) {
                let producer = index * NEWS_BITS + bit;
                if self.drain_ring(producer, each, drained).is_err() {
                    self.report(producer, drained);
                }
            }
        }
    }

    /// Of several damaged rings the first is reported; the others keep their news.
    fn report(&self, producer: usize, drained: &mut Drained) {
        match drained.corrupt {
            None => drained.corrupt = Some(producer),
            Some(_) => self.doorbell().note_news(producer),
        }
    }

    /// Looks up to `turns` times whether `ready` answers true or there are cells, and does not sleep. None: neither.
    ///
    /// If there were cells at once, several times in a row, they come in a stream, and each look takes the index's line
    /// from a producer which then waits to write it. So looks keep more and more distance then, below a microsecond. Drain
    /// afterwards.
    #[inline]
    pub fn spin(&mut self, turns: u32, mut ready: impl FnMut() -> bool) -> Option<WakeCause> {
        for _ in 0..self.pace {
            crate::sync::spin_loop();
        }
        let pace = std::mem::take(&mut self.pace);
        for turn in 0..turns {
            if ready() {
                return Some(WakeCause::Ready);
            }
            if self.has_cells() {
                self.pace = if turn == 0 { (2 * pace + 1).min(PACE_MAX) } else { 0 };
                return Some(WakeCause::Rung);
            }
            crate::sync::spin_loop();
        }
        None
    }

    /// Waits until `ready` answers true, there are cells, somebody rings, or the time is up; see [`Doorbell::wait`].
    ///
    /// Looks `turns` times before it sleeps: first into the rings, as [`spin`](Self::spin) does, then for news only, since a look
    /// into hundreds of rings takes long. Drain afterwards, whatever the answer.
    pub fn wait(
        &mut self,
        turns: u32,
        timeout: Option<Duration>,
        mut ready: impl FnMut() -> bool,
    ) -> WakeCause {
        let eager = turns.min(LOOKS_MAX / self.rings_with_news().max(1));
        if let Some(cause) = self.spin(eager, &mut ready) {
            return cause;
        }
        if self.settle() { self.doorbell().wait(turns - eager, timeout, ready) } else { WakeCause::Rung }
    }

    fn rings_with_news(&self) -> u32 {
        (0..self.words()).map(|index| self.doorbell().look_at_news(index).count_ones()).sum()
    }

    /// Whether a producer with news has cells, or a damaged ring. May turn true at any moment. Never waits.
    #[inline]
    pub fn has_cells(&mut self) -> bool {
        (0..self.words()).any(|index| {
            let news = self.doorbell().look_at_news(index);
            bits_of(news).any(|bit| self.has_cells_of(index * NEWS_BITS + bit))
        })
    }

    /// Words of the bitmap in which producers of this layout have their bits.
    #[inline]
    fn words(&self) -> usize {
        self.rings.len().div_ceil(NEWS_BITS)
    }

    #[inline]
    fn has_cells_of(&mut self, producer: usize) -> bool {
        self.rings.get_mut(producer).is_some_and(|ring| ring.pending() != Ok(0))
    }

    /// Takes the news of rings that turn out to be empty afterwards: whatever their producers publish from now on rings.
    /// False if a ring has cells; its bit is set then.
    fn settle(&mut self) -> bool {
        let mut settled = true;
        for index in 0..NEWS_WORDS {
            for bit in bits_of(self.doorbell().take_news(index)) {
                let producer = index * NEWS_BITS + bit;
                if self.has_cells_of(producer) {
                    self.doorbell().note_news(producer);
                    settled = false;
                }
            }
        }
        settled
    }

    /// As [`drain`](Self::drain), but looks into every ring: for a process that has just attached, or whose producers
    /// may have died between publishing and ringing.
    pub fn drain_all(&mut self, mut each: impl FnMut(usize, &Cell)) -> Drained {
        let mut drained = Drained::default();
        for index in 0..NEWS_WORDS {
            self.doorbell().take_news(index);
        }
        for producer in 0..self.rings.len() {
            if self.drain_ring(producer, &mut each, &mut drained).is_err() {
                self.report(producer, &mut drained);
            }
        }
        drained
    }

    /// Puts back every index of this process that somebody scribbled on, and names the producers concerned: ring them.
    pub fn mend(&self) -> ProducerSet {
        let mut mended = ProducerSet::default();
        for (producer, ring) in self.rings.iter().enumerate() {
            if ring.mend() {
                mended.insert(producer);
            }
        }
        mended
    }

    /// Delivers the cells of one ring; how many. A producer beyond the layout (its bit was scribbled) has no ring and is
    /// passed over. Errors if the ring is damaged; it is left alone then.
    #[inline]
    fn drain_ring(
        &mut self,
        producer: usize,
        each: &mut impl FnMut(usize, &Cell),
        drained: &mut Drained,
    ) -> Result<usize, RingError> {
        let Some(ring) = self.rings.get_mut(producer) else {
            return Ok(0);
        };
        let pending = ring.pending()?;
        let before = drained.cells;
        for turn in 1..=pending {
            let Ok(Some(cell)) = ring.pop() else { break };
            each(producer, &cell);
            drained.cells += 1;
            if turn.is_multiple_of(RELEASE_EVERY) {
                ring.release_quietly();
            }
        }
        if ring.release() {
            drained.freed_for.insert(producer);
        }
        Ok(drained.cells - before)
    }
}

/// The writing end of one ring in another process's inbox, and that process's doorbell.
#[derive(Debug)]
pub struct Outlet {
    ring: Producer,
    producer: usize,
    region: Region,
}

impl Outlet {
    /// Takes the writing end of `producer`. A successor adopts what its predecessor had published; see
    /// [`Producer::attach`].
    ///
    /// The region must have been made for this layout, be used by ring ends only, and have no other living outlet of the
    /// same producer.
    pub fn attach(region: Region, layout: InboxLayout, producer: usize) -> Result<Outlet, InboxError> {
        layout.check_region(&region)?;
        if producer >= layout.producers {
            return Err(InboxError::NoSuchProducer { producer, producers: layout.producers });
        }
        // SAFETY: check_region() passed and producer < producers.
        let (header, cells) = unsafe { layout.ring(&region, producer) };
        // SAFETY: the ring lies inside the region, which the Outlet owns and keeps mapped longer than its producer (it is
        // the later field); the one-producer rule is this function's contract.
        let mut ring = unsafe { Producer::attach(header, cells, layout.capacity) }?;
        let unread = ring.free() < layout.capacity as u64;
        let outlet = Outlet { ring, producer, region };
        if unread {
            // Who published that may have died before it rang.
            outlet.doorbell().ring_from(producer);
        }
        Ok(outlet)
    }

    /// As [`PeerReader::let_go`](crate::PeerReader::let_go).
    pub fn let_go(&self) -> Result<(), RegionError> {
        self.region.let_go()
    }

    /// Writes a cell; the consumer sees it after the next [`publish`](Self::publish). Never waits.
    #[inline]
    pub fn try_push(&mut self, cell: Cell) -> Result<(), Full> {
        self.ring.try_push(cell)
    }

    /// Makes all pushed cells visible and rings the consumer, once for all of them. Does nothing if there are none.
    #[inline]
    pub fn publish(&mut self) {
        if self.ring.publish() {
            fail_point("cells published");
            self.doorbell().ring_from(self.producer);
        }
    }

    /// As [`publish`](Self::publish), but rings nobody: for a consumer that never sleeps and looks into its rings by
    /// itself ([`Inbox::drain_all`]). A later `publish` does not ring for these cells either.
    #[inline]
    pub fn publish_unrung(&mut self) {
        self.ring.publish();
    }

    /// Asks to be rung when there is room; true if there is some already. Publishes first.
    ///
    /// The consumer learns of the request by [`Drained::freed_for`] and rings the doorbell of this process.
    pub fn request_space(&mut self) -> bool {
        self.publish();
        self.ring.request_space()
    }

    /// Puts this process's index back if somebody scribbled on it, and rings the consumer then. True if so.
    pub fn mend(&self) -> bool {
        let mended = self.ring.mend();
        if mended {
            self.doorbell().ring_from(self.producer);
        }
        mended
    }

    /// Cells that can be pushed now; see [`Producer::free`].
    pub fn free(&mut self) -> u64 {
        self.ring.free()
    }

    /// Errors if the consumer damaged its index; see [`Producer::check`].
    pub fn check(&self) -> Result<(), RingError> {
        self.ring.check()
    }

    /// The doorbell of the process that reads this ring.
    #[inline]
    pub fn doorbell(&self) -> &Doorbell {
        doorbell_of(&self.region)
    }
}
