//! What the trial and its monkey say to each other: one JSON object per line.

use crate::chaos::fault::FaultKind;
use serde::{Deserialize, Serialize};

/// Tells this program, started again, that it is the monkey.
pub const MARKER: &str = "PHALANX_MONKEY";

/// What the monkey is to do. Times are nanoseconds of the monotonic clock, since boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The family's control segment.
    pub segment: String,
    /// Process that the segment must belong to.
    pub owner: i32,
    /// The schedule is drawn from these four.
    pub seed: u64,
    /// See `seed`.
    pub mix: String,
    /// Faults per second.
    pub rate: f64,
    /// How long faults are injected, in microseconds.
    pub duration_us: u64,
    /// The stall limit of the family, in microseconds.
    pub stall_limit_us: u64,
    /// A planted misdeed, to show that it is found out.
    pub misdeed: Option<Misdeed>,
}

/// What the monkey does wrong on purpose, once, before its first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misdeed {
    /// Kills a shard and reports another signal.
    WrongSignal,
    /// Kills a shard and reports nothing.
    Unreported,
    /// Reports a kill of a life that never was.
    Invented,
    /// Reports a kill of the supervisor that it never did.
    InventedSupervisor,
    /// Nothing wrong: one more shard is stopped, so that there is one to be judged.
    OneMoreStop,
}

/// What was struck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A life of a shard.
    Shard {
        /// Which shard.
        shard: u32,
        /// Which of its lives.
        generation: u32,
    },
    /// The supervisor.
    Supervisor {
        /// The life of every shard right before.
        generations: Vec<u32>,
    },
}

/// A signal that went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Its place in the schedule; none for one that was not planned.
    pub fault: Option<usize>,
    /// Part of which kind of fault.
    pub kind: FaultKind,
    /// The signal.
    pub signal: i32,
    /// At whom.
    pub target: Target,
    /// The process.
    pub pid: i32,
    /// When, right before the system call.
    pub at_ns: u64,
}

/// The end of a stop or a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Part of which kind of fault.
    pub kind: FaultKind,
    /// Who was stopped.
    pub target: Target,
    /// The process.
    pub pid: i32,
    /// For how long, in nanoseconds.
    pub held_ns: u64,
    /// Whether it was gone before it could be continued.
    pub gone: bool,
}

/// What the monkey reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A signal went out.
    Strike(Strike),
    /// A stop or a pause is over.
    Release(Release),
    /// A fault found nobody to befall.
    Missed {
        /// Its kind.
        kind: FaultKind,
    },
    /// All is done, nobody is stopped any more.
    Done,
    /// It cannot go on.
    Failed {
        /// Why.
        why: String,
    },
}
