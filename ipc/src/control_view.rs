//! A control segment as an onlooker sees it: mapped read-only, found by its name, copied out slot by slot.
//!
//! Nothing that an onlooker does can change the segment: the mapping cannot be made writable, since the descriptor
//! behind it was opened for reading alone.

use std::fmt;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use memmap2::Mmap;

use crate::control::{ControlError, Header, check_header, start_of};
use crate::identity::ProcessIdentity;
use crate::lifeline::LifelineState;
use crate::segment;
use crate::slot::{Activity, COUNTERS, ChildSlot, SlotState};

/// Looks at a slot that keeps changing before its last look is handed out as it is.
const LOOKS_MAX: u32 = 64;

/// A control segment of some living process, mapped read-only.
pub struct ControlView {
    name: String,
    base: NonNull<Header>,
    slots: u32,
    owner: ProcessIdentity,
    /// Keeps the mapping alive.
    _map: Mmap,
}

// SAFETY: the memory is made of atomics and only ever loaded from; the mapping is not bound to a thread.
unsafe impl Send for ControlView {}
// SAFETY: as for Send; all methods take `&self` and load.
unsafe impl Sync for ControlView {}

/// What a child slot said at one moment. The process that it names may be gone by now: see
/// [`ProcessHandle`](crate::ProcessHandle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSnapshot {
    /// Life number of the newest process; 0 before the first.
    pub generation: u32,
    /// Where the slot stands.
    pub state: SlotState,
    /// The newest process; none while it is being made, and before the first.
    pub process: Option<ProcessIdentity>,
    /// Whether that life is ready, its lifeline held, and no fatal signal noted.
    pub ready: bool,
    /// What it says it is doing.
    pub activity: Activity,
    /// What it works on; the meaning is the user's.
    pub current: u64,
    /// Its progress word; the meaning is the user's.
    pub progress: u64,
    /// Processes made so far.
    pub spawns: u64,
    /// Processes that ended so far.
    pub deaths: u64,
    /// Deaths in a row that count against the restart intensity.
    pub useless_deaths: u32,
    /// When the next process is due, by [`monotonic_now`](crate::monotonic_now); none if one runs.
    pub retry_at: Option<Duration>,
    /// Counters; the meaning is the user's.
    pub counters: [u64; COUNTERS],
    /// The text that the child left last.
    pub message: String,
}

impl ControlView {
    /// Maps the segment called `os_id` (as in [`Control::os_id`](crate::Control::os_id)) read-only.
    ///
    /// Errors if the name is none of ours, the segment is missing, not of this build's layout or cut short, or its owner
    /// is not the process that the name tells and that runs now.
    pub fn open(os_id: &str) -> Result<ControlView, ControlError> {
        segment::check_name(os_id)?;
        let refused = |step| {
            move |error: std::io::Error| ControlError::Os {
                step,
                name: os_id.to_owned(),
                cause: error.into(),
            }
        };
        let file = File::open(segment::path_of(os_id)).map_err(refused("open"))?;
        // SAFETY: what is mapped is only ever read through atomics, so others may write it at any time; segments are never
        // made shorter by those who may write them (their memory is reserved once, at their full size).
        let map = unsafe { Mmap::map(&file) }.map_err(refused("map"))?;
        let base = start_of(os_id, map.as_ptr().cast_mut(), map.len(), size_of::<Header>())?;
        // SAFETY: start_of() has checked size and alignment; the header is atomics; `map` lives through this function.
        let slots = check_header(unsafe { base.as_ref() }, os_id, map.len())?;
        // SAFETY: as above.
        let owner = unsafe { base.as_ref() }.owner();
        let named = segment::owner_named(os_id);
        if named != Some(owner) || !owner.is_alive() {
            return Err(ControlError::OwnerGone { name: os_id.to_owned(), pid: owner.pid });
        }
        Ok(ControlView { name: os_id.to_owned(), base, slots, owner, _map: map })
    }

    /// The segment's name.
    pub fn os_id(&self) -> &str {
        &self.name
    }

    /// The process that made the segment.
    pub fn owner(&self) -> ProcessIdentity {
        self.owner
    }

    /// Number of child slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// What a slot says now; none past the last.
    ///
    /// Generation and process belong together, unless the slot changes all the time: then the process is left out.
    pub fn slot(&self, index: u32) -> Option<SlotSnapshot> {
        let slot = self.child_slot(index)?;
        for _ in 0..LOOKS_MAX {
            let generation = slot.generation.load(Ordering::Acquire);
            let process = slot.process();
            fence(Ordering::Acquire);
            if slot.generation.load(Ordering::Relaxed) == generation && slot.process() == process {
                return Some(snapshot(slot, generation, process));
            }
        }
        Some(snapshot(slot, slot.generation.load(Ordering::Acquire), None))
    }

    /// The raw wait status of a generation of a slot; none until it is reaped, and some generations later.
    pub fn exit_of(&self, index: u32, generation: u32) -> Option<i32> {
        self.child_slot(index)?.exit_of(generation)
    }

    fn child_slot(&self, index: u32) -> Option<&ChildSlot> {
        let position = usize::try_from(index).ok().filter(|_| index < self.slots)?;
        // SAFETY: position < slots, and the mapping was checked to hold the header and that many slots; the header's size
        // is a multiple of the slot's alignment; slots are atomics (and lifelines, of which only the lock word is loaded),
        // any bits are valid; the mapping lives as long as `self`; nothing reached from here stores.
        Some(unsafe { self.base.add(1).cast::<ChildSlot>().add(position).as_ref() })
    }
}

impl fmt::Debug for ControlView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlView {{ {}, {} slots }}", self.name, self.slots)
    }
}

fn snapshot(slot: &ChildSlot, generation: u32, process: Option<ProcessIdentity>) -> SlotSnapshot {
    let retry_at = slot.retry_at.load(Ordering::Relaxed);
    SlotSnapshot {
        generation,
        state: slot.state(),
        process,
        ready: generation != 0
            && slot.ready_generation.load(Ordering::Acquire) == generation
            && slot.lifeline(generation).probe() == LifelineState::Held
            && !slot.is_dying(generation),
        activity: slot.activity(),
        current: slot.current.load(Ordering::Relaxed),
        progress: slot.progress.load(Ordering::Relaxed),
        spawns: slot.spawns.load(Ordering::Relaxed),
        deaths: slot.crashes.load(Ordering::Relaxed),
        useless_deaths: slot.useless_deaths.load(Ordering::Relaxed),
        retry_at: (retry_at != 0).then(|| Duration::from_nanos(retry_at)),
        counters: std::array::from_fn(|counter| slot.counters[counter].load(Ordering::Relaxed)),
        message: slot.message(),
    }
}
