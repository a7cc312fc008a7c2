//! Atomics, real or modelled.

#[cfg(loom)]
pub(crate) use loom::hint::spin_loop;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use model::{doorbell_fence, ring_fence};
#[cfg(not(loom))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence as doorbell_fence, fence as ring_fence};

/// Fences that a model can do without, to prove that it would notice.
#[cfg(loom)]
pub mod model {
    use std::cell::Cell;

    thread_local! {
        // A model runs all its threads on the thread that started it.
        static DOORBELL_FENCES: Cell<bool> = const { Cell::new(true) };
        static RING_FENCES: Cell<bool> = const { Cell::new(true) };
    }

    /// Runs a model in which the doorbell's fences do nothing.
    pub fn without_doorbell_fences(run: impl FnOnce()) {
        DOORBELL_FENCES.set(false);
        run();
    }

    /// Runs a model in which the ring's fences do nothing.
    pub fn without_ring_fences(run: impl FnOnce()) {
        RING_FENCES.set(false);
        run();
    }

    pub(crate) fn doorbell_fence(ordering: loom::sync::atomic::Ordering) {
        if DOORBELL_FENCES.get() {
            loom::sync::atomic::fence(ordering);
        }
    }

    pub(crate) fn ring_fence(ordering: loom::sync::atomic::Ordering) {
        if RING_FENCES.get() {
            loom::sync::atomic::fence(ordering);
        }
    }
}
