//! The measurement: a family with a large state, blocks without end, kills, and what the family says of them.

use crate::bench::recovery::error::RecoveryError;
use crate::bench::recovery::killer::{Kill, Killer};
use crate::bench::recovery::row::RecoveryRow;
use crate::bench::{RecoveryArguments, RecoverySignal};
use crate::run::RunError;
use crate::victims::Victims;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use phalanx::supervisor::ShardIncident;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx::{BlockHandle, Phalanx};
use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};
use std::collections::{HashMap, VecDeque};
use std::io::{Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a slot of the base state's table.
const SLOT_BYTES: u64 = 64;
/// How long a block may take: a dump of core can take its time.
const BLOCK_LIMIT: Duration = Duration::from_secs(60);
/// How long the last incidents may take to be complete.
const INCIDENTS_LIMIT: Duration = Duration::from_secs(10);
/// Blocks submitted ahead.
const AHEAD: usize = 2;
/// Time between two lines about progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is known of one kill.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The kill.
    pub kill: Kill,
    /// What the family says of it.
    pub incident: ShardIncident,
    /// Whether the dead process left a core dump, if that is known.
    pub dumped: Option<bool>,
}

/// Measures; one row for each signal.
///
/// # Errors
/// [`RecoveryError`].
pub fn run(arguments: &RecoveryArguments) -> Result<Vec<RecoveryRow>, RecoveryError> {
    // Where core files go, unless the host sends them elsewhere; removed with all that is in it.
    let (before, directory) = (std::env::current_dir()?, tempfile::tempdir()?);
    std::env::set_current_dir(directory.path())?;
    let rows = measure(arguments);
    std::env::set_current_dir(before)?;
    rows
}

fn measure(arguments: &RecoveryArguments) -> Result<Vec<RecoveryRow>, RecoveryError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(std::io::Error::from)?;
    setrlimit(Resource::RLIMIT_CORE, hard, hard).map_err(std::io::Error::from)?;
    let (mut feed, phalanx) = launch(arguments)?;
    let victims = Victims::open(phalanx.segment())?;
    let signals: &[Signal] = match arguments.signal {
        RecoverySignal::Kill => &[Signal::SIGKILL],
        RecoverySignal::Segv => &[Signal::SIGSEGV],
        RecoverySignal::Abrt => &[Signal::SIGABRT],
        RecoverySignal::All => &[Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT],
    };
    let wanted = arguments.state_mib << 20;
    let (kills, over, fed) = (Mutex::new(Vec::new()), AtomicBool::new(false), AtomicBool::new(false));
    let killer = Killer { victims: &victims, wanted, over: &over, fed: &fed };
    let mut story = Story::default();
    std::thread::scope(|scope| {
        let killing = scope.spawn(|| killer.work(signals, arguments.kills, |kill| kills.lock().push(kill)));
        let mut line_at = Instant::now() + LINE_EVERY;
        let fed = loop {
            if killing.is_finished() {
                break Ok(());
            }
            if let Err(error) = feed.block(&phalanx, &fed) {
                break Err(error);
            }
            story.take(&phalanx, &victims);
            if Instant::now() >= line_at {
                line_at = Instant::now() + LINE_EVERY;
                let (done, all) = (kills.lock().len(), signals.len() * arguments.kills as usize);
                // Nobody listens: then nobody needs it.
                let _ = writeln!(stderr(), "{done} of {all} kills");
            }
        };
        over.store(true, Ordering::Relaxed);
        let killed = killing.join().map_err(|_| RecoveryError::Panicked)?;
        fed?;
        killed
    })?;
    let kills = kills.into_inner();
    let deadline = Instant::now() + INCIDENTS_LIMIT;
    while !story.is_complete(&kills) && Instant::now() < deadline {
        feed.block(&phalanx, &fed)?;
        story.take(&phalanx, &victims);
    }
    let known = story.of(&kills);
    let rows = signals.iter().map(|&signal| {
        let of_signal = |recovery: &&Recovery| recovery.kill.signal == signal;
        let sent = kills.iter().filter(|kill| kill.signal == signal).count();
        RecoveryRow::new(arguments, signal, sent, &known.iter().filter(of_signal).collect::<Vec<_>>())
    });
    let rows = rows.collect();
    if let Err(error) = phalanx.shutdown(Instant::now() + Duration::from_secs(10)) {
        tracing::error!(%error, "the family is left to its supervisor");
    }
    Ok(rows)
}

/// Accounts whose table is a little larger than what is to be touched, so that it need not be touched to the last page.
fn accounts_for(state_mib: u64) -> usize {
    let slots = ((state_mib << 20) / 4 * 5 / SLOT_BYTES).next_power_of_two();
    // Each account has two entries at first, and a table is at most two thirds full: this is just too many for half as
    // many slots.
    usize::try_from(slots / 6 + slots / 100).unwrap_or(usize::MAX).max(1_000)
}

fn launch(arguments: &RecoveryArguments) -> Result<(Feed, Phalanx), RecoveryError> {
    let workload = Workload::new(WorkloadConfig {
        kind: WorkloadKind::Uniform,
        accounts: accounts_for(arguments.state_mib),
        block_size: arguments.block_size,
        seed: 1,
        signed: false,
        blocks: u64::MAX,
    });
    let workload = workload.map_err(RunError::from)?;
    let genesis = workload.genesis().map_err(RunError::from)?;
    let vm = LedgerVm::new(workload.ledger_config());
    let launched = Phalanx::builder(vm.config()).shards(arguments.shards).log("error").launch(genesis);
    let phalanx = launched.map_err(RunError::from)?;
    Ok((Feed { workload, vm, waiting: VecDeque::new() }, phalanx))
}

/// Blocks without end.
struct Feed {
    workload: Workload,
    vm: LedgerVm,
    waiting: VecDeque<(u64, BlockHandle)>,
}

impl Feed {
    /// Sees to it that there is always one more, and waits for the oldest; `fed` is set meanwhile.
    fn block(&mut self, phalanx: &Phalanx, fed: &AtomicBool) -> Result<(), RunError> {
        while self.waiting.len() < AHEAD {
            let Some(block) = self.workload.next_block() else { break };
            let height = block.header.height;
            let prepared = PreparedBlock::prepare(&self.vm, &block);
            let prepared = Arc::new(prepared.map_err(|cause| RunError::Prepare { height, cause })?);
            let handle = phalanx.submit(&prepared, Instant::now() + BLOCK_LIMIT);
            self.waiting.push_back((height, handle.map_err(|cause| RunError::Execute { height, cause })?));
        }
        match self.waiting.pop_front() {
            Some((height, handle)) => {
                fed.store(true, Ordering::Relaxed);
                let output = handle.wait();
                fed.store(false, Ordering::Relaxed);
                output.map(drop).map_err(|cause| RunError::Execute { height, cause })
            }
            None => Ok(()),
        }
    }
}

/// What the family says befell it, by shard and life.
#[derive(Debug, Default)]
struct Story(HashMap<(u32, u32), (ShardIncident, Option<bool>)>);

impl Story {
    fn take(&mut self, phalanx: &Phalanx, victims: &Victims) {
        for incident in phalanx.take_incidents().shards {
            let life = (incident.death.shard.0, incident.death.generation.0);
            self.0.insert(life, (incident, None));
        }
        // A death may be explained before its core is dumped and the process reaped.
        for (&(shard, generation), (_, dumped)) in
            self.0.iter_mut().filter(|(_, (_, dumped))| dumped.is_none())
        {
            *dumped = victims.dumped_core(shard, generation);
        }
    }

    fn is_complete(&self, kills: &[Kill]) -> bool {
        kills.iter().all(|kill| {
            self.0.get(&(kill.shard, kill.generation)).is_some_and(|(_, dumped)| dumped.is_some())
        })
    }

    fn of(&self, kills: &[Kill]) -> Vec<Recovery> {
        let known = kills.iter().filter_map(|kill| {
            let (incident, dumped) = self.0.get(&(kill.shard, kill.generation))?.clone();
            Some(Recovery { kill: *kill, incident, dumped })
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_larger_than_what_is_to_be_touched_and_not_too_large() {
        for mib in [1_u64, 8, 100, 1024, 4096] {
            let entries = 2 * accounts_for(mib) as u64;
            let slots = (entries + entries / 2).next_power_of_two();
            let bytes = slots * SLOT_BYTES;
            assert!(bytes >= (mib << 20) + (mib << 18), "{mib}: {bytes}");
            assert!(bytes <= mib << 22, "{mib}: {bytes}");
        }
    }
}
