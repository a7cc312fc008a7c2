//! Shared memory between processes of one Linux host: regions, rings, doorbells, child slots and process helpers.
//!
//! What it is for: a parent and its children exchange messages over lock-free rings in shared memory, sleep without
//! losing a wake-up, notice each other's death within microseconds, and survive a `kill -9` of anyone at any
//! instruction. Nothing here knows what the messages mean. Three rules hold everywhere:
//!
//! - Memory that a peer can write is input: each word is loaded once, checked, and used from the copy.
//! - Nothing that lives in shared memory is freed or unlocked by `Drop`: SIGKILL runs none.
//! - Each shared line has one writing process; words that two may write say so.

mod cell;
#[cfg(not(loom))]
mod channel;
mod claims;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod control;
#[cfg(not(loom))]
mod control_view;
#[cfg(all(feature = "crashes", not(loom)))]
pub mod crash;
mod doorbell;
#[cfg(not(loom))]
mod fail_point;
#[cfg(not(loom))]
mod fault;
mod futex;
#[cfg(not(loom))]
mod huge_pages;
#[cfg(not(loom))]
mod identity;
#[cfg(not(loom))]
mod inbox;
#[cfg(not(loom))]
mod lifeline;
#[cfg(not(loom))]
mod lost_pages;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod numa;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod page;
#[cfg(not(loom))]
mod pin;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod process_handle;
#[cfg(not(loom))]
mod region;
mod ring;
#[cfg(not(loom))]
mod scheduling;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod signal;
#[cfg(not(loom))]
mod slot;
mod sync;

// Messages: rings, and how their readers sleep.
pub use cell::{CELL_WORDS, Cell, CellSpace};
pub use doorbell::{Doorbell, MAX_PRODUCERS, NEWS_BITS, NEWS_WORDS, WakeCause};
#[cfg(not(loom))]
pub use inbox::{
    BUDGET_CAPACITY_MAX, BUDGET_CAPACITY_MIN, Drained, Inbox, InboxError, InboxLayout, Outlet, ProducerSet,
};
pub use ring::{CAPACITY_MAX, CAPACITY_MIN, Consumer, Full, Producer, RingError, RingHeader, ring_bytes};

// Memory.
#[cfg(not(loom))]
pub use huge_pages::{HUGE_PAGE_BYTES, free_huge_pages, gives_huge_pages, huge_bytes_of};
#[cfg(not(loom))]
pub use lost_pages::{lost_pages, replace_pages};
#[cfg(not(loom))]
pub use numa::{NodePolicy, PagePlace, move_pages_home, pages_of, set_own_policy, with_own_policy};
#[cfg(not(loom))]
pub use os::OsCause;
#[cfg(not(loom))]
pub use region::{PeerReader, Region, RegionError, RegionReader, prefetch_start};

// What processes know of each other.
pub use claims::{CLAIMS_MAX, Claims};
#[cfg(not(loom))]
pub use clock::monotonic_now;
#[cfg(not(loom))]
pub use control::{Control, ControlError, LAYOUT_HASH, MAX_SLOTS, OWNER_WORDS};
#[cfg(not(loom))]
pub use control_view::{ControlView, SlotSnapshot};
#[cfg(not(loom))]
pub use identity::{
    ProcessIdentity, cpu_time_of, is_dumping_core, last_core_of, oom_kills, parent_of, state_of,
};
#[cfg(not(loom))]
pub use lifeline::{Lifeline, LifelineError, LifelineState};
#[cfg(not(loom))]
pub use slot::{Activity, COUNTERS, ChildSlot, EXITS_KEPT, Fault, MESSAGE_BYTES, SlotState};

// Making processes and talking to them.
#[cfg(not(loom))]
pub use channel::{Channel, ChannelError, MAX_FDS_PER_MESSAGE, MAX_MESSAGE_BYTES, Readiness, Received};
#[cfg(not(loom))]
pub use fail_point::fail_point;
#[cfg(all(not(loom), feature = "fail-points"))]
pub use fail_point::{FailAction, FailPointError, FailSpec, attach_fail_points, fail_point_of};
#[cfg(not(loom))]
pub use fault::{FaultError, install_fault_handlers, leave_last_words};
#[cfg(not(loom))]
pub use pin::{PinError, allow_cores, allowed_cores, allowed_cores_of, pin, pin_current_thread};
#[cfg(not(loom))]
pub use process::{
    Fork, ForkError, LimitError, PROCESS_NAME_BYTES, ProcessError, SPAWN_SOCKET_FD, SpawnError,
    close_all_fds_except, die_with_parent, fork_single_threaded, raise_fd_limit, set_process_name,
    spawn_image,
};
#[cfg(not(loom))]
pub use process_handle::{HandleError, ProcessHandle};
#[cfg(not(loom))]
pub use scheduling::{Turns, nice_now};
#[cfg(not(loom))]
pub use signal::{SignalError, SignalFd, SignalSetup};

#[cfg(loom)]
pub use sync::model::{without_doorbell_fences, without_ring_fences};
