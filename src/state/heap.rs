//! Room for entries that do not fit a table slot: size classes of powers of two over a bump pointer.

/// Smallest class, in bytes.
const MIN_CLASS_BYTES: u64 = 64;
/// Number of classes: 64 B to 2 MiB.
const CLASSES: usize = 16;

/// Hands out places. Lives in the writer only: readers follow offsets.
#[derive(Debug)]
pub(super) struct Heap {
    start: u64,
    next: u64,
    end: u64,
    /// Bytes handed out and not given back.
    live: u64,
    free: [Vec<u64>; CLASSES],
}

impl Heap {
    /// A heap over the byte range `start..end` of the region.
    pub(super) fn new(start: u64, end: u64) -> Heap {
        Heap { start, next: start, end, live: 0, free: Default::default() }
    }

    /// A place for `bytes`, or `None` when the heap is full or the entry is larger than the largest class.
    pub(super) fn allocate(&mut self, bytes: usize) -> Option<u64> {
        let class = class_of(bytes)?;
        if let Some(place) = self.free[class].pop() {
            self.live += class_bytes(class);
            return Some(place);
        }
        let end = self.next.checked_add(class_bytes(class)).filter(|&end| end <= self.end)?;
        self.live += class_bytes(class);
        Some(std::mem::replace(&mut self.next, end))
    }

    /// Gives back the place of an entry of `bytes`.
    pub(super) fn release(&mut self, place: u64, bytes: usize) {
        if let Some(class) = class_of(bytes) {
            self.live -= class_bytes(class);
            self.free[class].push(place);
        }
    }

    /// Whether `entries` more of `bytes` in all are sure to fit.
    pub(super) fn fits(&self, entries: usize, bytes: usize) -> bool {
        // An entry takes less than twice its length, and at least one smallest class.
        let need = (entries as u64).saturating_mul(MIN_CLASS_BYTES).saturating_add(2 * bytes as u64);
        entries == 0 || self.next.saturating_add(need) <= self.end
    }

    /// Bytes in use.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Bytes handed out so far, freed ones included.
    pub(super) fn used(&self) -> u64 {
        self.next - self.start
    }
}

/// Whether entries of both lengths go to the same class.
pub(super) fn same_class(left: usize, right: usize) -> bool {
    class_of(left) == class_of(right)
}

fn class_of(bytes: usize) -> Option<usize> {
    (0..CLASSES).find(|&class| bytes as u64 <= class_bytes(class))
}

fn class_bytes(class: usize) -> u64 {
    MIN_CLASS_BYTES << class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_place_is_handed_out_again_and_the_end_is_kept() {
        let mut heap = Heap::new(4096, 4096 + 256);
        let first = heap.allocate(100).unwrap();
        let second = heap.allocate(65).unwrap();
        assert_ne!(first, second);
        assert_eq!(heap.allocate(1), None, "full");
        heap.release(first, 100);
        assert_eq!(heap.allocate(128), Some(first));
        assert_eq!((heap.used(), heap.live()), (256, 256));
        heap.release(first, 128);
        assert_eq!((heap.used(), heap.live()), (256, 128));
    }
}
