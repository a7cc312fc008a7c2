//! What earlier runs left behind: control segments of dead owners, and processes whose coordinator is gone.

use crate::doctor::check::Check;
use crate::proc::{name_of, pids};
use nix::sys::signal::Signal;
use phalanx_ipc::{Control, ProcessHandle, ProcessIdentity, parent_of};

const SUPERVISOR: &str = "phx-supervisor";
const SHARD: &str = "phx-shard";

/// Looks, and with `clean` removes what it finds.
pub fn checks(clean: bool) -> Vec<Check> {
    vec![segments(clean), orphans(clean)]
}

fn segments(clean: bool) -> Check {
    let name = "segments of dead owners";
    let why = "they hold memory of /dev/shm; the next launch removes them";
    let found = if clean { Control::reclaim_stale() } else { Control::stale() };
    match found {
        Ok(names) if names.is_empty() => Check::ok(name, "none", "nothing is left behind"),
        Ok(names) if clean => Check::ok(name, format!("removed {}", names.join(" ")), why),
        Ok(names) => Check::warn(name, names.join(" "), why, "phalanx doctor --clean"),
        Err(error) => Check::warn(name, error.to_string(), why, "ls -l /dev/shm"),
    }
}

/// Supervisors and shards that belong to nobody: their parent is none that could have made them.
fn orphaned() -> Vec<ProcessIdentity> {
    let is = |pid: i32, what: &str| name_of(pid).is_some_and(|name| name.starts_with(what));
    pids()
        .into_iter()
        .filter(|&pid| {
            let parent = parent_of(pid).unwrap_or(0);
            // A supervisor's parent is its coordinator, which may be any program; one that was adopted is init's.
            is(pid, SUPERVISOR) && parent <= 1 || is(pid, SHARD) && !is(parent, SUPERVISOR)
        })
        .filter_map(ProcessIdentity::of)
        .filter(ProcessIdentity::is_alive)
        .collect()
}

fn orphans(clean: bool) -> Check {
    let name = "processes without a coordinator";
    let why = "a supervisor that was stopped while its coordinator died stays, with its shards";
    let found = orphaned();
    if found.is_empty() {
        return Check::ok(name, "none", "nothing is left behind");
    }
    let list: Vec<String> = found.iter().map(|process| process.pid.to_string()).collect();
    if !clean {
        return Check::warn(name, list.join(" "), why, "phalanx doctor --clean");
    }
    let refused: Vec<String> = found
        .into_iter()
        .filter_map(|process| {
            let killed = ProcessHandle::open(process).and_then(|handle| handle.signal(Signal::SIGKILL));
            killed.err().map(|error| error.to_string())
        })
        .collect();
    match refused.first() {
        None => Check::ok(name, format!("killed {}", list.join(" ")), why),
        Some(error) => Check::warn(name, error.clone(), why, format!("kill -9 {}", list.join(" "))),
    }
}
