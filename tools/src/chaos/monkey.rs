//! The monkey: a process of its own that sends real signals to the processes of a family, by its schedule.
//!
//! It is this program started again. It takes its order from standard input and reports on standard output. It is done
//! when its schedule is, or when standard input says anything more or closes; then nobody is left stopped. It ends when
//! standard input closes, and dies with the trial.

use crate::chaos::fault::FaultKind;
use crate::chaos::mix::Mix;
use crate::chaos::schedule::{PlannedFault, Schedule, first_victim, second_victim};
use crate::chaos::wire::{Event, MARKER, Misdeed, Order, Release, Strike, Target};
use crate::exit::Exit;
use crate::victims::{ShardVictim, Victim, Victims};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;
use phalanx_ipc::{SignalSetup, die_with_parent, monotonic_now, set_process_name};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

/// How often a stopped process is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(2);
/// How often a successor is looked for.
const SUCCESSOR_INTERVAL: Duration = Duration::from_micros(100);
/// How long a successor is waited for.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(3);
/// How often, and how long, a fault waits for somebody to befall.
const VICTIM_INTERVAL: Duration = Duration::from_micros(500);
const VICTIM_LIMIT: Duration = Duration::from_millis(500);
/// A life that no shard reaches.
const NEVER_LIVED: u32 = u32::MAX;
/// Longest single sleep: the kernel takes no endless ones as a number.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// Runs the monkey if this process was started to be it.
pub fn entry() -> Option<Exit> {
    std::env::var_os(MARKER)?;
    let exit = match run() {
        Ok(()) => Exit::Ok,
        Err(error) => {
            // If nobody listens any more, nobody needs to know.
            let _ = tell(&Event::Failed { why: error.to_string() });
            Exit::Failed
        }
    };
    Some(exit)
}

fn run() -> Result<(), Box<dyn Error>> {
    SignalSetup::child()?;
    set_process_name("phx-monkey")?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    die_with_parent(Pid::from_raw(order.owner))?;
    let victims = Victims::open(&order.segment)?;
    if victims.owner().pid != order.owner {
        return Err(format!("segment {} belongs to process {}", order.segment, victims.owner().pid).into());
    }
    let mix: Mix = order.mix.parse()?;
    let schedule = Schedule::draw(order.seed, &mix, order.rate, Duration::from_micros(order.duration_us));
    let stall_limit = Duration::from_micros(order.stall_limit_us);
    let mut monkey = Monkey { victims, stall_limit, todo: BTreeMap::new(), numbers: 0 };
    let begin = monotonic_now();
    for (number, &planned) in schedule.faults().iter().enumerate() {
        let since = begin + planned.at;
        monkey.later(since, Task::Befall { number, planned, since });
    }
    if let Some(misdeed) = order.misdeed {
        // First of all: the life that it is done to has had no other fault yet.
        monkey.later(begin, Task::Misbehave(misdeed));
    }
    monkey.work()?;
    tell(&Event::Done)?;
    // The trial counts its descriptors and threads while this process is still there.
    while sleep_until(Duration::MAX)? != Woken::Closed {}
    Ok(())
}

/// Something to do at a time.
enum Task {
    /// A planned fault, due since some time.
    Befall { number: usize, planned: PlannedFault, since: Duration },
    /// A look at somebody who is stopped.
    Watch(Held),
    /// A look for the next life of a shard, to kill it too.
    Successor { number: usize, shard: u32, after: u32, until: Duration },
    /// A planted misdeed.
    Misbehave(Misdeed),
}

/// Somebody who is stopped.
struct Held {
    kind: FaultKind,
    target: Target,
    process: Victim,
    since: Duration,
    until: Duration,
}

struct Monkey {
    victims: Victims,
    stall_limit: Duration,
    /// By time, and by number where times are equal.
    todo: BTreeMap<(Duration, u64), Task>,
    numbers: u64,
}

impl Monkey {
    fn later(&mut self, at: Duration, task: Task) {
        self.numbers += 1;
        self.todo.insert((at, self.numbers), task);
    }

    /// Works until nothing is left to do, or nobody wants it any more.
    fn work(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some((&(at, _), _)) = self.todo.first_key_value() {
            if sleep_until(at)? != Woken::Time {
                break;
            }
            if let Some((_, task)) = self.todo.pop_first() {
                self.perform(task)?;
            }
        }
        for (_, task) in std::mem::take(&mut self.todo) {
            if let Task::Watch(held) = task {
                release(&held)?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, task: Task) -> Result<(), Box<dyn Error>> {
        match task {
            Task::Befall { number, planned, since } => self.befall(number, planned, since),
            Task::Watch(held) => self.watch(held),
            Task::Successor { number, shard, after, until } => self.successor(number, shard, after, until),
            Task::Misbehave(misdeed) => self.misbehave(misdeed),
        }
    }

    /// One planned fault. One that finds nobody is tried again for a while.
    fn befall(
        &mut self,
        number: usize,
        planned: PlannedFault,
        since: Duration,
    ) -> Result<(), Box<dyn Error>> {
        let PlannedFault { kind, draw, .. } = planned;
        let shards = self.victims.shards();
        let found = match kind {
            FaultKind::SupervisorKill | FaultKind::SupervisorStop => {
                self.strike_supervisor(Some(number), kind)?
            }
            FaultKind::KillAll => {
                // All are found before the first is struck.
                let all: Vec<_> =
                    (0..shards).filter_map(|shard| self.victims.shard(u32::try_from(shard).ok()?)).collect();
                let count = all.len();
                for victim in all {
                    self.strike(Some(number), kind, victim)?;
                }
                count > 0
            }
            FaultKind::KillPair => {
                let pair = [
                    self.victims.shard(first_victim(draw, shards)),
                    self.victims.shard(second_victim(draw, shards)),
                ];
                let count = pair.iter().flatten().count();
                for victim in pair.into_iter().flatten() {
                    self.strike(Some(number), kind, victim)?;
                }
                count > 0
            }
            FaultKind::Kill
            | FaultKind::Segv
            | FaultKind::Bus
            | FaultKind::Ill
            | FaultKind::Abrt
            | FaultKind::Term
            | FaultKind::Int
            | FaultKind::Stop
            | FaultKind::Pause
            | FaultKind::KillTwice => match self.living_from(first_victim(draw, shards)) {
                Some(victim) => self.strike(Some(number), kind, victim)?,
                None => false,
            },
        };
        let now = monotonic_now();
        if !found && now < since + VICTIM_LIMIT {
            self.later(now + VICTIM_INTERVAL, Task::Befall { number, planned, since });
        } else if !found {
            tell(&Event::Missed { kind })?;
        }
        Ok(())
    }

    /// The first shard from `first` on, in a circle, that lives.
    fn living_from(&self, first: u32) -> Option<ShardVictim> {
        let shards = u32::try_from(self.victims.shards()).unwrap_or(1);
        (0..shards).find_map(|step| self.victims.shard((first + step) % shards))
    }

    /// Strikes a shard as the kind of fault says; false if it was gone.
    fn strike(
        &mut self,
        fault: Option<usize>,
        kind: FaultKind,
        victim: ShardVictim,
    ) -> Result<bool, Box<dyn Error>> {
        let ShardVictim { shard, generation, process } = victim;
        let signal = kind.signal();
        let Some(at) = process.strike(signal)? else { return Ok(false) };
        let target = Target::Shard { shard, generation };
        tell_strike(fault, kind, signal, target.clone(), process.pid(), at)?;
        if let Some(hold) = kind.hold(self.stall_limit) {
            self.watch(Held { kind, target, process, since: at, until: at + hold })?;
        } else if let (FaultKind::KillTwice, Some(number)) = (kind, fault) {
            let until = at + SUCCESSOR_LIMIT;
            self.later(at, Task::Successor { number, shard, after: generation, until });
        }
        Ok(true)
    }

    fn strike_supervisor(&mut self, fault: Option<usize>, kind: FaultKind) -> Result<bool, Box<dyn Error>> {
        let Some(process) = self.victims.supervisor() else { return Ok(false) };
        let target = Target::Supervisor { generations: self.victims.generations() };
        let signal = kind.signal();
        let Some(at) = process.strike(signal)? else { return Ok(false) };
        tell_strike(fault, kind, signal, target.clone(), process.pid(), at)?;
        if let Some(hold) = kind.hold(self.stall_limit) {
            self.watch(Held { kind, target, process, since: at, until: at + hold })?;
        }
        Ok(true)
    }

    /// Looks at somebody who is stopped: reports that it is gone, or lets it go on when it is time.
    fn watch(&mut self, held: Held) -> Result<(), Box<dyn Error>> {
        let now = monotonic_now();
        if now >= held.until || !held.process.is_alive() {
            return release(&held);
        }
        self.later(held.until.min(now + WATCH_INTERVAL), Task::Watch(held));
        Ok(())
    }

    fn successor(
        &mut self,
        number: usize,
        shard: u32,
        after: u32,
        until: Duration,
    ) -> Result<(), Box<dyn Error>> {
        let is_ready = self.victims.slot(shard).is_some_and(|slot| slot.generation > after && slot.ready);
        let victim = if is_ready { self.victims.shard(shard) } else { None };
        match victim {
            Some(victim) => self.strike(None, FaultKind::KillTwice, victim).map(drop),
            None if monotonic_now() < until => {
                let task = Task::Successor { number, shard, after, until };
                self.later(monotonic_now() + SUCCESSOR_INTERVAL, task);
                Ok(())
            }
            None => tell(&Event::Missed { kind: FaultKind::KillTwice }),
        }
    }

    fn misbehave(&mut self, misdeed: Misdeed) -> Result<(), Box<dyn Error>> {
        let kind = FaultKind::Kill;
        if misdeed == Misdeed::InventedSupervisor {
            let target = Target::Supervisor { generations: Vec::new() };
            let kind = FaultKind::SupervisorKill;
            return tell_strike(
                None,
                kind,
                Signal::SIGKILL,
                target,
                self.victims.owner().pid,
                monotonic_now(),
            );
        }
        let Some(victim) = self.living_from(0) else {
            self.later(monotonic_now() + VICTIM_INTERVAL, Task::Misbehave(misdeed));
            return Ok(());
        };
        let ShardVictim { shard, generation, process } = &victim;
        let target = Target::Shard { shard: *shard, generation: *generation };
        match misdeed {
            Misdeed::OneMoreStop => return self.strike(None, FaultKind::Stop, victim).map(drop),
            Misdeed::Invented | Misdeed::InventedSupervisor => {
                let target = Target::Shard { shard: *shard, generation: NEVER_LIVED };
                tell_strike(None, kind, Signal::SIGKILL, target, process.pid(), monotonic_now())?;
            }
            Misdeed::WrongSignal => {
                if let Some(at) = process.strike(Signal::SIGKILL)? {
                    tell_strike(None, kind, Signal::SIGSEGV, target, process.pid(), at)?;
                }
            }
            Misdeed::Unreported => {
                process.strike(Signal::SIGKILL)?;
            }
        }
        Ok(())
    }
}

/// Lets somebody who is stopped go on.
fn release(held: &Held) -> Result<(), Box<dyn Error>> {
    let gone = !held.process.is_alive() || held.process.strike(Signal::SIGCONT)?.is_none();
    let held_ns = nanos(monotonic_now().saturating_sub(held.since));
    let (kind, target, pid) = (held.kind, held.target.clone(), held.process.pid());
    tell(&Event::Release(Release { kind, target, pid, held_ns, gone }))
}

fn tell_strike(
    fault: Option<usize>,
    kind: FaultKind,
    signal: Signal,
    target: Target,
    pid: i32,
    at: Duration,
) -> Result<(), Box<dyn Error>> {
    tell(&Event::Strike(Strike { fault, kind, signal: signal as i32, target, pid, at_ns: nanos(at) }))
}

fn tell(event: &Event) -> Result<(), Box<dyn Error>> {
    let line = serde_json::to_string(event)? + "\n";
    let mut stdout = stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Why a sleep is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// It is time.
    Time,
    /// The trial says that it is enough.
    CalledOff,
    /// The trial is over or gone.
    Closed,
}

/// Sleeps until a time of the monotonic clock, or until standard input has something to say.
fn sleep_until(at: Duration) -> Result<Woken, Box<dyn Error>> {
    loop {
        let left = at.saturating_sub(monotonic_now());
        let stdin = stdin();
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        // Interrupted: look again.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(left.min(SLEEP_MAX))), None);
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            let said = stdin.lock().read(&mut [0; 64])?;
            return Ok(if said == 0 { Woken::Closed } else { Woken::CalledOff });
        }
        if left.is_zero() {
            return Ok(Woken::Time);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
