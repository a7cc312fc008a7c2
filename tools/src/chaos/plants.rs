//! Violations that are planted on purpose, to show that each check finds its own. All are taken away again.

use crate::chaos::check::Check;
use crate::chaos::wire::Misdeed;
use crate::victims::Victims;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, getppid};
use phalanx::supervisor::SupervisorImage;
use phalanx_ipc::{ControlView, ProcessIdentity, die_with_parent};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Has this program, started again, map a segment and stay there; an empty name: end at once.
const MARKER: &str = "PHALANX_CHAOS_PLANT";
/// Memory planted over a trial, in bytes: well over what a trial may grow.
const LEAK_BYTES: usize = 256 << 20;
/// How long a planted process stays at the most.
const PLANT_LIMIT: Duration = Duration::from_secs(600);
/// Descriptors planted.
const LEAKED_FDS: usize = 5;

/// Plays a planted process if this process was started to be one.
pub fn entry() -> bool {
    let Some(segment) = std::env::var_os(MARKER) else { return false };
    let tied = die_with_parent(getppid()).is_ok();
    if let (true, Ok(_view)) = (tied, ControlView::open(&segment.to_string_lossy())) {
        // The trial takes it away long before.
        std::thread::sleep(PLANT_LIMIT);
    }
    true
}

/// What is planted. Dropping takes it all away.
#[derive(Debug, Default)]
pub struct Plants {
    memory: Vec<Vec<u8>>,
    files: Vec<File>,
    paths: Vec<PathBuf>,
    children: Vec<Child>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Plants {
    /// Plants what is to be there once the trial has counted what it begins with.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn after_baseline(&mut self, broken: Option<Check>, segment: &str) -> io::Result<()> {
        match broken {
            Some(Check::Fd) => {
                self.files = (0..LEAKED_FDS).map(|_| File::open("/dev/null")).collect::<io::Result<_>>()?;
            }
            Some(Check::Thread) => {
                let (sender, end) = channel::<()>();
                let sleeper = std::thread::Builder::new().name("phx-planted".to_owned());
                self.thread = Some((
                    sender,
                    sleeper.spawn(move || {
                        // Until the trial drops the other end.
                        let _ = end.recv();
                    })?,
                ));
            }
            Some(Check::Zombie) => self.children.push(player("")?),
            Some(Check::Orphan) => self.children.push(player(segment)?),
            Some(Check::Segment) => {
                let own = i32::try_from(std::process::id()).unwrap_or(0);
                let start_time = ProcessIdentity::of(own).map_or(0, |own| own.start_time);
                self.file(PathBuf::from(format!("/dev/shm/phalanx-{own}-{start_time}-999")))?;
            }
            Some(Check::Core) => self.file(PathBuf::from(format!("./core.{}", std::process::id())))?,
            Some(
                Check::Digest
                | Check::LostBlock
                | Check::Deadline
                | Check::Cause
                | Check::Unexplained
                | Check::Missing
                | Check::Stall
                | Check::Supervisor
                | Check::Recovery
                | Check::Memory
                | Check::Pins
                | Check::Restart,
            )
            | None => {}
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) -> io::Result<()> {
        File::create_new(&path)?;
        self.paths.push(path);
        Ok(())
    }

    /// Grows, if that is to be found: in all as much as is far too much, evenly over the trial.
    pub fn grow(&mut self, broken: Option<Check>, done: f64) {
        if broken == Some(Check::Memory) {
            let step = LEAK_BYTES / 64;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 64")]
            let wanted = (done.clamp(0.0, 1.0) * 64.0) as usize;
            while self.memory.len() < wanted {
                self.memory.push(vec![1; step]);
            }
        }
    }
}

/// Lets the first shard that is there run on every core but its own, if that is to be found. False if there is no other
/// core.
pub fn unpin(victims: &Victims, cores: &[usize]) -> bool {
    let Some(victim) = (0..).take(cores.len()).find_map(|shard| victims.shard(shard)) else { return false };
    let planned = cores.get(usize::try_from(victim.shard).unwrap_or(0));
    let mut set = CpuSet::new();
    let others = cores.iter().filter(|core| Some(*core) != planned);
    let added = others.filter(|&&core| set.set(core).is_ok()).count();
    added > 0 && sched_setaffinity(Pid::from_raw(victim.process.pid()), &set).is_ok()
}

/// What the monkey is to do wrong.
pub fn misdeed(broken: Option<Check>) -> Option<Misdeed> {
    match broken? {
        Check::Cause => Some(Misdeed::WrongSignal),
        Check::Unexplained => Some(Misdeed::Unreported),
        Check::Missing => Some(Misdeed::Invented),
        Check::Supervisor => Some(Misdeed::InventedSupervisor),
        Check::Stall => Some(Misdeed::OneMoreStop),
        Check::Digest
        | Check::LostBlock
        | Check::Deadline
        | Check::Recovery
        | Check::Zombie
        | Check::Orphan
        | Check::Segment
        | Check::Fd
        | Check::Memory
        | Check::Thread
        | Check::Pins
        | Check::Core
        | Check::Restart => None,
    }
}

/// The stall limit by which deaths are judged.
pub fn judged_stall_limit(broken: Option<Check>, limit: Duration) -> Duration {
    if broken == Some(Check::Stall) { limit.saturating_mul(100) } else { limit }
}

/// The image of the family that is started afterwards.
pub fn second_image(broken: Option<Check>) -> SupervisorImage {
    match broken {
        Some(Check::Restart) => SupervisorImage::Path(PathBuf::from("/nonexistent/phalanx-supervisor")),
        Some(_) | None => SupervisorImage::Own,
    }
}

fn player(segment: &str) -> io::Result<Child> {
    Command::new("/proc/self/exe").env(MARKER, segment).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

impl Drop for Plants {
    fn drop(&mut self) {
        for mut child in self.children.drain(..) {
            // One that has ended by itself is only reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
        for path in self.paths.drain(..) {
            // Nothing more can be done about one that cannot be removed.
            let _ = fs::remove_file(path);
        }
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
