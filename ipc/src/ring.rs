//! Rings: one producer, one consumer, cells of one cache line, in memory that both processes map.
//!
//! Indices run freely over all u64 and never wrap in practice; index modulo capacity is the cell. Each end owns one
//! index, keeps the authoritative copy privately, and publishes it with one release store on a line of its own:
//!
//! - The producer writes cells, then publishes `tail`. Killed between any two instructions it leaves a readable prefix.
//! - The consumer copies cells out, then publishes `head`. Killed before that, its successor sees those cells again.
//!
//! The peer's index is input. It is loaded once and believed only if it is within one capacity of the own index; cell
//! positions are masked in any case, so no value of any word leads outside the ring. A scribble on the own published
//! index misleads the peer until the next publication and no longer. Cells are copied by atomic words, so a peer that
//! breaks the rules and writes a cell that is being read causes a wrong value, not undefined behaviour.
//!
//! A producer that finds the ring full asks for room by writing the index of the cell it could not push. The consumer
//! answers each such index once, and only when it has released far enough for it. It never clears the request: a flag
//! that the consumer clears can be a newer request than the one it answers, and that one would be lost.
//!
//! Looking for a request takes a full fence, so the consumer looks only when there can be one. Let H be the head that it
//! had published when it last looked. A request that this look missed and that found no room was made by a producer that
//! then saw H or more, and so had published H + capacity or more before it asked. The consumer sees that tail before it finds
//! the ring empty, and looks again with the release after it: perhaps one drain later than the release that made the room.
//! With a damaged head the producer may ask earlier, and be answered by nobody: who may meet damage must not sleep without
//! a limit.

use std::fmt;
use std::ptr::NonNull;

use crate::cell::{Cell, CellSpace};
use crate::sync::{AtomicU64, Ordering, ring_fence as fence};

/// Fewest cells of a ring.
pub const CAPACITY_MIN: usize = 2;
/// Most cells of a ring.
pub const CAPACITY_MAX: usize = 1 << 30;
/// Marks a request for room, so that none is 0. Leaves 63 bits of the index, which tell any two within a ring apart.
const ASKED: u64 = 1 << 63;
/// Cells that lie between the one being written and the one whose line is fetched meanwhile.
const FETCH_AHEAD: u64 = 8;

/// The indices of a ring. All zero bytes is an empty ring.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub struct RingHeader {
    producer: ProducerLine,
    consumer: ConsumerLine,
    request: RequestLine,
}

#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(128))]
struct ProducerLine {
    /// Cells published so far. Written by the producer.
    tail: AtomicU64,
}

/// On a line of its own: the consumer looks at it about once per capacity, and the producer writes it only when it is full.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(128))]
struct RequestLine {
    /// 0, or ASKED and the index (63 bits) of the cell that the producer wants room for. Written by the producer.
    space_wanted: AtomicU64,
}

#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(128))]
struct ConsumerLine {
    /// Cells released so far. Written by the consumer.
    head: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RingHeader>() == 384 && align_of::<RingHeader>() == 128);
    assert!(offset_of!(RingHeader, producer) == 0 && offset_of!(RingHeader, consumer) == 128);
    assert!(offset_of!(RingHeader, request) == 256 && offset_of!(RequestLine, space_wanted) == 0);
    assert!(offset_of!(ProducerLine, tail) == 0);
    assert!(offset_of!(ConsumerLine, head) == 0);
};

/// The ring has no room. Push again after the consumer released cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full; keep the cell and push it again when the consumer has released some")]
pub struct Full;

/// Why a ring cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The peer's index is not within one capacity of the own one: the peer damaged it.
    #[error(
        "ring indices are damaged: head {head}, tail {tail}, capacity {capacity}; kill and replace the peer"
    )]
    Corrupt {
        /// Cells released, as far as known.
        head: u64,
        /// Cells published, as far as known.
        tail: u64,
        /// Cells of the ring.
        capacity: u64,
    },
    /// The capacity asked for is not possible.
    #[error("a ring cannot have {capacity} cells; use a power of two from {CAPACITY_MIN} to {CAPACITY_MAX}")]
    BadCapacity {
        /// The capacity asked for.
        capacity: usize,
    },
}

/// Bytes of a ring: its header and its cells.
pub const fn ring_bytes(capacity: usize) -> usize {
    size_of::<RingHeader>() + capacity * size_of::<CellSpace>()
}

/// Where a ring lies in memory. Both ends hold one.
#[derive(Clone, Copy)]
struct Place {
    header: NonNull<RingHeader>,
    cells: NonNull<CellSpace>,
    capacity: u64,
}

impl Place {
    fn new(
        header: NonNull<RingHeader>,
        cells: NonNull<CellSpace>,
        capacity: usize,
    ) -> Result<Self, RingError> {
        if !capacity.is_power_of_two() || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity) {
            return Err(RingError::BadCapacity { capacity });
        }
        Ok(Self { header, cells, capacity: capacity as u64 })
    }

    #[inline]
    fn header(&self) -> &RingHeader {
        // SAFETY: whoever attached an end promised that the header stays valid while the end lives; it holds atomics only,
        // so shared access from anywhere is allowed.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the masked index is below the capacity, which is a usize"
    )]
    fn cell(&self, index: u64) -> &CellSpace {
        let position = (index & (self.capacity - 1)) as usize;
        // SAFETY: position < capacity, a power of two; whoever attached an end promised `capacity` cells that stay valid
        // while the end lives; they hold atomics only.
        unsafe { self.cells.add(position).as_ref() }
    }

    fn corrupt(&self, head: u64, tail: u64) -> RingError {
        RingError::Corrupt { head, tail, capacity: self.capacity }
    }
}

/// The writing end. One per ring at any time.
pub struct Producer {
    place: Place,
    /// Cells pushed, published or not.
    staged: u64,
    /// Cells published: what the header's tail should say.
    published: u64,
    /// The consumer's head as last believed; never ahead of the true one.
    seen_head: u64,
}

// SAFETY: the pointers are to memory of atomics that any thread may use, valid while the end lives by the promise made
// at attach; all other state moves with the end.
unsafe impl Send for Producer {}

impl Producer {
    /// Takes the writing end of a ring and adopts the tail that a former producer published.
    ///
    /// If that tail is not within one capacity of the head, it is repaired to equal the head: the ring is then empty, and
    /// what the damaged producer had published is gone. A former producer's request for room is withdrawn.
    ///
    /// # Safety
    ///
    /// `header` and `cells` (`capacity` of them) must be valid, aligned shared memory for the life of the end, touched by
    /// ring ends only, and no other producer may be attached to it meanwhile (a dead one is not attached).
    pub unsafe fn attach(
        header: NonNull<RingHeader>,
        cells: NonNull<CellSpace>,
        capacity: usize,
    ) -> Result<Self, RingError> {
        let place = Place::new(header, cells, capacity)?;
        let head = place.header().consumer.head.load(Ordering::Acquire);
        let mut tail = place.header().producer.tail.load(Ordering::Acquire);
        if tail.wrapping_sub(head) > place.capacity {
            tail = head;
            place.header().producer.tail.store(tail, Ordering::Release);
        }
        place.header().request.space_wanted.store(0, Ordering::Relaxed);
        Ok(Self { place, staged: tail, published: tail, seen_head: head })
    }

    /// Writes a cell behind the last one. The consumer sees it after the next [`publish`](Self::publish).
    ///
    /// Never waits. Fails if the ring is full, or its head is damaged (see [`check`](Self::check)).
    #[inline]
    pub fn try_push(&mut self, cell: Cell) -> Result<(), Full> {
        if self.staged.wrapping_sub(self.seen_head) >= self.place.capacity && self.free() == 0 {
            return Err(Full);
        }
        self.place.cell(self.staged).store(cell);
        self.staged = self.staged.wrapping_add(1);
        self.fetch_ahead();
        Ok(())
    }

    /// Asks for a line that will be written soon, before a fence waits for it. Not for one that the consumer may not have
    /// read yet.
    #[inline]
    fn fetch_ahead(&self) {
        let ahead = self.staged.wrapping_add(FETCH_AHEAD);
        if ahead.wrapping_sub(self.seen_head) < self.place.capacity {
            self.place.cell(ahead).fetch_for_writing();
        }
    }

    /// Makes all pushed cells visible by one release store. True if there were any.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let any = self.staged != self.published;
        if any {
            self.place.header().producer.tail.store(self.staged, Ordering::Release);
            self.published = self.staged;
        }
        any
    }

    /// A push in the wrong order, which a model must notice: publishes a cell and writes it afterwards.
    #[cfg(loom)]
    pub fn push_after_publishing(&mut self, cell: Cell) {
        self.staged += 1;
        self.publish();
        self.place.cell(self.staged - 1).store(cell);
    }

    /// Cells that can be pushed now. Grows as the consumer releases; 0 while the head is damaged. Never waits.
    #[inline]
    pub fn free(&mut self) -> u64 {
        if let Ok(head) = self.load_head() {
            self.seen_head = head;
        }
        self.place.capacity.saturating_sub(self.staged.wrapping_sub(self.seen_head))
    }

    /// Asks the consumer to ring when it has released a cell.
    ///
    /// True if there is room meanwhile: then push; the request is withdrawn and nobody may ring. Publishes what is staged,
    /// since a consumer that has seen everything releases nothing: if it may sleep, publish and ring before you ask. Ask
    /// again after each wake-up that finds the ring still full.
    pub fn request_space(&mut self) -> bool {
        self.publish();
        let wanted = &self.place.header().request.space_wanted;
        wanted.store(self.staged | ASKED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let room = self.free() > 0;
        if room {
            self.place.header().request.space_wanted.store(0, Ordering::Relaxed);
        }
        room
    }

    /// Publishes the tail once more if the header shows another one: somebody scribbled on it. True if so; then ring
    /// the consumer.
    pub fn mend(&self) -> bool {
        let tail = &self.place.header().producer.tail;
        let damaged = tail.load(Ordering::Relaxed) != self.published;
        if damaged {
            tail.store(self.published, Ordering::Release);
        }
        damaged
    }

    /// Errors with [`RingError::Corrupt`] if the consumer's index is damaged now.
    pub fn check(&self) -> Result<(), RingError> {
        self.load_head().map(drop)
    }

    /// Cells of the ring.
    pub fn capacity(&self) -> u64 {
        self.place.capacity
    }

    /// The head, believed only between the published tail and one capacity below it.
    #[inline]
    fn load_head(&self) -> Result<u64, RingError> {
        let head = self.place.header().consumer.head.load(Ordering::Acquire);
        if self.published.wrapping_sub(head) > self.place.capacity {
            return Err(self.place.corrupt(head, self.published));
        }
        Ok(head)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, staged, published, .. } = self;
        write!(f, "Producer {{ published: {published}, staged: {staged}, capacity: {} }}", place.capacity)
    }
}

/// The reading end. One per ring at any time.
pub struct Consumer {
    place: Place,
    /// Cells popped.
    head: u64,
    /// Cells released: what the header's head should say.
    released: u64,
    /// The producer's tail as last believed; never ahead of the true one.
    seen_tail: u64,
    /// The request for room that was answered last; 0 before the first.
    answered: u64,
    /// Cells that were released when a request was last looked for, and none was left unanswered.
    looked: u64,
}

// SAFETY: as for Producer.
unsafe impl Send for Consumer {}

impl Consumer {
    /// Takes the reading end of a ring and adopts the head that a former consumer published: cells that it popped but did
    /// not release are delivered again.
    ///
    /// If that head is not within one capacity of the tail, it is repaired to equal the tail: the ring is then empty.
    ///
    /// # Safety
    ///
    /// As for [`Producer::attach`], with no other consumer attached.
    pub unsafe fn attach(
        header: NonNull<RingHeader>,
        cells: NonNull<CellSpace>,
        capacity: usize,
    ) -> Result<Self, RingError> {
        let place = Place::new(header, cells, capacity)?;
        let tail = place.header().producer.tail.load(Ordering::Acquire);
        let mut head = place.header().consumer.head.load(Ordering::Acquire);
        if tail.wrapping_sub(head) > place.capacity {
            head = tail;
            place.header().consumer.head.store(head, Ordering::Release);
        }
        // As if the last look had been a capacity ago: a predecessor may have died before its own.
        let looked = head.wrapping_sub(place.capacity);
        Ok(Self { place, head, released: head, seen_tail: head, answered: 0, looked })
    }

    /// Copies the next published cell out; none if there is none yet. It stays in the ring until
    /// [`release`](Self::release). Never waits.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Cell>, RingError> {
        if self.head == self.seen_tail && self.pending()? == 0 {
            return Ok(None);
        }
        Ok(Some(self.take()))
    }

    /// Published cells not popped yet. Grows at any moment, never shrinks but by popping; at most the capacity.
    #[inline]
    pub fn pending(&mut self) -> Result<u64, RingError> {
        let tail = self.place.header().producer.tail.load(Ordering::Acquire);
        let pending = tail.wrapping_sub(self.head);
        if pending > self.place.capacity {
            return Err(self.place.corrupt(self.head, tail));
        }
        self.seen_tail = tail;
        Ok(pending)
    }

    /// Gives the room of popped cells back by one release store.
    ///
    /// True if the producer had asked for room and now has some: it must be rung. Each request is answered once by each
    /// consumer attached; a request of a damaged producer may be any word and causes a ring too many at worst.
    #[inline]
    pub fn release(&mut self) -> bool {
        self.release_quietly();
        let can_be_asked = self.seen_tail.wrapping_sub(self.looked) >= self.place.capacity;
        can_be_asked && self.answer_request()
    }

    #[cold]
    fn answer_request(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let wanted = self.place.header().request.space_wanted.load(Ordering::Relaxed);
        let is_new = wanted != 0 && wanted != self.answered;
        let room = self.released.wrapping_add(self.place.capacity).wrapping_sub(wanted) & !ASKED;
        let answer = is_new && (1..=self.place.capacity).contains(&room);
        if answer {
            self.answered = wanted;
        }
        // One that cannot be answered yet is looked for again.
        if room != 0 || !is_new {
            self.looked = self.released;
        }
        answer
    }

    /// As [`release`](Self::release), but leaves a request for room to the next call of that: for use halfway.
    #[inline]
    pub(crate) fn release_quietly(&mut self) {
        if self.head != self.released {
            self.place.header().consumer.head.store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }

    /// Publishes the head once more if the header shows another one: somebody scribbled on it. True if so; then ring
    /// the producer.
    pub fn mend(&self) -> bool {
        let head = &self.place.header().consumer.head;
        let damaged = head.load(Ordering::Relaxed) != self.released;
        if damaged {
            head.store(self.released, Ordering::Release);
        }
        damaged
    }

    /// Cells of the ring.
    pub fn capacity(&self) -> u64 {
        self.place.capacity
    }

    /// Copies the cell at the head out. Only after pending() counted it.
    #[inline]
    fn take(&mut self) -> Cell {
        let cell = self.place.cell(self.head).load();
        self.head = self.head.wrapping_add(1);
        cell
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, head, released, .. } = self;
        write!(f, "Consumer {{ popped: {head}, released: {released}, capacity: {} }}", place.capacity)
    }
}
