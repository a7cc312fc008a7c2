//! What befell the processes: every death of a shard and every loss of the supervisor, with cause and times, and of memory.
//!
//! The facts come from three places: the supervisor writes exit statuses and the time it learned of a death into the
//! child slots, the shards write when they were ready, and the coordinator notes here what it alone knows: that it saw
//! a lifeline go, or killed a shard, and why.

use crate::executor::{Death, DeathCause, Member};
use crate::topology::RegionKind;
use crate::types::{Generation, ShardId, TxnIndex};
use phalanx_ipc::{ChildSlot, Control, EXITS_KEPT, monotonic_now};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Incidents of each kind that are kept until somebody takes them; past that the oldest goes.
pub const INCIDENTS_KEPT: usize = 4096;

/// A death of a shard. Times are of the monotonic clock, since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIncident {
    /// Who, and of what.
    pub death: Death,
    /// When coordinator or supervisor learned of it, whoever was first.
    pub known_at: Option<Duration>,
    /// When the next life was ready; `None` if that one ended before.
    pub ready_at: Option<Duration>,
}

/// A loss of the supervisor, which takes all shards along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorIncident {
    /// Its process.
    pub pid: i32,
    /// What was seen of it: how it ended, or that it did not answer.
    pub cause: String,
    /// When the coordinator knew.
    pub known_at: Duration,
    /// When all shards of its successor were ready; `None` if that one was lost before.
    pub ready_at: Option<Duration>,
}

/// Memory of a region that the hardware has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryIncident {
    /// What lay there.
    pub region: RegionKind,
    /// Whose it is, if it is one shard's.
    pub shard: Option<ShardId>,
    /// How many pages are lost.
    pub pages: usize,
    /// Whether others have taken their places. If not, every call fails from then on with
    /// [`MemoryLost`](crate::executor::ExecuteError::MemoryLost) or
    /// [`StatePoisoned`](crate::executor::ExecuteError::StatePoisoned).
    pub replaced: bool,
    /// When it was found, by the monotonic clock.
    pub known_at: Duration,
}

impl fmt::Display for MemoryIncident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryIncident { region, pages, .. } = self;
        let pages = if *pages == 1 { "a page".to_owned() } else { format!("{pages} pages") };
        write!(f, "the hardware has lost {pages} of the {region} region")?;
        if let Some(shard) = self.shard {
            write!(f, " of shard {shard}")?;
        }
        f.write_str(if self.replaced { "; replaced by zeros" } else { "; cannot be replaced" })?;
        f.write_str(
            "; have the memory module replaced that the kernel's log names (dmesg, ras-mc-ctl --errors)",
        )
    }
}

/// What befell since the last time somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    /// Deaths whose cause is known and whose successor is ready, in the order of each shard's lives.
    pub shards: Vec<ShardIncident>,
    /// Losses that are made good.
    pub supervisors: Vec<SupervisorIncident>,
    /// Memory that was lost.
    pub memory: Vec<MemoryIncident>,
    /// Incidents that nobody took in time.
    pub dropped: u64,
}

/// What the coordinator noted of one life.
#[derive(Clone, Debug, Default)]
struct Note {
    known_at: Option<Duration>,
    cause: Option<DeathCause>,
    txn: Option<TxnIndex>,
}

/// The book of incidents. Shared by the coordinator and whoever asks.
#[derive(Debug)]
pub(crate) struct IncidentLog {
    notes: HashMap<(ShardId, Generation), Note>,
    /// By shard: the first life that is not in the book yet.
    next: Vec<u32>,
    /// By shard: lives up to this one were never reaped, since their supervisor was lost.
    orphaned: Vec<u32>,
    shards: VecDeque<ShardIncident>,
    supervisors: VecDeque<SupervisorIncident>,
    memory: VecDeque<MemoryIncident>,
    dropped: u64,
}

impl IncidentLog {
    pub(super) fn new(shards: u32) -> IncidentLog {
        let count = usize::try_from(shards).unwrap_or(0);
        IncidentLog {
            notes: HashMap::new(),
            next: vec![1; count],
            orphaned: vec![0; count],
            shards: VecDeque::new(),
            supervisors: VecDeque::new(),
            memory: VecDeque::new(),
            dropped: 0,
        }
    }

    /// The coordinator has seen that a member is dead.
    pub(super) fn note_death(&mut self, member: Member, txn: Option<TxnIndex>) {
        let note = self.notes.entry((member.shard, member.generation)).or_default();
        note.known_at.get_or_insert_with(monotonic_now);
        note.txn = note.txn.or(txn);
    }

    /// The coordinator kills a member, and why. True if it has not killed it before.
    pub(super) fn note_kill(&mut self, member: Member, cause: DeathCause) -> bool {
        let note = self.notes.entry((member.shard, member.generation)).or_default();
        let first = note.cause.is_none();
        note.cause.get_or_insert(cause);
        first
    }

    /// The supervisor is lost, and its shards with it.
    pub(super) fn note_supervisor(&mut self, control: &Control, pid: i32, cause: String) {
        for (shard, orphaned) in (0..control.shards()).zip(&mut self.orphaned) {
            *orphaned = control.slot(shard).map_or(0, |slot| slot.generation.load(Ordering::Acquire));
        }
        let incident = SupervisorIncident { pid, cause, known_at: monotonic_now(), ready_at: None };
        keep(&mut self.supervisors, incident, &mut self.dropped);
    }

    /// The hardware has lost memory.
    pub(super) fn note_memory(&mut self, incident: MemoryIncident) {
        keep(&mut self.memory, incident, &mut self.dropped);
    }

    /// Notes when the last loss of a supervisor was made good: every shard has had a ready life since.
    fn note_full_strength(&mut self, control: &Control) {
        let Some(last) = self.supervisors.back_mut().filter(|incident| incident.ready_at.is_none()) else {
            return;
        };
        let first_ready = (0..control.shards()).zip(&self.orphaned).map(|(shard, &orphaned)| {
            let slot = control.slot(shard)?;
            let newest = slot.generation.load(Ordering::Acquire);
            (orphaned + 1..=newest).find_map(|life| slot.ready_of(life))
        });
        last.ready_at = first_ready.collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().max());
    }

    /// How a life ended, as far as it is known now.
    pub(super) fn cause_of(&self, slot: &ChildSlot, shard: ShardId, generation: Generation) -> DeathCause {
        if let Some(known) = self.notes.get(&(shard, generation)).and_then(|note| note.cause.clone()) {
            return known;
        }
        // What it noted itself counts more than how it ended: it may have been killed while it dumped its core.
        if slot.is_dying(generation.0)
            && let Some(fault) = slot.fault_of(generation.0)
        {
            return DeathCause::Signal(fault.signal);
        }
        match slot.exit_of(generation.0) {
            None if self.is_orphaned(shard, generation) => DeathCause::SupervisorLost,
            None => DeathCause::Unknown,
            Some(raw) => match raw & 0x7f {
                0 => DeathCause::Exit(raw >> 8),
                signal => DeathCause::Signal(signal),
            },
        }
    }

    fn is_orphaned(&self, shard: ShardId, generation: Generation) -> bool {
        self.orphaned.get(shard.index()).is_some_and(|&last| generation.0 <= last)
    }

    /// Enters every life that is over, explained, and replaced.
    pub(crate) fn sweep(&mut self, control: &Control) {
        self.note_full_strength(control);
        for shard in (0..control.shards()).map(ShardId) {
            let Some(slot) = control.slot(shard.0) else { continue };
            while self.enter_next(slot, shard) {}
        }
    }

    /// Enters the next life of a shard; false if it is not over, or too little is known of its end.
    fn enter_next(&mut self, slot: &ChildSlot, shard: ShardId) -> bool {
        let Some(&next) = self.next.get(shard.index()) else { return false };
        let (generation, newest) = (Generation(next), slot.generation.load(Ordering::Acquire));
        if next >= newest {
            return false;
        }
        let cause = self.cause_of(slot, shard, generation);
        let forgotten = u32::try_from(EXITS_KEPT).unwrap_or(0) <= newest - next;
        let ready_at = slot.ready_of(next + 1).filter(|_| !forgotten);
        let replaced = ready_at.is_some() || next + 1 < newest || forgotten;
        let pid = if forgotten { 0 } else { slot.pid_of(next) };
        let lived = forgotten || pid != 0;
        if lived && (!replaced || cause == DeathCause::Unknown && !forgotten) {
            return false;
        }
        self.next[shard.index()] = next + 1;
        let note = self.notes.remove(&(shard, generation)).unwrap_or_default();
        if lived {
            let noticed = slot.noticed_of(next).filter(|_| !forgotten);
            let known_at = [note.known_at, noticed].into_iter().flatten().min();
            let death = Death { shard, pid, generation, txn: note.txn, cause };
            keep(&mut self.shards, ShardIncident { death, known_at, ready_at }, &mut self.dropped);
        }
        true
    }

    /// Hands out what is complete.
    pub(crate) fn take(&mut self) -> Incidents {
        let open = self.supervisors.back().is_some_and(|incident| incident.ready_at.is_none());
        let whole = self.supervisors.len() - usize::from(open);
        Incidents {
            shards: self.shards.drain(..).collect(),
            supervisors: self.supervisors.drain(..whole).collect(),
            memory: self.memory.drain(..).collect(),
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}

fn keep<T>(book: &mut VecDeque<T>, incident: T, dropped: &mut u64) {
    if book.len() >= INCIDENTS_KEPT {
        book.pop_front();
        *dropped += 1;
    }
    book.push_back(incident);
}
