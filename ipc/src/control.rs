//! The control region: a header with the owner's doorbell, then one child slot per shard.
//!
//! A named segment, so that tools find it, or a nameless region for the threads of one process. A named segment outlives
//! a killed owner; the next one made removes it (see [`Control::reclaim_stale`]). The name tells who owns it:
//! `/phalanx-<pid>-<start time>-<n>`. All users of one /dev/shm must see the same pids (one pid namespace).

use std::fmt;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::doorbell::Doorbell;
use crate::identity::ProcessIdentity;
use crate::os::OsCause;
use crate::region::{Region, RegionError};
use crate::segment;
use crate::slot::{ChildSlot, SLOT_LAYOUT};

/// First word of a control region: "PHALANX" and a zero.
const MAGIC: u64 = u64::from_le_bytes(*b"PHALANX\0");
/// Version of the meaning of the layout.
const VERSION: u32 = 1;
/// Most child slots of a control region.
pub const MAX_SLOTS: u32 = 384;
/// Words in the header whose meaning is the owner's.
pub const OWNER_WORDS: usize = 16;

/// Why a control region could not be made, opened or cleared away.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Too few or too many slots.
    #[error("a control region cannot have {slots} slots; use 1 to {MAX_SLOTS}")]
    BadSlots {
        /// The number asked for or found.
        slots: u32,
    },
    /// The kernel refused a step.
    #[error("cannot {step} control segment {name}: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// The segment's name.
        name: String,
        /// What the kernel said.
        cause: OsCause,
    },
    /// The segment could not be mapped, for a reason that the mapping library does not tell as an errno.
    #[error(
        "cannot map control segment {name}: {cause}; check that its owner is alive and /dev/shm is mounted"
    )]
    Map {
        /// The segment's name.
        name: String,
        /// What the library said.
        cause: ShmemError,
    },
    /// The nameless region could not be made.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A name that control segments do not have.
    #[error("{name} is no control segment's name; pass one of the form /phalanx-PID-STARTTIME-N")]
    BadName {
        /// The name given.
        name: String,
    },
    /// The segment is not what this build would have written.
    #[error(
        "control segment {name} has {what} {found:#x}, expected {expected:#x}; use the build that made it"
    )]
    Mismatch {
        /// The segment's name.
        name: String,
        /// Which header word differs.
        what: &'static str,
        /// The word found.
        found: u64,
        /// The word expected.
        expected: u64,
    },
    /// The segment is smaller than its header says.
    #[error("control segment {name} has {len} bytes, its {slots} slots need {needed}; it was cut: remove it")]
    TooSmall {
        /// The segment's name.
        name: String,
        /// Slots that the header names.
        slots: u32,
        /// Bytes they need.
        needed: usize,
        /// Bytes mapped.
        len: usize,
    },
    /// `/proc` does not show the calling process.
    #[error("cannot read the start time of this process; mount /proc")]
    NoProc,
    /// The process that the segment belongs to is gone.
    #[error("control segment {name} belongs to process {pid}, which is gone; start that program again")]
    OwnerGone {
        /// The segment's name.
        name: String,
        /// The owner that its header names.
        pid: i32,
    },
    /// Another process has been clearing stale segments for too long.
    #[error("the lock on {directory} stayed taken for {waited_ms} ms; find its holder with lslocks")]
    Locked {
        /// The directory.
        directory: &'static str,
        /// How long the caller waited, in milliseconds.
        waited_ms: u128,
    },
}

/// First lines of a control region. Written once by its owner, except the doorbell and the owner's words.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Header {
    magic: AtomicU64,
    version: AtomicU32,
    slots: AtomicU32,
    layout_hash: AtomicU64,
    owner_pid: AtomicU32,
    reserved: AtomicU32,
    owner_start_time: AtomicU64,
    bell: Doorbell,
    words: OwnerWords,
}

#[derive(Debug)]
#[repr(C, align(128))]
struct OwnerWords([AtomicU64; OWNER_WORDS]);

const _: () = assert!(offset_of!(Header, magic) == 0 && offset_of!(Header, version) == 8);
const _: () = assert!(offset_of!(Header, slots) == 12 && offset_of!(Header, layout_hash) == 16);
const _: () = assert!(offset_of!(Header, owner_pid) == 24 && offset_of!(Header, owner_start_time) == 32);
const _: () = assert!(offset_of!(Header, bell) == 128 && offset_of!(Header, words) == 384);
const _: () =
    assert!(size_of::<Header>() == 512 && size_of::<Header>().is_multiple_of(align_of::<ChildSlot>()));

/// A number that two builds share exactly if they lay control regions out alike.
pub const LAYOUT_HASH: u64 = {
    let header =
        [size_of::<Header>(), offset_of!(Header, bell), offset_of!(Header, words), size_of::<Doorbell>()];
    fold(fold(0xcbf2_9ce4_8422_2325, &header), &SLOT_LAYOUT)
};

/// FNV-1a over words.
const fn fold(mut hash: u64, words: &[usize]) -> u64 {
    let mut index = 0;
    while index < words.len() {
        hash = (hash ^ words[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

/// What holds the memory.
enum Backing {
    /// A named segment; the process that made it removes it when it drops this.
    Named { segment: Shmem, maker: Option<i32> },
    /// A nameless region.
    Private(Region),
}

/// A mapped control region.
pub struct Control {
    base: NonNull<Header>,
    slots: u32,
    backing: Backing,
}

// SAFETY: the memory is made of atomics (and lifelines, which are Sync); the backing is only asked for its name and
// dropped; neither is bound to a thread.
unsafe impl Send for Control {}
// SAFETY: as for Send; all methods take `&self` and use atomics.
unsafe impl Sync for Control {}

impl Control {
    /// Makes a named segment for `shards` slots, mode 0600, all its memory reserved, and removes stale ones first.
    ///
    /// The segment is removed when this process drops the result; copies in forked children do not remove it.
    pub fn create_named(shards: u32) -> Result<Control, ControlError> {
        let bytes = bytes_for(shards)?;
        Self::reclaim_stale()?;
        let owner = ProcessIdentity::current().ok_or(ControlError::NoProc)?;
        let name = segment::fresh_name(owner);
        let made = ShmemConf::new().os_id(&name).size(bytes).create();
        let segment = made.map_err(|cause| map_error(&name, cause))?;
        segment::make_private_and_reserve(&name, bytes)?;
        segment::keep_out_of_dumps(&name, segment.as_ptr(), segment.len())?;
        let base = start_of(&name, segment.as_ptr(), segment.len(), bytes)?;
        let control =
            Control { base, slots: shards, backing: Backing::Named { segment, maker: Some(owner.pid) } };
        control.write_header(owner);
        Ok(control)
    }

    /// Opens a segment that another process made, read-write, without ever removing it.
    ///
    /// Errors if it is not a control segment of this build's layout, or smaller than its header says.
    pub fn open_named(os_id: &str) -> Result<Control, ControlError> {
        segment::check_name(os_id)?;
        let opened = ShmemConf::new().os_id(os_id).open();
        let mut segment = opened.map_err(|cause| map_error(os_id, cause))?;
        segment.set_owner(false);
        segment::keep_out_of_dumps(os_id, segment.as_ptr(), segment.len())?;
        let base = start_of(os_id, segment.as_ptr(), segment.len(), size_of::<Header>())?;
        let len = segment.len();
        let mut control = Control { base, slots: 0, backing: Backing::Named { segment, maker: None } };
        control.slots = check_header(control.header(), os_id, len)?;
        Ok(control)
    }

    /// Makes a nameless control region, for threads of one process and what is forked from it.
    pub fn create_private(shards: u32) -> Result<Control, ControlError> {
        let bytes = bytes_for(shards)?;
        let region = Region::create("phalanx-control", bytes)?;
        let base = start_of("(nameless)", region.base().as_ptr(), region.len(), bytes)?;
        let control = Control { base, slots: shards, backing: Backing::Private(region) };
        control.write_header(ProcessIdentity::current().ok_or(ControlError::NoProc)?);
        Ok(control)
    }

    /// The segment's name, to open it by; none for a nameless region.
    pub fn os_id(&self) -> Option<&str> {
        match &self.backing {
            Backing::Named { segment, .. } => Some(segment.get_os_id()),
            Backing::Private(_) => None,
        }
    }

    /// Number of child slots.
    pub fn shards(&self) -> u32 {
        self.slots
    }

    /// The slot of a child; none past the last.
    pub fn slot(&self, index: u32) -> Option<&ChildSlot> {
        let position = usize::try_from(index).ok().filter(|_| index < self.slots)?;
        // SAFETY: position < slots, and the mapping was checked to hold the header and that many slots; the header's size
        // is a multiple of the slot's alignment (const-asserted); slots are atomics, any bits are valid; the mapping
        // lives as long as `self`.
        Some(unsafe { self.base.add(1).cast::<ChildSlot>().add(position).as_ref() })
    }

    /// The owner's doorbell.
    pub fn bell(&self) -> &Doorbell {
        &self.header().bell
    }

    /// Words whose meaning is the owner's: 0 at first, read and written by whom it says.
    pub fn words(&self) -> &[AtomicU64; OWNER_WORDS] {
        &self.header().words.0
    }

    /// The process that made the region.
    pub fn owner(&self) -> ProcessIdentity {
        self.header().owner()
    }

    /// Removes a named segment; mappings of it live on. For whoever learns that its owner died. A missing one is fine.
    pub fn unlink(os_id: &str) -> Result<(), ControlError> {
        segment::check_name(os_id)?;
        segment::unlink(os_id)
    }

    /// Removes every control segment in /dev/shm whose owner is dead (zombies are), and names what it removed.
    ///
    /// One process at a time does this, by a lock on the directory, which leaves no file behind. Waits at most 2 s for it.
    /// Segments of other users are left alone.
    pub fn reclaim_stale() -> Result<Vec<String>, ControlError> {
        segment::reclaim_stale()
    }

    /// Names every control segment in /dev/shm whose owner is dead, and removes none. May be stale at once.
    pub fn stale() -> Result<Vec<String>, ControlError> {
        segment::stale()
    }

    fn header(&self) -> &Header {
        // SAFETY: start_of() checked size and alignment; the header is atomics, any bits are valid; the mapping lives as
        // long as `self`.
        unsafe { self.base.as_ref() }
    }

    fn write_header(&self, owner: ProcessIdentity) {
        let header = self.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.slots.store(self.slots, Ordering::Relaxed);
        header.layout_hash.store(LAYOUT_HASH, Ordering::Relaxed);
        header.owner_pid.store(owner.pid.cast_unsigned(), Ordering::Relaxed);
        header.owner_start_time.store(owner.start_time, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
    }
}

impl Drop for Control {
    /// A forked child inherits the maker's copy: it must not remove what its parent still uses.
    fn drop(&mut self) {
        if let Backing::Named { segment, maker: Some(maker) } = &mut self.backing
            && *maker != nix::unistd::getpid().as_raw()
        {
            segment.set_owner(false);
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backing {
            Backing::Named { segment, .. } => {
                write!(f, "Control {{ {}, {} slots }}", segment.get_os_id(), self.slots)
            }
            Backing::Private(region) => write!(f, "Control {{ {region:?}, {} slots }}", self.slots),
        }
    }
}

impl Header {
    pub(crate) fn owner(&self) -> ProcessIdentity {
        ProcessIdentity {
            pid: self.owner_pid.load(Ordering::Relaxed).cast_signed(),
            start_time: self.owner_start_time.load(Ordering::Relaxed),
        }
    }
}

/// Checks the header of a mapping of `len` bytes; returns its number of slots.
pub(crate) fn check_header(header: &Header, name: &str, len: usize) -> Result<u32, ControlError> {
    let words = [
        ("magic", header.magic.load(Ordering::Acquire), MAGIC),
        ("version", u64::from(header.version.load(Ordering::Relaxed)), u64::from(VERSION)),
        ("layout hash", header.layout_hash.load(Ordering::Relaxed), LAYOUT_HASH),
    ];
    if let Some((what, found, expected)) = words.into_iter().find(|(_, found, expected)| found != expected) {
        return Err(ControlError::Mismatch { name: name.to_owned(), what, found, expected });
    }
    let slots = header.slots.load(Ordering::Relaxed);
    let needed = bytes_for(slots)?;
    if needed > len {
        return Err(ControlError::TooSmall { name: name.to_owned(), slots, needed, len });
    }
    Ok(slots)
}

fn bytes_for(slots: u32) -> Result<usize, ControlError> {
    let count = usize::try_from(slots).ok().filter(|_| (1..=MAX_SLOTS).contains(&slots));
    Ok(size_of::<Header>() + count.ok_or(ControlError::BadSlots { slots })? * size_of::<ChildSlot>())
}

pub(crate) fn start_of(
    name: &str,
    start: *mut u8,
    len: usize,
    needed: usize,
) -> Result<NonNull<Header>, ControlError> {
    match NonNull::new(start.cast::<Header>()) {
        Some(base) if base.is_aligned() && len >= needed => Ok(base),
        _ => Err(ControlError::TooSmall { name: name.to_owned(), slots: 0, needed, len }),
    }
}

fn map_error(name: &str, cause: ShmemError) -> ControlError {
    let errno = if let ShmemError::MapCreateFailed(errno)
    | ShmemError::MapOpenFailed(errno)
    | ShmemError::UnknownOsError(errno) = cause
    {
        errno.cast_signed()
    } else if matches!(cause, ShmemError::MappingIdExists) {
        libc::EEXIST
    } else {
        return ControlError::Map { name: name.to_owned(), cause };
    };
    ControlError::Os { step: "map", name: name.to_owned(), cause: nix::errno::Errno::from_raw(errno).into() }
}
