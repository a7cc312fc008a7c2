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
    cursor: Option<Box<Cursor>>,
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
            list.versions.clear();
            list.cursor = None;
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
    /// Where the versions of transactions from `txn` on begin. Most are asked for near the end.
    fn place_of(&self, txn: TxnIndex) -> usize {
        let mut place = self.versions.len();
        let near = place.saturating_sub(4);
        while place > near {
            match self.versions.get(place - 1) {
                Some(version) if version.txn >= txn => place -= 1,
                _ => return place,
            }
        }
        self.versions[..place].partition_point(|version| version.txn < txn)
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
            content => Seen::Whole { origin, content: content.clone() },
        }
    }

    /// The number before place `end`, and whether it rests on a number; or the writer it waits for. An estimated sum is
    /// taken as it is: the next attempt mostly adds the same, and if not, everything above is validated again.
    fn sum(&mut self, end: usize, base: impl Fn() -> Option<u128>) -> Result<(u128, bool), TxnIndex> {
        let cursor = self.cursor.as_deref().copied();
        if let Some(cursor) = cursor
            && (cursor.start..=cursor.place).contains(&end)
            && let Some(change) = self.change_between(end, cursor.place)
        {
            return Ok((cursor.number.wrapping_sub(change), cursor.from_number));
        }
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
        let number = number.wrapping_add(change);
        if end >= CURSOR_MIN {
            let moved = Cursor { place: end, start, number, from_number };
            match &mut self.cursor {
                Some(cursor) => **cursor = moved,
                None => self.cursor = Some(Box::new(moved)),
            }
        }
        Ok((number, from_number))
    }

    /// What the versions in `from..to` add up to, if all are sums and not too many.
    fn change_between(&self, from: usize, to: usize) -> Option<u128> {
        let between =
            self.versions.get(from..to).filter(|between| between.len() <= 2 * from.max(CURSOR_MIN))?;
        between.iter().try_fold(0_u128, |sum, version| Some(sum.wrapping_add(version.content.change()?)))
    }

    fn publish(&mut self, version: Version) -> bool {
        let after = version.content.change();
        match self.find(version.txn) {
            Ok(place) => {
                let old = &mut self.versions[place];
                let before = old.content.change();
                let same = old.content.is_same_sum(&version.content);
                *old = version;
                self.correct_cursor(place, before, after);
                !same && (before.is_some() || after.is_some())
            }
            Err(place) => {
                self.versions.insert(place, version);
                match self.cursor.as_deref_mut() {
                    Some(cursor) if place < cursor.start => {
                        cursor.start += 1;
                        cursor.place += 1;
                    }
                    Some(cursor) if place < cursor.place => {
                        cursor.place += 1;
                        self.correct_cursor(place, Some(0), after);
                    }
                    Some(_) | None => {}
                }
                true
            }
        }
    }

    fn unpublish(&mut self, txn: TxnIndex) -> bool {
        let Ok(place) = self.find(txn) else { return false };
        let removed = self.versions.remove(place).content.change();
        self.correct_cursor(place, removed, Some(0));
        if let Some(cursor) = self.cursor.as_deref_mut() {
            cursor.start -= usize::from(place < cursor.start);
            cursor.place -= usize::from(place < cursor.place);
        }
        removed.is_some()
    }

    fn mark_estimate(&mut self, txn: TxnIndex) {
        if let Ok(place) = self.find(txn) {
            self.versions[place].mark_estimate();
            let change = self.versions[place].content.change();
            self.correct_cursor(place, change, change);
        }
    }

    /// Corrects the cursor's number after the version at `place` went from `before` to `after` (`None`: no sum).
    fn correct_cursor(&mut self, place: usize, before: Option<u128>, after: Option<u128>) {
        let Some(cursor) = self.cursor.as_deref_mut() else { return };
        if place >= cursor.place || place + 1 < cursor.start {
            return;
        }
        match (before, after) {
            (Some(before), Some(after)) if place >= cursor.start => {
                cursor.number = cursor.number.wrapping_sub(before).wrapping_add(after);
            }
            // It is, or was, the whole value that the sum rests on, or one in between.
            _ => self.cursor = None,
        }
    }
}

#[cfg(test)]
mod tests;
