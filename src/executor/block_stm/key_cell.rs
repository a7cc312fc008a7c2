//! All versions of one key: the multi-version memory is an array of these.

use crate::executor::block_stm::status::Stamp;
use crate::executor::block_stm::version::{Content, Version};
use crate::types::{NumberWidth, Origin, TxnIndex};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

/// The versions of one key, one cache line while there is at most one.
///
/// A key that nobody has written in the present block is told by one load.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct KeyCell {
    /// The last block in which the key was written: the versions of older ones count as gone.
    written: AtomicU32,
    /// The last writer in block order, when the key is written; changed under the lock.
    top: AtomicU32,
    list: Mutex<KeyList>,
}

const _: () = assert!(size_of::<KeyCell>() == 64);

/// What stands under a key before some transaction.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// What the base state says.
    Base,
    /// A value that a transaction left.
    Whole { origin: Origin, content: Content },
    /// Changes on top of a whole value; `from_number` is false if that value was no number (it then counts as 0).
    Sum { origin: Origin, number: u128, width: NumberWidth, from_number: bool },
    /// The writer below is yet to be executed, for the first time or again.
    Blocked(TxnIndex),
}

/// Lists shorter than this are summed up from their start.
const CURSOR_MIN: usize = 8;
/// The memory of a list of up to this many versions is given back.
const SHORT_LIST: usize = 16;

/// A place in the list and the sum of everything before it: transactions near each other are executed at about the same
/// time, so the way from here to the next place asked for is short, however long the list is.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    place: usize,
    /// Where the changes begin: right behind a whole value, or at the start on top of the base state.
    start: usize,
    number: u128,
    from_number: bool,
}

#[derive(Debug, Default)]
struct KeyList {
    /// In block order.
    versions: SmallVec<[Version; 1]>,
    cursors: Option<Box<Cursors>>,
}

impl KeyCell {
    /// Whether somebody has written the key in this block.
    pub(super) fn is_written(&self, stamp: Stamp) -> bool {
        self.written.load(Ordering::SeqCst) == stamp.0
    }

    /// Whether `txn` is the last writer of the key. For when nobody writes any more.
    pub(super) fn is_last_writer(&self, txn: TxnIndex) -> bool {
        self.top.load(Ordering::Relaxed) == txn.0
    }

    /// What stands here before `below`. `base` is asked for the number in the base state if it is needed.
    pub(super) fn read(&self, stamp: Stamp, below: TxnIndex, base: impl Fn() -> Option<u128>) -> Seen {
        if !self.is_written(stamp) {
            return Seen::Base;
        }
        self.list.lock().read(below, base)
    }

    /// Enters what `version.txn` leaves here. True if this may change what a reader counted on that is not found out by
    /// origins alone: a place that was empty before, or a sum that is another now.
    pub(super) fn publish(&self, stamp: Stamp, version: Version) -> bool {
        let mut list = self.lock(stamp);
        let changed = list.publish(version);
        self.note_top(&list);
        changed
    }

    /// Takes away what an earlier attempt of `txn` left; true if that was a sum.
    pub(super) fn unpublish(&self, stamp: Stamp, txn: TxnIndex) -> bool {
        let mut list = self.lock(stamp);
        let changed = list.unpublish(txn);
        self.note_top(&list);
        changed
    }

    /// Marks what `txn` left as an estimate.
    pub(super) fn mark_estimate(&self, stamp: Stamp, txn: TxnIndex) {
        self.lock(stamp).mark_estimate(txn);
    }

    fn lock(&self, stamp: Stamp) -> MutexGuard<'_, KeyList> {
        let mut list = self.list.lock();
        if !self.is_written(stamp) {
            list.clear();
            // Before the lock is released, so that nobody misses what is about to be entered.
            self.written.store(stamp.0, Ordering::SeqCst);
        }
        list
    }

    fn note_top(&self, list: &KeyList) {
        self.top.store(list.versions.last().map_or(u32::MAX, |version| version.txn.0), Ordering::Relaxed);
    }
}

impl KeyList {
    /// Forgets the versions of the block before. A long list keeps its memory; a short one goes back into the cell's own
    /// line, or in the end all cells would be two lines.
    fn clear(&mut self) {
        if self.versions.spilled() && self.versions.capacity() <= SHORT_LIST {
            self.versions = SmallVec::new();
        } else {
            self.versions.clear();
        }
        if let Some(cursors) = &mut self.cursors {
            **cursors = Cursors::default();
        }
    }

    /// Where the versions of transactions from `txn` on begin. Searched for downwards from the end, or from where it is if
    /// every transaction has a version: it cannot be further up.
    fn place_of(&self, txn: TxnIndex) -> usize {
        let mut high = self.versions.len().min(txn.index());
        let mut step = 1;
        let is_below = |place: usize| self.versions.get(place).is_some_and(|version| version.txn < txn);
        while let Some(low) = high.checked_sub(step) {
            if is_below(low) {
                let between = self.versions.get(low + 1..high).unwrap_or(&[]);
                return low + 1 + between.partition_point(|version| version.txn < txn);
            }
            high = low;
            step *= 2;
        }
        self.versions.get(..high).unwrap_or(&[]).partition_point(|version| version.txn < txn)
    }

    fn find(&self, txn: TxnIndex) -> Result<usize, usize> {
        let place = self.place_of(txn);
        if self.versions.get(place).is_some_and(|version| version.txn == txn) {
            Ok(place)
        } else {
            Err(place)
        }
    }

    fn read(&mut self, below: TxnIndex, base: impl Fn() -> Option<u128>) -> Seen {
        let end = self.place_of(below);
        let Some(latest) = end.checked_sub(1).and_then(|place| self.versions.get(place)) else {
            return Seen::Base;
        };
        let origin = latest.origin();
        match &latest.content {
            Content::Sum { width, .. } => {
                let width = *width;
                match self.sum(end, base) {
                    Ok((number, from_number)) => Seen::Sum { origin, number, width, from_number },
                    Err(writer) => Seen::Blocked(writer),
                }
            }
            _ if latest.is_estimate() => Seen::Blocked(latest.txn),
            content @ (Content::Expected | Content::Absent | Content::Short { .. } | Content::Long(_)) => {
                Seen::Whole { origin, content: content.clone() }
            }
        }
    }

    /// The number before place `end`, and whether it rests on a number; or the writer it waits for. An estimated sum is
    /// taken as it is: the next attempt mostly adds the same, and if not, everything above is validated again.
    fn sum(&mut self, end: usize, base: impl Fn() -> Option<u128>) -> Result<(u128, bool), TxnIndex> {
        let nearest = self.cursors.as_deref().and_then(|cursors| cursors.nearest(end));
        let found = match nearest {
            Some(cursor) if cursor.place >= end => {
                let change = self.change_between(end, cursor.place);
                Cursor { place: end, number: cursor.number.wrapping_sub(change), ..cursor }
            }
            Some(_) | None => self.sum_up(end, nearest, base)?,
        };
        if end >= CURSOR_MIN {
            self.cursors.get_or_insert_default().note(found);
        }
        Ok((found.number, found.from_number))
    }

    /// Walks down from place `end` to `cursor`, to a whole value or to the base state, whichever comes first.
    fn sum_up(
        &self,
        end: usize,
        cursor: Option<Cursor>,
        base: impl Fn() -> Option<u128>,
    ) -> Result<Cursor, TxnIndex> {
        let (mut place, mut change) = (end, 0_u128);
        let (start, number, from_number) = loop {
            if let Some(cursor) = cursor
                && cursor.place == place
            {
                break (cursor.start, cursor.number, cursor.from_number);
            }
            let Some(version) = place.checked_sub(1).and_then(|before| self.versions.get(before)) else {
                let number = base();
                break (0, number.unwrap_or(0), number.is_some());
            };
            match version.content.change() {
                Some(more) => change = change.wrapping_add(more),
                None if version.is_estimate() => return Err(version.txn),
                None => {
                    let number = version.content.number();
                    break (place, number.unwrap_or(0), number.is_some());
                }
            }
            place -= 1;
        };
        Ok(Cursor { place: end, start, number: number.wrapping_add(change), from_number })
    }

    /// What the sums in `from..to` add up to.
    fn change_between(&self, from: usize, to: usize) -> u128 {
        let between = self.versions.get(from..to).unwrap_or(&[]);
        between.iter().filter_map(|version| version.content.change()).fold(0, u128::wrapping_add)
    }

    fn publish(&mut self, version: Version) -> bool {
        let after = version.content.change();
        match self.find(version.txn) {
            Ok(place) => {
                let old = &mut self.versions[place];
                let before = old.content.change();
                let same = old.content.is_same_sum(&version.content);
                // Readers may have come by before it was announced.
                let announced = matches!(old.content, Content::Expected);
                *old = version;
                self.correct_cursors(|cursor| cursor.replace(place, before, after));
                announced || !same && (before.is_some() || after.is_some())
            }
            Err(place) => {
                self.versions.insert(place, version);
                self.correct_cursors(|cursor| cursor.insert(place, after));
                true
            }
        }
    }

    fn unpublish(&mut self, txn: TxnIndex) -> bool {
        let Ok(place) = self.find(txn) else { return false };
        let removed = self.versions.remove(place).content.change();
        self.correct_cursors(|cursor| {
            let kept = cursor.replace(place, removed, Some(0));
            cursor.start -= usize::from(place < cursor.start);
            cursor.place -= usize::from(place < cursor.place);
            kept
        });
        removed.is_some()
    }

    fn mark_estimate(&mut self, txn: TxnIndex) {
        if let Ok(place) = self.find(txn) {
            let version = &mut self.versions[place];
            version.mark_estimate();
            let change = version.content.change();
            self.correct_cursors(|cursor| cursor.replace(place, change, change));
        }
    }

    /// Lets `correct` follow a change; where it answers false the cursor is given up.
    fn correct_cursors(&mut self, mut correct: impl FnMut(&mut Cursor) -> bool) {
        for slot in self.cursors.iter_mut().flat_map(|cursors| &mut cursors.slots) {
            if slot.as_mut().is_some_and(|cursor| !correct(cursor)) {
                *slot = None;
            }
        }
    }
}

/// Two of them, since executions and validations may go on far from each other when a thread loses its core for a while.
#[derive(Debug, Default)]
struct Cursors {
    slots: [Option<Cursor>; 2],
    /// Which one was moved last.
    last: usize,
}

/// A cursor that is further away than this stays where it is; the other one moves.
const NEAR: usize = 32;

impl Cursors {
    /// The one from which the way to `end` is shortest and leads over sums only, as far as that is known.
    fn nearest(&self, end: usize) -> Option<Cursor> {
        let usable = self.slots.iter().flatten().filter(|cursor| cursor.start <= end);
        usable.min_by_key(|cursor| cursor.place.abs_diff(end)).copied()
    }

    fn note(&mut self, cursor: Cursor) {
        let near = |slot: &Option<Cursor>| {
            slot.as_ref().is_some_and(|other| other.place.abs_diff(cursor.place) <= NEAR)
        };
        let slot = self.slots.iter().position(near).unwrap_or(1 - self.last);
        self.slots[slot] = Some(cursor);
        self.last = slot;
    }
}

impl Cursor {
    /// Follows the insertion of a version (`None`: a whole value) at a place; false if the number is not known any more.
    fn insert(&mut self, place: usize, change: Option<u128>) -> bool {
        if place >= self.place {
            return true;
        }
        self.place += 1;
        if place < self.start {
            self.start += 1;
            return true;
        }
        self.replace(place, Some(0), change)
    }

    /// Follows the change of the version at `place` from `before` to `after` (`None`: a whole value); false if the number
    /// is not known any more.
    fn replace(&mut self, place: usize, before: Option<u128>, after: Option<u128>) -> bool {
        if place >= self.place || place + 1 < self.start {
            return true;
        }
        match (before, after) {
            (Some(before), Some(after)) if place >= self.start => {
                self.number = self.number.wrapping_sub(before).wrapping_add(after);
                true
            }
            // It is, or was, the whole value that the sum rests on, or one in between.
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
