//! Child slots: what a supervisor and one child process tell each other and any onlooker.
//!
//! Each 128-byte line but that of the claims has one writing process, so no store ever waits for another. Everything is atomic: an onlooker
//! may read at any moment. Answers of racy queries are true of the moment they were taken, no longer.
//!
//! | line | written by |
//! |---|---|
//! | generation, state, pid, start time, spawns, crashes, pacing | supervisor |
//! | progress, parked, current, ready, activity, fault | child |
//! | counters | child |
//! | message | child |
//! | lifelines | reset by the supervisor, held by the child |
//! | exits, deaths noticed and pids of past lives | supervisor |
//! | when past lives were ready | child |
//! | claims on its work | laid out by the coordinator, claimed by all children |

use std::mem::{align_of, offset_of, size_of};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::claims::Claims;
use crate::fault::is_noted;
use crate::identity::ProcessIdentity;
use crate::lifeline::Lifeline;

/// Generations whose exit status is remembered.
pub const EXITS_KEPT: usize = 64;
/// Counters of a child.
pub const COUNTERS: usize = 16;
/// Longest message of a child, in bytes.
pub const MESSAGE_BYTES: usize = 256;
/// Bit of the noted signal: another process sent it.
const FAULT_FROM_OUTSIDE: u32 = 1 << 31;
/// Bit of the noted signal: the hardware has lost the page.
const FAULT_LOST_PAGE: u32 = 1 << 30;
/// Lifelines of a slot: the one of a dying generation and the one of its successor.
const LIFELINES: usize = 2;

/// Where a child slot stands, as the supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// Never used.
    Empty = 0,
    /// A process is being made.
    Starting = 1,
    /// A process was made; the ready generation tells whether it is ready.
    Up = 2,
    /// Its process died; a successor may follow.
    Down = 3,
    /// Taken out of use for a while.
    Resting = 4,
    /// The word in memory is none of the above: somebody scribbled on it. Never to be set.
    Damaged = u32::MAX,
}

impl SlotState {
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Empty,
            1 => Self::Starting,
            2 => Self::Up,
            3 => Self::Down,
            4 => Self::Resting,
            _ => Self::Damaged,
        }
    }
}

/// What a child says it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Activity {
    /// It is done with everything announced and touches nothing shared.
    Parked = 0,
    /// It works.
    Running = 1,
    /// It waits for a peer, so its lack of progress is not its own.
    Waiting = 2,
    /// The word in memory is none of the above: somebody scribbled on it. Never to be set.
    Damaged = u32::MAX,
}

impl Activity {
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Parked,
            1 => Self::Running,
            2 => Self::Waiting,
            _ => Self::Damaged,
        }
    }
}

/// A fatal signal that a child caught and noted before it died of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The signal's number.
    pub signal: i32,
    /// The address that the signal names; 0 if it names none.
    pub address: u64,
    /// Whether another process sent the signal; false for the kernel's own faults and for a process that signalled
    /// itself, as abort does.
    pub from_outside: bool,
    /// Whether the hardware has lost the page that the address is in: an uncorrectable memory error, nobody's fault.
    pub lost_page: bool,
}

/// One child process's lines in a control region. All zero bytes is an empty slot.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ChildSlot {
    /// Life number of the newest process, from 1; 0 before the first. Written by the supervisor.
    pub generation: AtomicU32,
    state: AtomicU32,
    /// Process id of the newest process; 0 if none. Written by the supervisor.
    pub pid: AtomicI32,
    reserved: AtomicU32,
    /// Start time of that process in clock ticks since boot. Written by the supervisor.
    pub start_time: AtomicU64,
    /// Processes made so far. Written by the supervisor.
    pub spawns: AtomicU64,
    /// Processes that crashed so far. Written by the supervisor.
    pub crashes: AtomicU64,
    /// What the previous generation worked on when it died, as its [`current`](Self::current) said. Written by the
    /// supervisor before it makes a successor.
    pub died_at: AtomicU64,
    /// When the next process is due, in nanoseconds of the monotonic clock; 0 if one runs. Written by the supervisor.
    pub retry_at: AtomicU64,
    /// Deaths in a row that count against the restart intensity. Written by the supervisor.
    pub useless_deaths: AtomicU32,
    pacing_pad: AtomicU32,
    supervisor_pad: [AtomicU64; 8],

    /// Counts up with each piece of work done. Written by the child.
    pub progress: AtomicU64,
    /// Number of the last announcement that it finished and left alone. Written by the child.
    pub parked: AtomicU64,
    /// What it works on now; the meaning is the user's. Written by the child.
    pub current: AtomicU64,
    /// Equals the generation once that generation is ready. Written by the child.
    pub ready_generation: AtomicU32,
    activity: AtomicU32,
    fault_address: AtomicU64,
    /// The signal's number, [`FAULT_FROM_OUTSIDE`] and [`FAULT_LOST_PAGE`].
    fault_signal: AtomicU32,
    fault_generation: AtomicU32,
    message_len: AtomicU32,
    /// The generation whose last words the message is; 0 if it lived on, or the message is nobody's.
    message_generation: AtomicU32,
    child_pad: [AtomicU64; 9],

    /// Counters; the meaning is the user's. Written by the child.
    pub counters: [AtomicU64; COUNTERS],

    message: [AtomicU8; MESSAGE_BYTES],

    lifelines: [Lifeline; LIFELINES],
    /// Up to a line of the supervisor's again.
    lifelines_pad: [AtomicU8; 128 - LIFELINES * size_of::<Lifeline>()],

    exits: [AtomicU64; EXITS_KEPT],
    noticed: [AtomicU64; EXITS_KEPT],
    pids: [AtomicI32; EXITS_KEPT],

    ready_at: [AtomicU64; EXITS_KEPT],

    /// What of its present work others may take over. Laid out by whoever announces work, claimed by all children.
    pub claims: Claims,
    claims_pad: [AtomicU64; 15],
}

const _: () = assert!(offset_of!(ChildSlot, generation) == 0);
const _: () = assert!(offset_of!(ChildSlot, state) == 4);
const _: () = assert!(offset_of!(ChildSlot, pid) == 8);
const _: () = assert!(offset_of!(ChildSlot, start_time) == 16);
const _: () = assert!(offset_of!(ChildSlot, spawns) == 24);
const _: () = assert!(offset_of!(ChildSlot, crashes) == 32);
const _: () = assert!(offset_of!(ChildSlot, died_at) == 40);
const _: () = assert!(offset_of!(ChildSlot, retry_at) == 48);
const _: () = assert!(offset_of!(ChildSlot, useless_deaths) == 56);
const _: () = assert!(offset_of!(ChildSlot, progress) == 128);
const _: () = assert!(offset_of!(ChildSlot, parked) == 136);
const _: () = assert!(offset_of!(ChildSlot, current) == 144);
const _: () = assert!(offset_of!(ChildSlot, ready_generation) == 152);
const _: () = assert!(offset_of!(ChildSlot, activity) == 156);
const _: () = assert!(offset_of!(ChildSlot, fault_address) == 160);
const _: () = assert!(offset_of!(ChildSlot, fault_signal) == 168);
const _: () = assert!(offset_of!(ChildSlot, fault_generation) == 172);
const _: () = assert!(offset_of!(ChildSlot, message_len) == 176);
const _: () = assert!(offset_of!(ChildSlot, message_generation) == 180);
const _: () = assert!(offset_of!(ChildSlot, counters) == 256);
const _: () = assert!(offset_of!(ChildSlot, message) == 384);
const _: () = assert!(offset_of!(ChildSlot, lifelines) == 640);
const _: () = assert!(offset_of!(ChildSlot, exits) == 768);
const _: () = assert!(offset_of!(ChildSlot, noticed) == 1280);
const _: () = assert!(offset_of!(ChildSlot, pids) == 1792);
const _: () = assert!(offset_of!(ChildSlot, ready_at) == 2048);
const _: () = assert!(offset_of!(ChildSlot, claims) == 2560);
const _: () = assert!(size_of::<ChildSlot>() == 2688);
const _: () = assert!(align_of::<ChildSlot>() == 128 && size_of::<ChildSlot>().is_multiple_of(128));

/// Offsets and sizes that two builds must share to read each other's slots.
pub(crate) const SLOT_LAYOUT: [usize; 20] = [
    size_of::<ChildSlot>(),
    offset_of!(ChildSlot, state),
    offset_of!(ChildSlot, pid),
    offset_of!(ChildSlot, start_time),
    offset_of!(ChildSlot, spawns),
    offset_of!(ChildSlot, exits),
    offset_of!(ChildSlot, died_at),
    offset_of!(ChildSlot, noticed),
    offset_of!(ChildSlot, retry_at),
    offset_of!(ChildSlot, progress),
    offset_of!(ChildSlot, ready_generation),
    offset_of!(ChildSlot, fault_address),
    offset_of!(ChildSlot, message_len),
    offset_of!(ChildSlot, ready_at),
    offset_of!(ChildSlot, message_generation),
    offset_of!(ChildSlot, counters),
    offset_of!(ChildSlot, message),
    offset_of!(ChildSlot, lifelines),
    offset_of!(ChildSlot, claims),
    size_of::<Lifeline>(),
];

impl ChildSlot {
    /// Where the slot stands. What the supervisor wrote before it set the state is visible afterwards.
    pub fn state(&self) -> SlotState {
        SlotState::from_word(self.state.load(Ordering::Acquire))
    }

    /// Sets the state; publishes what the supervisor wrote before. For the supervisor only.
    pub fn set_state(&self, state: SlotState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// What the child says it is doing.
    pub fn activity(&self) -> Activity {
        Activity::from_word(self.activity.load(Ordering::Acquire))
    }

    /// Says what the calling child is doing; publishes what it wrote before. For the child only.
    pub fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u32, Ordering::Release);
    }

    /// The lifeline of a generation. Two generations in a row have different ones, so that a successor need not wait
    /// for the death of its predecessor to be complete.
    pub fn lifeline(&self, generation: u32) -> &Lifeline {
        if generation.is_multiple_of(2) { &self.lifelines[0] } else { &self.lifelines[1] }
    }

    /// Notes how a generation ended: the raw status that `waitpid` gave. For the supervisor only.
    pub fn record_exit(&self, generation: u32, raw_status: i32) {
        let word = u64::from(generation) << 32 | u64::from(raw_status.cast_unsigned());
        self.exits[exit_index(generation)].store(word, Ordering::Release);
    }

    /// The raw wait status of a generation; none if it has not been reaped, or is more than [`EXITS_KEPT`]
    /// generations old. Generation 0 does not exist.
    pub fn exit_of(&self, generation: u32) -> Option<i32> {
        let word = self.exits[exit_index(generation)].load(Ordering::Acquire);
        let status = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        (generation != 0 && word >> 32 == u64::from(generation)).then_some(status.cast_signed())
    }

    /// The newest process; none while there is no pid.
    pub fn process(&self) -> Option<ProcessIdentity> {
        let pid = self.pid.load(Ordering::Acquire);
        (pid > 0).then(|| ProcessIdentity { pid, start_time: self.start_time.load(Ordering::Relaxed) })
    }

    /// Notes the process of a generation. For the supervisor only.
    pub fn record_pid(&self, generation: u32, pid: i32) {
        self.noticed[exit_index(generation)].store(0, Ordering::Relaxed);
        self.pids[exit_index(generation)].store(pid, Ordering::Release);
    }

    /// The process of a generation, 0 if it never had one. Stands for [`EXITS_KEPT`] generations; then it names that of
    /// a later one.
    pub fn pid_of(&self, generation: u32) -> i32 {
        self.pids[exit_index(generation)].load(Ordering::Acquire)
    }

    /// Notes when the supervisor learned of a generation's death. For the supervisor only.
    pub fn record_noticed(&self, generation: u32, at: Duration) {
        let word = &self.noticed[exit_index(generation)];
        if word.load(Ordering::Relaxed) == 0 {
            word.store(nanos(at), Ordering::Release);
        }
    }

    /// When the supervisor learned of a generation's death, by [`monotonic_now`](crate::monotonic_now); none if it has
    /// not. Stands for [`EXITS_KEPT`] generations.
    pub fn noticed_of(&self, generation: u32) -> Option<Duration> {
        time(self.noticed[exit_index(generation)].load(Ordering::Acquire))
    }

    /// Notes that the calling child is ready. For the child only, once, when it is.
    pub fn record_ready(&self, generation: u32, at: Duration) {
        self.ready_at[exit_index(generation)].store(nanos(at), Ordering::Relaxed);
        self.ready_generation.store(generation, Ordering::SeqCst);
    }

    /// When a generation was ready, by [`monotonic_now`](crate::monotonic_now); none if it was not yet. Meaningful for
    /// the newest generation and [`EXITS_KEPT`] - 1 before it.
    pub fn ready_of(&self, generation: u32) -> Option<Duration> {
        time(self.ready_at[exit_index(generation)].load(Ordering::Acquire))
    }

    /// Notes a fatal signal. Async-signal-safe. For the child only.
    pub fn record_fault(&self, generation: u32, fault: Fault) {
        let outside = if fault.from_outside { FAULT_FROM_OUTSIDE } else { 0 };
        let lost = if fault.lost_page { FAULT_LOST_PAGE } else { 0 };
        self.fault_address.store(fault.address, Ordering::Relaxed);
        self.fault_signal.store(fault.signal.cast_unsigned() | outside | lost, Ordering::Relaxed);
        self.fault_generation.store(generation, Ordering::Release);
    }

    /// The fatal signal that this generation noted, if any, until a later generation notes one.
    pub fn fault_of(&self, generation: u32) -> Option<Fault> {
        let noted = self.fault_generation.load(Ordering::Acquire);
        (generation != 0 && noted == generation).then(|| {
            let word = self.fault_signal.load(Ordering::Relaxed);
            Fault {
                signal: (word & !(FAULT_FROM_OUTSIDE | FAULT_LOST_PAGE)).cast_signed(),
                address: self.fault_address.load(Ordering::Relaxed),
                from_outside: word & FAULT_FROM_OUTSIDE != 0,
                lost_page: word & FAULT_LOST_PAGE != 0,
            }
        })
    }

    /// Whether this generation noted a fatal signal, so that it is dying if it is not dead: it touches nothing shared any
    /// more. A lifeline tells the same only when the core dump, if there is one, has been written.
    pub fn is_dying(&self, generation: u32) -> bool {
        self.fault_of(generation).is_some_and(|fault| is_noted(fault.signal))
    }

    /// Leaves a text for onlookers, cut at a character so that it fits [`MESSAGE_BYTES`]. For the child, which lives on
    /// (these are not its last words), or for the supervisor while no process of this slot runs.
    ///
    /// Allocates nothing and never waits, so a panic hook may call it.
    pub fn set_message(&self, text: &str) {
        self.message_generation.store(0, Ordering::Relaxed);
        let fits =
            (0..=MESSAGE_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.message_len.store(0, Ordering::Release);
        for (cell, byte) in self.message.iter().zip(text.bytes()).take(fits) {
            cell.store(byte, Ordering::Relaxed);
        }
        self.message_len.store(u32::try_from(fits).unwrap_or(0), Ordering::Release);
    }

    /// As [`set_message`](Self::set_message), by a child that expects to end: the text tells why, unless the child
    /// lives on and says something else.
    pub fn set_last_words(&self, generation: u32, text: &str) {
        self.set_message(text);
        self.message_generation.store(generation, Ordering::Release);
    }

    /// What this generation said of its own end, if it said anything, until a later one says something.
    pub fn last_words_of(&self, generation: u32) -> Option<String> {
        let said = self.message_generation.load(Ordering::Acquire);
        (generation != 0 && said == generation).then(|| self.message()).filter(|text| !text.is_empty())
    }

    /// The text left last; empty if none. Bytes that are no UTF-8 are replaced.
    pub fn message(&self) -> String {
        let len = usize::try_from(self.message_len.load(Ordering::Acquire)).unwrap_or(0).min(MESSAGE_BYTES);
        let bytes: Vec<u8> = self.message.iter().take(len).map(|cell| cell.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Wipes what the last generation said (ready, activity, current), before a new one starts.
    ///
    /// For the supervisor, while no process of this slot runs and before it counts the generation up. Progress, parked
    /// and counters go on counting; what it worked on is kept in [`died_at`](Self::died_at); its fault and its message
    /// stay until another takes their place: whoever asks why a slot has no process that works finds them there.
    pub fn clear_child_lines(&self) {
        self.died_at.store(self.current.load(Ordering::Relaxed), Ordering::Relaxed);
        self.ready_generation.store(0, Ordering::Relaxed);
        self.current.store(0, Ordering::Relaxed);
        let next = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.ready_at[exit_index(next)].store(0, Ordering::Relaxed);
        self.pids[exit_index(next)].store(0, Ordering::Relaxed);
        self.set_activity(Activity::Parked);
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn time(nanos: u64) -> Option<Duration> {
    (nanos != 0).then(|| Duration::from_nanos(nanos))
}

fn exit_index(generation: u32) -> usize {
    usize::try_from(generation).unwrap_or(0) % EXITS_KEPT
}
