//! The kinds of faults that chaos injects.

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A kind of fault. Each is made of real signals to real processes of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL to a shard.
    Kill,
    /// SIGSEGV to a shard.
    Segv,
    /// SIGBUS to a shard.
    Bus,
    /// SIGILL to a shard.
    Ill,
    /// SIGABRT to a shard.
    Abrt,
    /// SIGTERM to a shard, which ignores it.
    Term,
    /// SIGINT to a shard, which ignores it.
    Int,
    /// SIGSTOP to a shard, held until it is killed for it.
    Stop,
    /// SIGSTOP to a shard, and SIGCONT a little before the stall limit.
    Pause,
    /// SIGKILL to all shards, one right after the other.
    KillAll,
    /// SIGKILL to two shards.
    KillPair,
    /// SIGKILL to a shard, and to its successor as soon as that is ready.
    KillTwice,
    /// SIGKILL to the supervisor.
    SupervisorKill,
    /// SIGSTOP to the supervisor, held until it is killed for it.
    SupervisorStop,
}

impl FaultKind {
    /// All of them, in the order of the documentation.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Kill,
        FaultKind::Segv,
        FaultKind::Bus,
        FaultKind::Ill,
        FaultKind::Abrt,
        FaultKind::Term,
        FaultKind::Int,
        FaultKind::Stop,
        FaultKind::Pause,
        FaultKind::KillAll,
        FaultKind::KillPair,
        FaultKind::KillTwice,
        FaultKind::SupervisorKill,
        FaultKind::SupervisorStop,
    ];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Segv => "segv",
            FaultKind::Bus => "bus",
            FaultKind::Ill => "ill",
            FaultKind::Abrt => "abrt",
            FaultKind::Term => "term",
            FaultKind::Int => "int",
            FaultKind::Stop => "stop",
            FaultKind::Pause => "pause",
            FaultKind::KillAll => "kill-all",
            FaultKind::KillPair => "kill-pair",
            FaultKind::KillTwice => "kill-twice",
            FaultKind::SupervisorKill => "supervisor-kill",
            FaultKind::SupervisorStop => "supervisor-stop",
        }
    }

    /// How often it occurs unless the mix says otherwise, in parts of the sum; 0: only when asked for.
    pub const fn default_weight(self) -> u32 {
        match self {
            FaultKind::Kill => 20,
            FaultKind::Segv | FaultKind::Abrt | FaultKind::Pause => 6,
            FaultKind::KillPair | FaultKind::KillTwice => 6,
            FaultKind::Stop => 4,
            FaultKind::Bus | FaultKind::Ill | FaultKind::KillAll => 3,
            FaultKind::SupervisorKill => 2,
            FaultKind::SupervisorStop => 1,
            FaultKind::Term | FaultKind::Int => 0,
        }
    }

    /// The signal that it sends first.
    pub const fn signal(self) -> Signal {
        match self {
            FaultKind::Kill
            | FaultKind::KillAll
            | FaultKind::KillPair
            | FaultKind::KillTwice
            | FaultKind::SupervisorKill => Signal::SIGKILL,
            FaultKind::Segv => Signal::SIGSEGV,
            FaultKind::Bus => Signal::SIGBUS,
            FaultKind::Ill => Signal::SIGILL,
            FaultKind::Abrt => Signal::SIGABRT,
            FaultKind::Term => Signal::SIGTERM,
            FaultKind::Int => Signal::SIGINT,
            FaultKind::Stop | FaultKind::Pause | FaultKind::SupervisorStop => Signal::SIGSTOP,
        }
    }

    /// For how long it stops its victim at the most, if it stops it.
    pub fn hold(self, stall_limit: Duration) -> Option<Duration> {
        match self {
            FaultKind::Stop | FaultKind::SupervisorStop => {
                Some(HELD_MIN.max(stall_limit.saturating_mul(STALL_LIMITS_HELD)))
            }
            FaultKind::Pause => Some(stall_limit * 4 / 5),
            FaultKind::Kill
            | FaultKind::Segv
            | FaultKind::Bus
            | FaultKind::Ill
            | FaultKind::Abrt
            | FaultKind::Term
            | FaultKind::Int
            | FaultKind::KillAll
            | FaultKind::KillPair
            | FaultKind::KillTwice
            | FaultKind::SupervisorKill => None,
        }
    }
}

/// A stop is held for so many stall limits, and for so long at least, before it is given up.
const STALL_LIMITS_HELD: u32 = 10;
const HELD_MIN: Duration = Duration::from_secs(10);

/// Whether a process that gets this signal dies of it, if it is a shard or the supervisor.
pub const fn is_lethal(signal: i32) -> bool {
    !matches!(signal, SIGTERM | SIGINT | SIGSTOP | SIGCONT)
}

const SIGTERM: i32 = Signal::SIGTERM as i32;
const SIGINT: i32 = Signal::SIGINT as i32;
const SIGSTOP: i32 = Signal::SIGSTOP as i32;
const SIGCONT: i32 = Signal::SIGCONT as i32;

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultKind, String> {
        FaultKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("{text:?} is no kind of fault; choose among {}", names.join(", "))
        })
    }
}
