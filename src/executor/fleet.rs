//! What the coordinator needs of its shards, whatever they are made of.

use crate::executor::error::{Death, DeathCause, ExecuteError};
use crate::executor::output_arena::OutputArenaReader;
use crate::executor::span_region::SpanReader;
use crate::types::{Generation, RoundId, ShardId};
use phalanx_ipc::{ChildSlot, Doorbell};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A shard that takes part in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) shard: ShardId,
    pub(crate) generation: Generation,
    /// The process of that life; 0 for a thread.
    pub(crate) pid: i32,
}

/// How far a round is when somebody looks for members that hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It goes on; who waits for a peer is well.
    Open,
    /// It is cut short; there is nothing to wait for any more.
    Cut,
}

/// Longest wait of the coordinator in a round: whatever nobody tells is found by looking, this often.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(4);

/// A set of shards: threads of this process, or processes under a supervisor.
pub(crate) trait Fleet {
    /// Fills `members` with the shards that can take part in a round now, ascending.
    fn ready(&self, members: &mut Vec<Member>);

    /// The coordinator passes a step at which tests have a shard fail.
    fn pass(&self, _step: &'static str) {}

    /// The shard's slot.
    fn slot(&self, shard: ShardId) -> Option<&ChildSlot>;

    /// The shard's output arena.
    fn outputs(&self, shard: ShardId) -> Option<&OutputArenaReader>;

    /// The shard's spans, if a timeline is wanted.
    fn spans(&self, shard: ShardId) -> Option<&SpanReader>;

    /// The coordinator's doorbell.
    fn bell(&self) -> &Doorbell;

    /// How often the coordinator looks before it sleeps.
    fn spins(&self) -> u32;

    /// Whether the coordinator takes its core from no shard.
    fn has_spare_core(&self) -> bool {
        self.spins() > 0
    }

    /// Wakes a shard to look at the board.
    fn ring(&self, shard: ShardId);

    /// Wakes every shard, whatever its doorbell says: somebody died.
    fn ring_all(&self);

    /// Sleeps until `ready` answers true, the coordinator's doorbell is rung, a member dies, or `limit` has passed, which is
    /// [`LOOK_INTERVAL`] at most: then it is time to [`probe`](Self::probe) again. Looks `spins` times before.
    fn wait(&self, members: &[Member], spins: u32, limit: Duration, ready: &mut dyn FnMut() -> bool);

    /// Looks for a member that is dead or hangs. Cheap; called after each wait while a round runs.
    fn probe(&mut self, members: &[Member], round: RoundId, phase: Phase) -> Option<Death>;

    /// Looks for shards that died while the coordinator does work of its own between rounds, and has them replaced.
    /// Cheap; called every 50 us or so, and looks every 200 us.
    fn patrol(&self, now: Instant);

    /// Whether this life of the shard is over: it will never write again.
    fn is_gone(&self, member: Member) -> bool;

    /// The end of a member that is gone, as far as it is known now.
    fn death_of(&self, member: Member) -> Death;

    /// Ends this life of a shard. Returns before it is over; see [`is_gone`](Self::is_gone).
    fn kill(&mut self, member: Member, cause: DeathCause);

    /// Puts dead shards back, waiting a little for full strength, and for the first one until `deadline` or until
    /// `cancelled` answers true.
    ///
    /// # Errors
    /// `NoShards` when none can be had in time.
    fn recover(&mut self, deadline: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), ExecuteError>;

    /// If a shard has died since the last time of a page that the hardware has lost, or with `anyway` in any case: looks for
    /// such pages and has them replaced, by zeros. True if there were any: then nothing that shards have left in their
    /// memory is to be believed. Call it before that is read, and while nothing that was left is being read. If it looks,
    /// it reads a byte of every page that was touched.
    ///
    /// # Errors
    /// `MemoryLost` if what was lost cannot be made again; from then on always.
    fn mend_memory(&mut self, _anyway: bool) -> Result<bool, ExecuteError> {
        Ok(false)
    }

    /// Asks for shards of another kind, since with these a block does not get on; false if there are none.
    fn fall_back(&mut self, _why: &ExecuteError) -> bool {
        false
    }

    /// The death with its cause, if the kernel tells within `limit`.
    fn explain(&mut self, death: Death, limit: Duration) -> Death;

    /// How long a member may take to leave a round that was cut short, before it is killed; `None`: it cannot be killed.
    fn park_limit(&self) -> Option<Duration>;

    /// Without progress of any member for this long a round is cut short; `None`: never.
    fn stall_limit(&self) -> Option<Duration>;

    /// Whether a member has left `round`. A successor, which takes part in no round announced before it, is not the
    /// member: the ready word is cleared before a successor is made, and read here after what a successor may write.
    fn is_parked(&self, member: Member, round: RoundId) -> bool {
        self.slot(member.shard).is_none_or(|slot| {
            slot.parked.load(Ordering::Acquire) == round.0
                && slot.ready_generation.load(Ordering::Acquire) == member.generation.0
        })
    }
}
